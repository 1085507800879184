package job

import (
	"slices"
	"strings"
	"time"
	"unicode"

	"bramble/fault"
)

// Spec is what a person submits.
type Spec struct {
	Name    string   `json:"name,omitempty"`
	User    string   `json:"user"`              // who submitted, set by the head from the caller
	As      string   `json:"as,omitempty"`      // "root" for an admin who said --as root
	Account string   `json:"account,omitempty"` // whose share it uses up beside the user's; "" is "default"
	Comment string   `json:"comment,omitempty"`
	Args    []string `json:"args,omitempty"`   // the command; empty when Script is set
	Script  []byte   `json:"script,omitempty"` // a script file's bytes, run by its #! line
	Env     []string `json:"env,omitempty"`
	Array   string   `json:"array,omitempty"` // as typed: A-B[:S][%K],…; "" is a single task with index 0

	// What a task takes.
	CPUs         int            `json:"cpus"`                     // cores per rank
	Memory       int64          `json:"memory,omitempty"`         // bytes on each of its nodes; 0: no limit, none reserved
	MemoryPerCPU int64          `json:"memory_per_cpu,omitempty"` // bytes for each core instead
	Gres         map[string]int `json:"gres,omitempty"`           // on each of its nodes: how much of what a label NAME or NAME=COUNT offers
	Exclusive    bool           `json:"exclusive,omitempty"`      // its nodes are its own
	Nodes        int            `json:"nodes,omitempty"`          // how many nodes; 0: as few as hold its ranks
	Ranks        int            `json:"ranks,omitempty"`          // how many times CPUs, over all its nodes; 0: one on each
	RanksPerNode int            `json:"ranks_per_node,omitempty"` // at most so many of them on one node; 0: as fit

	// Where and when it may run.
	On        string        `json:"on,omitempty"`        // fleet selection; "" is every worker
	Partition string        `json:"partition,omitempty"` // a named selection with limits; "" is the default one, if there is any
	Depend    []Dependency  `json:"depend,omitempty"`    // all of them, or with DependAny one of them, must hold first
	DependAny bool          `json:"depend_any,omitempty"`
	Begin     time.Time     `json:"begin,omitzero"`       // not before
	Hold      bool          `json:"hold,omitempty"`       // not until somebody releases it
	Nice      int           `json:"nice,omitempty"`       // taken from its priority; below zero for admins only
	Patience  time.Duration `json:"patience"`             // how long a down node's tasks wait for it before they move
	Retries   int           `json:"retries,omitempty"`    // attempts beyond the first after a task failed by itself
	NoRequeue bool          `json:"no_requeue,omitempty"` // a task whose node was lost has failed, instead of waiting again

	// How it runs and ends.
	Timeout      time.Duration `json:"timeout,omitempty"` // per attempt: SIGTERM, then SIGKILL after a grace
	Signal       string        `json:"signal,omitempty"`  // sent SignalBefore the Timeout, as "USR1"
	SignalBefore time.Duration `json:"signal_before,omitempty"`
	SignalBatch  bool          `json:"signal_batch,omitempty"` // to the command itself only, not to its steps and children
	Umask        int           `json:"umask,omitempty"`        // 0: 022
	WorkDir      string        `json:"work_dir,omitempty"`     // where it runs, a path under Shared; "": a folder of its own

	// What travels.
	Inputs string   `json:"inputs,omitempty"` // artefact manifest ref that becomes the task's folder
	Folder bool     `json:"folder,omitempty"` // Inputs is the submission folder: files that are new or changed against it come back
	Return []string `json:"return,omitempty"` // globs of files that come back
	Shared []string `json:"shared,omitempty"` // paths that are the same on every machine, so that nothing under them travels
	Output string   `json:"output,omitempty"` // where what the tasks write is put: a path with %j %A %a %N %x %u %t
	Error  string   `json:"error,omitempty"`  // the same for standard error; "": with Output
	Append bool     `json:"append,omitempty"` // to those files, rather than writing them anew

	// What a script of Slurm's finds.
	Slurm      bool   `json:"slurm,omitempty"`       // SLURM_… variables, and commands of those names that do what they can
	SubmitDir  string `json:"submit_dir,omitempty"`  // where its user was
	SubmitHost string `json:"submit_host,omitempty"` // and on which machine

	Token string `json:"token,omitempty"` // made up by who submits; what comes again with it from the same user is the same job
}

// NoUmask is a Spec's Umask that takes no rights away, since 0 stands for the usual one.
const NoUmask = 0o1000

// Dependency is another job that this one waits for.
type Dependency struct {
	Kind DependencyKind `json:"kind"`
	Job  ID             `json:"job,omitempty"` // none for Singleton
}

// DependencyKind is what a job waits for in another, in Slurm's words.
type DependencyKind string

const (
	After      DependencyKind = "after"      // it has begun, or was cancelled
	AfterAny   DependencyKind = "afterany"   // it has ended
	AfterOK    DependencyKind = "afterok"    // it has ended, and every task is done; else this one never starts
	AfterNotOK DependencyKind = "afternotok" // it has ended, and not every task is done; else this one never starts
	Singleton  DependencyKind = "singleton"  // no other job of this name and user that was submitted before is open
)

const (
	// maxRanks is how many ranks a task has at the most.
	maxRanks = 1 << 20
	// maxDepend is how many jobs one waits for at the most.
	maxDepend = 200
	// maxNice bounds how many seconds of waiting a job may give away or, for admins, be given.
	maxNice = 1 << 30
	// leastMemory is what a process takes before it does anything, in bytes.
	leastMemory = 256 << 10
	// maxGres is how many kinds of generic resources a task takes at the most.
	maxGres = 16
)

// withRanks checks what a task takes and fills in how many ranks it has.
func (s Spec) withRanks() (Spec, error) {
	switch {
	case s.Nodes < 0 || s.Ranks < 0 || s.RanksPerNode < 0 || s.MemoryPerCPU < 0:
		return s, fault.New(fault.Misused, "nodes, ranks and memory can't be negative").Hint("leave out what you don't need")
	case s.Nodes > maxRanks || s.Ranks > maxRanks || s.RanksPerNode > maxRanks || s.CPUs > maxRanks:
		return s, fault.New(fault.Misused, "a task has at most %d nodes, ranks and cores", maxRanks)
	case s.Memory > 0 && s.MemoryPerCPU > 0:
		return s, fault.New(fault.Misused, "memory is given both for each node and for each core").Hint("leave one of the two out")
	case s.Memory > 0 && s.Memory < leastMemory:
		return s, fault.New(fault.Misused, "%s of memory are too few for any task", bytesText(s.Memory)).Hint("--mem 64M")
	case len(s.Gres) > maxGres:
		return s, fault.New(fault.Misused, "a task takes at most %d kinds of generic resources", maxGres)
	}
	for name, count := range s.Gres {
		if name == "" || len(name) > 60 || strings.ContainsFunc(name, unicode.IsSpace) || count < 1 || count > maxRanks {
			return s, fault.New(fault.Misused, "%.60q: %d is no generic resource: a label's name, and how many", name, count).Hint("--gres camera:1")
		}
	}
	if s.Ranks == 0 {
		s.Ranks = max(1, s.Nodes) * max(1, s.RanksPerNode)
	}
	nodes := max(1, s.Nodes)
	switch {
	case s.Ranks < nodes:
		return s, fault.New(fault.Misused, "%d ranks are too few for %d nodes: each has at least one", s.Ranks, s.Nodes).Hint("--ranks %d", s.Nodes)
	case s.Nodes > 0 && s.RanksPerNode > 0 && s.Ranks > s.Nodes*s.RanksPerNode:
		return s, fault.New(fault.Misused, "%d ranks do not go on %d nodes with at most %d on each", s.Ranks, s.Nodes, s.RanksPerNode).Hint("--ranks %d", s.Nodes*s.RanksPerNode)
	}
	if s.Ranks == 1 {
		s.Nodes, s.Ranks, s.RanksPerNode = 0, 0, 0
	}
	return s, nil
}

// checkWhen checks what a job waits for.
func (s *Spec) checkWhen() error {
	switch {
	case len(s.Depend) > maxDepend:
		return fault.New(fault.Misused, "a job waits for at most %d others", maxDepend)
	case s.Nice > maxNice || s.Nice < -maxNice:
		return fault.New(fault.Misused, "--nice %d is out of range: seconds of waiting, at most %d", s.Nice, maxNice).Hint("--nice 60")
	case len(s.Partition) > 60 || len(s.Account) > 60 || len(s.Comment) > 500:
		return fault.New(fault.Misused, "partition and account have at most 60 bytes, a comment 500")
	case strings.ContainsFunc(s.Account+s.Comment, unicode.IsControl):
		return fault.New(fault.Misused, "an account and a comment can't contain control characters")
	}
	kinds := []DependencyKind{After, AfterAny, AfterOK, AfterNotOK, Singleton}
	for _, d := range s.Depend {
		if !slices.Contains(kinds, d.Kind) || (d.Kind == Singleton) != (d.Job == 0) || d.Job < 0 {
			return fault.New(fault.Misused, "%.40s:%d is no dependency: afterok, afterany, afternotok or after with a job's number, or singleton", d.Kind, d.Job).Hint("--depend afterok:7")
		}
		if d.Kind == Singleton && s.Name == "" {
			return fault.New(fault.Misused, "a singleton needs a name: it waits for other jobs of that name").Hint("--name nightly --depend singleton")
		}
	}
	return nil
}

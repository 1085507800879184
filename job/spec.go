package job

import "time"

// Spec is what a person submits.
type Spec struct {
	Name    string   `json:"name,omitempty"`
	User    string   `json:"user"`              // who submitted, set by the head from the caller
	As      string   `json:"as,omitempty"`      // "root" for an admin who said --as root
	Account string   `json:"account,omitempty"` // whose share it uses up beside the user's; "" is "default"
	Comment string   `json:"comment,omitempty"`
	Args    []string `json:"args,omitempty"`   // the command; empty when Script or Each is set
	Script  []byte   `json:"script,omitempty"` // a script file's bytes, run by its #! line
	Env     []string `json:"env,omitempty"`
	Array   string   `json:"array,omitempty"` // as typed: A-B[:S][%K],…; "" is a single task with index 0
	Each    []Each   `json:"each,omitempty"`  // what each element of the array runs, in the order of the array

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

// Each is what one element of an array runs that is not like all others.
type Each struct {
	Line   string   `json:"line"`             // for sh
	Inputs string   `json:"inputs,omitempty"` // artefact manifest ref, beside the job's own
	Return []string `json:"return,omitempty"`
}

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

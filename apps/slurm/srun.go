package slurm

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"bramble/fault"
	"bramble/fleet"
	"bramble/job"
)

// Run is what somebody asks of srun.
type Run struct {
	*Batch           // as for sbatch: what a job of its own would take
	Label     bool   // each line begins with the rank that wrote it
	Pty       bool   // one process, on a terminal
	Input     string // what the ranks read: InputAll, InputNone, a rank's number, or the pattern of a file's name
	KeepGoing bool   // a rank that fails does not end the others
	Dir       string // where the ranks run; "": where the job does
	Command   []string
}

// What --input says that is no file's name.
const (
	InputAll  = "all" // each rank reads what srun reads
	InputNone = "none"
)

// InputRank is the only rank that reads what srun reads; -1 when --input names none.
func (r *Run) InputRank() int {
	if n, err := strconv.Atoi(r.Input); err == nil && n >= 0 {
		return n
	}
	return -1
}

// InputFile is the file, or the pattern of files' names, that the ranks read from; "" when --input names none.
func (r *Run) InputFile() string {
	if r.Input == InputAll || r.Input == InputNone || r.InputRank() >= 0 {
		return ""
	}
	return r.Input
}

// ReadRun reads srun's words, typed inside a job or outside of any.
func ReadRun(words []string, inside bool, now time.Time) (*Run, error) {
	r := &Run{Batch: &Batch{now: now, at: "srun"}, KeepGoing: true, Input: InputAll}
	r.Spec.Slurm = true
	own := map[string]func(string) error{
		"label": func(string) error { r.Label = true; return nil },
		"pty":   func(string) error { r.Pty = true; return nil },
		"input": func(s string) error { r.Input = s; return job.CheckPattern(s) },
		"kill-on-bad-exit": func(s string) error {
			r.KeepGoing = s == "0"
			return nil
		},
	}
	rest, err := scan("srun", runOptions(), words, stop, func(o option, as, text string) error {
		if set := own[o.name]; set != nil {
			return set(text)
		}
		return r.apply(o, as, text)
	})
	if err != nil {
		return nil, err
	}
	if r.Command = rest; len(rest) == 0 && !r.Help && !r.Version {
		return nil, fault.New(fault.Misused, "srun has nothing to run").Hint("srun -n 4 COMMAND")
	}
	r.Dir, r.Spec.WorkDir = r.Spec.WorkDir, ""
	if inside { // what is not said is as the job has it
		return r, r.where()
	}
	return r, r.settle()
}

// runOptions is sbatch's options and those that only srun has.
func runOptions() []option {
	quiet := func(*Batch, string) error { return nil }
	list := []option{
		{name: "label", short: 'l'}, {name: "input", short: 'i', takes: needed}, {name: "pty", takes: maybe}, {name: "kill-on-bad-exit", short: 'K', takes: maybe},
		{name: "unbuffered", short: 'u', set: quiet}, // nothing is kept back
		{name: "exact", set: quiet}, {name: "overlap", set: quiet}, {name: "mpi", takes: needed, set: quiet},
		{name: "cpu-bind", takes: needed, lacks: "cores are counted, not bound"},
		{name: "immediate", short: 'I', takes: maybe, lacks: "it waits for its turn"},
		{name: "multi-prog", lacks: "all ranks run one command, which can look at SLURM_PROCID"},
		{name: "task-prolog", takes: needed, lacks: "have the command do it"},
		{name: "task-epilog", takes: needed, lacks: "have the command do it"},
		{name: "disable-status", short: 'X', set: quiet},
		{name: "jobid", takes: needed, lacks: "a step runs in the job that it is started in"},
		{name: "relative", short: 'r', takes: needed, lacks: "name the nodes with --nodelist"},
	}
	for _, o := range options() {
		switch o.name {
		case "array", "wrap", "parsable", "requeue", "no-requeue", "ignore-pbs": // sbatch's alone
		case "input": // which sbatch does not honour
		case "wait": // a number of seconds for srun
			list = append(list, option{name: "wait", short: 'W', takes: needed, lacks: "all ranks are waited for"})
		default:
			list = append(list, o)
		}
	}
	return list
}

// RankCommand is a command as a rank runs it: with the variables of its own place among the others, which it knows
// from bramble's. nodes is each rank's node, in order of rank.
func RankCommand(nodes, command []string, step int) []string {
	var places []string
	var counts []string
	at := map[string]int{}
	for _, n := range nodes {
		if _, known := at[n]; !known {
			at[n] = len(places)
			places = append(places, n)
		}
	}
	var b strings.Builder
	b.WriteString("case $BRAMBLE_NODE in ")
	for i, n := range places {
		fmt.Fprintf(&b, "%s) SLURM_NODEID=%d;; ", n, i)
		k := 0
		for _, other := range nodes {
			if other == n {
				k++
			}
		}
		counts = append(counts, fmt.Sprint(k))
	}
	fmt.Fprintf(&b, "esac; export SLURM_NODEID SLURM_PROCID=$BRAMBLE_RANK SLURM_LOCALID=$BRAMBLE_LOCAL_RANK SLURM_STEP_ID=%d SLURM_STEPID=%d "+
		"SLURM_NTASKS=%d SLURM_NPROCS=%d SLURM_STEP_NUM_TASKS=%d SLURM_STEP_NUM_NODES=%d SLURM_STEP_NODELIST='%s' SLURM_STEP_TASKS_PER_NODE='%s'; exec \"$@\"",
		step, step, len(nodes), len(nodes), len(nodes), len(places), fleet.Fold(places), foldCounts(counts))
	return append([]string{"sh", "-c", b.String(), "srun"}, command...)
}

// foldCounts writes 2,2,1 as 2(x2),1.
func foldCounts(counts []string) string {
	var items []string
	for i := 0; i < len(counts); {
		k := i
		for k < len(counts) && counts[k] == counts[i] {
			k++
		}
		item := counts[i]
		if k-i > 1 {
			item += fmt.Sprintf("(x%d)", k-i)
		}
		items, i = append(items, item), k
	}
	return strings.Join(items, ",")
}

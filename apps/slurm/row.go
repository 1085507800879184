package slurm

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"bramble/fleet"
	"bramble/job"
)

// State is a job's in Slurm's words.
type State string

const (
	Pending   State = "PENDING"
	Running   State = "RUNNING"
	Completed State = "COMPLETED"
	Failed    State = "FAILED"
	Cancelled State = "CANCELLED"
	Timeout   State = "TIMEOUT"
	NoMemory  State = "OUT_OF_MEMORY"
	NodeFail  State = "NODE_FAIL"
)

// Short is the state in the letters that squeue prints.
func (s State) Short() string {
	return map[State]string{Pending: "PD", Running: "R", Completed: "CD", Failed: "F", Cancelled: "CA",
		Timeout: "TO", NoMemory: "OOM", NodeFail: "NF"}[s]
}

// Over reports whether a job in this state has ended.
func (s State) Over() bool { return s != Pending && s != Running }

// otherStates are Slurm's that no job here ever has; asking for them finds none.
func otherStates() []string {
	return []string{"SUSPENDED", "S", "PREEMPTED", "PR", "BOOT_FAIL", "BF", "DEADLINE", "DL", "COMPLETING", "CG", "CONFIGURING", "CF",
		"RESIZING", "RS", "REQUEUED", "RQ", "REQUEUE_HOLD", "RH", "REQUEUE_FED", "RF", "RESV_DEL_HOLD", "RD", "REVOKED", "RV",
		"SIGNALING", "SI", "SPECIAL_EXIT", "SE", "STAGE_OUT", "SO", "STOPPED", "ST"}
}

// parseStates reads a list of states, long or short; all is every one.
func parseStates(list string) (states []State, all bool, wrong string) {
	for word := range strings.SplitSeq(list, ",") {
		word = strings.ToUpper(strings.TrimSpace(word))
		if word == "ALL" {
			return nil, true, ""
		}
		i := slices.IndexFunc(allStates(), func(s State) bool { return string(s) == word || s.Short() == word })
		switch {
		case i >= 0:
			states = append(states, allStates()[i])
		case !slices.Contains(otherStates(), word):
			return nil, false, word
		}
	}
	return states, false, ""
}

func allStates() []State {
	return []State{Pending, Running, Completed, Cancelled, Failed, Timeout, NodeFail, NoMemory}
}

// Row is a job, a task of an array, or the tasks of an array that wait.
type Row struct {
	*job.Detail
	Index   int    // of the task; -1: not an array, or several tasks
	Tasks   string // of several tasks: their indices, and a cap
	State   State
	Nodes   []string
	Started time.Time
	Ended   time.Time
	Code    int
	Signal  string
	Timed   bool // when it began is known: of tasks that have ended nobody keeps that one by one
	Batch   bool // the line of its script, as sacct has it
}

// maxRows is how many tasks of one array come in lines of their own.
const maxRows = 10_000

// Rows are the lines of a job. Tasks that wait are one line, or with each one for each.
func Rows(d *job.Detail, each bool) []Row {
	if d.Spec.Array == "" {
		return []Row{wholeRow(d)}
	}
	var rows []Row
	if waiting := d.Indices[string(job.Pending)]; waiting != "" {
		r := Row{Detail: d, Index: -1, State: Pending}
		if each && d.Counts.Pending <= maxRows {
			rows = append(rows, eachOf(d, waiting, r)...)
		} else {
			_, limit, capped := strings.Cut(d.Spec.Array, "%")
			if r.Tasks = waiting; capped {
				r.Tasks += "%" + limit
			}
			rows = append(rows, r)
		}
	}
	rows = append(rows, runningRows(d)...)
	return append(rows, endedRows(d)...)
}

// wholeRow is a job that is no array.
func wholeRow(d *job.Detail) Row {
	r := Row{Detail: d, Index: -1, State: Pending, Timed: true}
	switch {
	case !d.Ended.IsZero():
		r.State = endState(d, d.Failures)
		r.Started, r.Ended, r.Code, r.Signal = d.Summary.Started, d.Summary.Ended, d.Summary.Code, d.Summary.Signal
		r.Nodes, _ = fleet.Expand(d.Ran)
	case d.Counts.Running > 0:
		r.State = Running
		for _, p := range d.Placements {
			if !p.Waiting {
				r.Nodes, r.Started = append(r.Nodes, placed(p)...), p.Since
			}
		}
		if !d.Summary.Started.IsZero() {
			r.Started = d.Summary.Started
		}
	}
	return r
}

// placed is the nodes of an attempt.
func placed(p job.Placement) []string { return append([]string{p.Node}, p.Others...) }

// endState is how a job that has ended did.
func endState(d *job.Detail, failures []job.Failure) State {
	switch {
	case d.Summary.State == job.Done:
		return Completed
	case d.Summary.State == job.Cancelled:
		return Cancelled
	case len(failures) > 0:
		return failState(failures[0])
	}
	return Failed
}

func failState(f job.Failure) State {
	switch {
	case f.Timeout:
		return Timeout
	case f.OOM:
		return NoMemory
	case f.Code < 0 && strings.HasPrefix(f.Error, "the node "):
		return NodeFail
	}
	return Failed
}

// eachOf is one row like r for each index of a list.
func eachOf(d *job.Detail, indices string, r Row) (rows []Row) {
	array, err := job.ParseArray(indices)
	if err != nil {
		return nil
	}
	for index := range array.All() {
		r.Index = index
		rows = append(rows, r)
	}
	return rows
}

// runningRows is one row for each task that runs.
func runningRows(d *job.Detail) []Row {
	if d.Indices[string(job.Running)] == "" {
		return nil
	}
	if d.Counts.Running > maxRows {
		return []Row{{Detail: d, Index: -1, Tasks: d.Indices[string(job.Running)], State: Running}}
	}
	at := map[int]job.Placement{}
	for _, p := range d.Placements {
		at[p.Index] = p
	}
	rows := eachOf(d, d.Indices[string(job.Running)], Row{Detail: d, State: Running})
	for i := range rows {
		if p, known := at[rows[i].Index]; known {
			rows[i].Nodes, rows[i].Started, rows[i].Timed = placed(p), p.Since, true
		}
	}
	return rows
}

// endedRows is one row for each task that has ended, as long as they are not too many.
func endedRows(d *job.Detail) (rows []Row) {
	failed := map[int]job.Failure{}
	for _, f := range d.Failures {
		failed[f.Index] = f
	}
	for _, kind := range []struct {
		indices string
		state   State
		n       int
	}{
		{d.Indices[string(job.Done)], Completed, d.Counts.Done},
		{d.Indices[string(job.Failed)], Failed, d.Counts.Failed},
		{d.Indices[string(job.Cancelled)], Cancelled, d.Counts.Cancelled},
	} {
		if kind.indices == "" {
			continue
		}
		r := Row{Detail: d, Index: -1, State: kind.state, Tasks: kind.indices}
		if kind.n > maxRows {
			rows = append(rows, r)
			continue
		}
		for _, r := range eachOf(d, kind.indices, Row{Detail: d, State: kind.state}) {
			if f, known := failed[r.Index]; known {
				r.State, r.Code, r.Signal, r.Ended = failState(f), f.Code, f.Signal, f.Ended
				r.Nodes = []string{f.Node}
			}
			rows = append(rows, r)
		}
	}
	return rows
}

// JobID is what squeue calls the row: 7, 7_3 or 7_[1-4%1].
func (r Row) JobID() string {
	id := strconv.FormatInt(int64(r.ID), 10)
	switch {
	case r.Spec.Array == "":
	case r.Index >= 0:
		id += "_" + strconv.Itoa(r.Index)
	default:
		id += "_[" + r.Tasks + "]"
	}
	if r.Batch {
		id += ".batch"
	}
	return id
}

// RawID is the row's number; a task of an array has one of its own.
func (r Row) RawID() string {
	if r.Spec.Array != "" && r.Index >= 0 {
		return strconv.FormatInt(job.SlurmID(r.ID, r.Index), 10)
	}
	return strconv.FormatInt(int64(r.ID), 10)
}

// on reports whether it has one of some nodes; none are all of them.
func (r Row) on(nodes map[string]bool) bool {
	return len(nodes) == 0 || slices.ContainsFunc(r.Nodes, func(n string) bool { return nodes[n] })
}

// index is the task's of an array; nil of a whole job.
func (r Row) index() *int {
	if r.Index < 0 {
		return nil
	}
	return &r.Index
}

// CPUs is the cores that the row takes.
func (r Row) CPUs() int { return max(1, r.Spec.CPUs) * max(1, r.Spec.Ranks, r.Spec.Nodes) }

// NodeCount is how many nodes it has, or asks for.
func (r Row) NodeCount() int { return max(1, len(r.Nodes), r.Spec.Nodes) }

// Used is how long it has run; zero when it has not, or nobody knows.
func (r Row) Used(now time.Time) time.Duration {
	switch {
	case r.Started.IsZero():
		return 0
	case r.State == Running:
		return max(0, now.Sub(r.Started))
	case r.Ended.IsZero():
		return 0
	}
	return max(0, r.Ended.Sub(r.Started))
}

// Why is why it waits, in Slurm's words.
func (r Row) Why() string {
	switch {
	case r.State == Pending && r.Detail.Why.Code != "":
		return r.Detail.Why.Code
	case r.State == Pending && r.Reason.Code != "":
		return r.Reason.Code
	case r.State == Pending:
		return "None"
	case r.State == Timeout:
		return "TimeLimit"
	case r.State == Failed:
		return "NonZeroExitCode"
	case r.State == NoMemory:
		return "OutOfMemory"
	}
	return "None"
}

// Partition is the partition's name; jobs that name none are in that of all workers.
func (r Row) Partition() string { return partitionOf(r.Spec.Partition) }

func partitionOf(name string) string {
	if name == "" {
		return job.DefaultPartition
	}
	return name
}

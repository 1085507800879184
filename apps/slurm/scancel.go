package slurm

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"bramble/fault"
	"bramble/job"
)

func scancelOptions() []option {
	return []option{
		{name: "account", short: 'A', takes: needed}, {name: "batch", short: 'b'}, {name: "clusters", short: 'M', takes: needed}, {name: "ctld"}, {name: "full", short: 'f'},
		{name: "help"}, {name: "hurry", short: 'H'}, {name: "interactive", short: 'i'}, {name: "name", short: 'n', takes: needed}, {name: "jobname", takes: needed},
		{name: "me"}, {name: "nodelist", short: 'w', takes: needed}, {name: "partition", short: 'p', takes: needed}, {name: "qos", short: 'q', takes: needed},
		{name: "quiet", short: 'Q'}, {name: "reservation", short: 'R', takes: needed}, {name: "signal", short: 's', takes: needed}, {name: "states", short: 't', takes: needed},
		{name: "state", takes: needed}, {name: "usage"}, {name: "user", short: 'u', takes: needed}, {name: "verbose", short: 'v'}, {name: "version", short: 'V'}, {name: "wckey", takes: needed},
	}
}

// Scancel ends jobs, or sends them a signal, as the command of that name does.
func (t *Tool) Scancel(ctx context.Context, args []string) error {
	v, rest, err := t.look("scancel", scancelOptions(), args)
	if err != nil {
		return err
	}
	v.names, v.states = cmp.Or(v.names, v.set["jobname"]), cmp.Or(v.states, v.set["state"])
	filtered := v.users+v.names+v.states+v.partitions+v.accounts+v.nodes != ""
	switch {
	case given(v, "help", "usage"):
		return t.usage("scancel", "JOB…, JOB_TASK, -u USER, -n NAME, -t STATE, -p PARTITION, -s SIGNAL", scancelOptions())
	case given(v, "version"):
		return t.version()
	case given(v, "interactive"):
		return fault.New(fault.Misused, "scancel does not ask before each job here").Hint("squeue with the same options shows which it would end")
	case len(rest) == 0 && !filtered:
		return fault.New(fault.Failed, "scancel: error: No job identification provided").Hint("scancel 7, or scancel --me")
	}
	signal := ""
	if text, said := v.set["signal"]; said {
		name, ok := signalName(text)
		if !ok {
			return fault.New(fault.Misused, "%q is no signal", clip(text)).Hint("scancel -s USR1 7")
		}
		signal = name
	}
	rows, err := t.doomed(ctx, v, rest)
	if err != nil {
		return err
	}
	return t.end(ctx, v, rows, signal)
}

// doomed is the rows that were meant. A number that is no job's is told of; Slurm passes over it, too.
func (t *Tool) doomed(ctx context.Context, v view, ids []string) (rows []Row, err error) {
	states, all, wrong := parseStates(v.states)
	if v.states != "" && wrong != "" {
		return nil, fault.New(fault.Failed, "scancel: error: Invalid job state specified: %s", clip(wrong)).Hint("scancel -t PENDING")
	}
	on, err := hosts(v.nodes)
	if err != nil {
		return nil, err
	}
	which, err := pick(strings.Join(ids, ","))
	if err != nil {
		return nil, err
	}
	details, err := t.details(ctx, strings.Join(ids, ","), job.ListRequest{Open: true}, func(s job.Summary) bool { return v.keeps(s) })
	if fault.Is(err, fault.Failed) && len(ids) > 0 && details == nil {
		if !given(v, "quiet") {
			t.complain("scancel", "Kill job error on job id %s: Invalid job id specified", strings.Join(ids, ","))
		}
		return nil, nil
	}
	return which.rows(details, false, func(r Row) bool {
		return !r.State.Over() && (v.states == "" || all || slices.Contains(states, r.State)) && r.on(on)
	}), err
}

// end cancels jobs as a whole, or signals what runs of them.
func (t *Tool) end(ctx context.Context, v view, rows []Row, signal string) error {
	var failed error
	done := map[job.ID]bool{}
	for _, r := range rows {
		var err error
		switch {
		case signal != "" && signal != "KILL":
			if r.State == Running {
				err = t.Cluster.Signal(ctx, r.ID, r.index(), signal, given(v, "batch"))
			}
		case done[r.ID]:
		case !t.wholeMeant(r, rows):
			err = t.cancelTasks(ctx, r)
		default:
			done[r.ID] = true
			err = t.Cluster.Cancel(ctx, r.ID)
		}
		if err != nil && !fault.Is(err, fault.Conflict) && failed == nil {
			failed = err
		}
	}
	return failed
}

// cancelTasks cancels the tasks of one row.
func (t *Tool) cancelTasks(ctx context.Context, r Row) error {
	if index := r.index(); index != nil {
		return t.Cluster.CancelTask(ctx, r.ID, *index)
	}
	list, _, _ := strings.Cut(r.Tasks, "%")
	tasks, err := job.ParseArray(list)
	if err != nil {
		return err
	}
	for index := range tasks.All() {
		if err := t.Cluster.CancelTask(ctx, r.ID, index); err != nil && !fault.Is(err, fault.Conflict) {
			return err
		}
	}
	return nil
}

// wholeMeant reports whether all of a job that has not ended is among the rows.
func (t *Tool) wholeMeant(r Row, rows []Row) bool {
	n := 0
	for _, other := range rows {
		switch {
		case other.ID != r.ID:
		case other.Tasks != "":
			list, _, _ := strings.Cut(other.Tasks, "%")
			tasks, _ := job.ParseArray(list)
			n += tasks.Len()
		default:
			n++
		}
	}
	return n >= r.Counts.Pending+r.Counts.Running
}

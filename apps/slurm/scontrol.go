package slurm

import (
	"cmp"
	"context"
	"io"
	"strconv"
	"strings"
	"time"

	"bramble/fault"
	"bramble/fleet"
	"bramble/job"
)

// Scontrol shows and changes jobs, nodes and partitions as the command of that name does.
func (t *Tool) Scontrol(ctx context.Context, args []string) error {
	line := false
	rest, err := scan("scontrol", []option{{name: "oneliner", short: 'o'}, {name: "details", short: 'd'}, {name: "all", short: 'a'}, {name: "verbose", short: 'v'},
		{name: "quiet", short: 'Q'}, {name: "hide"}, {name: "help", short: 'h'}, {name: "version", short: 'V'}}, args, mix, func(o option, _, _ string) error {
		switch o.name {
		case "oneliner":
			line = true
		case "help":
			args = []string{"help"}
		case "version":
			args = []string{"version"}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		rest = args
	}
	if len(rest) == 0 {
		rest = []string{"help"}
	}
	verb, words := strings.ToLower(rest[0]), rest[1:]
	if found := HostNames(rest, t.Getenv); found != nil {
		text, err := found()
		if err == nil {
			_, err = io.WriteString(t.Out, text)
		}
		return err
	}
	switch verb {
	case "show":
		return t.show(ctx, words, line)
	case "ping":
		if _, err := t.Cluster.Nodes(ctx); err != nil {
			return err
		}
		_, err := io.WriteString(t.Out, "Slurmctld(primary) at head is UP\n")
		return err
	case "hold", "uhold":
		return t.each(ctx, words, verb, func(id job.ID, _ int) error { return t.Cluster.Hold(ctx, id) })
	case "release":
		return t.each(ctx, words, verb, func(id job.ID, _ int) error { return t.Cluster.Release(ctx, id) })
	case "requeue", "requeuehold":
		return t.each(ctx, words, verb, func(id job.ID, index int) error { return t.requeue(ctx, verb, id, index) })
	case "update":
		return t.update(ctx, words)
	case "version":
		return t.version()
	case "help":
		_, err := io.WriteString(t.Out, "Usage: scontrol show job|node|partition|hostnames|hostlist [NAME], hold|release|requeue JOB…,\n"+
			"  update JobId=JOB TimeLimit=T Nice=N StartTime=T Name=NAME Comment=TEXT, update NodeName=NODES State=DRAIN|RESUME Reason=TEXT\n")
		return err
	}
	near := fleet.Nearest(verb, []string{"show", "hold", "release", "requeue", "update", "ping", "version"})
	e := fault.New(fault.Misused, "scontrol has no command %q", clip(verb))
	if near != "" {
		return e.Hint("scontrol %s", near)
	}
	return e.Hint("scontrol help")
}

// HostNames is what to print for `show hostnames` and `show hostlist`, which need no cluster; nil for other words.
func HostNames(words []string, getenv func(string) string) func() (string, error) {
	if len(words) < 2 || !strings.EqualFold(words[0], "show") {
		return nil
	}
	list := cmp.Or(strings.Join(words[2:], ","), getenv("SLURM_JOB_NODELIST"))
	switch strings.ToLower(words[1]) {
	case "hostnames", "hostname":
		return func() (string, error) {
			names, err := fleet.Expand(list)
			return strings.Join(append(names, ""), "\n"), err
		}
	case "hostlist", "hostlistsorted":
		return func() (string, error) {
			names, err := fleet.Expand(list)
			return fleet.Fold(names) + "\n", err
		}
	}
	return nil
}

// each does something to each job of a list.
func (t *Tool) each(ctx context.Context, list []string, verb string, do func(job.ID, int) error) error {
	if len(list) == 0 {
		return fault.New(fault.Misused, "scontrol %s needs a job", verb).Hint("scontrol %s 7", verb)
	}
	var failed error
	for _, text := range splitOutside(strings.Join(list, ",")) {
		id, index, err := ParseID(strings.TrimPrefix(strings.ToLower(text), "jobid="))
		if err == nil {
			err = do(id, index)
		}
		if err != nil && failed == nil {
			failed = err
		}
	}
	return failed
}

func (t *Tool) requeue(ctx context.Context, verb string, id job.ID, index int) error {
	if verb == "requeuehold" {
		if err := t.Cluster.Hold(ctx, id); err != nil {
			return err
		}
	}
	if index < 0 {
		return t.Cluster.Requeue(ctx, id, nil)
	}
	return t.Cluster.Requeue(ctx, id, &index)
}

// update changes a job or nodes: KEY=VALUE words.
func (t *Tool) update(ctx context.Context, words []string) error {
	var ids []string
	var nodes, state, reason string
	var set job.Alteration
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		if !ok {
			return fault.New(fault.Misused, "%q is no setting", clip(word)).Hint("scontrol update JobId=7 TimeLimit=1:00:00")
		}
		switch strings.ToLower(key) {
		case "jobid", "job":
			ids = append(ids, value)
		case "nodename", "node":
			nodes = value
		case "state":
			state = strings.ToLower(value)
		case "reason":
			reason = value
		default:
			if err := t.alteration(&set, strings.ToLower(key), value); err != nil {
				return err
			}
		}
	}
	switch {
	case nodes != "" && len(ids) == 0:
		return t.updateNodes(ctx, nodes, state, reason)
	case len(ids) == 0:
		return fault.New(fault.Misused, "scontrol update needs JobId=JOB or NodeName=NODES").Hint("scontrol update JobId=7 TimeLimit=1:00:00")
	}
	return t.each(ctx, ids, "update", func(id job.ID, _ int) error { return t.Cluster.Alter(ctx, id, set) })
}

// alteration reads one change of a job.
func (t *Tool) alteration(set *job.Alteration, key, value string) error {
	switch key {
	case "timelimit":
		d, err := ParseLimit(value)
		if err != nil {
			return err
		}
		set.Timeout = &d
	case "nice":
		n, err := strconv.Atoi(value)
		if err != nil {
			return fault.New(fault.Misused, "%q is no number", clip(value)).Hint("Nice=100")
		}
		set.Nice = &n
	case "starttime", "eligibletime":
		at, err := parseBegin(value, t.now())
		if err != nil {
			return err
		}
		set.Begin = &at
	case "name", "jobname":
		set.Name = &value
	case "comment":
		set.Comment = &value
	default:
		return fault.New(fault.Failed, "Update of this parameter is not supported: %s=%s", clip(key), clip(value)).
			Hint("TimeLimit, Nice, StartTime, Name or Comment; cancel and submit anew for all else")
	}
	return nil
}

func (t *Tool) updateNodes(ctx context.Context, list, state, reason string) error {
	names, err := fleet.Expand(list)
	if err != nil {
		return err
	}
	switch state {
	case "drain", "down":
		if reason == "" {
			return fault.New(fault.Failed, "a node is not drained without a reason").Hint("Reason='bad card'")
		}
		return t.Cluster.Drain(ctx, names, reason)
	case "resume", "undrain", "idle":
		return t.Cluster.Undrain(ctx, names)
	}
	return fault.New(fault.Misused, "State=%s is no state that a node can be put in", clip(state)).Hint("State=DRAIN Reason=WHY, or State=RESUME")
}

// show prints what there is to know of jobs, nodes or partitions.
func (t *Tool) show(ctx context.Context, words []string, line bool) error {
	what, name := "", ""
	if len(words) > 0 {
		what = strings.ToLower(words[0])
	}
	if key, value, ok := strings.Cut(what, "="); ok {
		what, name = key, value
	}
	if len(words) > 1 {
		name = words[1]
	}
	var blocks []string
	var err error
	switch {
	case what == "job" || what == "jobs" || what == "jobid":
		blocks, err = t.jobBlocks(ctx, name)
	case what == "node" || what == "nodes" || what == "nodename":
		blocks, err = t.nodeBlocks(ctx, name)
	case what == "partition" || what == "partitions" || what == "partitionname":
		blocks, err = t.partitionBlocks(ctx, name)
	case what == "config":
		blocks = []string{"ClusterName = " + cmp.Or(t.Name, "bramble") + "\n   SLURM_VERSION = bramble " + t.Version}
	default:
		return fault.New(fault.Misused, "scontrol show knows no %q", clip(what)).Hint("scontrol show job 7, node NAME, partition NAME, hostnames LIST")
	}
	if err != nil {
		return err
	}
	for _, b := range blocks {
		if line {
			b = strings.Join(strings.Fields(b), " ")
		} else {
			b += "\n"
		}
		if _, err := io.WriteString(t.Out, b+"\n"); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tool) jobBlocks(ctx context.Context, name string) (blocks []string, err error) {
	which, err := pick(name)
	if err != nil {
		return nil, err
	}
	details, err := t.details(ctx, name, job.ListRequest{Since: t.now().Add(-recently)}, func(job.Summary) bool { return true })
	if err != nil {
		return nil, err
	}
	for _, r := range which.rows(details, false, func(Row) bool { return true }) {
		blocks = append(blocks, jobBlock(r, t.now()))
	}
	if len(blocks) == 0 {
		blocks = []string{"No jobs in the system"}
	}
	return blocks, nil
}

func (t *Tool) nodeBlocks(ctx context.Context, list string) (blocks []string, err error) {
	parts, err := t.lookAround(ctx)
	if err != nil {
		return nil, err
	}
	names, err := fleet.Expand(list)
	if err != nil {
		return nil, err
	}
	in := map[string][]string{}
	boards := map[string]board{}
	for _, p := range parts {
		for _, b := range p.boards {
			in[b.Name] = append(in[b.Name], p.part.Name)
			boards[b.Name] = b
		}
	}
	if len(names) == 0 {
		for n := range boards {
			names = append(names, n)
		}
		names = fleet.Natural(names)
	}
	for _, n := range names {
		b, known := boards[n]
		if !known {
			return nil, fault.New(fault.Failed, "Node %s not found", clip(n)).Hint("sinfo -N")
		}
		blocks = append(blocks, nodeBlock(b, in[n], t.now()))
	}
	return blocks, nil
}

func (t *Tool) partitionBlocks(ctx context.Context, name string) (blocks []string, err error) {
	parts, err := t.lookAround(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		if name == "" || p.part.Name == name {
			blocks = append(blocks, partitionBlock(p))
		}
	}
	if len(blocks) == 0 {
		return nil, fault.New(fault.Failed, "Partition %s not found", clip(name)).Hint("sinfo -s")
	}
	return blocks, nil
}

func zone(t time.Time) string { return stamp(t, "Unknown") }

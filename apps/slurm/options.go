package slurm

import (
	"strconv"
	"strings"

	"bramble/fault"
	"bramble/job"
)

// options is sbatch's own, as Slurm 22.05 has them.
func options() []option {
	return []option{
		{name: "account", short: 'A', takes: needed, set: text(func(b *Batch) *string { return &b.Spec.Account })},
		{name: "array", short: 'a', takes: needed, set: (*Batch).array},
		{name: "begin", short: 'b', takes: needed, set: (*Batch).begin},
		{name: "chdir", short: 'D', takes: needed, set: text(func(b *Batch) *string { return &b.Spec.WorkDir })},
		{name: "workdir", takes: needed, set: text(func(b *Batch) *string { return &b.Spec.WorkDir })},
		{name: "comment", takes: needed, set: text(func(b *Batch) *string { return &b.Spec.Comment })},
		{name: "constraint", short: 'C', takes: needed, set: (*Batch).constraint},
		{name: "cpus-per-task", short: 'c', takes: needed, set: count(func(b *Batch) *int { return &b.Spec.CPUs })},
		{name: "dependency", short: 'd', takes: needed, set: (*Batch).dependency},
		{name: "error", short: 'e', takes: needed, set: file(func(b *Batch) *string { return &b.Spec.Error })},
		{name: "exclude", short: 'x', takes: needed, set: (*Batch).excluded},
		{name: "exclusive", takes: maybe, set: (*Batch).exclusive},
		{name: "export", takes: needed, set: text(func(b *Batch) *string { return &b.Export })},
		{name: "gpus", short: 'G', takes: needed, set: (*Batch).allGPUs},
		{name: "gpus-per-node", takes: needed, set: (*Batch).nodeGPUs},
		{name: "gpus-per-task", takes: needed, set: (*Batch).taskGPUs},
		{name: "gres", takes: needed, set: (*Batch).gres},
		{name: "hold", short: 'H', set: flag(func(b *Batch) *bool { return &b.Spec.Hold })},
		{name: "job-name", short: 'J', takes: needed, set: text(func(b *Batch) *string { return &b.Spec.Name })},
		{name: "mail-type", takes: needed, set: (*Batch).mail},
		{name: "mem", takes: needed, set: (*Batch).mem},
		{name: "mem-per-cpu", takes: needed, set: (*Batch).memPerCPU},
		{name: "nice", takes: maybe, set: (*Batch).nice},
		{name: "no-requeue", set: func(b *Batch, _ string) error { b.Spec.NoRequeue = true; return nil }},
		{name: "requeue", set: func(b *Batch, _ string) error { b.Spec.NoRequeue = false; return nil }},
		{name: "nodelist", short: 'w', takes: needed, set: (*Batch).nodes},
		{name: "nodes", short: 'N', takes: needed, set: (*Batch).nodeCount},
		{name: "ntasks", short: 'n', takes: needed, set: count(func(b *Batch) *int { return &b.Spec.Ranks })},
		{name: "ntasks-per-node", takes: needed, set: count(func(b *Batch) *int { return &b.Spec.RanksPerNode })},
		{name: "tasks-per-node", takes: needed, set: count(func(b *Batch) *int { return &b.Spec.RanksPerNode })},
		{name: "open-mode", takes: needed, set: (*Batch).openMode},
		{name: "output", short: 'o', takes: needed, set: file(func(b *Batch) *string { return &b.Spec.Output })},
		{name: "parsable", set: flag(func(b *Batch) *bool { return &b.Parsable })},
		{name: "partition", short: 'p', takes: needed, set: (*Batch).partition},
		{name: "quiet", short: 'Q', set: flag(func(b *Batch) *bool { return &b.Quiet })},
		{name: "signal", takes: needed, set: (*Batch).signal},
		{name: "test-only", set: flag(func(b *Batch) *bool { return &b.TestOnly })},
		{name: "time", short: 't', takes: needed, set: (*Batch).limit},
		{name: "wait", short: 'W', set: flag(func(b *Batch) *bool { return &b.Wait })},
		{name: "wrap", takes: needed, set: text(func(b *Batch) *string { return &b.Wrap })},
		{name: "help", short: 'h', set: flag(func(b *Batch) *bool { return &b.Help })},
		{name: "usage", set: flag(func(b *Batch) *bool { return &b.Help })},
		{name: "version", short: 'V', set: flag(func(b *Batch) *bool { return &b.Version })},
		{name: "verbose", short: 'v', set: func(*Batch, string) error { return nil }},
		{name: "ignore-pbs", set: func(*Batch, string) error { return nil }},

		{name: "acctg-freq", takes: needed, lacks: "what a task uses is measured at its end"},
		{name: "bb", takes: needed, lacks: "there are no burst buffers"},
		{name: "bbf", takes: needed, lacks: "there are no burst buffers"},
		{name: "cluster-constraint", takes: needed, lacks: "there is one cluster"},
		{name: "clusters", short: 'M', takes: needed, lacks: "there is one cluster; bramble --cluster chooses another"},
		{name: "container", takes: needed, lacks: "it runs as the node has it"},
		{name: "contiguous", lacks: "nodes have no order of neighbours"},
		{name: "core-spec", short: 'S', takes: needed, lacks: "no cores are set aside"},
		{name: "cores-per-socket", takes: needed, lacks: "only cores are counted"},
		{name: "cpu-freq", takes: needed, lacks: "no node's clock is set"},
		{name: "cpus-per-gpu", takes: needed, lacks: "ask for cores with --cpus-per-task"},
		{name: "deadline", takes: needed, lacks: "a job that waits is never given up"},
		{name: "delay-boot", takes: needed, lacks: "no node is started for a job"},
		{name: "distribution", short: 'm', takes: needed, lacks: "ranks fill one node after the other"},
		{name: "export-file", takes: needed, lacks: "set the variables in the script, or with --export=NAME=VALUE"},
		{name: "extra-node-info", short: 'B', takes: needed, lacks: "only cores are counted"},
		{name: "get-user-env", takes: maybe, lacks: "an account's own variables are there already"},
		{name: "gid", takes: needed, lacks: "work runs as its user's own account"},
		{name: "uid", takes: needed, lacks: "work runs as its user's own account"},
		{name: "gpu-bind", takes: needed, lacks: "GPUs are counted, not bound"},
		{name: "gpu-freq", takes: needed, lacks: "no GPU's clock is set"},
		{name: "gpus-per-socket", takes: needed, lacks: "sockets are not counted; --gpus-per-node is"},
		{name: "gres-flags", takes: needed, lacks: "resources are counted, not bound"},
		{name: "hint", takes: needed, lacks: "only cores are counted"},
		{name: "input", short: 'i', takes: needed, lacks: "a task's input is empty; have the script read the file"},
		{name: "kill-on-invalid-dep", takes: needed, lacks: "a job whose dependency failed stays until it is cancelled"},
		{name: "licenses", short: 'L', takes: needed, lacks: "there are no licences to count; --gres counts labels of nodes"},
		{name: "mail-user", takes: needed, lacks: "no mail is sent"},
		{name: "mcs-label", takes: needed, lacks: "there are no such labels"},
		{name: "mem-bind", takes: needed, lacks: "memory is counted, not bound"},
		{name: "mem-per-gpu", takes: needed, lacks: "ask for memory with --mem"},
		{name: "mincpus", takes: needed, lacks: "ask for cores with --cpus-per-task"},
		{name: "network", takes: needed, lacks: "there is one network"},
		{name: "no-kill", short: 'k', takes: maybe, lacks: "an allocation that lost a node is over"},
		{name: "nodefile", short: 'F', takes: needed, lacks: "name the nodes with --nodelist"},
		{name: "ntasks-per-core", takes: needed, lacks: "each rank has cores of its own"},
		{name: "ntasks-per-gpu", takes: needed, lacks: "ask for ranks with --ntasks"},
		{name: "ntasks-per-socket", takes: needed, lacks: "sockets are not counted; --ntasks-per-node is"},
		{name: "overcommit", short: 'O', lacks: "each rank has cores of its own"},
		{name: "oversubscribe", short: 's', lacks: "a core is one task's at a time; nodes are shared anyway"},
		{name: "power", takes: needed, lacks: "power is not managed by jobs"},
		{name: "prefer", takes: needed, lacks: "a wish that may fail is not weighed; --constraint is"},
		{name: "priority", takes: needed, lacks: "--nice takes from a job's priority"},
		{name: "profile", takes: needed, lacks: "what a task uses is measured at its end"},
		{name: "propagate", takes: maybe, lacks: "limits are the node's own"},
		{name: "qos", short: 'q', takes: needed, lacks: "there are accounts and partitions, no QOS"},
		{name: "reboot", lacks: "no node is started anew for a job"},
		{name: "reservation", takes: needed, lacks: "there are no reservations; drain nodes, or give them a partition"},
		{name: "sockets-per-node", takes: needed, lacks: "only cores are counted"},
		{name: "spread-job", lacks: "say how many nodes with --nodes"},
		{name: "switches", takes: needed, lacks: "which switch a node hangs on is not known; a label can say it"},
		{name: "thread-spec", takes: needed, lacks: "no cores are set aside"},
		{name: "threads-per-core", takes: needed, lacks: "only cores are counted"},
		{name: "time-min", takes: needed, lacks: "a limit is not shortened; --time holds"},
		{name: "tmp", takes: needed, lacks: "space on disk is not counted"},
		{name: "use-min-nodes", lacks: "the smaller number is used anyway"},
		{name: "wckey", takes: needed, lacks: "--account and --comment are kept"},
	}
}

// setter reads one option's value.
type setter = func(*Batch, string) error

func text(field func(*Batch) *string) setter {
	return func(b *Batch, s string) error {
		*field(b) = s
		return nil
	}
}

func flag(field func(*Batch) *bool) setter {
	return func(b *Batch, _ string) error {
		*field(b) = true
		return nil
	}
}

// maxCount is more than any cluster has of anything.
const maxCount = 1 << 20

func count(field func(*Batch) *int) setter {
	return func(b *Batch, s string) (err error) {
		*field(b), err = number(s)
		return err
	}
}

// number reads how many, with Slurm's k for thousands of 1,024.
func number(s string) (int, error) {
	digits, times := s, 1
	if rest, ok := strings.CutSuffix(strings.ToLower(s), "k"); ok {
		digits, times = rest, 1024
	}
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || n == 0 || n*uint64(times) > maxCount {
		return 0, fault.New(fault.Misused, "%q is no number from 1 to %d", clip(s), maxCount)
	}
	return int(n) * times, nil
}

// file reads the pattern of an output file's name.
func file(field func(*Batch) *string) setter {
	return func(b *Batch, s string) error {
		if err := job.CheckPattern(s); err != nil {
			return err
		}
		*field(b) = s
		return nil
	}
}

func (b *Batch) array(s string) error {
	if _, err := job.ParseArray(s); err != nil || s == "" {
		return fault.New(fault.Misused, "%q is no array of indices", clip(s)).Hint("--array=1-100, 0-9:3 for every third, or 1-50%%5 for five at a time")
	}
	b.Spec.Array = s
	return nil
}

func (b *Batch) partition(s string) error {
	name, more, several := strings.Cut(s, ",")
	if several {
		b.warn("--partition: " + name + " is used; " + clip(more) + " would have been the second choice")
	}
	if b.Spec.Partition = name; name == job.DefaultPartition {
		b.Spec.Partition = "" // what squeue calls that of jobs that name none
	}
	return nil
}

func (b *Batch) exclusive(s string) error {
	if s != "" && s != "0" {
		b.warn("--exclusive=" + clip(s) + ": the nodes are the job's own, for all others and its user's too")
	}
	b.Spec.Exclusive = true
	return nil
}

func (b *Batch) mail(s string) error {
	if !strings.EqualFold(s, "NONE") {
		b.warn("--mail-type is not honoured: no mail is sent")
	}
	return nil
}

func (b *Batch) nice(s string) error {
	n := 100
	if s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < -maxNice || n > maxNice {
			return fault.New(fault.Misused, "%q is no number from -%d to %[2]d", clip(s), maxNice).Hint("--nice=100")
		}
	}
	b.Spec.Nice = n
	return nil
}

const maxNice = 1<<31 - 4 // Slurm's own bound

func (b *Batch) openMode(s string) error {
	switch strings.ToLower(s) {
	case "append", "a":
		b.Spec.Append = true
	case "truncate", "t":
		b.Spec.Append = false
	default:
		return fault.New(fault.Misused, "%q is no way to open a file", clip(s)).Hint("--open-mode=append or truncate")
	}
	return nil
}

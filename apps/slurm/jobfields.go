package slurm

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"bramble/fleet"
)

// jobFields is what squeue can tell, under the letters, names and titles that it has for it.
func jobFields(now time.Time) []field[Row] {
	fixed := func(text string) func(Row) string { return func(Row) string { return text } }
	number := func(n func(Row) int) func(Row) string { return func(r Row) string { return strconv.Itoa(n(r)) } }
	nodes := func(r Row) string { return fleet.Fold(r.Nodes) }
	end := func(r Row) string {
		if r.State == Running && r.Spec.Timeout > 0 && !r.Started.IsZero() {
			return stamp(r.Started.Add(r.Spec.Timeout), "N/A")
		}
		return stamp(r.Ended, "N/A")
	}
	start := func(r Row) string {
		switch {
		case r.State != Pending:
			return stamp(r.Started, "N/A")
		case r.Why() == "BeginTime":
			return stamp(r.Spec.Begin, "N/A")
		}
		return stamp(r.Detail.Why.Until, "N/A")
	}
	left := func(r Row) string {
		if r.Spec.Timeout == 0 {
			return "UNLIMITED"
		}
		return clock(max(0, r.Spec.Timeout-r.Used(now)))
	}
	return []field[Row]{
		{letter: 'i', name: "jobarrayid", title: "JOBID", text: Row.JobID},
		{letter: 'A', name: "jobid", title: "JOBID", text: Row.RawID},
		{letter: 'F', name: "arrayjobid", title: "ARRAY_JOB_ID", text: func(r Row) string { return strconv.FormatInt(int64(r.ID), 10) }},
		{letter: 'K', name: "arraytaskid", title: "ARRAY_TASK_ID", text: taskText},
		{letter: 'P', name: "partition", title: "PARTITION", text: Row.Partition},
		{letter: 'j', name: "name", title: "NAME", text: func(r Row) string { return r.Spec.Name }},
		{letter: 'u', name: "username", title: "USER", text: func(r Row) string { return r.Spec.User }},
		{letter: 'U', name: "userid", title: "UID", text: fixed("N/A")},
		{letter: 'g', name: "groupname", title: "GROUP", text: func(r Row) string { return r.Spec.User }},
		{letter: 'G', name: "groupid", title: "GROUP", text: fixed("N/A")},
		{letter: 't', name: "statecompact", title: "ST", text: func(r Row) string { return r.State.Short() }},
		{letter: 'T', name: "state", title: "STATE", text: func(r Row) string { return string(r.State) }},
		{letter: 'M', name: "timeused", title: "TIME", text: func(r Row) string { return clock(r.Used(now)) }},
		{letter: 'l', name: "timelimit", title: "TIME_LIMIT", text: func(r Row) string { return limitText(r.Spec.Timeout, clock, "UNLIMITED") }},
		{letter: 'L', name: "timeleft", title: "TIME_LEFT", text: left},
		{letter: 'D', name: "numnodes", title: "NODES", text: number(Row.NodeCount)},
		{letter: 'C', name: "numcpus", title: "CPUS", text: number(Row.CPUs)},
		{name: "numtasks", title: "TASKS", text: number(func(r Row) int { return max(1, r.Spec.Ranks) })},
		{letter: 'R', name: "reasonlist", title: "NODELIST(REASON)", text: func(r Row) string {
			if r.State == Pending || len(r.Nodes) == 0 && r.Why() != "None" {
				return "(" + r.Why() + ")"
			}
			return nodes(r)
		}},
		{letter: 'r', name: "reason", title: "REASON", text: Row.Why},
		{letter: 'N', name: "nodelist", title: "NODELIST", text: nodes},
		{letter: 'B', name: "batchhost", title: "EXEC_HOST", text: func(r Row) string {
			if len(r.Nodes) == 0 {
				return "n/a"
			}
			return r.Nodes[0]
		}},
		{letter: 'Q', name: "prioritylong", title: "PRIORITY", text: func(r Row) string { return strconv.FormatInt(priority(r.Detail), 10) }},
		{letter: 'p', name: "priority", title: "PRIORITY", text: func(r Row) string { return fmt.Sprintf("%.14f", float64(priority(r.Detail))/(1<<32)) }},
		{letter: 'a', name: "account", title: "ACCOUNT", text: func(r Row) string { return accountOf(r.Spec) }},
		{letter: 'm', name: "minmemory", title: "MIN_MEMORY", text: func(r Row) string { return megabytes(r.Spec.Memory + r.Spec.MemoryPerCPU) }},
		{letter: 'c', name: "mincpus", title: "MIN_CPUS", text: number(func(r Row) int { return max(1, r.Spec.CPUs) })},
		{letter: 'S', name: "starttime", title: "START_TIME", text: start},
		{letter: 'e', name: "endtime", title: "END_TIME", text: end},
		{letter: 'V', name: "submittime", title: "SUBMIT_TIME", text: func(r Row) string { return stamp(r.Submitted, "N/A") }},
		{name: "eligibletime", title: "ELIGIBLE_TIME", text: func(r Row) string { return stamp(latest(r.Submitted, r.Spec.Begin), "N/A") }},
		{letter: 'E', name: "dependency", title: "DEPENDENCY", text: func(r Row) string { return dependencyText(r.Spec) }},
		{letter: 'f', name: "feature", title: "FEATURES", text: func(r Row) string { return orNull(r.Spec.On) }},
		{letter: 'n', name: "reqnodes", title: "REQ_NODES", text: fixed("")},
		{letter: 'x', name: "excnodes", title: "EXC_NODES", text: fixed("")},
		{letter: 'b', name: "tres-per-node", title: "TRES_PER_NODE", text: func(r Row) string { return gresText(r.Spec) }},
		{name: "gres", title: "TRES_PER_NODE", text: func(r Row) string { return gresText(r.Spec) }},
		{letter: 'h', name: "oversubscribe", title: "OVER_SUBSCRIBE", text: func(r Row) string {
			if r.Spec.Exclusive {
				return "NO"
			}
			return "OK"
		}},
		{letter: 'k', name: "comment", title: "COMMENT", text: func(r Row) string { return orNull(r.Spec.Comment) }},
		{letter: 'y', name: "nice", title: "NICE", text: number(func(r Row) int { return r.Spec.Nice })},
		{letter: 'o', name: "command", title: "COMMAND", text: func(r Row) string { return commandText(r.Spec) }},
		{letter: 'Z', name: "workdir", title: "WORK_DIR", text: func(r Row) string { return workDir(r) }},
		{name: "stdout", title: "STDOUT", text: func(r Row) string { return outputText(r, r.Spec.Output) }},
		{name: "stderr", title: "STDERR", text: func(r Row) string { return outputText(r, cmp.Or(r.Spec.Error, r.Spec.Output)) }},
		{name: "exit_code", title: "EXIT_CODE", text: number(func(r Row) int { return max(0, r.Code) })},
		{name: "restartcnt", title: "RESTART_COUNT", text: number(func(r Row) int { return max(0, r.Attempts-r.Detail.Tasks) })},
		{name: "cluster", title: "CLUSTER", text: fixed("bramble")},
		{name: "schednodes", letter: 'Y', title: "SCHEDNODES", text: fixed("(null)")},
		{letter: 'q', name: "qos", title: "QOS", text: fixed("(null)")},
		{letter: 'v', name: "reservation", title: "RESERVATION", text: fixed("(null)")},
		{letter: 'w', name: "wckey", title: "WCKEY", text: fixed("(null)")},
		{letter: 'W', name: "licenses", title: "LICENSES", text: fixed("(null)")},
		{letter: 'X', name: "corespec", title: "CORE_SPEC", text: fixed("N/A")},
		{letter: 'O', name: "contiguous", title: "CONTIGUOUS", text: fixed("0")},
		{letter: 'd', name: "mintmpdisk", title: "MIN_TMP_DISK", text: fixed("0")},
		{letter: 'z', name: "sct", title: "S:C:T", text: fixed("*:*:*")},
		{letter: 'H', name: "sockets", title: "SOCKETS_PER_NODE", text: fixed("*")},
		{letter: 'I', name: "cores", title: "CORES_PER_SOCKET", text: fixed("*")},
		{letter: 'J', name: "threads", title: "THREADS_PER_CORE", text: fixed("*")},
	}
}

// stepFields is what squeue -s tells: each job that runs has one step, its script.
func stepFields(now time.Time) []field[Row] {
	list := jobFields(now)
	for i, f := range list {
		switch f.letter {
		case 'i':
			list[i].title, list[i].text = "STEPID", func(r Row) string { return r.JobID() + ".batch" }
		case 'j':
			list[i].text = func(Row) string { return "batch" }
		}
	}
	return list
}

func taskText(r Row) string {
	switch {
	case r.Spec.Array == "":
		return "N/A"
	case r.Index < 0:
		return r.Tasks
	}
	return strconv.Itoa(r.Index)
}

func workDir(r Row) string { return orNull(cmp.Or(r.Spec.WorkDir, r.Spec.SubmitDir)) }

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// stateWord is a state as sacct writes it.
func stateWord(r Row) string {
	if r.State == Cancelled && r.CancelledBy != "" {
		return "CANCELLED by " + r.CancelledBy
	}
	return string(r.State)
}

// exitText is CODE:SIGNAL.
func exitText(r Row) string { return fmt.Sprintf("%d:%d", max(0, r.Code), signalNumber(r.Signal)) }

// signalNumber is what Linux calls a signal on all machines but MIPS; 0 for none.
func signalNumber(name string) int {
	name = strings.TrimPrefix(strings.ToUpper(name), "SIG")
	for n := range 32 {
		if text, ok := signalName(strconv.Itoa(n)); ok && text == name {
			return n
		}
	}
	return map[string]int{"SEGV": 11, "BUS": 7, "FPE": 8, "ILL": 4, "TRAP": 5, "PIPE": 13, "XCPU": 24, "XFSZ": 25, "SYS": 31}[name]
}

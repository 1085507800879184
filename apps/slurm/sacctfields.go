package slurm

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"bramble/fleet"
)

// accountFields is what sacct can tell, in the widths that it has for it.
func accountFields(now time.Time) []field[Row] {
	job := func(text func(Row) string) func(Row) string { // only of the job itself, not of its script
		return func(r Row) string {
			if r.Batch {
				return ""
			}
			return text(r)
		}
	}
	script := func(text func(Row) string) func(Row) string { // only of the script
		return func(r Row) string {
			if !r.Batch {
				return ""
			}
			return text(r)
		}
	}
	known := func(text func(Row) string) func(Row) string { // only where it was kept
		return func(r Row) string {
			if !r.Timed {
				return ""
			}
			return text(r)
		}
	}
	number := func(n func(Row) int64) func(Row) string {
		return func(r Row) string { return strconv.FormatInt(n(r), 10) }
	}
	elapsed := func(r Row) time.Duration { return r.Used(now) }
	cpuTime := func(r Row) time.Duration { return elapsed(r) * time.Duration(r.CPUs()) }
	fields := []field[Row]{
		{title: "JobID", width: -12, text: Row.JobID},
		{title: "JobIDRaw", width: -12, text: func(r Row) string {
			if r.Batch {
				return r.RawID() + ".batch"
			}
			return r.RawID()
		}},
		{title: "JobName", width: 10, text: func(r Row) string {
			if r.Batch {
				return "batch"
			}
			return r.Spec.Name
		}},
		{title: "Partition", width: 10, text: job(Row.Partition)},
		{title: "Account", width: 10, text: func(r Row) string { return accountOf(r.Spec) }},
		{title: "User", width: 9, text: job(func(r Row) string { return r.Spec.User })},
		{title: "UID", width: 6, text: job(func(Row) string { return "" })},
		{title: "Group", width: 9, text: job(func(r Row) string { return r.Spec.User })},
		{title: "State", width: 10, text: func(r Row) string {
			if r.Batch {
				return string(r.State)
			}
			return stateWord(r)
		}},
		{title: "ExitCode", width: 8, text: exitText},
		{title: "DerivedExitCode", width: 15, text: job(exitText)},
		{title: "AllocCPUS", width: 10, text: number(func(r Row) int64 {
			if r.State == Pending {
				return 0
			}
			return int64(r.CPUs())
		})},
		{title: "NCPUS", width: 10, text: number(func(r Row) int64 { return int64(r.CPUs()) })},
		{title: "ReqCPUS", width: 8, text: number(func(r Row) int64 { return int64(r.CPUs()) })},
		{title: "NNodes", width: 8, text: number(func(r Row) int64 { return int64(r.NodeCount()) })},
		{title: "AllocNodes", width: 10, text: number(func(r Row) int64 { return int64(len(r.Nodes)) })},
		{title: "ReqNodes", width: 8, text: number(func(r Row) int64 { return int64(max(1, r.Spec.Nodes)) })},
		{title: "NTasks", width: 8, text: script(number(func(r Row) int64 { return 1 }))},
		{title: "NodeList", width: 15, text: func(r Row) string {
			if len(r.Nodes) == 0 {
				return "None assigned"
			}
			return fleet.Fold(r.Nodes)
		}},
		{title: "Elapsed", width: 10, text: known(func(r Row) string { return longClock(elapsed(r)) })},
		{title: "ElapsedRaw", width: 10, text: known(number(func(r Row) int64 { return int64(elapsed(r) / time.Second) }))},
		{title: "Submit", width: 19, text: func(r Row) string { return stamp(r.Submitted, "Unknown") }},
		{title: "Eligible", width: 19, text: func(r Row) string { return stamp(latest(r.Submitted, r.Spec.Begin), "Unknown") }},
		{title: "Start", width: 19, text: func(r Row) string { return stamp(r.Started, "Unknown") }},
		{title: "End", width: 19, text: func(r Row) string { return stamp(r.Ended, "Unknown") }},
		{title: "Timelimit", width: 10, text: job(func(r Row) string { return limitText(r.Spec.Timeout, longClock, "UNLIMITED") })},
		{title: "TimelimitRaw", width: 12, text: job(func(r Row) string {
			return limitText(r.Spec.Timeout, func(d time.Duration) string { return strconv.FormatInt(int64(d/time.Minute), 10) }, "UNLIMITED")
		})},
		{title: "CPUTime", width: 10, text: known(func(r Row) string { return longClock(cpuTime(r)) })},
		{title: "CPUTimeRAW", width: 10, text: known(number(func(r Row) int64 { return int64(cpuTime(r) / time.Second) }))},
		{title: "TotalCPU", width: 10, text: used(func(r Row) string { return cpuText(r.Usage.User + r.Usage.System) })},
		{title: "UserCPU", width: 10, text: used(func(r Row) string { return cpuText(r.Usage.User) })},
		{title: "SystemCPU", width: 10, text: used(func(r Row) string { return cpuText(r.Usage.System) })},
		{title: "MaxRSS", width: 10, text: script(used(func(r Row) string { return kilobytes(r.Usage.MaxRSS) }))},
		{title: "AveRSS", width: 10, text: script(used(func(r Row) string { return kilobytes(r.Usage.MaxRSS) }))},
		{title: "MaxRSSNode", width: 10, text: script(func(r Row) string { return strings.Join(r.Nodes, ",") })},
		{title: "AveCPU", width: 10, text: script(used(func(r Row) string { return longClock(r.Usage.User + r.Usage.System) }))},
		{title: "ReqMem", width: 10, text: job(func(r Row) string {
			switch {
			case r.Spec.MemoryPerCPU > 0:
				return megabytes(r.Spec.MemoryPerCPU) + "c"
			case r.Spec.Memory > 0:
				return megabytes(r.Spec.Memory)
			}
			return ""
		})},
		{title: "ReqTRES", width: 10, text: job(func(r Row) string { return tres(r) })},
		{title: "AllocTRES", width: 10, text: func(r Row) string {
			if r.State == Pending {
				return ""
			}
			return tres(r)
		}},
		{title: "Priority", width: 10, text: job(number(func(r Row) int64 { return priority(r.Detail) }))},
		{title: "Reason", width: 22, text: job(Row.Why)},
		{title: "Restarts", width: 8, text: job(number(func(r Row) int64 { return int64(max(0, r.Attempts-r.Detail.Tasks)) }))},
		{title: "Comment", width: 14, text: job(func(r Row) string { return r.Spec.Comment })},
		{title: "Constraints", width: 19, text: job(func(r Row) string { return r.Spec.On })},
		{title: "WorkDir", width: 20, text: job(workDir)},
		{title: "StdOut", width: 20, text: job(func(r Row) string { return outputText(r, r.Spec.Output) })},
		{title: "StdErr", width: 20, text: job(func(r Row) string { return outputText(r, cmp.Or(r.Spec.Error, r.Spec.Output)) })},
		{title: "Cluster", width: 10, text: func(Row) string { return "bramble" }},
		{title: "Planned", width: 10, text: job(func(r Row) string {
			if r.Started.IsZero() {
				return ""
			}
			return longClock(max(0, r.Started.Sub(r.Submitted)))
		})},
	}
	for _, empty := range []struct {
		title string
		width int
	}{{"QOS", 10}, {"Reservation", 20}, {"WCKey", 10}, {"MaxVMSize", 10}, {"AveVMSize", 10}, {"MaxPages", 8}, {"MaxDiskRead", 12}, {"MaxDiskWrite", 12},
		{"AveDiskRead", 14}, {"AveDiskWrite", 14}, {"MinCPU", 10}, {"MaxRSSTask", 10}, {"ConsumedEnergy", 14}, {"AssocID", 7}, {"Suspended", 10}, {"Licenses", 10}} {
		fields = append(fields, field[Row]{title: empty.title, width: empty.width, text: func(Row) string { return "" }})
	}
	for i := range fields {
		fields[i].name = strings.ToLower(fields[i].title)
	}
	return fields
}

// used is a figure of the whole job, so of a job with one task only.
func used(text func(Row) string) func(Row) string {
	return func(r Row) string {
		if r.Detail.Tasks != 1 || r.State == Pending || r.State == Running {
			return ""
		}
		return text(r)
	}
}

// cpuText writes processor time as sacct does: 00:00.012, 01:02:03, 1-02:03:04.
func cpuText(d time.Duration) string {
	if d >= time.Hour {
		return longClock(d)
	}
	return fmt.Sprintf("%02d:%02d.%03d", d/time.Minute, d/time.Second%60, d/time.Millisecond%1000)
}

func kilobytes(n int64) string { return strconv.FormatInt(n>>10, 10) + "K" }

// tres is what the job takes of each kind of resource, in Slurm's words.
func tres(r Row) string {
	items := []string{fmt.Sprintf("cpu=%d", r.CPUs())}
	if memory := r.Spec.Memory*int64(r.NodeCount()) + r.Spec.MemoryPerCPU*int64(r.CPUs()); memory > 0 {
		items = append(items, "mem="+megabytes(memory))
	}
	items = append(items, fmt.Sprintf("node=%d", r.NodeCount()), fmt.Sprintf("billing=%d", r.CPUs()))
	for _, name := range slices.Sorted(maps.Keys(r.Spec.Gres)) {
		items = append(items, fmt.Sprintf("gres/%s=%d", name, r.Spec.Gres[name]*r.NodeCount()))
	}
	return strings.Join(items, ",")
}

package web

import (
	"cmp"
	"fmt"
	"slices"

	"bramble/fleet"
	"bramble/job"
	"bramble/sorts"
)

// alike is tasks of a job that failed for one reason.
type alike struct {
	Why   string
	Tasks []int // the first few, in order
	More  int
	On    string // nodes
}

const mostAlike = 15 // tasks that are named

// alikeOf puts tasks together that failed for the same reason, what most failed for first.
func alikeOf(list []job.Failure) (groups []alike) {
	tasks, nodes := map[string][]int{}, map[string][]string{}
	for _, f := range list {
		why := whyFailed(f)
		if tasks[why] == nil {
			groups = append(groups, alike{Why: why})
		}
		tasks[why] = append(tasks[why], f.Index)
		if f.Node != "" && !slices.Contains(nodes[why], f.Node) {
			nodes[why] = append(nodes[why], f.Node)
		}
	}
	sorts.Stable(groups, func(a, b alike) int { return cmp.Compare(len(tasks[b.Why]), len(tasks[a.Why])) })
	for i := range groups {
		g := &groups[i]
		all := tasks[g.Why]
		slices.Sort(all)
		g.Tasks, g.On = all[:min(mostAlike, len(all))], cmp.Or(fleet.Fold(nodes[g.Why]), "no node")
		g.More = len(all) - len(g.Tasks)
	}
	return groups
}

// whyFailed is why a task failed, in words.
func whyFailed(f job.Failure) string {
	switch {
	case f.Error != "":
		return f.Error
	case f.OOM:
		return "took more memory than it may"
	case f.Timeout:
		return "ran longer than it may"
	case f.Signal != "":
		return "ended by " + f.Signal
	}
	return fmt.Sprintf("exit status %d", f.Code)
}

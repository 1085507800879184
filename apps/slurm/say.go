package slurm

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"

	"bramble/fleet"
	"bramble/job"
)

// clock writes a duration as squeue does: 0:00, 2:05, 1:00:00, 2-00:00:00.
func clock(d time.Duration) string {
	s := int64(d / time.Second)
	switch {
	case s >= 86400:
		return fmt.Sprintf("%d-%02d:%02d:%02d", s/86400, s/3600%24, s/60%60, s%60)
	case s >= 3600:
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// longClock writes a duration as sacct and scontrol do: 00:00:05, 2-00:00:00.
func longClock(d time.Duration) string {
	s := int64(d / time.Second)
	text := fmt.Sprintf("%02d:%02d:%02d", s/3600%24, s/60%60, s%60)
	if s >= 86400 {
		text = strconv.FormatInt(s/86400, 10) + "-" + text
	}
	return text
}

// limitText is a time limit; unlimited is the word for none.
func limitText(d time.Duration, write func(time.Duration) string, unlimited string) string {
	if d == 0 {
		return unlimited
	}
	return write(d)
}

// stamp writes a time of this machine's zone; never is the word for none.
func stamp(t time.Time, never string) string {
	if t.IsZero() {
		return never
	}
	return t.Local().Format("2006-01-02T15:04:05")
}

// megabytes writes memory as squeue does: 0, 500M, 2G.
func megabytes(bytes int64) string {
	switch {
	case bytes == 0:
		return "0"
	case bytes%(1<<30) == 0:
		return strconv.FormatInt(bytes>>30, 10) + "G"
	}
	return strconv.FormatInt(bytes>>20, 10) + "M"
}

// orNull is Slurm's word for nothing.
func orNull(s string) string {
	if s == "" {
		return "(null)"
	}
	return s
}

// dependencyText writes dependencies as they were asked for.
func dependencyText(s job.Spec) string {
	if len(s.Depend) == 0 {
		return "(null)"
	}
	var items []string
	for _, d := range s.Depend {
		item := string(d.Kind)
		if d.Job > 0 {
			item += ":" + strconv.FormatInt(int64(d.Job), 10) + "(unfulfilled)"
		}
		items = append(items, item)
	}
	mark := ","
	if s.DependAny {
		mark = "?"
	}
	return strings.Join(items, mark)
}

// gresText writes generic resources: gres:gpu:2.
func gresText(s job.Spec) string {
	if len(s.Gres) == 0 {
		return "N/A"
	}
	var items []string
	for name, n := range s.Gres {
		items = append(items, "gres:"+name+":"+strconv.Itoa(n))
	}
	sort.Strings(items)
	return strings.Join(items, ",")
}

// commandText is what a job runs.
func commandText(s job.Spec) string {
	if len(s.Args) > 0 {
		return s.Args[0]
	}
	return orNull(s.Name)
}

// priority is a number that is higher for what is served earlier, as far as a job says so itself; 0 is held.
func priority(d *job.Detail) int64 {
	if d.HeldBy != "" {
		return 0
	}
	return max(1, 1<<32-int64(d.ID)-int64(d.Spec.Nice))
}

// outputText is the file that a row's output goes to.
func outputText(r Row, pattern string) string {
	if pattern == "" {
		return "(null)"
	}
	node := ""
	if len(r.Nodes) > 0 {
		node = r.Nodes[0]
	}
	path := job.FileName(pattern, job.Writer{Job: r.ID, Array: r.Spec.Array != "", Index: max(0, r.Index), Name: r.Spec.Name, User: r.Spec.User, Node: node})
	if !strings.HasPrefix(path, "/") {
		path = strings.TrimSuffix(r.Spec.SubmitDir, "/") + "/" + path
	}
	return path
}

func words(list string) map[string]bool {
	set := map[string]bool{}
	for w := range strings.SplitSeq(list, ",") {
		if w = strings.TrimSpace(w); w != "" {
			set[w] = true
		}
	}
	return set
}

// hosts reads a list of nodes as a set.
func hosts(list string) (map[string]bool, error) {
	names, err := fleet.Expand(list)
	set := map[string]bool{}
	for _, n := range names {
		set[n] = true
	}
	return set, err
}

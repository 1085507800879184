package job

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"bramble/fleet"
)

// Reason is why a job waits.
type Reason struct {
	Code  string    `json:"code,omitempty"` // in Slurm's words: Priority, Resources, Dependency, …
	Text  string    `json:"text,omitempty"`
	Until time.Time `json:"until,omitzero"` // when it ends at the latest, where that is known
}

// Why is what a job waits for; zero when it has ended or something of it runs and nothing keeps the rest.
func (s *State) Why(id ID) Reason {
	j := s.jobs[id]
	if j == nil {
		return Reason{}
	}
	r := s.reason(j)
	if r.Code != "Resources" && r.Code != "Priority" || !s.window.IsZero() && j.epoch < s.epoch {
		return r
	}
	p := s.planOf(j)
	r.Until = s.expected(p)
	if j.spec.Spread() && len(j.active) == 0 {
		r.Text = roomWhy(j.spec, p)
	}
	if ahead := s.before(j); ahead > 0 {
		r.Code, r.Text = "Priority", fmt.Sprintf("%s before it in the line for the same nodes", jobsText(ahead))
	}
	return r
}

// reason is the same as far as it is found without looking at all jobs and nodes.
func (s *State) reason(j *job) Reason {
	id := j.id
	if j.sel == nil || j.pending.Len() == 0 && len(j.active) > 0 {
		return Reason{}
	}
	switch s.gateOf(j) {
	case gateStopped:
		return Reason{Code: "Cancelled", Text: "it was cancelled, and what runs of it is being ended"}
	case gateHead:
		return Reason{Code: "Resources", Text: "the head has just started, and its nodes have not all told yet what they run", Until: s.window}
	case gateHeld:
		code := "JobHeldUser"
		if j.held != j.spec.User {
			code = "JobHeldAdmin"
		}
		return Reason{Code: code, Text: fmt.Sprintf("%s holds it; bramble job release %d lets it start", j.held, id)}
	case gateBegin:
		return Reason{Code: "BeginTime", Text: "it is not to begin earlier", Until: j.spec.Begin}
	case gateDepends:
		return Reason{Code: "Dependency", Text: s.dependencyText(j)}
	case gatePartition:
		return Reason{Code: "PartitionDown", Text: fmt.Sprintf("partition %s starts nothing now", j.spec.Partition)}
	}
	if j.array.Cap > 0 && len(j.active) >= j.array.Cap {
		return Reason{Code: "JobArrayTaskLimit", Text: fmt.Sprintf("at most %d of its tasks run at the same time", j.array.Cap)}
	}
	if s.usersCPUs(j) < j.spec.CPUs*max(1, j.spec.Ranks) {
		return Reason{Code: "QOSMaxCpuPerUserLimit", Text: fmt.Sprintf("%s has all the cores that partition %s gives one user", j.spec.User, j.spec.Partition)}
	}
	return s.nodesWhy(j)
}

// dependencyText names what a job still waits for.
func (s *State) dependencyText(j *job) string {
	for i, d := range j.spec.Depend {
		switch {
		case j.met[i] != awaited || d.Kind == After && s.hasBegun(d.Job):
		case d.Kind == Singleton:
			return fmt.Sprintf("another job named %s of %s's has not ended", j.spec.Name, j.spec.User)
		case d.Kind == After:
			return fmt.Sprintf("job %d has not begun", d.Job)
		default:
			return fmt.Sprintf("job %d has not ended (%s)", d.Job, d.Kind)
		}
	}
	return "its dependencies do not hold yet"
}

// nodesWhy says what is the matter with the nodes that a job may use.
func (s *State) nodesWhy(j *job) Reason {
	up, drained := 0, 0
	for _, name := range j.sel.names {
		switch n := s.nodes[name]; {
		case n == nil || n.link != linkUp:
		case n.drained:
			drained++
		default:
			up++
		}
	}
	switch {
	case len(j.sel.names) == 0:
		return Reason{Code: "BadConstraints", Text: "no node is meant by --on " + j.spec.On + " now"}
	case up == 0 && drained > 0:
		return Reason{Code: "ReqNodeNotAvail", Text: "the nodes that may run it are drained"}
	case up == 0:
		return Reason{Code: "ReqNodeNotAvail", Text: "none of the nodes that may run it is up"}
	}
	if len(j.active) > 0 && !j.spec.Spread() {
		return Reason{Code: "Resources", Text: "the nodes that may run more of it are busy"}
	}
	if j.class != nil && j.class.jobs[0] != j {
		return Reason{Code: "Priority", Text: "jobs that came before it wait for the same nodes"}
	}
	return Reason{Code: "Resources", Text: "the nodes that may run it are busy"}
}

// roomWhy says which nodes a job over several will get, and what runs there still.
func roomWhy(spec Spec, p plan) string {
	var kept, busy []string
	jobs := map[ID]bool{}
	for _, c := range p.chosen {
		kept = append(kept, c.node.name)
		held := c.node.slots.all()
		for _, a := range held {
			jobs[a.Job] = true
		}
		if len(held) > 0 {
			busy = append(busy, c.node.name)
		}
	}
	if len(busy) == 0 {
		return fmt.Sprintf("there is no room for %s", places(spec))
	}
	is, runs := "is", "runs"
	if len(kept) > 1 {
		is = "are"
	}
	if len(busy) > 1 {
		runs = "run"
	}
	return fmt.Sprintf("%s %s kept for it, and %s still %s %s", fleet.Fold(kept), is, fleet.Fold(busy), runs, namedJobs(jobs))
}

// places is what a job over several nodes asks for.
func places(spec Spec) string {
	if spec.Nodes == 1 {
		return "a whole node"
	}
	if spec.Nodes > 1 {
		return fmt.Sprintf("%d nodes at the same time", spec.Nodes)
	}
	return fmt.Sprintf("%d ranks at the same time", spec.Ranks)
}

// namedJobs names the first few of some jobs.
func namedJobs(jobs map[ID]bool) string {
	const few = 3
	ids := slices.Sorted(maps.Keys(jobs))
	var names []string
	for _, id := range ids[:min(few, len(ids))] {
		names = append(names, fmt.Sprint(id))
	}
	text := "job " + names[0]
	if len(ids) > 1 {
		text = "jobs " + strings.Join(names, ", ")
	}
	if len(ids) > few {
		text += fmt.Sprintf(" and %d more", len(ids)-few)
	}
	return text
}

func jobsText(n int) string {
	if n == 1 {
		return "1 job is"
	}
	return fmt.Sprintf("%d jobs are", n)
}

// before is how many waiting jobs are served before this one and may use one of its nodes.
func (s *State) before(j *job) (n int) {
	if j.class == nil {
		return 0
	}
	mine := &class{sel: j.sel, group: j.group, jobs: []*job{j}}
	for _, c := range s.classes {
		if !overlap(c.sel.set, j.sel.set) {
			continue
		}
		for _, other := range c.jobs {
			if other == j || s.byFirstJob(&class{sel: c.sel, group: c.group, jobs: []*job{other}}, mine) >= 0 {
				break
			}
			n++
		}
	}
	return n
}

func overlap(a, b bitset) bool {
	for i := range a {
		if i < len(b) && a[i]&b[i] != 0 {
			return true
		}
	}
	return false
}

// planOf is where a job will start as things stand.
func (s *State) planOf(j *job) plan {
	if j.plan.made.IsZero() || s.now.Sub(j.plan.made) >= replanAfter {
		return s.planFor(j)
	}
	return j.plan
}

// expected is when a job can start at the latest, as far as time limits tell; zero when they don't.
func (s *State) expected(p plan) time.Time {
	if len(p.chosen) == 0 || p.until.Sub(s.now) > never/2 || !p.until.After(s.now) {
		return time.Time{}
	}
	return p.until
}

package job

import (
	"fmt"
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
	r.Until = s.expected(j)
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
	text := "the nodes that may run it are busy"
	if len(j.plan.chosen) > 0 {
		var names []string
		for _, c := range j.plan.chosen {
			names = append(names, c.node.name)
		}
		text = fmt.Sprintf("%s are kept for it, and not all of them are free yet", fleet.Fold(names))
	}
	return Reason{Code: "Resources", Text: text}
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

// expected is when a job can start at the latest, as far as time limits tell; zero when they don't.
func (s *State) expected(j *job) time.Time {
	p := j.plan
	if p.made.IsZero() || s.now.Sub(p.made) >= replanAfter {
		p = s.planFor(j)
	}
	if len(p.chosen) == 0 || p.until.Sub(s.now) > never/2 || !p.until.After(s.now) {
		return time.Time{}
	}
	return p.until
}

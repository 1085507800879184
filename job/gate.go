package job

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"bramble/sorts"
)

// outcome is what has become of a dependency.
type outcome byte

const (
	awaited outcome = iota
	holds           // it holds, and always will
	broken          // it can't hold any more
)

// depends registers what a job that was accepted waits for.
func (s *State) depends(j *job) {
	for i, d := range j.spec.Depend {
		if len(j.met) > i && j.met[i] != awaited {
			continue
		}
		if len(j.met) <= i {
			j.met = append(j.met, awaited)
		}
		if d.Kind == Singleton {
			s.dependsOnNamesakes(j, i)
			continue
		}
		switch on := s.jobs[d.Job]; {
		case on == nil:
			j.met[i] = broken
		case !on.ended.IsZero():
			j.met[i] = d.outcomeOf(on)
		default:
			s.dependents[d.Job] = append(s.dependents[d.Job], dependent{j.id, i})
		}
	}
}

// dependsOnNamesakes registers a singleton with the open jobs of its name and user that came before it.
func (s *State) dependsOnNamesakes(j *job, at int) {
	j.namesakes = 0
	for _, other := range s.jobs {
		if other.id < j.id && other.ended.IsZero() && other.spec.Name == j.spec.Name && other.spec.User == j.spec.User {
			s.dependents[other.id] = append(s.dependents[other.id], dependent{j.id, at})
			j.namesakes++
		}
	}
	if j.namesakes == 0 {
		j.met[at] = holds
	}
}

// dependent is one dependency of one job.
type dependent struct {
	job ID
	at  int
}

// outcomeOf is what the end of a job makes of a dependency on it.
func (d Dependency) outcomeOf(on *job) outcome {
	ok := on.state() == Done
	if d.Kind == AfterOK && !ok || d.Kind == AfterNotOK && ok {
		return broken
	}
	return holds
}

// resolveDependents notes what a job's end means for those that wait for it.
func (s *State) resolveDependents(on *job) {
	list := s.dependents[on.id]
	delete(s.dependents, on.id)
	sorts.By(list, func(a, b dependent) int { return cmp.Or(cmp.Compare(a.job, b.job), a.at-b.at) })
	for _, d := range list {
		j := s.jobs[d.job]
		if j == nil || !j.ended.IsZero() {
			continue
		}
		if dep := j.spec.Depend[d.at]; dep.Kind != Singleton {
			j.met[d.at] = dep.outcomeOf(on)
		} else if j.namesakes--; j.namesakes == 0 {
			j.met[d.at] = holds
		}
		s.touched = append(s.touched, j)
	}
}

// dependencies reports whether a job's dependencies hold, and whether they never will.
func (s *State) dependencies(j *job) (ok, never bool) {
	if len(j.spec.Depend) == 0 {
		return true, false
	}
	held, lost := 0, 0
	for i, d := range j.spec.Depend {
		switch {
		case j.met[i] == broken:
			lost++
		case j.met[i] == holds, d.Kind == After && s.hasBegun(d.Job):
			held++
		}
	}
	if n := len(j.spec.Depend); j.spec.DependAny {
		return held > 0, lost == n
	} else {
		return held == n, lost > 0
	}
}

// hasBegun reports whether an open job has begun.
func (s *State) hasBegun(id ID) bool {
	j := s.jobs[id]
	return j == nil || !j.begun.IsZero() || j.stopped != nil || j.open() < j.array.Len()
}

// open up what waited for jobs that began or ended in this Step; what waits for something that can't come is cancelled.
func (st *turn) touch() {
	s := st.s
	for len(s.touched) > 0 {
		list := s.touched
		s.touched = nil
		for _, j := range list {
			if !j.ended.IsZero() || j.sel == nil {
				continue
			}
			if _, never := s.dependencies(j); never {
				st.cancel(Cancel{ID: j.id, By: brokenText(j)})
			} else {
				s.settle(j)
			}
		}
		st.commit()
	}
}

// brokenText names what a job waited for in vain.
func brokenText(j *job) string {
	for i, d := range j.spec.Depend {
		if j.met[i] == broken {
			return fmt.Sprintf("its dependency %s:%d", d.Kind, d.Job)
		}
	}
	return "its dependencies"
}

// gate is the kind of thing that keeps all of a job from being placed.
type gate int

const (
	openGate gate = iota
	gateStopped
	gateHead    // the head waits for its nodes
	gateHeld    // by a person
	gateBegin   // its time has not come
	gateDepends // on another job
	gatePartition
)

// gateOf is what keeps a job from being placed now, whatever is free.
func (s *State) gateOf(j *job) gate {
	switch {
	case j.stopped != nil:
		return gateStopped
	case !s.window.IsZero() && j.epoch < s.epoch:
		return gateHead
	case j.held != "":
		return gateHeld
	case j.spec.Begin.After(s.now):
		return gateBegin
	case s.partitions[j.spec.Partition].Down:
		return gatePartition
	}
	if ok, _ := s.dependencies(j); !ok {
		return gateDepends
	}
	return openGate
}

// await has a job looked at again when its begin time has come.
func (s *State) await(j *job) {
	if at := j.spec.Begin; at.After(s.now) {
		s.begins = append(s.begins, j)
		s.timers = earlier(s.timers, at)
	}
}

// begins lets the jobs be placed whose time has come.
func (st *turn) beginDue() {
	s := st.s
	s.begins = slices.DeleteFunc(s.begins, func(j *job) bool {
		if !j.ended.IsZero() {
			return true
		}
		if at := j.spec.Begin; at.After(st.now) {
			s.timers = earlier(s.timers, at)
			return false
		}
		s.settle(j)
		return true
	})
}

// hold keeps a job from starting, or lets it.
func (st *turn) hold(ev Hold) {
	s, j := st.s, st.s.jobs[ev.ID]
	by := ev.By
	if !ev.On {
		by = ""
	}
	if j == nil || !j.ended.IsZero() || (j.held != "") == ev.On {
		return
	}
	st.rec = appendHeld(st.rec, j.id, by)
	j.held = by
	s.leave(j)
	s.settle(j)
}

// requeue takes what runs of a job, or of one of its tasks, from its nodes and has it wait again.
func (st *turn) requeue(ev Requeue) {
	j := st.s.jobs[ev.ID]
	if j == nil || !j.ended.IsZero() || j.stopped != nil {
		return
	}
	for _, task := range j.activeTasks() {
		if index := j.array.At(task); ev.Index == nil || *ev.Index == index {
			a := j.active[task]
			k := j.key(task, a.attempt)
			st.send(&st.kills, a.node.name, k, whyRequeued)
			st.move(a.node, k, whyRequeued)
		}
	}
}

// alter changes what was asked for.
func (st *turn) alter(ev Alter) {
	s, j := st.s, st.s.jobs[ev.ID]
	if j == nil || !j.ended.IsZero() {
		return
	}
	s.leave(j)
	st.rec = appendAltered(st.rec, j.id, ev.Set)
	j.applyAltered(ev.Set)
	if ev.Set.Timeout != nil {
		st.relimit(j)
	}
	s.await(j)
	s.settle(j)
}

// relimit gives what nodes have of a job the limit that it has now.
func (st *turn) relimit(j *job) {
	var names []string
	for _, task := range j.activeTasks() {
		a := j.active[task]
		a.limit = j.spec.Timeout
		j.active[task] = a
		names = append(names, a.node.name)
		for _, n := range a.others {
			names = append(names, n.name)
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		st.limits = append(st.limits, Limit{Node: name, ID: j.id, Timeout: j.spec.Timeout})
	}
}

// LimitsOn is the time limits of the jobs of which a node has attempts.
func (s *State) LimitsOn(name string) map[ID]time.Duration {
	limits := map[ID]time.Duration{}
	if n := s.nodes[name]; n != nil {
		for _, a := range n.slots.all() {
			if j := s.jobs[a.Job]; j != nil {
				limits[a.Job] = j.spec.Timeout
			}
		}
	}
	return limits
}

// Alteration is what may be changed of a job: its Timeout for what runs as well, all else for what waits.
type Alteration struct {
	Nice    *int           `json:"nice,omitempty"`
	Timeout *time.Duration `json:"timeout,omitempty"`
	Begin   *time.Time     `json:"begin,omitempty"`
	Name    *string        `json:"name,omitempty"`
	Comment *string        `json:"comment,omitempty"`
}

func (j *job) applyAltered(c Alteration) {
	set(&j.spec.Nice, c.Nice)
	set(&j.spec.Timeout, c.Timeout)
	set(&j.spec.Begin, c.Begin)
	set(&j.spec.Name, c.Name)
	set(&j.spec.Comment, c.Comment)
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

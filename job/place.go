package job

import (
	"cmp"
	"math/bits"
	"slices"
	"time"
)

const (
	// shortTask is the mean wall time below which a job's tasks are handed to nodes ahead of
	// time: a slot would otherwise idle for a round trip that is long against the task.
	shortTask = time.Second
	// tinyTask is the same for tasks so short that messages would cost more than they do: of those, maxAhead
	// nodes' worth wait on a node, and go there many at a time.
	tinyTask = 20 * time.Millisecond
	maxAhead = 4
	// recallAfter is how long an attempt waits on its node before it is asked back for another node that idles.
	recallAfter = 2 * time.Second
	// lookEvery is the least time between two looks for such attempts.
	lookEvery = recallAfter / 8
)

// class is the waiting jobs that want the same of a node, in the order they are served:
// when the first finds no node, no other does.
type class struct {
	sel    *selection
	cpus   int
	memory int64
	jobs   []*job
}

// before is the order in which jobs are served: first come, first served.
func before(a, b *job) int { return cmp.Compare(a.id, b.id) }

// settle puts a job among the waiting ones when something of it may be placed now, and takes it out when not.
func (s *State) settle(j *job) {
	may := s.placeable(j) > 0
	switch {
	case may && j.class == nil:
		j.class = s.classFor(j)
		i, _ := slices.BinarySearchFunc(j.class.jobs, j, before)
		j.class.jobs = slices.Insert(j.class.jobs, i, j)
	case !may && j.class != nil:
		s.leave(j)
	}
}

// leave takes a job out of the waiting ones.
func (s *State) leave(j *job) {
	c := j.class
	if c == nil {
		return
	}
	j.class = nil
	i, _ := slices.BinarySearchFunc(c.jobs, j, before)
	if i == 0 {
		c.jobs = c.jobs[1:]
	} else {
		c.jobs = slices.Delete(c.jobs, i, i+1)
	}
	if len(c.jobs) == 0 {
		s.classes = slices.DeleteFunc(s.classes, func(other *class) bool { return other == c })
	}
}

// classFor is the class of the job's wants, made when there is none.
func (s *State) classFor(j *job) *class {
	for _, c := range s.classes {
		if c.sel == j.sel && c.cpus == j.spec.CPUs && c.memory == j.spec.Memory {
			return c
		}
	}
	c := &class{sel: j.sel, cpus: j.spec.CPUs, memory: j.spec.Memory}
	s.classes = append(s.classes, c)
	return c
}

// placeable is how many tasks of a job may be placed now.
func (s *State) placeable(j *job) int {
	if j.stopped != nil || !s.window.IsZero() && j.epoch < s.epoch {
		return 0
	}
	n := j.pending.Len()
	if j.array.Cap > 0 {
		n = min(n, j.array.Cap-len(j.active))
	}
	return n
}

// place hands waiting tasks to nodes. A job that finds none holds back the nodes it
// would get next, so that a later job with smaller tasks doesn't starve it.
func (st *step) place() {
	s := st.s
	s.reindex()
	clear(s.index.held)
	order := append(s.order[:0], s.classes...)
	s.order = order
	slices.SortFunc(order, byFirstJob)
	for len(order) > 0 && s.index.open > 0 {
		c := order[0]
		order = order[1:]
		if !st.placeJob(c.jobs[0]) {
			if len(order) > 0 {
				s.index.keep(c, s.placeable(c.jobs[0]))
			}
		} else if len(c.jobs) > 0 {
			i, _ := slices.BinarySearchFunc(order, c, byFirstJob)
			order = slices.Insert(order, i, c)
		}
	}
}

func byFirstJob(a, b *class) int { return before(a.jobs[0], b.jobs[0]) }

// placeJob places what it can of a job, and reports whether that was all.
func (st *step) placeJob(j *job) bool {
	s, cpus, memory := st.s, j.spec.CPUs, j.spec.Memory
	ahead := j.ahead()
	for n := s.placeable(j); n > 0; n-- {
		to := s.index.pick(j.sel, cpus, func(n *node) bool { return n.slots.fitsNow(cpus, memory) })
		if to == nil && ahead > 0 {
			to = s.index.pick(j.sel, cpus-ahead*s.index.most, func(n *node) bool { return n.slots.mayWait(cpus, memory, ahead) })
		}
		if to == nil {
			return false
		}
		st.assign(j, to)
	}
	s.settle(j)
	return true
}

// ahead is how many nodes' worth of a job's tasks may wait on a node.
func (j *job) ahead() int {
	switch {
	case j.wall < 0 || j.wall >= shortTask:
		return 0
	case j.wall >= tinyTask:
		return 1
	}
	return maxAhead
}

// assign hands a job's next task to a node.
func (st *step) assign(j *job, n *node) {
	s := st.s
	task, _ := j.pending.Pop()
	attempt := s.nextAttempt(j, task)
	j.active[task] = active{node: n, attempt: attempt, since: st.now}
	if j.begun.IsZero() {
		j.begun = st.now
	}
	a := Attempt{Key: j.key(task, attempt), CPUs: j.spec.CPUs, Memory: j.spec.Memory}
	n.slots.Add(a)
	n.slots.Start()
	s.index.put(n)
	if n.start == nil {
		st.starts = append(st.starts, n)
	}
	n.start = append(n.start, a)
	n.after = max(n.after, j.after, s.headAfter)
}

// recall asks for attempts that have waited on their node while another could start
// them, and for all that wait on a drained node. It returns when to look again, or zero.
func (st *step) recall() (again time.Time) {
	s := st.s
	free := s.index.room - s.recalling
	if free <= 0 && s.draining == 0 || !s.index.behind.any() {
		return again
	}
	if s.look.After(st.now) {
		return s.look
	}
	for w, word := range s.index.behind {
		for ; word != 0; word &= word - 1 {
			n := s.index.nodes[w*64+bits.TrailingZeros64(word)]
			if free <= 0 && !n.drained {
				continue
			}
			for _, a := range n.slots.waiting {
				again = earlier(again, st.recallOne(n, a, &free))
			}
		}
	}
	s.look = st.now.Add(lookEvery)
	if again.After(s.look) {
		s.look = again
	}
	return again
}

// recallOne asks for one waiting attempt if it should move; else it returns when that may be so, or zero.
func (st *step) recallOne(n *node, a Attempt, free *int) (again time.Time) {
	s := st.s
	j, task, ok := s.current(n, a.Key)
	if !ok || j.stopped != nil {
		return again
	}
	act := j.active[task]
	fresh := n.drained && !act.recalled
	if !fresh && !n.drained {
		other := s.index.pick(j.sel, a.CPUs, func(o *node) bool { return o != n && o.slots.fitsNow(a.CPUs, a.Memory) })
		if other == nil || *free < a.CPUs {
			return again
		}
	}
	if due := act.since.Add(recallAfter); !fresh && due.After(st.now) {
		return due
	}
	if !act.recalled {
		s.recalling += a.CPUs
		*free -= a.CPUs
	}
	act.recalled, act.since = true, st.now
	j.active[task] = act
	st.send(&st.recalls, n.name, a.Key, "")
	return st.now.Add(recallAfter)
}

// earlier is the earlier of two times of which zero means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

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
	// tinyTask is the same for tasks so short that messages would cost more than they do: of those, what a node does
	// in aheadFor waits there, up to maxAhead nodes' worth, and goes there many at a time.
	tinyTask = 20 * time.Millisecond
	aheadFor = 4 * tinyTask
	maxAhead = 16
	// recallAfter is how long an attempt waits on its node before it is asked back for another node that idles.
	recallAfter = 2 * time.Second
	// lookEvery is the least time between two looks for such attempts.
	lookEvery = recallAfter / 8
)

// class is the waiting jobs of one owner that want the same of a node, in the order they are served:
// when the first finds no node, no other does.
type class struct {
	sel   *selection
	shape shape
	group *group
	jobs  []*job
}

// before is the order in which jobs of one owner are served: as they came, as far as they could have
// started since, and later by as many seconds as they are nice.
func before(a, b *job) int { return cmp.Or(a.rank.Compare(b.rank), cmp.Compare(a.id, b.id)) }

// rankOf is when a job came, for the order in which jobs are served.
func rankOf(j *job) time.Time {
	at := j.submitted
	if j.spec.Begin.After(at) {
		at = j.spec.Begin
	}
	return at.Add(time.Duration(j.spec.Nice) * time.Second)
}

// byFirstJob is the order of classes: by their partition's priority, then by when their first job came,
// those of owners who have used much lately later than they came.
func (s *State) byFirstJob(a, b *class) int {
	x, y := a.jobs[0], b.jobs[0]
	return cmp.Or(
		cmp.Compare(s.partitions[b.sel.Partition].Priority, s.partitions[a.sel.Partition].Priority),
		x.rank.Add(a.group.behind).Compare(y.rank.Add(b.group.behind)),
		before(x, y))
}

// settle puts a job among the waiting ones when something of it may be placed now, and takes it out when not.
func (s *State) settle(j *job) {
	may := s.placeable(j) > 0
	switch {
	case may && j.class == nil:
		j.rank, j.class = rankOf(j), s.classFor(j)
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
		delete(s.byShape, classKey{c.sel, c.shape, c.group})
		s.classes = slices.DeleteFunc(s.classes, func(other *class) bool { return other == c })
	}
}

type classKey struct {
	sel   *selection
	shape shape
	group *group
}

// classFor is the class of the job's wants, made when there is none.
func (s *State) classFor(j *job) *class {
	key := classKey{j.sel, shapeOf(&j.spec), j.group}
	c := s.byShape[key]
	if c == nil {
		c = &class{sel: key.sel, shape: key.shape, group: key.group}
		s.byShape[key] = c
		s.classes = append(s.classes, c)
	}
	return c
}

// placeable is how many tasks of a job may be placed now.
func (s *State) placeable(j *job) int {
	if j.pending.Len() == 0 || s.gateOf(j) != openGate {
		return 0
	}
	n := j.pending.Len()
	if j.array.Cap > 0 {
		n = min(n, j.array.Cap-len(j.active))
	}
	return n
}

// place hands waiting tasks to nodes. A job that finds none holds back the nodes it
// would get next, so that a later job doesn't starve it.
func (st *turn) place() {
	s := st.s
	s.reindex()
	clear(s.index.held)
	clear(s.holds)
	if s.index.open == 0 || len(s.classes) == 0 {
		return
	}
	s.share()
	order := append(s.order[:0], s.classes...)
	s.order = order
	slices.SortFunc(order, s.byFirstJob)
	for len(order) > 0 && s.index.open > 0 {
		c := order[0]
		order = order[1:]
		switch st.placeJob(c.jobs[0]) {
		case blocked:
			if len(order) > 0 {
				s.reserve(c)
			}
		case placed:
			if len(c.jobs) > 0 {
				i, _ := slices.BinarySearchFunc(order, c, s.byFirstJob)
				order = slices.Insert(order, i, c)
			}
		}
	}
}

// verdict is what came of placing a job.
type verdict int

const (
	placed  verdict = iota // all of it that may be
	blocked                // there is no node for the next of it
	limited                // its owner may have no more now
)

// placeJob places what it can of a job.
func (st *turn) placeJob(j *job) verdict {
	s := st.s
	left := s.usersCPUs(j)
	for n := s.placeable(j); n > 0; n-- {
		if left -= j.spec.CPUs * max(1, j.spec.Ranks); left < 0 {
			return limited
		}
		if j.spec.Spread() {
			chosen := s.allocate(j)
			if chosen == nil {
				return blocked
			}
			st.assignAll(j, chosen)
			continue
		}
		to := s.nodeFor(j)
		if to == nil {
			return blocked
		}
		st.assign(j, to)
	}
	s.settle(j)
	return placed
}

// nodeFor is the node that a job's next task goes to, or nil.
func (s *State) nodeFor(j *job) *node {
	now := func(n *node) bool { return n.fits(j.need(n, 1)) }
	if to := s.index.pick(j.sel, j.spec.CPUs, now); to != nil {
		return to
	}
	if to := s.index.pickHeld(j.sel, j.spec.CPUs, func(n *node) bool { return now(n) && s.mayBackfill(j, n, j.need(n, 1)) }); to != nil {
		return to
	}
	ahead := j.ahead()
	if ahead == 0 {
		return nil
	}
	return s.index.pick(j.sel, j.spec.CPUs-ahead*s.index.most, func(n *node) bool { return n.slots.mayWait(j.spec.CPUs, j.need(n, 1).Memory, ahead) })
}

// ahead is how many nodes' worth of a job's tasks may wait on a node.
func (j *job) ahead() int {
	switch {
	case j.wall < 0 || j.wall >= shortTask || j.spec.Exclusive || len(j.spec.Gres) > 0:
		return 0
	case j.wall >= tinyTask:
		return 1
	}
	return int(min(maxAhead, aheadFor/max(1, j.wall)))
}

// allocate is the nodes for a task that takes several nodes or ranks, or nil.
func (s *State) allocate(j *job) []candidate {
	return choose(s.candidates(j, func(n *node, most int) int {
		r := j.ranksNow(n, most)
		if r > 0 && s.index.isHeld(n) && !s.mayBackfill(j, n, j.need(n, r)) {
			return 0
		}
		return r
	}), j.spec.Nodes, max(1, j.spec.Ranks))
}

// candidates is the selected nodes that take work, and how many ranks each can have.
func (s *State) candidates(j *job, ranks func(n *node, most int) int) []candidate {
	most := max(1, j.spec.Ranks)
	if j.spec.Nodes > 1 {
		most -= j.spec.Nodes - 1 // the others have one each
	}
	if j.spec.RanksPerNode > 0 {
		most = min(most, j.spec.RanksPerNode)
	}
	var list []candidate
	for w, word := range j.sel.set {
		for ; word != 0; word &= word - 1 {
			if n := s.index.nodes[w*64+bits.TrailingZeros64(word)]; n.takes() {
				if r := ranks(n, most); r > 0 {
					list = append(list, candidate{n, r})
				}
			}
		}
	}
	return list
}

// assign hands a job's next task to a node.
func (st *turn) assign(j *job, n *node) {
	a := j.need(n, 1)
	a.Key = st.begin(j, active{node: n, cpus: a.CPUs})
	st.hand(j, n, a)
}

// assignAll hands a job's next task to several nodes, the first of which leads.
func (st *turn) assignAll(j *job, chosen []candidate) {
	act := active{node: chosen[0].node}
	shares, needs := make([]Share, len(chosen)), make([]Attempt, len(chosen))
	for i, c := range chosen {
		needs[i] = j.need(c.node, c.ranks)
		shares[i] = Share{Node: c.node.name, Ranks: c.ranks, CPUs: needs[i].CPUs, Memory: needs[i].Memory}
		act.cpus += needs[i].CPUs
		if i > 0 {
			act.others = append(act.others, c.node)
		}
	}
	k := st.begin(j, act)
	for i, c := range chosen {
		a := needs[i]
		if a.Key = k; i == 0 {
			a.Shares = shares
		} else {
			a.Member = true
		}
		st.hand(j, c.node, a)
	}
}

// begin makes a job's next task active and names its attempt.
func (st *turn) begin(j *job, a active) Key {
	s := st.s
	task, _ := j.pending.Pop()
	a.attempt, a.since = s.nextAttempt(j, task), st.now
	s.activate(j, task, a)
	return j.key(task, a.attempt)
}

// hand has an attempt, or its share of one, sent to a node.
func (st *turn) hand(j *job, n *node, a Attempt) {
	s := st.s
	s.useSpare(n, a)
	n.slots.Add(a)
	n.slots.Start()
	s.index.put(n)
	if n.start == nil {
		st.starts = append(st.starts, n)
		n.start = make([]Attempt, 0, max(1, n.started)) // mostly as many as the time before
	}
	n.start = append(n.start, a)
	n.after = max(n.after, j.after, s.headAfter)
}

// activate enters an attempt as a task's active one.
func (s *State) activate(j *job, task int, a active) {
	a.limit = j.spec.Timeout
	j.active[task] = a
	if j.begun.IsZero() {
		j.begun = s.now
		s.toldBegun(j)
	}
	j.group.take(a.cpus, s.now)
	s.inUse[useKey{j.spec.Partition, j.spec.User}] += a.cpus
}

// toldBegun has the jobs looked at that wait for this one to begin.
func (s *State) toldBegun(j *job) {
	for _, d := range s.dependents[j.id] {
		if other := s.jobs[d.job]; other != nil && other.spec.Depend[d.at].Kind == After {
			s.touched = append(s.touched, other)
		}
	}
}

// recall asks for attempts that have waited on their node while another could start
// them, and for all that wait on a drained node. It returns when to look again, or zero.
func (st *turn) recall() (again time.Time) {
	s := st.s
	free := s.index.room - s.recalling
	if free <= 0 && s.draining == 0 || !s.index.behind.any() {
		return again
	}
	if s.look.After(st.now) {
		return s.look
	}
	nowhere := map[demand]bool{} // what no node has room for: thousands may wait that are alike
	for w, word := range s.index.behind {
		for ; word != 0; word &= word - 1 {
			n := s.index.nodes[w*64+bits.TrailingZeros64(word)]
			if free <= 0 && !n.drained {
				continue
			}
			again = earlier(again, st.recallFrom(n, nowhere, &free))
		}
	}
	s.look = st.now.Add(lookEvery)
	if again.After(s.look) {
		s.look = again
	}
	return again
}

// demand is what attempts of one job want that are alike.
type demand struct {
	job  ID
	cpus int
}

// recallFrom asks a node for waiting attempts that should move; it returns when to look again, or zero.
func (st *turn) recallFrom(n *node, nowhere map[demand]bool, free *int) (again time.Time) {
	for _, a := range n.slots.waiting {
		d := demand{a.Job, a.CPUs}
		if nowhere[d] && !n.drained {
			continue
		}
		due, found := st.recallOne(n, a, free)
		again = earlier(again, due)
		switch found {
		case noNode:
			nowhere[d] = true
		case tooYoung:
			return again // those behind it have come later
		}
	}
	return again
}

// recallable is whether an attempt should move.
type recallable int

const (
	stays    recallable = iota // or was asked for
	noNode                     // no other node could start it
	tooYoung                   // it has not waited long enough, and was never asked for
)

// recallOne asks for one waiting attempt if it should move; else it returns when that may be so, or zero.
func (st *turn) recallOne(n *node, a Attempt, free *int) (again time.Time, found recallable) {
	s := st.s
	j, task, ok := s.current(n, a.Key)
	if !ok || j.isStopped(task) || j.spec.Spread() {
		return again, stays
	}
	act := j.active[task]
	fresh := n.drained && !act.recalled
	if !fresh && !n.drained {
		other := s.index.pick(j.sel, a.CPUs, func(o *node) bool { return o != n && o.fits(a) })
		if other == nil || *free < a.CPUs {
			return again, noNode
		}
	}
	if due := act.since.Add(recallAfter); !fresh && due.After(st.now) {
		if act.recalled {
			return due, stays
		}
		return due, tooYoung
	}
	if !act.recalled {
		s.recalling += a.CPUs
		*free -= a.CPUs
	}
	act.recalled, act.since = true, st.now
	j.active[task] = act
	st.send(&st.recalls, n.name, a.Key, "")
	return st.now.Add(recallAfter), stays
}

// earlier is the earlier of two times of which zero means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

package job

import (
	"cmp"
	"slices"
	"sort"
	"time"
)

// Backfill. The first jobs that find no node hold back those that they would get next. A later job may
// use such a node all the same when its time limit ends before the holder could start, or when it
// takes no more than will be left over then.

const (
	// never is how far away the end is of what has no time limit.
	never = 365 * 24 * time.Hour
	// lateAfter is how much longer than its limit something may run until it has ended.
	lateAfter = 10 * time.Second
	// replanAfter is how old a plan for a job over several nodes may get.
	replanAfter = time.Second
	// maxReplanned is for how many such jobs plans are made in one Step; those behind them wait without.
	maxReplanned = 4
)

// hold is a node kept for a job that can't start yet.
type hold struct {
	by     *job
	need   Attempt   // what the job takes there
	until  time.Time // when it can; zero: not worked out
	cpus   int       // left over then
	memory int64
}

// plan is the nodes that a job over several will get, and when.
type plan struct {
	made   time.Time
	until  time.Time
	chosen []candidate
}

// reserve holds back the nodes that the first job of a class would get next.
func (s *State) reserve(c *class) {
	j := c.jobs[0]
	if !j.spec.Spread() {
		s.index.keep(c.sel, s.placeable(j), func(n *node) bool {
			if !j.suits(n) {
				return false
			}
			s.holds[n] = &hold{by: j, need: j.need(n, 1)}
			return true
		})
		return
	}
	if j.plan.made.IsZero() || s.now.Sub(j.plan.made) >= replanAfter || !j.plan.stands() {
		if s.planned++; s.planned > maxReplanned {
			return
		}
		j.plan = s.planFor(j)
	}
	for _, c := range j.plan.chosen {
		if !s.index.isHeld(c.node) {
			s.index.held.set(c.node.at)
			s.holds[c.node] = &hold{by: j, need: j.need(c.node, c.ranks), until: j.plan.until}
			s.holds[c.node].leftOver(c.node, s)
		}
	}
}

func (p *plan) stands() bool {
	return !slices.ContainsFunc(p.chosen, func(c candidate) bool { return !c.node.takes() })
}

// mayBackfill reports whether a job may use a node that another one waits for.
func (s *State) mayBackfill(j *job, n *node, need Attempt) bool {
	h := s.holds[n]
	if h == nil || h.by == j {
		return true
	}
	if h.until.IsZero() {
		h.workOut(n, s)
	}
	if j.spec.Timeout > 0 && !s.now.Add(j.spec.Timeout+lateAfter).After(h.until) {
		return true
	}
	return need.CPUs <= h.cpus && need.Memory <= h.memory
}

// useSpare counts what is placed on a held node against what will be left over.
func (s *State) useSpare(n *node, a Attempt) {
	if h := s.holds[n]; h != nil {
		h.cpus, h.memory = h.cpus-a.CPUs, h.memory-a.Memory
	}
}

// ending is when an attempt on a node will have ended at the latest.
type ending struct {
	at     time.Time
	cpus   int
	memory int64
}

// endings is when all that a node holds will have ended, the first one first.
func (s *State) endings(n *node) []ending {
	list := make([]ending, 0, len(n.slots.running)+len(n.slots.waiting))
	for _, a := range n.slots.all() {
		list = append(list, ending{s.endOf(n, a.Key), a.CPUs, a.Memory})
	}
	slices.SortStableFunc(list, func(a, b ending) int { return cmp.Or(a.at.Compare(b.at), b.cpus-a.cpus) })
	return list
}

// endOf is when an attempt will have ended at the latest.
func (s *State) endOf(n *node, k Key) time.Time {
	j, task, ok := s.holder(n, k)
	if !ok {
		return s.now.Add(lateAfter) // it is being ended
	}
	a := j.active[task]
	if a.limit == 0 {
		return s.now.Add(never)
	}
	end := a.since.Add(a.limit)
	if end.Before(s.now) {
		end = s.now
	}
	return end.Add(lateAfter)
}

// workOut finds when the holder can start and what is left over then.
func (h *hold) workOut(n *node, s *State) {
	cpus, memory := n.slots.Cores, n.slots.Memory
	list := s.endings(n)
	for _, e := range list {
		cpus, memory = cpus-e.cpus, memory-e.memory
	}
	h.until = s.now
	for _, e := range list {
		if cpus >= h.need.CPUs && memory >= h.need.Memory {
			break
		}
		cpus, memory, h.until = cpus+e.cpus, memory+e.memory, e.at
	}
	h.cpus, h.memory = cpus-h.need.CPUs, memory-h.need.Memory
}

// leftOver finds what is left over on the node when the holder can start.
func (h *hold) leftOver(n *node, s *State) {
	cpus, memory := n.slots.Cores, n.slots.Memory
	for _, e := range s.endings(n) {
		if e.at.After(h.until) {
			cpus, memory = cpus-e.cpus, memory-e.memory
		}
	}
	h.cpus, h.memory = cpus-h.need.CPUs, memory-h.need.Memory
}

// planFor finds the earliest time when enough of the selected nodes have room for a job's next task.
func (s *State) planFor(j *job) plan {
	ends := map[*node][]ending{}
	var times []time.Time
	suits := func(n *node, most int) int {
		if !j.suits(n) {
			return 0
		}
		return 1
	}
	for _, c := range s.candidates(j, suits) {
		ends[c.node] = s.endings(c.node)
		for _, e := range ends[c.node] {
			times = append(times, e.at)
		}
	}
	slices.SortFunc(times, time.Time.Compare)
	times = append([]time.Time{s.now}, slices.Compact(times)...)
	at := func(i int) []candidate {
		return choose(s.candidates(j, func(n *node, most int) int { return j.ranksAt(n, most, ends[n], times[i]) }), j.spec.Nodes, max(1, j.spec.Ranks))
	}
	i := sort.Search(len(times), func(i int) bool { return at(i) != nil })
	if i == len(times) {
		return plan{made: s.now}
	}
	return plan{made: s.now, until: times[i], chosen: at(i)}
}

// ranksAt is how many ranks of a job a node has room for at a time, as far as time limits tell.
func (j *job) ranksAt(n *node, most int, ends []ending, at time.Time) int {
	if !j.suits(n) {
		return 0
	}
	cpus, memory := n.slots.Cores, n.slots.Memory
	for _, e := range ends {
		if e.at.After(at) {
			cpus, memory = cpus-e.cpus, memory-e.memory
		}
	}
	for r := min(most, n.slots.Cores/j.spec.CPUs); r > 0; r-- {
		if need := j.need(n, r); need.CPUs <= cpus && need.Memory <= memory {
			return r
		}
	}
	return 0
}

package job

import (
	"cmp"
	"slices"
	"time"
)

// keptEnded is how many ended jobs are remembered; the numbers of older ones are still never given again.
const keptEnded = 10_000

// keptFailures is how many of a job's failed tasks are remembered with how they failed; of more, only which.
const keptFailures = 1000

// State is all the head knows of jobs and of where they run. Its first half is what
// the journal holds and comes back with Restore and Apply; the second half comes from
// the nodes once the head has started. Only Step and Apply change it; it belongs to
// one goroutine.
type State struct {
	seq    uint64 // of the newest record
	epoch  int    // counts starts of the head
	last   ID     // the newest job's number
	jobs   map[ID]*job
	ended  []ID          // in the order they ended, at most keptEnded
	tokens map[string]ID // submissions that came with one; see tokenOf
	forgot []ID          // jobs forgotten since the last Step

	nodes      map[string]*node
	index      index
	selections map[string]*selection
	classes    []*class
	order      []*class        // scratch of place
	window     time.Time       // until when tasks of earlier epochs wait to be claimed by a node; zero: no longer
	expect     map[string]bool // nodes that have not yet told what they hold since the head started
	headAfter  uint64          // the record of this start: nothing starts before it is on disk
	recalling  int             // cores of attempts that nodes were asked to give back
	draining   int             // drained nodes
	look       time.Time       // not before it are attempts looked for to ask back
	timers     time.Time       // the next time something is due on a node; zero: nothing is
	wake       time.Time       // the WakeAt last asked for
}

// NewState is an empty state. Apply journal records to it, or Restore one from a
// snapshot, then Step it with HeadStarted before any other event.
func NewState() *State {
	return &State{
		jobs:       map[ID]*job{},
		tokens:     map[string]ID{},
		nodes:      map[string]*node{},
		selections: map[string]*selection{},
	}
}

// Seq is the number of the newest record in the state.
func (s *State) Seq() uint64 { return s.seq }

// job is one submission. Tasks are named by position in the array.
type job struct {
	id        ID
	spec      Spec
	array     Array
	submitted time.Time
	epoch     int // in which it was submitted

	// Which tasks are final, and how; all others are open.
	done, failed, cancelled Ranges

	failures []Failure     // the first keptFailures, in the order they happened
	spent    map[int]spent // open tasks that have used up attempts
	stopped  *stop         // set when somebody cancelled it
	usage    Usage
	ended    time.Time // zero while a task is open

	pending Ranges // open and on no node
	active  map[int]active
	after   uint64        // the record that must be on disk before its next attempt starts
	begun   time.Time     // when the first attempt was handed to a node in this epoch
	wall    time.Duration // moving mean of its tasks' wall time; -1 before the first ends
	sel     *selection
	class   *class // where it waits; nil when nothing of it may be placed now
	fresh   Ranges // done in the present Step
	freshUs Usage
}

// spent is what an open task has used up of attempts and tries.
type spent struct {
	attempt int // the highest number that the journal knows to be over
	epoch   int // in which the journal learnt it
	tries   int // how often the task failed by itself
}

// stop is who cancelled a job, and when.
type stop struct {
	By string    `json:"by"`
	At time.Time `json:"at"`
}

// active is an attempt on a node.
type active struct {
	node     *node
	attempt  int
	since    time.Time // handed over, or asked back, then
	recalled bool      // the node was asked to give it back unless it has started
	started  bool      // the node said that it runs
}

// open is how many tasks are not final.
func (j *job) open() int {
	return j.array.Len() - j.done.Len() - j.failed.Len() - j.cancelled.Len()
}

// spentBy is what a task has used up; a task the journal says nothing of has used nothing since its submission.
func (j *job) spentBy(task int) spent {
	if s, ok := j.spent[task]; ok {
		return s
	}
	return spent{epoch: j.epoch}
}

// nextAttempt is the number of a task's next attempt. Assignments are not journaled,
// but the end of each attempt is, before the next one starts. So each epoch since then
// may have handed out one number that the journal does not know, and those are skipped.
func (s *State) nextAttempt(j *job, task int) int {
	spent := j.spentBy(task)
	return spent.attempt + 1 + s.epoch - spent.epoch
}

// mayBe reports whether an earlier epoch may have handed out this attempt of a
// task which the journal does not know to be over.
func (s *State) mayBe(j *job, task, attempt int) bool {
	spent := j.spentBy(task)
	return spent.attempt < attempt && attempt <= spent.attempt+s.epoch-spent.epoch
}

// find is the job and the task that a key names; ok is false when there is none any more.
func (s *State) find(k Key) (j *job, task int, ok bool) {
	if j = s.jobs[k.Job]; j == nil {
		return nil, 0, false
	}
	task, ok = j.array.Position(k.Index)
	return j, task, ok
}

// current is the job and task of a key whose attempt runs on n as far as the head knows.
func (s *State) current(n *node, k Key) (j *job, task int, ok bool) {
	if j, task, ok = s.find(k); !ok {
		return nil, 0, false
	}
	a, ok := j.active[task]
	return j, task, ok && a.node == n && a.attempt == k.Attempt
}

// claim makes an attempt that an earlier epoch handed out, and whose task has waited
// for it since the head started, the task's active one. It reports whether it could;
// an array at its cap takes no more.
func (s *State) claim(n *node, k Key, now time.Time) bool {
	j, task, ok := s.find(k)
	full := ok && j.array.Cap > 0 && len(j.active) >= j.array.Cap
	if !ok || full || !j.pending.Contains(task) || !s.mayBe(j, task, k.Attempt) {
		return false
	}
	j.pending.Remove(task)
	j.active[task] = active{node: n, attempt: k.Attempt, since: now}
	s.settle(j)
	return true
}

// release takes a task off the node it is on.
func (s *State) release(j *job, task int) {
	if j.active[task].recalled {
		s.recalling -= j.spec.CPUs
	}
	delete(j.active, task)
}

// openJob gives a job that the journal knows the state it has while it runs.
func (s *State) openJob(j *job) {
	j.active, j.wall, j.pending = map[int]active{}, -1, Ranges{}
	j.pending.AddRange(0, j.array.Len()-1)
	for _, over := range []*Ranges{&j.done, &j.failed, &j.cancelled} {
		j.pending.RemoveAll(over)
	}
	j.sel = s.selections[j.spec.On]
	if j.sel == nil {
		j.sel = &selection{on: j.spec.On}
		s.selections[j.spec.On] = j.sel
		s.resolve(j.sel)
	}
	j.sel.jobs++
}

// closeJob lets go of what an ended job needed while it ran.
func (s *State) closeJob(j *job) {
	s.leave(j)
	j.active, j.pending, j.fresh = nil, Ranges{}, Ranges{}
	if j.sel == nil {
		return
	}
	if j.sel.jobs--; j.sel.jobs == 0 {
		delete(s.selections, j.sel.on)
	}
	j.sel = nil
}

// inOrder is the jobs by number.
func (s *State) inOrder() []*job {
	list := make([]*job, 0, len(s.jobs))
	for _, j := range s.jobs {
		list = append(list, j)
	}
	slices.SortFunc(list, func(a, b *job) int { return cmp.Compare(a.id, b.id) })
	return list
}

// activeTasks is the positions of the tasks that are on nodes, in order.
func (j *job) activeTasks() []int {
	list := make([]int, 0, len(j.active))
	for task := range j.active {
		list = append(list, task)
	}
	slices.Sort(list)
	return list
}

// key names a task's attempt.
func (j *job) key(task, attempt int) Key {
	return Key{Job: j.id, Index: j.array.At(task), Attempt: attempt}
}

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
	seq        uint64 // of the newest record
	epoch      int    // counts starts of the head
	last       ID     // the newest job's number
	jobs       map[ID]*job
	ended      []ID               // in the order they ended, at most keptEnded
	dependents map[ID][]dependent // what waits for an open job's end
	touched    []*job             // whose dependencies may have come out since the last Step
	tokens     map[string]ID      // submissions that came with one; see tokenOf
	forgot     []ID               // jobs forgotten since the last Step

	now        time.Time // of the present Step
	nodes      map[string]*node
	index      index
	selections map[Selection]*selection
	partitions map[string]Partition
	gres       map[string]int // open jobs that use each generic resource
	groups     map[[2]string]*group
	ranks      []*group       // all groups, in the order they came
	shared     time.Time      // when it was last looked at who has used how much
	inUse      map[useKey]int // cores
	classes    []*class
	byShape    map[classKey]*class
	holds      map[*node]*hold // in the present Step
	planned    int             // plans made in the present Step
	begins     []*job          // that wait for their begin time
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
		dependents: map[ID][]dependent{},
		nodes:      map[string]*node{},
		selections: map[Selection]*selection{},
		partitions: map[string]Partition{},
		gres:       map[string]int{},
		groups:     map[[2]string]*group{},
		inUse:      map[useKey]int{},
		byShape:    map[classKey]*class{},
		holds:      map[*node]*hold{},
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

	failures []Failure       // the first keptFailures, in the order they happened
	spent    map[int]spent   // open tasks that have used up attempts
	stopping Ranges          // tasks that somebody cancelled and that had been handed to a node
	stopped  *stop           // set when somebody cancelled it
	held     string          // who keeps it from starting; "": nobody
	met      []outcome       // of its dependencies
	attempts int             // that are over
	ran      map[string]bool // names of the nodes that tasks ended on
	ranText  string          // the same, folded, once it has ended
	usage    Usage
	ended    time.Time // zero while a task is open

	pending   Ranges // open and on no node
	active    map[int]active
	after     uint64        // the record that must be on disk before its next attempt starts
	begun     time.Time     // when the first attempt was handed to a node in this epoch
	wall      time.Duration // moving mean of its tasks' wall time; -1 before the first ends
	namesakes int           // open jobs that a singleton waits for
	sel       *selection
	group     *group
	class     *class    // where it waits; nil when nothing of it may be placed now
	rank      time.Time // its place there
	plan      plan
	fresh     Ranges // done in the present Step
	freshOn   string // the node that said so
	freshUs   Usage
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
	node     *node   // where it runs, or its command does
	others   []*node // of an allocation
	attempt  int
	cpus     int           // on all its nodes
	limit    time.Duration // how long it may run, whatever its job's limit has become since; 0: for ever
	since    time.Time     // handed over, or asked back, then
	recalled bool          // the node was asked to give it back unless it has started
	started  bool          // the node said that it runs
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

// holder is the job and task of a key whose attempt has a share on n as far as the head knows.
func (s *State) holder(n *node, k Key) (j *job, task int, ok bool) {
	if j, task, ok = s.find(k); !ok {
		return nil, 0, false
	}
	a, ok := j.active[task]
	return j, task, ok && a.attempt == k.Attempt && (a.node == n || slices.Contains(a.others, n))
}

// claim makes an attempt that an earlier epoch handed out, and whose task has waited
// for it since the head started, the task's active one. It reports whether it could;
// an array at its cap takes no more.
func (s *State) claim(n *node, a Attempt) bool {
	j, task, ok := s.find(a.Key)
	full := ok && j.array.Cap > 0 && len(j.active) >= j.array.Cap
	if !ok || full || a.Member || j.spec.Spread() && len(a.Shares) == 0 || !j.pending.Contains(task) || !s.mayBe(j, task, a.Attempt) {
		return false
	}
	act := active{node: n, attempt: a.Attempt, since: s.now, cpus: a.CPUs}
	for i, share := range a.Shares {
		if i > 0 {
			act.others = append(act.others, s.addNode(share.Node))
			act.cpus += share.CPUs
		}
	}
	j.pending.Remove(task)
	s.activate(j, task, act)
	s.settle(j)
	return true
}

// mayBeShare reports whether what a node holds may be a share of an allocation whose leader has not said yet that it runs.
func (s *State) mayBeShare(a Attempt) bool {
	if !a.Member || s.window.IsZero() {
		return false
	}
	j, task, ok := s.find(a.Key)
	return ok && j.pending.Contains(task) && s.mayBe(j, task, a.Attempt)
}

// openJob gives a job that the journal knows the state it has while it runs.
func (s *State) openJob(j *job) {
	j.active, j.wall, j.pending = map[int]active{}, -1, Ranges{}
	j.pending.AddRange(0, j.array.Len()-1)
	for _, over := range []*Ranges{&j.done, &j.failed, &j.cancelled} {
		j.pending.RemoveAll(over)
	}
	key := j.spec.selection()
	j.sel = s.selections[key]
	if j.sel == nil {
		j.sel = &selection{Selection: key}
		s.selections[key] = j.sel
		s.resolve(j.sel)
	}
	j.sel.jobs++
	for name := range j.spec.Gres {
		s.gres[name]++
	}
	j.group = s.groupOf(&j.spec)
	s.await(j)
}

// closeJob lets go of what an ended job needed while it ran.
func (s *State) closeJob(j *job) {
	s.leave(j)
	j.active, j.pending, j.fresh = nil, Ranges{}, Ranges{}
	if j.sel == nil {
		return
	}
	if j.sel.jobs--; j.sel.jobs == 0 {
		delete(s.selections, j.sel.Selection)
	}
	j.sel, j.plan = nil, plan{}
	for name := range j.spec.Gres {
		if s.gres[name]--; s.gres[name] == 0 {
			delete(s.gres, name)
		}
	}
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

package job

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"bramble/sorts"
)

// Summary is a job as a whole.
type Summary struct {
	ID          ID        `json:"id"`
	Spec        Spec      `json:"spec"`
	State       TaskState `json:"state"`
	Tasks       int       `json:"tasks"`
	Counts      Counts    `json:"counts"`
	Submitted   time.Time `json:"submitted"`
	Started     time.Time `json:"started,omitzero"` // when its first task did, as far as is known
	Ended       time.Time `json:"ended,omitzero"`
	CancelledBy string    `json:"cancelled_by,omitempty"`
	CancelledAt time.Time `json:"cancelled_at,omitzero"`
	HeldBy      string    `json:"held_by,omitempty"` // who keeps it from starting
	Usage       Usage     `json:"usage"`
	Ran         string    `json:"ran,omitempty"`      // the nodes that its tasks ended on, as a hostlist
	Attempts    int       `json:"attempts,omitempty"` // that are over
	Code        int       `json:"code"`               // exit status: the first failed task's, or 0; -1 when a signal ended it
	Signal      string    `json:"signal,omitempty"`
	Reason      Reason    `json:"reason,omitzero"` // why it waits

	// Keep is, in answer to a change of the time limit, the nodes where what runs keeps the limit that it began with:
	// their agent or keeper is of an earlier version.
	Keep []string `json:"keep,omitempty"`
}

// Counts is how many of a job's tasks are in each state.
type Counts struct {
	Pending   int `json:"pending"`
	Running   int `json:"running"`
	Done      int `json:"done"`
	Failed    int `json:"failed"`
	Cancelled int `json:"cancelled"`
}

// Placement is an attempt on a node.
type Placement struct {
	Key
	Node    string    `json:"node"`
	Since   time.Time `json:"since"`             // when it was handed over
	Waiting bool      `json:"waiting,omitempty"` // not started: handed over ahead of time
	Others  []string  `json:"others,omitempty"`  // the other nodes of its allocation
}

// Load is what a node does.
type Load struct {
	Name    string `json:"name"`
	Cores   int    `json:"cores"`
	Used    int    `json:"used"` // cores
	Memory  int64  `json:"memory"`
	MemUsed int64  `json:"mem_used"` // bytes reserved by what runs
	Running int    `json:"running"`  // attempts
	Waiting int    `json:"waiting"`
	Untold  bool   `json:"untold,omitempty"` // the head has just started, and the node has not said yet what it does
}

// Job is the summary of one job; ok is false when it never was or is forgotten.
func (s *State) Job(id ID) (sum Summary, ok bool) {
	j := s.jobs[id]
	if j == nil {
		return sum, false
	}
	return s.summary(j), true
}

// Jobs is all remembered jobs by number.
func (s *State) Jobs() []Summary { return s.List(ListRequest{}) }

// List is the newest jobs that are asked for, by number.
func (s *State) List(req ListRequest) []Summary {
	jobs := slices.DeleteFunc(s.inOrder(), func(j *job) bool { return !req.wants(j) })
	if req.Limit > 0 {
		jobs = jobs[max(0, len(jobs)-req.Limit):]
	}
	list := make([]Summary, len(jobs))
	for i, j := range jobs {
		list[i] = s.summary(j)
	}
	return list
}

// Open counts the tasks of jobs that have not ended.
func (s *State) Open() (c Counts) {
	for _, j := range s.jobs {
		if j.ended.IsZero() {
			counts := s.counts(j)
			c.Pending += counts.Pending
			c.Running += counts.Running
		}
	}
	return c
}

// HasWork reports whether a node has an attempt of the job.
func (s *State) HasWork(name string, id ID) bool {
	n, j := s.nodes[name], s.jobs[id]
	if n == nil || j == nil {
		return false
	}
	for _, k := range n.held() {
		if k.Job == id {
			return true
		}
	}
	return false
}

// Awaits reports whether a result of this attempt from this node would count.
func (s *State) Awaits(name string, k Key) bool {
	n := s.nodes[name]
	if _, _, ok := s.current(n, k); ok {
		return true
	}
	j, task, ok := s.find(k)
	return ok && j.pending.Contains(task) && s.mayBe(j, task, k.Attempt)
}

// Spec is what was submitted as a job; an ended one's script and environment are not kept.
func (s *State) Spec(id ID) (Spec, bool) {
	j := s.jobs[id]
	if j == nil {
		return Spec{}, false
	}
	return j.spec, true
}

// Last is the number of the newest job, ever.
func (s *State) Last() ID { return s.last }

// Failures is how the first 1,000 of a job's failed tasks failed, in the order they did.
func (s *State) Failures(id ID) []Failure {
	j := s.jobs[id]
	if j == nil {
		return nil
	}
	return slices.Clone(j.failures)
}

// Placements is a job's attempts on nodes, by index.
func (s *State) Placements(id ID) []Placement {
	j := s.jobs[id]
	if j == nil {
		return nil
	}
	list := make([]Placement, 0, len(j.active))
	for _, task := range j.activeTasks() {
		a := j.active[task]
		k := j.key(task, a.attempt)
		p := Placement{Key: k, Node: a.node.name, Since: a.since, Waiting: find(a.node.slots.waiting, k) >= 0}
		for _, n := range a.others {
			p.Others = append(p.Others, n.name)
		}
		list = append(list, p)
	}
	return list
}

// Tasks is the indices of a job's tasks in one state, written as an array: "1-40,44".
func (s *State) Tasks(id ID, state TaskState) string {
	j := s.jobs[id]
	if j == nil {
		return ""
	}
	switch state {
	case Done:
		return j.array.Indices(&j.done)
	case Failed:
		return j.array.Indices(&j.failed)
	case Cancelled:
		return j.array.Indices(&j.cancelled)
	}
	tasks := j.pending.Clone()
	if state == Running {
		tasks = Ranges{}
	}
	for task := range j.active {
		if (state == Pending) == j.waits(task) {
			tasks.Add(task)
		}
	}
	return j.array.Indices(&tasks)
}

// TaskState is where one task of a job stands; ok is false when there is no such task.
func (s *State) TaskState(id ID, index int) (state TaskState, ok bool) {
	j, task, ok := s.find(Key{Job: id, Index: index})
	if !ok {
		return "", false
	}
	_, placed := j.active[task]
	switch {
	case j.done.Contains(task):
		return Done, true
	case j.failed.Contains(task):
		return Failed, true
	case j.cancelled.Contains(task):
		return Cancelled, true
	case placed && !j.waits(task):
		return Running, true
	}
	return Pending, true
}

// Load is what a node does. After a start of the head, each may still do what an earlier epoch handed out, until it has
// said what it does or is waited for no longer.
func (s *State) Load(name string) Load {
	load := Load{Name: name}
	n := s.nodes[name]
	if load.Untold = !s.window.IsZero() && (n == nil || !n.told); n != nil {
		load.Cores, load.Used, load.Memory, load.MemUsed = n.slots.Cores, n.slots.cpus, n.slots.Memory, n.slots.memory
		load.Running, load.Waiting = len(n.slots.running), len(n.slots.waiting)
	}
	return load
}

// Drained reports whether a node gets no new work.
func (s *State) Drained(name string) bool {
	n := s.nodes[name]
	return n != nil && n.drained
}

// Selections is every Selection that an open job uses, in order; see Eligible.
func (s *State) Selections() []Selection {
	list := make([]Selection, 0, len(s.selections))
	for sel := range s.selections {
		list = append(list, sel)
	}
	sorts.By(list, func(a, b Selection) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.On, b.On))
	})
	return list
}

// GresInUse is every generic resource that an open job takes, in order; see Offered.
func (s *State) GresInUse() []string { return slices.Sorted(maps.Keys(s.gres)) }

// waits reports whether a task that was handed to a node has not started there.
func (j *job) waits(task int) bool {
	a := j.active[task]
	return a.node.slots.waits(j.key(task, a.attempt))
}

func (s *State) counts(j *job) Counts {
	c := Counts{Running: s.runs(j), Done: j.done.Len(), Failed: j.failed.Len(), Cancelled: j.cancelled.Len()}
	c.Pending = j.open() - c.Running
	return c
}

// runs is how many of a job's tasks run. Of a large array far more wait on the nodes than run there, so the nodes
// are looked through if that is less work.
func (s *State) runs(j *job) (n int) {
	if len(j.active) <= len(s.nodes) {
		for task := range j.active {
			if !j.waits(task) {
				n++
			}
		}
		return n
	}
	for _, node := range s.nodes {
		for i := range node.slots.running {
			if a := &node.slots.running[i]; a.Job == j.id && !a.Member {
				n++
			}
		}
	}
	return n
}

func (s *State) summary(j *job) Summary {
	sum := Summary{
		ID: j.id, Spec: j.spec, State: j.state(), Tasks: j.array.Len(),
		Counts: s.counts(j), Reason: s.reason(j),
		Submitted: j.submitted, Started: earlier(j.usage.First, j.begun), Ended: j.ended, HeldBy: j.held, Usage: j.usage,
		Ran: j.ranOn(), Attempts: j.attempts,
	}
	if len(j.failures) > 0 {
		sum.Code, sum.Signal = j.failures[0].Code, j.failures[0].Signal
	}
	if j.stopped != nil {
		sum.CancelledBy, sum.CancelledAt = j.stopped.By, j.stopped.At
	}
	return sum
}

func (j *job) state() TaskState {
	switch {
	case j.ended.IsZero() && len(j.active) == 0 && j.done.Len()+j.failed.Len() == 0:
		return Pending
	case j.ended.IsZero():
		return Running
	case j.failed.Len() > 0:
		return Failed
	case j.cancelled.Len() > 0:
		return Cancelled
	}
	return Done
}

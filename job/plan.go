package job

import (
	"slices"
	"time"
)

const (
	// headWindow is how long after its start the head waits for nodes to say what they hold before it places that work anew.
	headWindow = 15 * time.Second
	// refusalPause is how long a node that refused work gets none.
	refusalPause = 5 * time.Second
)

// Why attempts were killed or moved, as people read it.
const (
	whyCancelled  = "the job was cancelled"
	whySuperseded = "the task was placed anew meanwhile"
	whyDown       = "the node is down"
	whyGone       = "the node was removed"
	whyMissing    = "the node no longer has it"
	whyRequeued   = "it was requeued"
	whyOver       = "its allocation is over"
)

// Step lets an event happen to the state at a time and returns what is to be done
// about it, in this order. It is the whole of the scheduler's judgement: it reads no
// clock, does nothing itself, and from the same state and event comes the same answer.
func Step(s *State, ev Event, now time.Time) []Action {
	st := &turn{s: s, now: now}
	s.now, s.planned = now, 0
	_, ticked := ev.(Tick)
	st.happen(ev)
	st.commit()
	st.due()
	st.touch()
	st.place()
	st.touch() // jobs that wait for others to begin
	return st.actions(st.wake(ticked))
}

func (st *turn) happen(ev Event) {
	s := st.s
	switch ev := ev.(type) {
	case HeadStarted:
		st.headStarted(ev.Expect)
	case Submitted:
		st.submitted(ev)
	case Cancel:
		st.cancel(ev)
	case Eligible:
		s.setSelection(ev.Selection, ev.Nodes)
	case Offered:
		for _, n := range s.index.nodes {
			n.offer(ev.Gres, ev.Nodes[n.name])
		}
	case Partitions:
		s.setPartitions(ev.List)
	case Hold:
		st.hold(ev)
	case Requeue:
		st.requeue(ev)
	case Alter:
		st.alter(ev)
	case NodeUp:
		st.nodeUp(ev)
	case NodeSuspect:
		if n := s.nodes[ev.Name]; n != nil && n.link == linkUp {
			n.link = linkSuspect
			s.index.put(n)
		}
	case NodeDown:
		if n := s.nodes[ev.Name]; n != nil && n.link != linkDown {
			n.link, n.downAt = linkDown, st.now
			s.watch(n)
			s.index.put(n)
		}
	case NodeGone:
		st.nodeGone(ev.Name)
	case Drained:
		s.drain(s.addNode(ev.Name), true)
	case Undrained:
		s.drain(s.addNode(ev.Name), false)
	case Started:
		st.started(ev)
	case Ended:
		st.results(s.nodes[ev.Node], ev.Node, ev.Results)
	case Rejected:
		st.rejected(ev)
	}
}

// headStarted opens the jobs that the journal brought back.
func (st *turn) headStarted(expect []string) {
	s := st.s
	st.rec = appendHead(st.rec, s.epoch+1)
	s.applyHead(s.epoch + 1)
	s.headAfter = st.seq()
	s.remember()
	s.touched = nil
	for _, j := range s.inOrder() {
		if !j.ended.IsZero() {
			continue
		}
		s.openJob(j)
		s.window = st.now.Add(headWindow)
		s.touched = append(s.touched, j)
	}
	if s.window.IsZero() || expect == nil {
		return
	}
	s.expect = map[string]bool{}
	for _, name := range expect {
		s.expect[name] = true
	}
}

// closeWindow gives up waiting for attempts that no node has claimed since the head started.
func (st *turn) closeWindow() {
	s := st.s
	s.window, s.expect = time.Time{}, nil
	for _, j := range s.inOrder() {
		if j.ended.IsZero() && j.stopped != nil {
			st.cancelTasks(j, j.pending.Clone())
		} else if j.ended.IsZero() {
			st.cancelTasks(j, j.pending.Common(&j.stopping))
		}
		s.settle(j)
	}
	for _, n := range s.index.nodes {
		for _, a := range n.slots.all() {
			if _, _, ok := s.holder(n, a.Key); !ok && a.Member {
				st.send(&st.kills, n.name, a.Key, whySuperseded)
			}
		}
	}
}

func (st *turn) submitted(ev Submitted) {
	s, id := st.s, st.s.last+1
	if known, ok := s.tokens[tokenOf(ev.Spec)]; ok {
		st.accepted = known
		return
	}
	j, err := s.applySubmitted(id, ev.Spec, st.now)
	if err != nil {
		return // not validated: nothing was accepted
	}
	st.rec = appendSubmitted(st.rec, id, ev.Spec)
	st.accepted = id
	s.openJob(j)
	s.setSelection(ev.Spec.selection(), ev.Nodes)
	j.after = st.seq()
	s.touched = append(s.touched, j)
	s.settle(j)
}

func (st *turn) cancel(ev Cancel) {
	s := st.s
	j := s.jobs[ev.ID]
	if j == nil || !j.ended.IsZero() || j.stopped != nil {
		return
	}
	if ev.Index != nil {
		st.cancelTask(j, *ev.Index)
		return
	}
	st.rec = appendStopped(st.rec, j.id, ev.By)
	j.applyStopped(ev.By, st.now)
	s.toldBegun(j)
	s.leave(j)
	for _, task := range j.activeTasks() {
		a := j.active[task]
		st.send(&st.kills, a.node.name, j.key(task, a.attempt), whyCancelled)
	}
	if s.placesAll(j) {
		st.cancelTasks(j, j.pending.Clone())
	}
}

// cancelTask ends one task of a job.
func (st *turn) cancelTask(j *job, index int) {
	task, ok := j.array.Position(index)
	var one Ranges
	one.Add(task)
	a, active := j.active[task]
	switch {
	case !ok || j.stopping.Contains(task):
		return
	case j.pending.Contains(task) && st.s.placesAll(j):
		st.cancelTasks(j, one)
		st.s.settle(j)
		return
	case !active && !j.pending.Contains(task):
		return // it is final
	}
	st.rec = appendStopping(st.rec, j.id, &one)
	j.stopping.AddAll(&one)
	if active {
		st.send(&st.kills, a.node.name, j.key(task, a.attempt), whyCancelled)
	}
}

// isStopped reports whether somebody cancelled a task, alone or with its job.
func (j *job) isStopped(task int) bool { return j.stopped != nil || j.stopping.Contains(task) }

// placesAll reports whether no pending task of the job may run on a node that has not said so yet.
func (s *State) placesAll(j *job) bool { return s.window.IsZero() || j.epoch == s.epoch }

// setSelection says which nodes a selection matches.
func (s *State) setSelection(key Selection, names []string) {
	sel := s.selections[key]
	if sel == nil || slices.Equal(sel.names, names) {
		return
	}
	sel.names = slices.Clone(names)
	s.resolve(sel)
}

// release takes a task off its nodes; those that have a share of it are told, all but one.
func (st *turn) release(j *job, task int, but *node) {
	s, a := st.s, j.active[task]
	if a.recalled {
		s.recalling -= a.cpus
	}
	k := j.key(task, a.attempt)
	if len(a.others) > 0 && a.node != but {
		st.send(&st.kills, a.node.name, k, whyOver)
	}
	for _, n := range a.others {
		if n != but {
			st.send(&st.kills, n.name, k, whyOver)
		}
	}
	j.group.take(-a.cpus, st.now)
	use := useKey{j.spec.Partition, j.spec.User}
	if s.inUse[use] -= a.cpus; s.inUse[use] == 0 {
		delete(s.inUse, use)
	}
	delete(j.active, task)
}

// move takes an attempt from a node without its doing, and from all others that have a share of it.
func (st *turn) move(n *node, k Key, why string) {
	j, task, ok := st.s.holder(n, k)
	if !ok {
		return
	}
	lost := !j.waits(task) && (why == whyDown || why == whyGone || why == whyMissing)
	if why == whyMissing {
		st.release(j, task, nil) // a share may still be on its way there
	} else {
		st.release(j, task, n)
	}
	if j.isStopped(task) {
		var one Ranges
		one.Add(task)
		st.cancelTasks(j, one)
		return
	}
	if lost && j.spec.NoRequeue {
		st.fail(j, task, Failure{Index: k.Index, Attempt: k.Attempt, Node: n.name, Code: -1, Error: why, Ended: st.now}, Usage{})
		st.s.settle(j)
		return
	}
	st.putBack(j, task, k.Attempt, false)
	st.send(&st.moves, n.name, k, why)
}

// due does what its time has come for.
func (st *turn) due() {
	s := st.s
	if !s.window.IsZero() && (!s.window.After(st.now) || s.expect != nil && len(s.expect) == 0) {
		st.closeWindow()
	}
	if s.timers.IsZero() || s.timers.After(st.now) {
		return
	}
	s.timers = time.Time{}
	st.beginDue()
	for _, n := range s.index.nodes {
		if !n.paused.IsZero() && !n.paused.After(st.now) {
			n.paused = time.Time{}
			s.index.put(n)
		}
		s.timers = earlier(s.timers, n.paused)
		if !n.moveAt.IsZero() {
			st.outlast(n)
		}
	}
}

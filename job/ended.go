package job

import (
	"time"

	"bramble/fault"
	"bramble/keeper"
)

// over takes in tasks that have ended.
func (n *Node) over(batch []keeper.Status) {
	ended := make([]*Result, 0, len(batch))
	for _, st := range batch {
		k, err := ParseKey(st.ID)
		if err != nil {
			n.stepOver(st)
			continue
		}
		if n.holdsSteps(k) {
			n.ended.Go(func() { n.overWithSteps(k, st) })
			continue
		}
		if r := n.outcome(k, st); r != nil {
			ended = append(ended, r)
		}
	}
	n.finish(ended...)
}

// overWithSteps takes in the end of an allocation's command; its steps here end with it.
func (n *Node) overWithSteps(k Key, st keeper.Status) {
	n.endSteps(k)
	if n.life.Err() == nil {
		if r := n.outcome(k, st); r != nil {
			n.finish(r)
		}
	}
}

// outcome is the result of a task that has ended; nil when it is not to be reported, or not yet.
func (n *Node) outcome(k Key, st keeper.Status) *Result {
	if given(st) {
		n.again(k, st)
		return nil
	}
	n.mu.Lock()
	spec := n.specs[k.Job]
	r := resultOf(k, st)
	if al := n.allocations[k]; al != nil && r.Error == "" && !r.Timeout && !r.Exit.OK() {
		r.Error = al.why
	}
	n.mu.Unlock()
	if spec.brings() && r.Error == "" {
		n.ended.Go(func() { n.collect(r, spec) })
		return nil
	}
	return r
}

// finish frees attempts' slots and has their results reported.
func (n *Node) finish(ended ...*Result) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range ended {
		n.conclude(r)
	}
	n.start()
}

// conclude takes an attempt from those that run to the results. n.mu is held.
func (n *Node) conclude(r *Result) {
	r.Error = cut(r.Error)
	k := r.Key()
	if n.results[k] == nil {
		n.enter(k)
		n.results[k] = r
		n.say(k)
	}
	n.closeAllocation(k)
	if i := find(n.slots.running, k); i >= 0 && !n.slots.running[i].usual(n.specs[k.Job]) {
		n.takes[k] = n.slots.running[i]
	}
	n.slots.Remove(k)
	delete(n.killed, k)
	delete(n.late, k)
	delete(n.ahead, k)
}

// again gives back a task that was not ended by its own doing.
func (n *Node) again(k Key, st keeper.Status) {
	n.refuse(k, st.Error)
	if err := n.Keeper.Forget(n.life, []string{st.ID}); err != nil {
		n.Log.Debug("forget", "task", st.ID, "error", err)
	}
}

// collect takes back what a task made, however long the head is away, then reports it.
func (n *Node) collect(r *Result, spec Spec) {
	for wait := time.Second; ; wait = min(2*wait, 30*time.Second) {
		ref, err := n.returned(n.life, r.Key(), spec)
		if err == nil {
			r.Others, err = n.bringAll(r.Key(), spec)
		}
		if n.life.Err() != nil {
			return // the keeper tells the next agent that it has ended
		}
		if err == nil {
			r.Returns = ref
			break
		}
		if !fault.Is(err, fault.Unreachable) || n.isKilled(r.Key()) {
			r.Error = "its files could not be brought back: " + err.Error()
			break
		}
		n.Log.Warn("files of a task not brought back; trying again", "task", r.Key().String(), "error", err)
		pause(n.life, wait)
	}
	n.finish(r)
}

func resultOf(k Key, st keeper.Status) *Result {
	r := &Result{Job: k.Job, Index: k.Index, Attempt: k.Attempt, Started: st.Started, Ended: st.Ended, Error: st.Error,
		Timeout: st.TimedOut, Stdout: st.SmallOut, Stderr: st.SmallErr, OutSize: st.Stdout, ErrSize: st.Stderr, Dropped: st.Dropped}
	if st.Exit != nil {
		r.Exit = *st.Exit
	}
	return r
}

package job

import (
	"context"
	"time"

	"bramble/bus"
	"bramble/keeper"
)

// How a node sees to the time limits of what it runs, which may change meanwhile.

// limiter is the keeper if it takes limits, else nil.
func (n *Node) limiter() keeper.Limiter {
	if l, ok := n.Keeper.(keeper.Limiter); ok && l.TakesLimits() {
		return l
	}
	return nil
}

// limit takes in the time limits of jobs of which attempts are here.
func (n *Node) limit(_ context.Context, _ bus.Caller, news limitsNews) (none, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing || !n.fresh(news.Stamp) {
		return none{}, errLate
	}
	for id, limit := range news.Limits {
		spec, known := n.specs[id]
		if n.here[id] == nil || !known || spec.Timeout == limit {
			continue // what has yet to be told the spec is told it with the limit
		}
		spec.Timeout, n.limits[id] = limit, true
		n.respec(id, spec)
		n.spawn(func() { n.relimit(id) })
	}
	return none{}, nil
}

// relimit gives what the keeper has of a job the limit that the job has now, and warns it by that, however often it takes.
// Last it keeps the limit for a later agent, which until then is told anew.
func (n *Node) relimit(id ID) {
	for n.life.Err() == nil {
		err := n.limitAll(id)
		if err == nil {
			return
		}
		n.Log.Warn("tasks do not get their other time limit; trying again", "job", id, "error", err)
		pause(n.life, time.Second)
	}
}

func (n *Node) limitAll(id ID) error {
	n.limiting.Lock()
	defer n.limiting.Unlock()
	n.mu.Lock()
	spec, here := n.specs[id], n.here[id] != nil
	n.mu.Unlock()
	l := n.limiter()
	if !here || l == nil {
		return nil
	}
	list, err := l.List(n.life)
	if err != nil {
		return err
	}
	var ids []string
	for _, st := range list {
		if k, err := ParseKey(st.ID); err == nil && k.Job == id && st.Running {
			ids = append(ids, st.ID)
			if !st.Waiting {
				n.mu.Lock()
				n.forewarn(k, spec, st.Started)
				n.mu.Unlock()
			}
		}
	}
	if err := l.Limit(n.life, ids, spec.Timeout); err != nil {
		return err
	}
	n.making.Lock()
	defer n.making.Unlock()
	if _, err := n.readSpec(id); err != nil {
		return nil // the job is over, or has yet to be written down
	}
	return n.writeSpec(id, spec)
}

// forewarn sends an attempt that began just now, or at a time, the signal that its job wants before its time is up, in the
// place of what it was to be sent before. n.mu is held.
func (n *Node) forewarn(k Key, spec Spec, began time.Time) {
	if t := n.warned[k]; t != nil {
		t.Stop()
		delete(n.warned, k)
	}
	if spec.Signal == "" || spec.Timeout == 0 || !n.here[k.Job][k] {
		return
	}
	n.warned[k] = time.AfterFunc(time.Until(began.Add(spec.Timeout-spec.SignalBefore)), func() { n.warn(k, spec) })
}

func (n *Node) warn(k Key, spec Spec) {
	if n.life.Err() != nil || !n.runs(k) {
		return
	}
	if err := n.Keeper.Signal(n.life, k.String(), toKeeper(spec.Signal, spec.SignalBatch)); err != nil && n.life.Err() == nil {
		n.Log.Warn("a task was not warned of its end", "task", k.String(), "error", err)
	}
}

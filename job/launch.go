package job

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"bramble/bus"
	"bramble/fault"
	"bramble/host"
	"bramble/keeper"
)

// starter prepares tasks and hands them to the keeper, many at once.
func (n *Node) starter(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.begin:
			n.mu.Lock()
			attempts := n.starts
			n.starts = nil
			n.mu.Unlock()
			n.launch(ctx, attempts)
		}
	}
}

// launch starts attempts together, but for those that have to wait for something first.
func (n *Node) launch(ctx context.Context, attempts []Attempt) {
	tasks := make([]keeper.Task, 0, len(attempts))
	for _, a := range attempts {
		n.mu.Lock()
		spec, known := n.specs[a.Job]
		n.mu.Unlock()
		switch {
		case a.Member:
			n.ended.Go(func() { n.reserve(ctx, a) })
		case !known || spec.Inputs != "":
			n.ended.Go(func() { n.hand(ctx, n.prepared(ctx, a, nil)) })
		default:
			tasks = n.prepared(ctx, a, tasks)
		}
	}
	n.hand(ctx, tasks)
}

// prepared adds a task that is ready to start; one that was killed meanwhile is given up.
func (n *Node) prepared(ctx context.Context, a Attempt, tasks []keeper.Task) []keeper.Task {
	k := a.Key
	on, err := n.groundOf(ctx, k)
	var t keeper.Task
	if err == nil {
		t, err = n.prepare(ctx, a, on)
	}
	if err == nil {
		t.Copy, err = n.copyOf(k, &on.spec)
	}
	switch {
	case ctx.Err() != nil:
		return tasks // the next agent finds it neither here nor at the keeper
	case n.isKilled(k):
		n.refuse(k, "it was ended before it had started")
	case passing(err):
		n.Log.Warn("a task cannot be started here now", "task", k.String(), "error", err)
		n.refuse(k, err.Error())
	case err != nil:
		n.failed(k, err)
	default:
		n.isReady(k)
		t.Lanes = n.lanesOf(k)
		return append(tasks, t)
	}
	return tasks
}

// passing reports whether an error is the machine's or the moment's and not the task's, so that it may run elsewhere.
func passing(err error) bool {
	for _, e := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO, syscall.EMFILE, syscall.ENFILE, errNoSpec} {
		if errors.Is(err, e) {
			return true
		}
	}
	return fault.Is(err, fault.Unreachable) || fault.Is(err, fault.Full)
}

var errNoSpec = errors.New("the head does not say what the job is")

// spec is what the job is, asked of the head, however long it is away, where it was not told or is forgotten.
func (n *Node) spec(ctx context.Context, k Key) (Spec, error) {
	n.mu.Lock()
	spec, known := n.specs[k.Job]
	n.mu.Unlock()
	if known {
		return spec, nil
	}
	for {
		err := n.Conn.Call(ctx, bus.From("job", n.Conn.Who().Name, "spec"), idRequest{k.Job}, &spec)
		if err == nil {
			break
		}
		if n.isKilled(k) || ctx.Err() != nil || !fault.Is(err, fault.Unreachable) {
			return spec, fmt.Errorf("%w: %w", errNoSpec, err)
		}
		pause(ctx, time.Second)
	}
	n.mu.Lock()
	n.specs[k.Job] = spec
	n.mu.Unlock()
	return spec, nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func (n *Node) killsOrLimits() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.killed) > 0 || len(n.limits) > 0
}

func (n *Node) isKilled(k Key) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.killed[k]
}

// hand gives tasks to the keeper until it has them; a repeated start is harmless.
func (n *Node) hand(ctx context.Context, tasks []keeper.Task) {
	if len(tasks) == 0 {
		return
	}
	for {
		err := n.Keeper.Start(ctx, tasks)
		if err == nil || ctx.Err() != nil {
			break
		}
		if fault.Is(err, fault.Misused) {
			n.handEach(ctx, tasks, err)
			return
		}
		n.Log.Warn("the keeper did not take tasks; trying again", "error", err)
		pause(ctx, time.Second)
	}
	unusual := n.killsOrLimits()
	for _, t := range tasks { // the signal, or another limit, may have come before the task
		if !unusual && t.Timeout == 0 {
			continue
		}
		k, _ := ParseKey(t.ID)
		if n.isKilled(k) {
			n.Keeper.Signal(ctx, t.ID, "TERM")
		}
		n.mu.Lock()
		spec := n.specs[k.Job]
		if n.limits[k.Job] && spec.Timeout != t.Timeout {
			n.spawn(func() { n.relimit(k.Job) })
		}
		n.forewarn(k, spec, time.Now())
		n.mu.Unlock()
	}
}

// handEach starts tasks one by one, of which the keeper refuses some.
func (n *Node) handEach(ctx context.Context, tasks []keeper.Task, err error) {
	if len(tasks) == 1 {
		k, _ := ParseKey(tasks[0].ID)
		n.failed(k, err)
		return
	}
	for i := range tasks {
		n.hand(ctx, tasks[i:i+1])
	}
}

// end asks a task to end, then makes it.
func (n *Node) end(k Key) {
	n.mu.Lock()
	al := n.allocations[k]
	n.mu.Unlock()
	if al != nil && al.Member {
		if al.isMade() { // else whoever makes it ready sees that it is over
			n.vacate(k)
		}
		return
	}
	if err := n.Keeper.Signal(n.life, k.String(), "TERM"); err != nil {
		n.Log.Debug("signal", "task", k.String(), "error", err)
	}
	for {
		pause(n.life, keeper.DefaultGrace)
		n.mu.Lock()
		here := n.slots.holds(k)
		n.mu.Unlock()
		if !here || n.life.Err() != nil {
			return
		}
		n.Keeper.Signal(n.life, k.String(), "KILL")
	}
}

// refuse gives back an attempt that has not started and frees its slot.
func (n *Node) refuse(k Key, why string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drop(k, cut(why))
	n.start()
}

// failed reports an attempt that could not be started.
func (n *Node) failed(k Key, err error) {
	now := time.Now()
	n.finish(&Result{Job: k.Job, Index: k.Index, Attempt: k.Attempt, Started: now, Ended: now, Exit: host.Exit{Code: -1}, Error: err.Error()})
}

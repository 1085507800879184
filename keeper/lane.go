package keeper

import (
	"context"
	"slices"
	"time"
)

const (
	// fullRetry is how long the record of an end waits for room on the disk.
	fullRetry = time.Second
	// gatherFor is how long ends wait for others to share a write to the disk and a message with, while so many
	// tasks wait to begin that nobody needs to hear of an end.
	gatherFor = 100 * time.Millisecond
)

// done is a task that has ended, on its way to the disk.
type done struct {
	task    *task
	status  Status
	entry   entry
	written bool // in the journal, but not yet safe from a power cut
}

// fork starts a task; the error says why that was not possible.
func (l *Local) fork(t *task) error {
	err := t.run.fork(l.Host, &l.buffers)
	l.mu.Lock()
	defer l.mu.Unlock()
	t.status.Started = time.Now()
	if err == nil {
		t.status.Pid = t.run.proc.Pid()
	}
	return err
}

// carry sees a task that was forked to its end, then those that may begin in its place, one by one.
func (l *Local) carry(t *task, err error) {
	for {
		over := t.run
		l.end(t, err)
		if t = l.next(over); t == nil {
			return
		}
		l.fill()
		err = l.fork(t)
	}
}

// next takes the first task that waits, if it may begin now that another has ended, or none.
func (l *Local) next(ended *run) *task {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ended != nil && ended.task.counts() {
		l.busy--
	}
	if len(l.queue) == 0 || l.busy >= l.queue[0].run.task.Lanes {
		return nil
	}
	t := l.queue[0]
	l.queue[0] = nil
	l.queue = l.queue[1:]
	l.busy++
	t.status.Waiting = false
	if !l.plenty() {
		l.lacks()
	}
	return t
}

// lacks lets ends be told at once, so that more comes to do.
func (l *Local) lacks() {
	select {
	case l.low <- struct{}{}:
	default:
	}
}

// fill begins what else may begin.
func (l *Local) fill() {
	for t := l.next(nil); t != nil; t = l.next(nil) {
		go func() { l.carry(t, l.fork(t)) }()
	}
}

// end waits until a task has ended and hands its status on.
func (l *Local) end(t *task, err error) {
	l.mu.Lock()
	status := t.status
	l.mu.Unlock()
	if err != nil {
		status.Error, status.Ended = err.Error(), time.Now()
	} else {
		exit, ended := t.run.wait()
		status.Exit, status.Ended = &exit, ended
	}
	if err := t.run.closeCopies(); err != nil && status.Error == "" {
		status.Error = err.Error()
	}
	d := l.finished(t, status)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.handOn(d)
}

// counts reports whether a task takes a lane. One that somebody talks with is part of another's.
func (t Task) counts() bool { return t.Stdio == "" }

// finished writes down how a task ended. Should there be no room, it is written again later.
func (l *Local) finished(t *task, status Status) *done {
	status.Running, status.Waiting = false, false
	tail := t.run.settle(&status)
	if !status.small() {
		syncDir(l.output)
	}
	d := &done{task: t, status: status, entry: endedEntry(status, tail)}
	d.written = l.journal.append(d.entry) == nil
	return d
}

// handOn has ends made safe and told. The caller holds mu.
func (l *Local) handOn(ends ...*done) {
	l.done = append(l.done, ends...)
	if !l.settling && len(l.done) > 0 {
		l.settling = true
		go l.settle()
	}
}

// settle puts ends on disk, as many at once as have gathered, then tells them.
func (l *Local) settle() {
	for {
		l.gather()
		l.mu.Lock()
		ends := l.done
		l.done = nil
		l.settling = len(ends) > 0
		l.mu.Unlock()
		if len(ends) == 0 {
			return
		}
		kept := l.record(ends)
		for !kept && !l.isStopping() {
			time.Sleep(fullRetry)
			kept = l.record(ends)
		}
		if kept { // else the next keeper reports them as lost
			l.publish(ends)
		}
		l.runs.Add(-len(ends))
	}
}

// gather waits for ends while there is plenty to do.
func (l *Local) gather() {
	l.mu.Lock()
	plenty := l.plenty()
	select {
	case <-l.low: // of an earlier time
	default:
	}
	l.mu.Unlock()
	if !plenty {
		return
	}
	timer := time.NewTimer(gatherFor)
	defer timer.Stop()
	select {
	case <-l.low:
	case <-timer.C:
	}
}

// plenty reports whether more tasks wait than run. The caller holds mu.
func (l *Local) plenty() bool { return len(l.queue) > l.busy }

func (l *Local) record(ends []*done) bool {
	for _, d := range ends {
		if d.written {
			continue
		}
		if err := l.journal.append(d.entry); err != nil {
			l.Log.Error("a task's end could not be written down", "task", d.status.ID, "error", err)
			return false
		}
		d.written = true
	}
	err := l.journal.sync()
	if err != nil {
		l.Log.Error("the ends of tasks could not be put on disk", "tasks", len(ends), "error", err)
	}
	return err == nil
}

func (l *Local) isStopping() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stopping
}

// publish makes ends that are on disk known.
func (l *Local) publish(ends []*done) {
	runs := make([]*run, len(ends))
	l.mu.Lock()
	for i, d := range ends {
		runs[i] = d.task.run
		l.tell(d.task, d.status)
	}
	l.wake()
	if l.running -= len(ends); l.running == 0 {
		l.relax()
	}
	l.mu.Unlock()
	for i, r := range runs {
		r.close(ends[i].status)
	}
}

// tell puts a status on disk behind those told before. The caller holds mu, and calls wake.
func (l *Local) tell(t *task, status Status) {
	l.count++
	t.status, t.run, t.number = status, nil, l.count
	l.ended = append(l.ended, t)
}

func (l *Local) wake() {
	close(l.news)
	l.news = make(chan struct{})
}

// Queues implements Queue.
func (l *Local) Queues() bool { return true }

// Withdraw implements Queue.
func (l *Local) Withdraw(ctx context.Context, ids []string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	wanted := map[string]bool{}
	for _, id := range ids {
		wanted[id] = true
	}
	l.withdraw(Withdrawn, func(t *task) bool { return wanted[t.status.ID] })
	return ctx.Err()
}

// withdraw ends waiting tasks before they have begun. The caller holds mu.
func (l *Local) withdraw(why string, is func(*task) bool) {
	l.queue = slices.DeleteFunc(l.queue, func(t *task) bool {
		if !is(t) {
			return false
		}
		status := t.status
		status.Error, status.Ended = why, time.Now()
		close(t.run.forked)
		l.handOn(l.finished(t, status))
		return true
	})
	l.lacks()
}

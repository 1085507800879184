package keeper

import (
	"cmp"
	"os"
	"sync"
	"syscall"
	"time"

	"bramble/host"
)

const (
	// drainTime is how long a pipe may stay open after its task's tree was killed: a process
	// outside the tree may hold it.
	drainTime = time.Second
	// readAfter is how long a task's output waits in its pipes before somebody reads them: it is
	// cheaper to empty those of a short task once, when it has ended.
	readAfter = 10 * time.Millisecond
)

// run is a task from its admission to the record of its end.
type run struct {
	task     Task
	out, err *stream
	copies   []*copied
	forked   chan struct{} // closed when the process is there or could not be started
	buffers  *sync.Pool
	started  time.Time

	mu       sync.Mutex
	proc     host.Process // nil before the fork and after the end
	pipes    [2]int
	readers  [2]*reader  // nil before readAfter
	timer    *time.Timer // of the next signal
	limit    time.Duration
	limited  bool // its time is seen to
	ending   bool // SIGTERM was sent, and SIGKILL follows
	timedOut bool
	stopped  bool
	talks    bool          // its files are somebody else's
	screen   chan struct{} // closed when all that a terminal showed was passed on; nil without one
}

func newRun(t Task, dir *os.Root) *run {
	limit := cmp.Or(t.Cap, DefaultCap)
	return &run{
		task:   t,
		limit:  t.Timeout,
		out:    &stream{dir: dir, name: outputName(t.ID, "stdout"), cap: limit},
		err:    &stream{dir: dir, name: outputName(t.ID, "stderr"), cap: limit},
		forked: make(chan struct{}),
	}
}

// fork starts the task's process and the readers of its pipes.
func (r *run) fork(h host.Host, buffers *sync.Pool) error {
	defer close(r.forked)
	if err := r.openCopies(h); err != nil {
		return err
	}
	cmd := host.Command{ID: r.task.ID, Args: r.task.Args, Env: r.task.Env, Dir: r.task.Dir,
		User: r.task.User, Umask: r.task.Umask, Limits: r.task.Limits}
	if r.task.Stdio != "" {
		return r.forkTalking(h, cmd)
	}
	out, outEnd, err := openPipe()
	if err != nil {
		return err
	}
	defer outEnd.Close()
	errs, errEnd, err := openPipe()
	if err != nil {
		syscall.Close(out)
		return err
	}
	defer errEnd.Close()
	cmd.Stdout, cmd.Stderr = outEnd, errEnd
	proc, err := h.Start(cmd)
	if err != nil {
		syscall.Close(out)
		syscall.Close(errs)
		return err
	}
	r.began(proc, out, errs, buffers)
	return nil
}

func (r *run) began(proc host.Process, out, errs int, buffers *sync.Pool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.proc, r.pipes, r.buffers, r.started = proc, [2]int{out, errs}, buffers, time.Now()
}

// lasts sees to a task that does not end at once.
func (r *run) lasts() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read()
	r.limitTime()
}

// limitTime sees to it that the task ends when it has had its time. The caller holds mu.
func (r *run) limitTime() {
	r.limited = true
	if r.limit > 0 && r.timer == nil {
		r.timer = time.AfterFunc(r.limit-time.Since(r.started), func() { r.terminate(&r.timedOut) })
	}
}

// setLimit gives the task another time, counted from when it began, unless it is being ended already.
func (r *run) setLimit(limit time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.limit = limit
	if r.ending || !r.limited {
		return // limitTime has yet to see to it
	}
	if r.timer != nil && !r.timer.Stop() {
		return // its time is up
	}
	r.timer = nil
	if r.proc != nil {
		r.limitTime()
	}
}

// reader is a goroutine that fills a stream.
type reader struct {
	pipe *os.File
	done chan struct{}
}

// read starts the readers, which then own the pipes.
func (r *run) read() {
	for i, s := range []*stream{r.out, r.err} {
		next := &reader{pipe: os.NewFile(uintptr(r.pipes[i]), s.name), done: make(chan struct{})}
		r.readers[i] = next
		go func() {
			defer close(next.done)
			s.fill(next.pipe, r.buffers)
		}()
	}
}

// wait returns when the leader has ended, what it left behind is killed, and its output is kept.
func (r *run) wait() (host.Exit, time.Time) {
	proc, limit := r.proc, cmp.Or(r.task.Timeout, readAfter)
	if !r.talks && !proc.EndsWithin(min(limit, readAfter)) {
		r.lasts()
	}
	exit := proc.Wait()
	ended := time.Now()
	r.mu.Lock()
	r.proc = nil
	if r.timer != nil {
		r.timer.Stop()
	}
	r.mu.Unlock()
	proc.Kill()
	if !r.talks {
		r.drain()
	} else if r.screen != nil {
		r.lastWords(proc)
	}
	return exit, ended
}

// drain keeps what the dead tree left in the pipes.
func (r *run) drain() {
	if r.readers[0] == nil {
		if r.out.empty(r.pipes[0], r.buffers) && r.err.empty(r.pipes[1], r.buffers) {
			syscall.Close(r.pipes[0])
			syscall.Close(r.pipes[1])
			return
		}
		r.read()
	}
	limit := time.After(drainTime)
	for _, reader := range r.readers {
		select {
		case <-reader.done:
		case <-limit:
			for _, late := range r.readers {
				late.pipe.SetReadDeadline(time.Now())
			}
			limit = nil
			<-reader.done
		}
	}
}

// terminate sends SIGTERM, and SIGKILL to the tree when the grace is over; it notes why, unless the task has ended.
func (r *run) terminate(why *bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.proc == nil {
		return
	}
	*why, r.ending = true, true
	r.proc.Signal(syscall.SIGTERM)
	if r.timer != nil {
		r.timer.Stop()
	}
	r.timer = time.AfterFunc(cmp.Or(r.task.Grace, DefaultGrace), func() { r.signal(syscall.SIGKILL, false) })
}

// signal reaches the group, or alone the command itself; SIGKILL the whole tree. An ended task ignores it.
func (r *run) signal(sig syscall.Signal, alone bool) error {
	type leader interface{ SignalLeader(os.Signal) error }
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.proc == nil:
		return nil
	case sig == syscall.SIGKILL:
		return r.proc.Kill()
	}
	if l, ok := r.proc.(leader); ok && alone {
		return l.SignalLeader(sig)
	}
	return r.proc.Signal(sig)
}

// settle completes the status with what became of the output, and returns what rides along with it.
// The caller syncs the output folder when the status is not small.
func (r *run) settle(s *Status) (tail []byte) {
	s.TimedOut = r.timedOut
	if r.stopped {
		s.Error = Stopped
	}
	r.count(s)
	if !s.small() {
		r.out.settle()
		r.err.settle()
		r.count(s)
	}
	if s.small() {
		out, _, _ := r.out.readAt(0, SmallOutput)
		errs, _, _ := r.err.readAt(0, SmallOutput)
		tail = append(out, errs...)
	}
	return tail
}

// close frees the output's descriptors, and its files when it rides along with the status.
func (r *run) close(s Status) {
	r.out.close(s.small())
	r.err.close(s.small())
}

// count notes how much output there is so far.
func (r *run) count(s *Status) {
	var lost int64
	s.Stdout, s.Dropped = r.out.counts()
	s.Stderr, lost = r.err.counts()
	s.Dropped += lost
}

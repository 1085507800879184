package keeper

import (
	"cmp"
	"os"
	"sync"
	"syscall"
	"time"

	"bramble/host"
)

// drainTime is how long a pipe may stay open after its task's tree was killed: a process
// outside the tree may hold it.
const drainTime = time.Second

// run is a task from its admission to the record of its end.
type run struct {
	task     Task
	out, err *stream
	forked   chan struct{} // closed when the process is there or could not be started

	mu       sync.Mutex
	proc     host.Process // nil before the fork and after the end
	pipes    [2]*os.File
	drained  [2]chan struct{}
	timer    *time.Timer
	timedOut bool
	stopped  bool
}

func newRun(t Task, dir *os.Root) *run {
	limit := cmp.Or(t.Cap, DefaultCap)
	return &run{
		task:   t,
		out:    &stream{dir: dir, name: outputName(t.ID, "stdout"), cap: limit},
		err:    &stream{dir: dir, name: outputName(t.ID, "stderr"), cap: limit},
		forked: make(chan struct{}),
	}
}

// fork starts the task's process and the readers of its pipes.
func (r *run) fork(h host.Host, buffers *sync.Pool) error {
	defer close(r.forked)
	out, outEnd, err := os.Pipe()
	if err != nil {
		return err
	}
	defer outEnd.Close()
	errs, errEnd, err := os.Pipe()
	if err != nil {
		out.Close()
		return err
	}
	defer errEnd.Close()
	proc, err := h.Start(host.Command{
		ID: r.task.ID, Args: r.task.Args, Env: r.task.Env, Dir: r.task.Dir,
		User: r.task.User, Umask: -1, Stdout: outEnd, Stderr: errEnd, Limits: r.task.Limits,
	})
	if err != nil {
		out.Close()
		errs.Close()
		return err
	}
	r.began(proc, out, errs, buffers)
	return nil
}

func (r *run) began(proc host.Process, out, errs *os.File, buffers *sync.Pool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.proc, r.pipes = proc, [2]*os.File{out, errs}
	for i, s := range []*stream{r.out, r.err} {
		r.drained[i] = make(chan struct{})
		go func() {
			defer close(r.drained[i])
			s.fill(r.pipes[i], buffers)
		}()
	}
	if r.task.Timeout > 0 {
		r.timer = time.AfterFunc(r.task.Timeout, func() { r.terminate(&r.timedOut) })
	}
}

// wait returns when the leader has ended, what it left behind is killed, and its output is kept.
func (r *run) wait() (host.Exit, time.Time) {
	proc := r.proc
	exit := proc.Wait()
	ended := time.Now()
	r.mu.Lock()
	r.proc = nil
	if r.timer != nil {
		r.timer.Stop()
	}
	r.mu.Unlock()
	proc.Kill()
	r.drain()
	return exit, ended
}

func (r *run) drain() {
	limit := time.After(drainTime)
	for i := range r.drained {
		select {
		case <-r.drained[i]:
		case <-limit:
			r.pipes[0].SetReadDeadline(time.Now())
			r.pipes[1].SetReadDeadline(time.Now())
			limit = nil
			<-r.drained[i]
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
	*why = true
	r.proc.Signal(syscall.SIGTERM)
	if r.timer != nil {
		r.timer.Stop()
	}
	r.timer = time.AfterFunc(cmp.Or(r.task.Grace, DefaultGrace), func() { r.signal(syscall.SIGKILL) })
}

// signal reaches the group, SIGKILL the whole tree; an ended task ignores it.
func (r *run) signal(sig syscall.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.proc == nil:
		return nil
	case sig == syscall.SIGKILL:
		return r.proc.Kill()
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

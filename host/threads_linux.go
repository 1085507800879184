package host

import (
	"runtime"
	"sync"

	"bramble/fault"

	"golang.org/x/sys/unix"
)

// threads are a few operating system threads with a working folder and umask of their
// own, from which processes are forked: what a thread is set to, its child inherits,
// before the child's account changes and without touching the rest of the program.
type threads struct {
	jobs chan func(*thread)
	quit chan struct{}
	all  sync.WaitGroup

	mu     sync.Mutex
	n      int
	closed bool
}

// maxThreads is enough to keep one fork under way, which is all that Go's fork lock lets through.
const maxThreads = 2

// thread is one of them. Only its own goroutine uses it.
type thread struct {
	private bool // false where the kernel refuses unshare, as in some containers
	base    int  // the folder it stays in between forks
	umask   int
}

func newThreads() *threads {
	return &threads{jobs: make(chan func(*thread)), quit: make(chan struct{})}
}

// do runs f on one of the threads and waits for it.
func (p *threads) do(f func(*thread)) error {
	done := make(chan struct{})
	job := func(t *thread) { defer close(done); f(t) }
	select {
	case p.jobs <- job:
	default:
		if err := p.grow(); err != nil {
			return err
		}
		select {
		case p.jobs <- job:
		case <-p.quit:
			return errClosed()
		}
	}
	<-done
	return nil
}

func errClosed() error {
	return fault.New(fault.Failed, "this host was closed and starts nothing any more")
}

// grow starts a thread unless there are enough.
func (p *threads) grow() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errClosed()
	}
	if p.n < maxThreads {
		p.n++
		p.all.Add(1)
		go p.run()
	}
	return nil
}

// run serves on a thread other than the program's main one, which /proc/PID shows and
// which therefore must stay as it is.
func (p *threads) run() {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		p.serve()
		return
	}
	elsewhere := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		close(elsewhere)
		p.serve()
	}()
	<-elsewhere
	runtime.UnlockOSThread()
}

// serve does jobs on a thread that ends with it: a thread locked to the end is not given back.
func (p *threads) serve() {
	defer p.all.Done()
	t := newThread()
	defer unix.Close(t.base)
	for {
		select {
		case job := <-p.jobs:
			job(t)
		case <-p.quit:
			return
		}
	}
}

func newThread() *thread {
	t := &thread{private: unix.Unshare(unix.CLONE_FS) == nil}
	t.base, _ = unix.Open(".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if t.private {
		t.umask = unix.Umask(0)
		unix.Umask(t.umask)
	}
	return t
}

// enter sets the thread's folder and umask for a child; leave sets them back.
func (t *thread) enter(dir string, umask int) error {
	if !t.private {
		return nil
	}
	if dir != "" {
		if err := unix.Chdir(dir); err != nil {
			return err
		}
	}
	if umask > 0 {
		unix.Umask(umask)
	}
	return nil
}

func (t *thread) leave() {
	if t.private {
		unix.Umask(t.umask)
		if err := unix.Fchdir(t.base); err != nil {
			unix.Chdir("/") // rather than hold on to a task's folder
		}
	}
}

// close ends the threads and waits for them.
func (p *threads) close() {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.quit)
	}
	p.mu.Unlock()
	p.all.Wait()
}

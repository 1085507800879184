package host

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// reaper collects orphans that came to us as subreaper, so that no zombies gather. Leaders
// of tasks are left to their Wait.
type reaper struct {
	hold sync.RWMutex // read-held from a fork until its leader is known

	mu      sync.Mutex
	leaders map[int]*process
	quit    chan struct{} // nil until it runs
	done    chan struct{}
	closed  bool
}

// reapPause is the least time between two looks.
const reapPause = time.Second

func (r *reaper) add(p *process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leaders == nil {
		r.leaders = map[int]*process{}
	}
	r.leaders[p.pid] = p
}

// remove forgets a leader that was waited for, unless its number was given out again meanwhile.
func (r *reaper) remove(p *process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leaders[p.pid] == p {
		delete(r.leaders, p.pid)
	}
}

// wake starts the reaper at the first start after Subreaper was called.
func (r *reaper) wake() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.quit != nil || r.closed || !inheritsOrphans() {
		return
	}
	r.quit, r.done = make(chan struct{}), make(chan struct{})
	go r.run()
}

func (r *reaper) run() {
	defer close(r.done)
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	defer signal.Stop(ended)
	for {
		select {
		case <-ended:
			r.collect()
		case <-r.quit:
			return
		}
		select {
		case <-time.After(reapPause):
		case <-r.quit:
			return
		}
	}
}

// collect waits for dead children of other sessions than ours that are no leader of a
// task; children of our own session were started by other code, which waits for them.
func (r *reaper) collect() {
	self, _ := readProc(os.Getpid())
	for _, p := range processes() {
		if p.parent != self.pid || p.alive() || p.session == self.session {
			continue
		}
		r.hold.Lock()
		r.mu.Lock()
		_, leader := r.leaders[p.pid]
		r.mu.Unlock()
		if !leader {
			syscall.Wait4(p.pid, nil, syscall.WNOHANG, nil)
		}
		r.hold.Unlock()
	}
}

func (r *reaper) close() {
	r.mu.Lock()
	quit, done := r.quit, r.done
	if quit != nil && !r.closed {
		close(quit)
	}
	r.closed = true
	r.mu.Unlock()
	if done != nil {
		<-done
	}
}

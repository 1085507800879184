package static

import "sync"

// usage counts who uses something that is to end at some time.
type usage struct {
	mu    sync.Mutex
	users int
	over  bool
	idle  chan struct{} // closed once over and without users
}

// begin reports whether it may still be used; end waits for as many calls of leave.
func (u *usage) begin() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.over {
		return false
	}
	u.users++
	return true
}

func (u *usage) leave() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.users--; u.users == 0 && u.over {
		close(u.idle)
	}
}

func (u *usage) end() {
	u.mu.Lock()
	if !u.over {
		u.over, u.idle = true, make(chan struct{})
		if u.users == 0 {
			close(u.idle)
		}
	}
	idle := u.idle
	u.mu.Unlock()
	<-idle
}

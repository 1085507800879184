package front

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"bramble/front/vrrp"
	"bramble/host/ether"
)

// sharing is a front's part in who has an address that several of them share.
type sharing struct {
	end     func(why error) // returns when it takes no part any more
	settled chan struct{}   // closed when an address that is to stay has done so, or it is known why not

	mu  sync.Mutex
	err error  // why it takes no part just now
	has string // the address while it is here
}

// shareAgain is how long after an address could not be shared it is tried again.
const shareAgain = 5 * time.Second

// share takes part until leave or hand is called.
func share(o vrrp.Options) *sharing {
	ctx, stop := context.WithCancelCause(context.Background())
	s := &sharing{settled: make(chan struct{})}
	settle := sync.OnceFunc(func() { close(s.settled) })
	if !o.Held {
		settle()
	}
	o.Changed = func(has bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.has = ""; has {
			s.has = o.Address.String()
			settle()
		}
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			err := vrrp.Run(ctx, o)
			s.mu.Lock()
			s.err = err
			s.mu.Unlock()
			settle()
			o.Held = false
			if !wait(ctx, shareAgain) {
				return
			}
		}
	})
	s.end = func(why error) { stop(why); running.Wait() }
	return s
}

// leave lets another front have the address, and returns when it may.
func (s *sharing) leave() {
	if s != nil {
		s.end(nil)
	}
}

// hand leaves the address where it is, for a front of this machine that goes on.
func (s *sharing) hand() {
	if s != nil {
		s.end(vrrp.ErrHanded)
	}
}

// settle waits until an address that is to stay has done so, or cannot.
func (s *sharing) settle(ctx context.Context) {
	if s == nil {
		return
	}
	select {
	case <-s.settled:
	case <-ctx.Done():
	}
}

// stands is the address if it is here, and why no part is taken, nil if it is.
func (s *sharing) stands() (has string, why error) {
	if s == nil {
		return "", nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.has, s.err
}

// shared is what the doors say of an address that is shared; nil: nothing.
func (d Doors) shared() (*vrrp.Options, error) {
	if d.Address == "" || d.Direct {
		return nil, nil
	}
	o, err := vrrp.Parse(d.Address)
	return &o, err
}

// Listen opens a port; at a shared address, nil is none, that is so before this machine has it, and after.
func Listen(ctx context.Context, at string, shared *vrrp.Options) (*net.TCPListener, error) {
	var with net.ListenConfig
	if host, _, err := net.SplitHostPort(at); err == nil && shared != nil {
		if addr, err := netip.ParseAddr(host); err == nil && addr == shared.Address {
			with.Control = ether.Absent
		}
	}
	l, err := with.Listen(ctx, "tcp", at)
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

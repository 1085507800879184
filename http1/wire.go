package http1

import (
	"context"
	"net"
	"slices"
	"syscall"
	"time"
)

// wire is a Transport's connection with an origin. It carries one trip at a time, whose goroutine alone reads from it.
type wire struct {
	net.Conn
	address string
	raw     syscall.RawConn // nil if it has none
	used    bool            // it has given an answer
	expiry  *time.Timer     // while it is kept

	in, memory []byte // received and not yet used, and where that lies
	head       Response
}

// dial connects.
func (t *Transport) dial(ctx context.Context, address string) (*wire, error) {
	connect := t.Dial
	if connect == nil {
		connect = new(net.Dialer).DialContext
	}
	conn, err := connect(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: conn, address: address}
	if c, ok := conn.(syscall.Conn); ok {
		w.raw, _ = c.SyscallConn()
	}
	return w, nil
}

// kept takes a connection that waits, the last one first, for it is the least likely to be closed by the origin. Nil is none.
func (t *Transport) kept(address string) *wire {
	for {
		t.mu.Lock()
		wires := t.idle[address]
		if len(wires) == 0 {
			t.mu.Unlock()
			return nil
		}
		last := len(wires) - 1
		w := wires[last]
		wires[last] = nil
		t.idle[address] = wires[:last]
		t.mu.Unlock()
		if w.expiry.Stop(); w.silent() {
			return w
		}
		w.Close()
	}
}

// keep keeps a trip's connection for the next request.
func (t *Transport) keep(x *trip) {
	const largest = 16 << 10
	w := x.w
	if cap(w.memory) > largest {
		w.memory = nil
	}
	w.used, w.in = true, nil
	w.SetReadDeadline(time.Time{})
	t.mu.Lock()
	defer t.mu.Unlock()
	if x.broken || w.raw == nil || len(t.idle[w.address]) >= or(t.Kept, 64) {
		w.Close()
		return
	}
	if t.idle == nil {
		t.idle = map[string][]*wire{}
	}
	t.idle[w.address] = append(t.idle[w.address], w)
	if idle := or(t.Idle, 4*time.Second); w.expiry == nil {
		w.expiry = time.AfterFunc(idle, func() { t.expired(w) })
	} else {
		w.expiry.Reset(idle)
	}
}

// expired closes a connection that was kept for too long, unless it has just been taken.
func (t *Transport) expired(w *wire) {
	t.mu.Lock()
	wires := t.idle[w.address]
	at := slices.Index(wires, w)
	if at >= 0 {
		if wires = slices.Delete(wires, at, at+1); len(wires) == 0 {
			delete(t.idle, w.address)
		} else {
			t.idle[w.address] = wires
		}
	}
	t.mu.Unlock()
	if at >= 0 {
		w.Close()
	}
}

func hangUpAll(wires []*wire) {
	for _, w := range wires {
		w.expiry.Stop()
		w.Close()
	}
}

// silent reports whether a connection is open and nothing has come over it, which would be the answer to nobody's request.
func (w *wire) silent() bool {
	silent := false
	err := w.raw.Read(func(fd uintptr) bool {
		var one [1]byte
		_, err := syscall.Read(int(fd), one[:])
		silent = err == syscall.EAGAIN
		return true
	})
	return err == nil && silent
}

// more reads behind what there is.
func (w *wire) more() error {
	const least, first = 1 << 10, 4 << 10
	if len(w.in) == 0 {
		w.in = w.memory[:0]
	}
	if cap(w.in)-len(w.in) < least {
		w.memory = append(make([]byte, 0, 2*len(w.in)+first), w.in...)
		w.in = w.memory
	}
	n, err := w.Read(w.in[len(w.in):cap(w.in)])
	if w.in = w.in[:len(w.in)+n]; n > 0 {
		return nil
	}
	return err
}

// fill gives what was read already, or reads.
func (w *wire) fill(p []byte) (int, error) {
	if len(w.in) == 0 {
		return w.Read(p)
	}
	n := copy(p, w.in)
	w.in = w.in[n:]
	return n, nil
}

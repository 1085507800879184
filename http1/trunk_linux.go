package http1

import (
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"
)

// trunk is a loop's connection with an origin. It carries one exchange at a time.
type trunk struct {
	fd     int
	origin *Origin
	x      *exchange // nil while it is kept for the next one
	in     []byte    // what there is of a head
	since  time.Time // of what its time is measured from
	open   bool      // connected
	used   bool      // it has given an answer
	gone   bool
}

// isTrunk marks the events of trunks.
const isTrunk = 1

// dial begins to connect.
func (l *loop) dial(o *Origin) (*trunk, error) {
	domain, address := sockaddr(o.Address)
	fd, err := syscall.Socket(domain, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	if err := syscall.Connect(fd, address); err != nil && err != syscall.EINPROGRESS {
		syscall.Close(fd)
		return nil, os.NewSyscallError("connect", err)
	}
	err = syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: edge, Fd: int32(fd), Pad: isTrunk})
	if err != nil {
		syscall.Close(fd)
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	n := &trunk{fd: fd, origin: o, since: l.now}
	l.trunks[int32(fd)] = n
	return n, nil
}

func sockaddr(at netip.AddrPort) (int, syscall.Sockaddr) {
	if at.Addr().Is4() {
		return syscall.AF_INET, &syscall.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	}
	return syscall.AF_INET6, &syscall.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
}

// kept takes a connection that waits, the last one first, for it is the least likely to be closed by the origin.
func (l *loop) kept(o *Origin) *trunk {
	idle := l.idle[o]
	if len(idle) == 0 {
		return nil
	}
	n := idle[len(idle)-1]
	l.idle[o] = idle[:len(idle)-1]
	return n
}

// keepTrunk keeps a connection for the next request.
func (l *loop) keepTrunk(n *trunk) {
	idle := l.idle[n.origin]
	if l.stopping || len(idle) >= n.origin.full().Kept {
		l.hangUp(n)
		return
	}
	n.used, n.since = true, l.now
	l.idle[n.origin] = append(idle, n)
}

// hangUp closes a connection that carries nothing, or nothing any more.
func (l *loop) hangUp(n *trunk) {
	if n.gone {
		return
	}
	n.gone, n.in = true, nil
	delete(l.trunks, int32(n.fd))
	syscall.Close(n.fd)
	if idle := l.idle[n.origin]; n.x == nil {
		if at := slices.Index(idle, n); at >= 0 {
			idle = slices.Delete(idle, at, at+1)
		}
		if l.idle[n.origin] = idle; len(idle) == 0 {
			delete(l.idle, n.origin)
		}
	}
}

// say sends what the origin takes of the request.
func (l *loop) say(n *trunk) error {
	for x := n.x; len(x.rest) > 0; {
		sent, err := send(n.fd, x.rest, nil, false)
		if err == syscall.EAGAIN {
			return nil
		}
		if err != nil {
			return os.NewSyscallError("send", err)
		}
		n.open, n.since, x.rest = true, l.now, x.rest[sent:]
	}
	return nil
}

// stirred goes on with a connection on which something happened. hup is that the origin will send nothing more.
func (l *loop) stirred(n *trunk, hup bool) {
	if x := n.x; x != nil && len(x.rest) > 0 {
		switch err := l.say(n); {
		case err != nil:
			l.lost(n, err)
			return
		case !n.open:
			return
		}
	}
	l.hear(n, hup)
}

// hear reads until nothing is left, the client takes no more, or the answer is over.
func (l *loop) hear(n *trunk, hup bool) {
	for !n.gone && (n.x == nil || !n.x.full) {
		got, err := read(n.fd, l.in[:])
		switch {
		case err == syscall.EAGAIN:
			return
		case err != nil:
			l.lost(n, os.NewSyscallError("read", err))
			return
		case got == 0:
			l.lost(n, nil)
			return
		}
		n.origin.heard.Add(int64(got))
		switch {
		case n.x == nil: // it may belong to nobody's answer
			l.hangUp(n)
			return
		}
		n.since = l.now
		l.heard(n.x, l.in[:got])
		if got < len(l.in) && !hup {
			return
		}
	}
}

// lost deals with a connection that has ended, which some answers end with.
func (l *loop) lost(n *trunk, err error) {
	switch x := n.x; {
	case x == nil:
		l.hangUp(n)
	case n.used && !x.begun && len(n.in) == 0 && x.interim == 0:
		l.again(x)
	case err == nil && x.begun && x.end == WithClose:
		l.out = append(l.out[:0], "0\r\n\r\n"...)
		l.pass(x, nil)
		l.complete(x, false)
	default:
		l.failed(x, cause(err))
	}
}

// again repeats a request on a new connection with the same origin, which closed the other one while it waited:
// that is no failure.
func (l *loop) again(x *exchange) {
	o := x.n.origin
	l.part(x)
	fresh, err := l.dial(o)
	if err == nil {
		err = l.put(x, fresh)
	}
	if err != nil {
		l.sought(x, err)
	}
}

// late gives up connections on which nothing has happened for too long.
func (l *loop) late() {
	for _, n := range l.trunks {
		o, late := n.origin.full(), l.now.Sub(n.since)
		switch x := n.x; {
		case x == nil && (late >= o.Idle || l.stopping):
			l.hangUp(n)
		case x == nil || x.full:
		case !n.open && late >= o.Connect:
			l.failed(x, ErrConnect)
		case n.open && !x.begun && late >= o.Answer:
			l.failed(x, ErrNoAnswer)
		case x.begun && late >= o.Stall:
			l.failed(x, ErrStalled)
		}
	}
}

// breakOff has all connections with an origin ended, from any goroutine.
func (l *loop) breakOff(o *Origin) {
	l.mu.Lock()
	l.broken = append(l.broken, o)
	l.mu.Unlock()
	l.wake()
}

// breakTrunks ends all connections with an origin.
func (l *loop) breakTrunks(o *Origin) {
	for _, n := range l.trunks {
		switch {
		case n.origin != o:
		case n.x == nil:
			l.hangUp(n)
		default:
			l.failed(n.x, ErrBroken)
		}
	}
}

package http1

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"
)

// link is a connection of a loop. While it is idle it holds no buffers.
type link struct {
	home    *loop
	fd      int
	remote  netip.AddrPort
	proxy   netip.AddrPort // whose header of the PROXY protocol is awaited; else the zero one
	in      []byte         // received, and not yet a whole request or not yet its turn
	since   time.Time      // of what its time is measured from: its beginning, a head's, or the last byte that went out
	fresh   bool           // nothing was answered yet
	closing bool           // no more requests
	x       *exchange      // under way
	deaf    bool           // all is sent; the peer may read it, and what it says is thrown away
	gone    bool

	out, body []byte // to be sent, in this order
	file      *os.File
	open      func() (*os.File, error) // gives file
	owned     bool                     // file is to be closed
	offset    int64
	left      int64 // bytes of the file
	done      func()

	away   bool // with sendFiles, to which all fields but this and the next belong meanwhile
	missed bool // something happened while it was away
	moved  bool // sendFiles got on
	broken bool // sendFiles could not go on
	sent   int  // bytes that sendFiles sent
	thrown int  // bytes, of what was read while deaf
}

// busy reports whether an answer is under way.
func (k *link) busy() bool { return k.x != nil || k.owes() }

// owes reports whether something waits to be sent.
func (k *link) owes() bool { return k.away || len(k.out)+len(k.body) > 0 || k.file != nil }

// free reports whether another request may be answered.
func (k *link) free() bool { return !k.busy() && !k.closing && !k.gone }

// keep keeps what was received, in memory of its own.
func (k *link) keep(data []byte, now time.Time) {
	switch {
	case k.gone || k.closing || len(data) == 0:
		k.in = nil
	case len(k.in) == 0:
		k.in, k.since = slices.Clone(data), now
	default:
		k.in = append(k.in[:0], data...)
	}
}

// finish ends an answer.
func (k *link) finish() {
	if k.owned {
		k.file.Close()
	}
	k.out, k.body, k.file, k.owned = nil, nil, nil, false
	done := k.done
	k.done = nil
	k.home.done(done)
}

// meet reads who the client is from what came first, and returns what is behind that; false is that there is nothing to do yet, or any more.
func (l *loop) meet(k *link, data []byte) ([]byte, bool) {
	from, n, _, err := parseProxied(data)
	switch {
	case err != nil:
		l.counters.refused(badProxied)
		l.drop(k)
		return nil, false
	case n == 0:
		k.in = append([]byte(nil), data...) // its time goes on from the beginning
		return nil, false
	}
	from, ok := l.introduced(from, k.proxy)
	if k.remote, k.proxy = from, (netip.AddrPort{}); !ok {
		l.drop(k)
		return nil, false
	}
	k.in, k.since = nil, l.now
	return data[n:], true
}

// ready goes on with a connection as far as possible. hup is that the peer will send nothing more.
func (l *loop) ready(k *link, hup bool) {
	switch {
	case k.away:
		k.missed = true
	case k.deaf:
		l.discard(k)
	case !k.busy():
		l.pull(k, hup)
	case k.x != nil:
		l.relaying(k)
	case k.file != nil:
		l.lend(k)
	case l.push(k):
		l.resume(k)
	}
}

// resume goes on after an answer that had to wait; events may have been overlooked meanwhile.
func (l *loop) resume(k *link) {
	if l.settle(k); k.free() && len(k.in) > 0 {
		l.process(k, k.in)
	}
	l.pull(k, true)
}

// pull reads until nothing is left. A read that does not fill the buffer has taken all, unless an end was announced.
func (l *loop) pull(k *link, hup bool) {
	for k.free() {
		n, err := read(k.fd, l.in[:])
		if err == syscall.EAGAIN {
			return
		}
		if err != nil || n == 0 {
			l.drop(k)
			return
		}
		data := l.in[:n]
		if len(k.in) > 0 {
			k.in = append(k.in, data...)
			data = k.in
		}
		l.process(k, data)
		if n < len(l.in) && !hup {
			return
		}
	}
}

// push sends what waits, and reports whether all has gone.
func (l *loop) push(k *link) bool {
	for len(k.out)+len(k.body) > 0 {
		n, err := send(k.fd, k.out, k.body, false)
		if err == syscall.EAGAIN {
			return false
		}
		if err != nil {
			l.drop(k)
			return false
		}
		l.tally.bytes += int64(n)
		first := min(n, len(k.out))
		k.out, k.body, k.since = k.out[first:], k.body[n-first:], l.now
	}
	k.finish()
	return true
}

// settle ends our half once the last answer has gone.
func (l *loop) settle(k *link) {
	if k.gone || k.deaf || !k.closing || k.busy() {
		return
	}
	k.deaf, k.in, k.since = true, nil, l.now
	if syscall.Shutdown(k.fd, syscall.SHUT_WR) != nil {
		l.drop(k)
		return
	}
	l.discard(k)
}

// discard reads until the peer ends its half, so that no reset overtakes the last answer.
func (l *loop) discard(k *link) {
	for {
		n, err := read(k.fd, l.in[:])
		if err == syscall.EAGAIN {
			return
		}
		if k.thrown += n; err != nil || n == 0 || k.thrown > mostDiscarded {
			l.drop(k)
			return
		}
	}
}

// drop closes a connection.
func (l *loop) drop(k *link) {
	if k.gone {
		return
	}
	k.gone, k.in = true, nil
	delete(l.links, int32(k.fd))
	syscall.Close(k.fd)
	l.abandon(k)
	k.finish()
	l.over(k.remote)
}

// handOver gives a connection to net/http, with what was received.
func (l *loop) handOver(k *link, data []byte) {
	k.gone = true
	delete(l.links, int32(k.fd))
	syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_DEL, k.fd, nil)
	file := os.NewFile(uintptr(k.fd), "")
	conn, err := net.FileConn(file)
	file.Close()
	if err != nil {
		l.over(k.remote)
		return
	}
	l.fallback.take(conn, slices.Clone(data), k.remote)
}

// lend gives a connection to sendFiles.
func (l *loop) lend(k *link) {
	k.away, k.missed, k.moved, k.broken = true, false, false, false
	l.files <- k
}

// returned takes a connection back from sendFiles.
func (l *loop) returned(k *link) {
	l.tally.bytes += int64(k.sent)
	k.away, k.sent = false, 0
	if k.moved {
		k.since = l.now
	}
	switch {
	case k.broken || l.ended.Err() != nil:
		l.drop(k)
	case k.left == 0 && len(k.out) == 0:
		k.finish()
		l.resume(k)
	case k.missed || k.moved:
		l.lend(k)
	}
}

// sendFiles sends parts of files for all loops, for reading a disk may block.
func sendFiles(files <-chan *link) {
	for k := range files {
		k.sendFile()
		k.home.give(k)
	}
}

// sendFile sends until the connection takes no more, or so much that others should have their turn. A file that
// became shorter breaks the connection: what its answer's head says cannot become true.
func (k *link) sendFile() {
	const turn, piece = 4 << 20, 256 << 10 // bytes
	if k.open != nil {
		file, err := k.home.open(k.open)
		if k.open = nil; err != nil {
			k.broken = true
			return
		}
		k.file, k.owned = file, true
	}
	for len(k.out) > 0 {
		n, err := send(k.fd, k.out, nil, k.left > 0)
		if err != nil {
			k.broken = err != syscall.EAGAIN
			return
		}
		k.out, k.moved, k.sent = k.out[n:], true, k.sent+n
	}
	for sent := 0; sent < turn && k.left > 0; {
		n, err := syscall.Sendfile(k.fd, int(k.file.Fd()), &k.offset, int(min(k.left, piece)))
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n == 0 {
			k.broken = err != syscall.EAGAIN
			return
		}
		k.left, k.moved, sent, k.sent = k.left-int64(n), true, sent+n, k.sent+n
	}
}

package http1

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// loop answers on its share of the connections, from one goroutine that waits for its own epoll only. What
// may block is done elsewhere: files by sendFiles, all that is unusual by net/http.
type loop struct {
	*run
	epoll, event int             // descriptors
	file         *os.File        // epoll, known to the runtime's poller: a thread that waited itself would keep the scheduler busy
	raw          syscall.RawConn // of file
	take         func(uintptr) bool
	taken        int       // events that take found
	alarm        time.Time // file's deadline
	files        chan<- *link
	links        map[int32]*link  // by descriptor
	trunks       map[int32]*trunk // likewise
	idle         map[*Origin][]*trunk
	spare        []*exchange
	events       [256]syscall.EpollEvent
	in           [32 << 10]byte // what one read takes; requests are parsed where they lie
	out          []byte         // answers to one read's requests
	req          Request
	ans          Answer
	date         clock
	now          time.Time // of the last events
	stopping     bool
	tally        tally

	mu     sync.Mutex
	inbox  []*link // new ones, and those whose file has got on
	broken []*Origin
	closed bool
}

func newLoop(r *run, files chan<- *link) (*loop, error) {
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	event, err := eventfd()
	if err != nil {
		syscall.Close(epoll)
		return nil, err
	}
	syscall.SetNonblock(epoll, true) // by which os knows that it can be polled
	l := &loop{run: r, epoll: epoll, event: event, file: os.NewFile(uintptr(epoll), "epoll"), files: files,
		links: map[int32]*link{}, trunks: map[int32]*trunk{}, idle: map[*Origin][]*trunk{}}
	l.take = func(uintptr) bool {
		l.taken = poll(l.epoll, l.events[:])
		return l.taken > 0
	}
	if l.raw, err = l.file.SyscallConn(); err != nil {
		l.close()
		return nil, err
	}
	err = syscall.EpollCtl(epoll, syscall.EPOLL_CTL_ADD, event, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(event)})
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *loop) close() {
	syscall.Close(l.event)
	l.file.Close()
}

// serve runs until no requests are wanted any more and all connections have ended.
func (l *loop) serve() {
	defer context.AfterFunc(l.ending, l.wake)()
	defer context.AfterFunc(l.ended, l.wake)()
	tick := l.tick()
	for swept := time.Now(); !l.finished(); {
		n := l.wait(tick)
		l.now = time.Now()
		l.date.set(l.now)
		for i := range l.events[:n] { // what origins sent unasked is to be seen before one is asked again
			if l.events[i].Pad == isTrunk {
				l.stirs(&l.events[i])
			}
		}
		for i := range l.events[:n] {
			if l.events[i].Pad != isTrunk {
				l.happened(&l.events[i])
			}
		}
		l.receive()
		if l.ending.Err() != nil && !l.stopping {
			l.stop()
		}
		if l.now.Sub(swept) >= tick || l.ended.Err() != nil {
			l.sweep()
			swept = l.now
		}
		l.counters.add(&l.tally)
	}
}

// tick is how often timeouts are looked at.
func (l *loop) tick() time.Duration {
	least := min(l.limits.ReadHead, l.limits.Proxied, l.limits.Idle, l.limits.Write)
	return min(max(least/4, 5*time.Millisecond), time.Second)
}

// wait waits for events, without an end when there are no connections that could be late.
func (l *loop) wait(tick time.Duration) int {
	if n := poll(l.epoll, l.events[:]); n > 0 {
		return n
	}
	l.setAlarm(tick)
	switch err := l.raw.Read(l.take); {
	case err == nil:
		return l.taken
	case errors.Is(err, os.ErrDeadlineExceeded):
		return 0
	}
	n, _ := syscall.EpollWait(l.epoll, l.events[:], int(tick.Milliseconds())) // where epolls cannot watch each other
	return max(n, 0)
}

// setAlarm lets a wait end after a tick when there are connections that could be late.
func (l *loop) setAlarm(tick time.Duration) {
	switch {
	case len(l.links)+len(l.trunks) == 0 && l.alarm.IsZero(), len(l.links)+len(l.trunks) > 0 && l.now.Before(l.alarm):
		return
	case len(l.links)+len(l.trunks) == 0:
		l.alarm = time.Time{}
	default:
		l.alarm = l.now.Add(tick)
	}
	l.file.SetReadDeadline(l.alarm)
}

func (l *loop) happened(e *syscall.EpollEvent) {
	if e.Fd == int32(l.event) {
		var count [8]byte
		syscall.Read(l.event, count[:])
	} else if k := l.links[e.Fd]; k != nil {
		if k.x != nil && e.Events&(syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
			l.drop(k)
			return
		}
		l.ready(k, e.Events&ended != 0)
	}
}

// stirs goes on with the trunk of an event.
func (l *loop) stirs(e *syscall.EpollEvent) {
	if n := l.trunks[e.Fd]; n != nil {
		l.stirred(n, e.Events&ended != 0)
	}
}

// wake ends a wait, from any goroutine.
func (l *loop) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		syscall.Write(l.event, []byte{7: 1}) // eight bytes, not zero in either order
	}
}

// give hands the loop a connection, from any goroutine.
func (l *loop) give(k *link) {
	l.mu.Lock()
	closed := l.closed
	l.inbox = append(l.inbox, k)
	first := len(l.inbox) == 1
	l.mu.Unlock()
	if closed {
		l.drop(k)
	} else if first {
		l.wake()
	}
}

// finished closes the loop for good once nothing is left to do.
func (l *loop) finished() bool {
	if !l.stopping || len(l.links) > 0 {
		return false
	}
	for _, n := range l.trunks {
		l.hangUp(n)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.inbox) > 0 {
		return false
	}
	l.closed = true
	l.close()
	return true
}

// receive takes in what was given.
func (l *loop) receive() {
	l.mu.Lock()
	given, broken := l.inbox, l.broken
	l.inbox, l.broken = nil, nil
	l.mu.Unlock()
	for _, o := range broken {
		l.breakTrunks(o)
	}
	for _, k := range given {
		if k.away {
			l.returned(k)
		} else {
			l.adopt(k)
		}
	}
}

// adopt begins to watch a connection, edge-triggered and for everything, which is the only such call in its life.
func (l *loop) adopt(k *link) {
	k.since = l.now
	l.links[int32(k.fd)] = k
	err := syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_ADD, k.fd, &syscall.EpollEvent{Events: edge, Fd: int32(k.fd)})
	if err != nil {
		l.drop(k)
	} else if l.stopping {
		l.pull(k, false)
		l.dropIdle(k)
	}
}

// stop begins the end: connections between two requests are closed, after a last look whether there is one.
func (l *loop) stop() {
	l.stopping = true
	for _, k := range l.links {
		if !k.away {
			l.ready(k, false)
			l.dropIdle(k)
		}
	}
}

func (l *loop) dropIdle(k *link) {
	if k.free() && len(k.in) == 0 {
		l.drop(k)
	}
}

// sweep ends what takes too long, and everything when the end has come.
func (l *loop) sweep() {
	l.late()
	for _, k := range l.links {
		switch late := l.now.Sub(k.since); {
		case k.away:
		case l.ended.Err() != nil, k.deaf && late >= lingering, !k.deaf && k.owes() && late >= l.limits.Write:
			l.drop(k)
		case k.proxy.IsValid():
			if late >= l.limits.Proxied {
				l.drop(k)
			}
		case k.busy() || k.deaf:
		case len(k.in) > 0 && late >= l.limits.ReadHead:
			k.closing = true
			l.counters.refused(tooSlow)
			l.out = appendRefusal(l.out[:0], tooSlow, &l.date)
			l.flush(k, nil, nil)
			l.settle(k)
		case k.fresh && late >= l.limits.ReadHead, late >= l.limits.Idle:
			l.drop(k)
		}
	}
}

// process answers the requests in data and keeps the rest.
func (l *loop) process(k *link, data []byte) {
	l.out = l.out[:0]
	if k.proxy.IsValid() {
		var met bool
		if data, met = l.meet(k, data); !met {
			return
		}
	}
	for more := true; more && len(data) > 0 && k.free(); {
		what, n, refusal := l.look(data, &l.req, &l.ans, k.remote, true)
		switch what {
		case wait:
			more = false
		case answer:
			l.tally.lean++
			k.closing = l.req.Close || l.stopping || l.gone.Load()
			k.since, k.fresh, k.in = l.now, false, k.in[:0]
			data = data[n:]
			l.reply(k, &l.ans)
		case handOver:
			if l.flush(k, nil, nil); k.free() {
				l.handOver(k, data)
				return
			}
		case refuse:
			k.closing = true
			l.out = appendRefusal(l.out, refusal, &l.date)
		}
	}
	l.flush(k, nil, nil)
	k.keep(data, l.now)
	l.settle(k)
}

// reply sends an answer, or lets it gather with those to other requests that came at once.
func (l *loop) reply(k *link, a *Answer) {
	const mostGathered = 64 << 10 // bytes
	if a.Relay != nil {
		l.relay(k, a)
		return
	}
	l.out = appendHead(l.out, a.Head, &l.date, k.closing)
	switch {
	case a.isFile():
		k.out, k.file, k.open, k.offset, k.left, k.done = slices.Clone(l.out), a.File, a.Open, a.Offset, a.Size, a.Done
		l.out = l.out[:0]
		l.lend(k)
	case len(a.Body) > smallBody:
		l.flush(k, a.Body, a.Done)
	default:
		l.out = append(l.out, a.Body...)
		l.done(a.Done)
		if len(l.out) > mostGathered {
			l.flush(k, nil, nil)
		}
	}
}

// flush sends what has gathered, and body. What does not fit is kept until it does.
func (l *loop) flush(k *link, body []byte, done func()) {
	if k.gone || len(l.out)+len(body) == 0 {
		return
	}
	n, err := send(k.fd, l.out, body, false)
	l.tally.bytes += int64(n)
	k.done = done
	if err == nil && n == len(l.out)+len(body) {
		k.finish()
	} else {
		k.out, k.body = slices.Clone(l.out[min(n, len(l.out)):]), body[max(n-len(l.out), 0):]
		k.since = l.now
		l.push(k)
	}
	l.out = l.out[:0]
}

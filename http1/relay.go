package http1

import (
	"errors"
	"io"
	"net/netip"
	"sync/atomic"
	"time"
)

// Relay lets an origin server answer in a handler's place. The handler puts it into an Answer whose Head is then the whole request as
// the origin is to get it. Its methods are called by the loop that serves the client, one after the other; they must not block.
type Relay interface {
	// Origin is who is asked: at first, when failure is nil, and again after each failure, for as long as nothing of an
	// answer has gone to the client. Nil is that nobody is; then the client gets a, which is empty until it is filled.
	Origin(failure error, a *Answer) *Origin
	// Answered is told of an answer's head. It appends what the client is to get of it: the status line and fields but
	// for Content-Length, Transfer-Encoding and Connection. False is that the answer counts as a failure, ErrUnwanted.
	Answered(out []byte, res *Response) ([]byte, bool)
	// Over is the last call, after Origin gave nil, or at the end of an answer of which so many bytes of body came. An error is why
	// the client did not get all of it; ErrClient is that it went away.
	Over(body int64, err error)
}

// Why an origin's answer does not reach a client, besides the errors of the system and refusals of what the origin sent.
var (
	ErrConnect  = errors.New("the origin did not take the connection in time")
	ErrNoAnswer = errors.New("the origin did not answer in time")
	ErrStalled  = errors.New("the origin stopped in the middle")
	ErrBroken   = errors.New("the origin was given up")
	ErrUnwanted = errors.New("the answer was not wanted")
	ErrUnasked  = &Refusal{502, "the origin changed the protocol unasked, or sent too many answers before the final one"}
	ErrClient   = errors.New("the client went away")
)

// Origin is a server that requests are relayed to. Its fields do not change once it is used; a zero is the default.
type Origin struct {
	Address netip.AddrPort
	Head    int           // bytes of an answer's head, 64 KiB
	Kept    int           // connections that each loop keeps open between answers, 64
	Connect time.Duration // 2 s
	Answer  time.Duration // from a request's last byte to the end of the answer's head, 60 s
	Stall   time.Duration // without a byte of a body, 60 s
	Idle    time.Duration // that a connection is kept without a request, 4 s: servers often close theirs after 5

	filled atomic.Pointer[Origin]
	heard  atomic.Int64
}

// Heard is how many bytes have come from the origin over the connections of loops.
func (o *Origin) Heard() int64 { return o.heard.Load() }

// full is the origin with defaults for zeros.
func (o *Origin) full() *Origin {
	if f := o.filled.Load(); f != nil {
		return f
	}
	f := &Origin{
		Address: o.Address,
		Head:    or(o.Head, 64<<10),
		Kept:    or(o.Kept, 64),
		Connect: or(o.Connect, 2*time.Second),
		Answer:  or(o.Answer, time.Minute),
		Stall:   or(o.Stall, time.Minute),
		Idle:    or(o.Idle, 4*time.Second),
	}
	o.filled.Store(f)
	return f
}

// forAnswers is limits with defaults for answers, which are an origin's of ours and may be longer than a stranger's request.
func (l Limits) forAnswers() Limits {
	head := or(l.Head, 64<<10)
	return Limits{Head: head, Line: or(l.Line, head), Fields: or(l.Fields, 256), Target: 1, Trailers: or(l.Trailers, 16<<10)}
}

// Break ends all connections with an origin at once. Requests of which no answer has reached the client are relayed anew.
func (s *Server) Break(o *Origin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.running {
		l.breakOff(o)
	}
}

// mostInterim is how many answers may come before the final one.
const mostInterim = 8

// cause is what a failed read says: the end is never what was expected.
func cause(err error) error {
	if err == nil {
		return io.ErrUnexpectedEOF
	}
	return err
}

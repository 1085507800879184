package http1

import (
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// screen lets a connection's reader see only requests that this package's parser accepts: net/http is more
// lenient, and what stands behind it may be more so. Bytes pass unchanged, but for empty lines between requests.
type screen struct {
	net.Conn
	limits *Limits

	counters *counters
	refused  bool // and counted

	tls  *tls.ConnectionState
	open atomic.Bool // a handler has taken the connection over; it is not HTTP any more
	idle atomic.Bool // all answers are written

	until atomic.Pointer[time.Time] // what reading may last at most; nil or zero: any time

	in     []byte // received, not yet read
	pass   int    // bytes of in that may be read
	req    Request
	body   BodyEnd
	left   int64 // bytes of a body by length
	chunks Chunks
}

// Read is net.Conn's. Where a request is refused it returns the *Refusal, for as long as it is asked, and once the answers to those before
// are written it says so to the client, which net/http would not.
func (s *screen) Read(p []byte) (int, error) {
	for s.pass == 0 {
		if s.open.Load() {
			if len(s.in) == 0 {
				return s.Conn.Read(p)
			}
			s.pass = len(s.in)
			break
		}
		if err := s.check(); err != nil {
			if !s.refused {
				s.refused = true
				s.counters.refused(err.(*Refusal))
			}
			s.refuse(err.(*Refusal))
			return 0, err
		}
		if s.pass > 0 {
			s.idle.Store(false)
			break
		}
		if err := s.more(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.in[:s.pass])
	s.in, s.pass = s.in[n:], s.pass-n
	return n, nil
}

// refuse says why, if no answer is under way, and ends the connection.
func (s *screen) refuse(why *Refusal) {
	if s.idle.Swap(false) {
		last(s.Conn.(*held).Conn, why, s.limits, s.counters)
	}
}

// more reads behind what there is.
func (s *screen) more() error {
	if cap(s.in)-len(s.in) < 2048 {
		s.in = append(make([]byte, 0, 2*len(s.in)+4096), s.in...)
	}
	if s.body != NoBody { // for whose time net/http has no limit
		deadline, until := time.Now().Add(s.limits.Write), time.Time{}
		if set := s.until.Load(); set != nil && !set.IsZero() {
			until = *set
			deadline = earlier(deadline, until)
		}
		s.Conn.SetReadDeadline(deadline)
		defer s.Conn.SetReadDeadline(until)
	}
	n, err := s.Conn.Read(s.in[len(s.in):cap(s.in)])
	s.in = s.in[:len(s.in)+n]
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// SetReadDeadline is net.Conn's. A body has its own time as well.
func (s *screen) SetReadDeadline(t time.Time) error {
	s.until.Store(&t)
	return s.Conn.SetReadDeadline(t)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// check decides how much of what was received may pass.
func (s *screen) check() (err error) {
	if len(s.in) == 0 {
		return nil
	}
	switch s.body {
	case ByLength:
		s.pass = int(min(s.left, int64(len(s.in))))
		if s.left -= int64(s.pass); s.left == 0 {
			s.body = NoBody
		}
	case ByChunks:
		_, s.pass, err = s.chunks.Next(s.in)
		if s.chunks.Done() {
			s.body = NoBody
		}
	default:
		return s.head()
	}
	return err
}

func (s *screen) head() error {
	s.in = s.in[skipEmpty(s.in):]
	if len(s.in) == 0 || len(s.in) == 1 && s.in[0] == '\r' {
		return nil
	}
	n, err := s.req.parse(s.in, s.limits)
	s.pass, s.body, s.left = n, s.req.Body(), s.req.Length
	s.chunks = Chunks{Limits: *s.limits}
	return err
}

// CloseWrite lets net/http end its half first.
func (s *screen) CloseWrite() error {
	if half, ok := s.Conn.(*held).Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Write gives up a client that takes nothing.
func (s *screen) Write(b []byte) (int, error) {
	n, err := writeAll(s.Conn, b, s.limits.Write)
	s.counters.bytes.Add(int64(n))
	return n, err
}

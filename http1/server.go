package http1

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Server answers on a listener's connections.
type Server struct {
	// Handler answers GET and HEAD of HTTP/1.1 without a body, an Upgrade or an Expect, or returns false for "not mine".
	// It must not block, nor keep the request, whose bytes are used again. A panic ends the connection with 500. Nil is never.
	Handler func(*Request, *Answer) bool
	// Fallback answers all else, through net/http: from the first request on that the handler does not answer,
	// a connection stays with it. Its requests pass the same parser. Nil answers 404.
	Fallback http.Handler
	// Proxies are networks whose connections must begin with the header of the PROXY protocol, version 1 or 2. The address that it
	// gives is the client's everywhere. Others have no such header.
	Proxies []netip.Prefix
	Limits  Limits
	Loops   int          // threads that answer, where the system has a loop of its own; 0: one per core
	Log     *slog.Logger // where panics of handlers go, and net/http complains; nil is nowhere

	counters counters
	mu       sync.Mutex
	running  map[breaker]struct{} // loops
	serving  map[*run]struct{}
	retired  bool
}

// breaker is what can end the connections with an origin.
type breaker interface{ breakOff(*Origin) }

// lingering is how long a connection that we end is read, and what comes thrown away, so that
// the last answer is not lost to a reset (RFC 9112, 9.6).
const lingering = 2 * time.Second

// run is one call of Serve.
type run struct {
	*Server
	ln       net.Listener
	limits   Limits
	slots    chan struct{} // one for each open connection
	crowd    crowd
	fallback *fallback
	wg       sync.WaitGroup  // connections and loops
	entry    context.Context // no new connections
	shut     func()          // ends entry
	gone     atomic.Bool     // each connection has its last answer now
	ending   context.Context // no new requests
	ended    context.Context // no connections any more
}

// Serve answers until ctx ends, and then closes the listener, lets answers under way finish for at most Limits.Grace, and
// returns nil when everything it started has ended. When the listener fails, it does the same and returns the error.
// After Retire it returns when the last connection has ended.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	ending, end := context.WithCancel(ctx)
	defer end()
	ended, endNow := context.WithCancel(context.WithoutCancel(ctx))
	defer endNow()
	r := &run{Server: s, ln: ln, limits: s.Limits.filled(), ending: ending, ended: ended}
	r.slots, r.crowd.most = make(chan struct{}, r.limits.Conns), r.limits.Address
	r.entry, r.shut = context.WithCancel(ending)
	r.fallback = newFallback(r)
	defer s.enlist(r)()
	defer context.AfterFunc(r.entry, func() { ln.Close() })()
	err := r.accept()
	if r.entry.Err() != nil {
		err = nil
	}
	if r.gone.Load() {
		r.outlast()
	}
	end()
	grace := time.AfterFunc(r.limits.Grace, endNow)
	defer grace.Stop()
	r.wg.Wait()
	r.fallback.shutdown()
	return err
}

// Retire has every Serve close its listener and take no more connections, while those that there are go on as before: each ends
// with its next answer, or when it has been idle for too long. Nobody's request is lost to the end of a server that way.
func (s *Server) Retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired = true
	for r := range s.serving {
		r.retire()
	}
}

// retire takes no more connections.
func (r *run) retire() {
	r.gone.Store(true)
	r.shut()
}

// enlist lets Retire find the run until leave.
func (s *Server) enlist(r *run) (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serving == nil {
		s.serving = map[*run]struct{}{}
	}
	s.serving[r] = struct{}{}
	if s.retired { // before this call of Serve had come so far
		r.retire()
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.serving, r)
		r.shut()
	}
}

// outlast returns when no connection is open, which is when it has all slots, or at the end.
func (r *run) outlast() {
	for range cap(r.slots) {
		select {
		case r.slots <- struct{}{}:
		case <-r.ending.Done():
			return
		}
	}
}

// parting reports whether a connection's next answer is its last.
func (r *run) parting() bool { return r.gone.Load() || r.ending.Err() != nil }

func (s *Server) loops() int {
	if s.Loops > 0 {
		return s.Loops
	}
	return runtime.GOMAXPROCS(0)
}

// acquire waits until one more connection may be open; false is the end.
func (r *run) acquire() bool {
	select {
	case <-r.entry.Done():
		return false
	case r.slots <- struct{}{}:
		return true
	}
}

// begun counts a connection that was accepted. False is that its address has too many: it is to be closed.
func (r *run) begun(remote netip.AddrPort) bool {
	r.counters.conns.Add(1)
	if r.crowd.enter(remote.Addr()) {
		return true
	}
	r.counters.refused(tooMany)
	r.counters.ended.Add(1)
	r.release()
	return false
}

// over counts a connection that has ended, and lets another one in.
func (r *run) over(remote netip.AddrPort) {
	r.crowd.leave(remote.Addr())
	r.counters.ended.Add(1)
	r.release()
}

// tooMany is counted only: nobody is told, for that would cost as much as an answer.
var tooMany = &Refusal{429, "there are too many connections from one address"}

func (r *run) release() { <-r.slots }

// acceptConns gives each connection a goroutine: on systems without a loop, and for TLS.
func (r *run) acceptConns() error {
	for r.acquire() {
		conn, err := r.ln.Accept()
		if err != nil {
			r.release()
			if passing(err) && r.pause() {
				continue
			}
			return err
		}
		remote := addressOf(conn.RemoteAddr())
		proxied := r.proxied(remote.Addr())
		if proxied { // whose it is shows later
			remote = netip.AddrPort{}
		}
		if r.begun(remote) {
			r.wg.Go(func() { r.serveConn(conn, remote, proxied) })
		} else {
			conn.Close()
		}
	}
	return nil
}

// passing reports whether accepting may work again soon: the peer was gone already, or descriptors are used up.
func passing(err error) bool {
	for _, e := range []syscall.Errno{syscall.ECONNABORTED, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// pause waits a moment; false is the end.
func (r *run) pause() bool {
	select {
	case <-r.ending.Done():
		return false
	case <-time.After(20 * time.Millisecond):
		return true
	}
}

// act is what to do about received bytes.
type act int

const (
	wait     act = iota // for more
	answer              // with the handler's answer
	handOver            // the connection and these bytes
	refuse
)

// look decides about the beginning of b and returns the length of the request that it answered.
func (r *run) look(b []byte, req *Request, a *Answer, remote netip.AddrPort, relays bool) (act, int, *Refusal) {
	skipped := skipEmpty(b)
	n, err := req.parse(b[skipped:], &r.limits)
	switch {
	case err != nil:
		if len(b) == 1 && b[0] == '\r' {
			return wait, 0, nil
		}
		r.counters.refused(err.(*Refusal))
		return refuse, 0, err.(*Refusal)
	case n == 0:
		return wait, 0, nil
	}
	a.clear()
	req.Remote, req.Relays = remote, relays
	if !req.lean() || r.Handler == nil {
		return handOver, 0, nil
	}
	if ok, panicked := r.handle(req, a); panicked {
		return refuse, 0, unanswered
	} else if !ok {
		return handOver, 0, nil
	}
	if len(req.Method) == len("HEAD") {
		a.Body, a.File, a.Open = nil, nil, nil
	}
	return answer, skipped + n, nil
}

// unanswered is what becomes of a request whose handler panicked.
var unanswered = &Refusal{500, "the request could not be answered"}

// handle asks the handler. A panic ends the connection, as with net/http, but not the process.
func (r *run) handle(req *Request, a *Answer) (ok, panicked bool) {
	panicked = true
	defer func() {
		if panicked {
			r.caught("handler", recover())
		}
	}()
	ok = r.Handler(req, a)
	return ok, false
}

// done tells a handler that its answer is over.
func (r *run) done(f func()) {
	if f == nil {
		return
	}
	defer func() {
		if v := recover(); v != nil {
			r.caught("Done", v)
		}
	}()
	f()
}

// open opens an answer's file.
func (r *run) open(f func() (*os.File, error)) (file *os.File, err error) {
	defer func() {
		if v := recover(); v != nil {
			r.caught("Open", v)
			file, err = nil, unanswered
		}
	}()
	return f()
}

// caught logs a panic.
func (r *run) caught(where string, v any) {
	if v == http.ErrAbortHandler {
		return
	}
	r.counters.panics.Add(1)
	if r.Log != nil {
		r.Log.Error("a handler of HTTP requests panicked", "where", where, "panic", v, "stack", string(debug.Stack()))
	}
}

// lean reports whether a request is one for the handler.
func (r *Request) lean() bool {
	return (string(r.Method) == "GET" || string(r.Method) == "HEAD") &&
		r.Minor == 1 && r.Length < 0 && !r.Chunked && !r.Upgrade && !r.Expect
}

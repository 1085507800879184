package http1

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// Transport asks origin servers in plain HTTP/1.1, and refuses what of their answers two programs could understand differently.
// It is an http.RoundTripper, with these differences from net/http's: requests are for the scheme http, URL.Host has its port, no
// proxy, cookie, default field or compression is added, and an answer that comes before the request's body is whole ends the body.
// A body is read and written as it comes, in both directions. Its fields do not change once it is used; a zero is the default.
type Transport struct {
	Limits   Limits        // of answers: Head 64 KiB, Line as Head, Fields 256, Trailers 16 KiB
	Kept     int           // connections that are kept for each address between requests, 64
	Connect  time.Duration // 2 s
	Continue time.Duration // that a body waits for the 100 (Continue) its request expects, 1 s (RFC 9110, 10.1.1)
	Answer   time.Duration // from a request's last byte to the end of the answer's head, 60 s
	Stall    time.Duration // that an origin takes nothing of a request, or sends nothing of a body, 60 s; twice that if it takes some of a part
	Idle     time.Duration // that a connection is kept without a request, 4 s: servers often close theirs after 5

	// Dial connects; nil is a net.Dialer. A connection that is no syscall.Conn cannot be asked for its silence, and so is not kept.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu     sync.Mutex
	idle   map[string][]*wire // by address, the one used last at the end
	trips  map[*trip]struct{} // under way, those that connect as well
	pieces sync.Pool          // memory for bodies of requests: *[]byte
}

// Unsent is why not a byte of a request has reached an origin, nor was anything read from its body: it may be sent to another one,
// whatever its method.
type Unsent struct{ Err error }

func (u *Unsent) Error() string { return u.Err.Error() }
func (u *Unsent) Unwrap() error { return u.Err }

var errScheme = errors.New("the scheme is not http")

// RoundTrip is http.RoundTripper's. Its errors, and those of reading the answer's body:
//   - *Refusal with a status below 502: the request is not one that may be sent to anybody, and was not;
//   - *Refusal with status 502: the origin's answer is not acceptable, ErrUnasked among others;
//   - *Unsent: the origin cannot have seen the request: ErrConnect, ErrBroken, one of the system or the context;
//   - ErrNoAnswer, ErrStalled, ErrBroken, io.ErrUnexpectedEOF, an error of the system or the context: the origin may have seen it;
//   - an error of the request's body.
//
// A request that fails on a connection which was kept, before a byte of an answer came, is sent once more over a new one if its
// method is idempotent (RFC 9110, 9.2.2) and its body empty or to be had again from GetBody.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	x, err := t.try(req, false)
	if err != nil && x != nil && x.stale && idempotent(req.Method) {
		if again := anew(req); again != nil {
			x, err = t.try(again, true)
		}
	}
	if err != nil {
		return nil, err
	}
	x.res.Request = req
	return x.res, nil
}

// try sends a request over one connection. The trip is nil when the request may not be sent.
func (t *Transport) try(req *http.Request, fresh bool) (*trip, error) {
	memory := t.memory()
	defer t.pieces.Put(memory)
	head, err := (*memory)[:0], errScheme
	if req.URL.Scheme == "http" {
		head, err = appendAsking(head, req, bodyOf(req))
	}
	if err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	x := t.begin(req)
	if err = x.connect(fresh); err != nil {
		return x, &Unsent{err}
	}
	return x, x.run(head)
}

// memory is for a request's head or a part of its body.
func (t *Transport) memory() *[]byte {
	if memory, ok := t.pieces.Get().(*[]byte); ok {
		return memory
	}
	memory := make([]byte, chunkRoom+onePart+chunkRoom)
	return &memory
}

// anew is the request as it may be sent for the second time, nil if it may not.
func anew(req *http.Request) *http.Request {
	if req.Body == nil || req.Body == http.NoBody {
		return req
	}
	if req.GetBody == nil {
		return nil
	}
	body, err := req.GetBody()
	if err != nil {
		return nil
	}
	again := *req
	again.Body = body
	return &again
}

// idempotent reports whether doing a request twice is meant to be the same as once: RFC 9110, 9.2.2.
func idempotent(method string) bool {
	switch method {
	case "", "GET", "HEAD", "OPTIONS", "PUT", "DELETE":
		return true
	}
	return false
}

// limits are those of answers.
func (t *Transport) limits() Limits {
	return t.Limits.forAnswers()
}

// CloseIdle closes the connections that carry no request.
func (t *Transport) CloseIdle() {
	t.mu.Lock()
	idle := t.idle
	t.idle = nil
	t.mu.Unlock()
	for _, wires := range idle {
		hangUpAll(wires)
	}
}

// CloseIdleConnections is CloseIdle, by the name that http.Client knows.
func (t *Transport) CloseIdleConnections() { t.CloseIdle() }

// Break ends all that goes on with an address, connections in use as well: their requests and answers fail with ErrBroken.
func (t *Transport) Break(address string) {
	t.mu.Lock()
	wires := t.idle[address]
	delete(t.idle, address)
	var broken []*trip
	for x := range t.trips {
		if x.req.URL.Host == address {
			x.broken = true
			broken = append(broken, x)
		}
	}
	t.mu.Unlock()
	hangUpAll(wires)
	for _, x := range broken {
		x.fail(ErrBroken)
	}
}

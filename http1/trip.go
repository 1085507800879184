package http1

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// trip is one request over one connection, to the end of its answer. It is the answer's body as well.
type trip struct {
	t     *Transport
	req   *http.Request
	body  BodyEnd // of the request: NoBody, ByLength or ByChunks
	w     *wire
	res   *http.Response
	heard bool // a byte of an answer has come
	stale bool // a connection that was kept ended before that

	// Of reading the answer's body, by who reads it.
	end    BodyEnd
	left   int64 // bytes of a body by length
	chunks *Chunks
	excess bool  // something came behind the body
	read   error // what each further Read returns

	broken bool // by Break, so the connection is not kept; Transport.mu guards it

	mu       sync.Mutex
	over     bool
	why      error              // it ended before its time
	cancel   context.CancelFunc // ends connecting
	unwatch  func() bool        // ends watching the context
	progress progress           // of the request's body
	halted   bool               // no more of it is to be written
	answered bool               // the answer's head is here
	written  chan struct{}      // closed when nothing of the body is written any more; nil until it is begun
	shut     sync.Once          // of the request's body
}

// begin is a trip that Break finds.
func (t *Transport) begin(req *http.Request) *trip {
	x := &trip{t: t, req: req, body: bodyOf(req)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.trips == nil {
		t.trips = map[*trip]struct{}{}
	}
	t.trips[x] = struct{}{}
	return x
}

// connect gives the trip a connection: one that was kept, unless it is to be a fresh one.
func (x *trip) connect(fresh bool) error {
	ctx, address := x.req.Context(), x.req.URL.Host
	if ctx.Err() != nil {
		return x.broke(context.Cause(ctx))
	}
	var w *wire
	if !fresh {
		w = x.t.kept(address)
	}
	if w == nil {
		var err error
		if w, err = x.dial(ctx, address); err != nil {
			return x.broke(err)
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		w.Close()
		return x.why
	}
	x.w = w
	x.unwatch = context.AfterFunc(ctx, func() { x.fail(context.Cause(ctx)) })
	return nil
}

func (x *trip) dial(ctx context.Context, address string) (*wire, error) {
	limited, cancel := context.WithTimeoutCause(ctx, or(x.t.Connect, 2*time.Second), ErrConnect)
	defer cancel()
	x.mu.Lock()
	x.cancel = cancel
	over := x.over
	x.mu.Unlock()
	if over {
		return nil, x.why
	}
	w, err := x.t.dial(limited, address)
	if err != nil && limited.Err() != nil {
		err = context.Cause(limited)
	}
	return w, err
}

// fail ends the trip before its time and closes its connection. The first reason counts; true is that this is it.
func (x *trip) fail(why error) bool {
	x.mu.Lock()
	if x.over {
		x.mu.Unlock()
		return false
	}
	x.over, x.halted, x.why = true, true, why
	w, cancel, unwatch := x.w, x.cancel, x.unwatch
	x.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	if unwatch != nil {
		unwatch()
	}
	if w != nil {
		w.Close()
	}
	x.forget()
	x.shutBody()
	return true
}

// broke fails the trip for an error, and returns why it ended: closing a connection causes errors too.
func (x *trip) broke(err error) error {
	x.fail(err)
	return x.failure()
}

// failure is why the trip ended before its time, nil if it did not.
func (x *trip) failure() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.why
}

// finish ends the trip with its answer, and keeps the connection if that may carry another one. The error is why it was over before.
func (x *trip) finish(keep bool) error {
	x.mu.Lock()
	over, why := x.over, x.why
	x.over, x.halted = true, true
	x.mu.Unlock()
	if over {
		return why
	}
	if watched := x.unwatch(); keep && watched {
		x.t.keep(x)
	} else {
		x.w.Close()
	}
	x.forget()
	return nil
}

func (x *trip) forget() {
	x.t.mu.Lock()
	defer x.t.mu.Unlock()
	delete(x.t.trips, x)
}

func (x *trip) shutBody() {
	if x.req.Body != nil {
		x.shut.Do(func() { x.req.Body.Close() })
	}
}

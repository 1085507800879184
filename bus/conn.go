package bus

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"bramble/fault"
	"bramble/trust"
)

// Conn is one identity's connection to the bus. Its methods may be called from many goroutines.
type Conn struct {
	nc      *nats.Conn
	who     Caller
	streams streamTable
	answers answers
	ctx     context.Context // ends when the connection is closed for good
	cancel  context.CancelFunc
	link    atomic.Pointer[link] // the present connection
	busy    sync.WaitGroup       // handlers and keep-alive
	calls   chan struct{}        // bounds the requests being answered
	serving chan struct{}        // bounds the streams being served
}

// link is one connection out of those that a Conn makes one after the other.
type link struct {
	ctx  context.Context
	lost context.CancelFunc
}

// relink begins the next link; what waits for an answer over the one before will get none.
func (c *Conn) relink() {
	ctx, lost := context.WithCancel(c.ctx)
	if old := c.link.Swap(&link{ctx, lost}); old != nil {
		old.lost()
	}
}

// DialOptions of a connection over TLS.
type DialOptions struct {
	ID        trust.Identity
	Heads     []string    // host:port, tried in turn
	TLS       *tls.Config // as trust makes it
	Forever   bool        // keep trying, as agents do; otherwise give up after Patience
	Patience  time.Duration
	OnConnect func()          // called after each connection and reconnection
	OnLost    func(err error) // called when the connection broke
	OnRefused func(err error) // called when a head was reached and turned this identity away
}

// Dial connects to a head.
func Dial(ctx context.Context, o DialOptions) (*Conn, error) {
	opts := []nats.Option{
		nats.Name(o.ID.String()), nats.Secure(o.TLS), nats.TLSHandshakeFirst(),
		nats.CustomInboxPrefix("_INBOX." + callerOf(o.ID).key()),
		nats.ReconnectBufSize(-1), // reports are repeated by who made them, not replayed stale
		nats.PingInterval(10 * time.Second), nats.MaxPingsOutstanding(2),
		nats.Timeout(5 * time.Second), nats.DontRandomize(),
		nats.CustomReconnectDelay(backoff), nats.MaxReconnects(-1),
		nats.IgnoreDiscoveredServers(), nats.IgnoreAuthErrorAbort(),
		nats.ErrorHandler(ignore),
	}
	var made atomic.Pointer[Conn]
	opts = append(opts, nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
		if c := made.Load(); c != nil {
			c.streams.closeAll(errConnLost) // frames are missing from here on
			c.relink()
		}
		if o.OnLost != nil {
			o.OnLost(err)
		}
	}))
	if o.OnRefused != nil {
		opts = append(opts, nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			if refused(err) {
				o.OnRefused(err)
			}
		}))
	}
	if o.OnConnect != nil {
		opts = append(opts, nats.ReconnectHandler(func(*nats.Conn) { o.OnConnect() }))
	}
	urls := make([]string, len(o.Heads))
	for i, h := range o.Heads {
		urls[i] = "tls://" + h
	}
	nc, err := dialUntil(ctx, strings.Join(urls, ","), o, opts)
	if err != nil {
		return nil, err
	}
	c, err := newConn(nc, o.ID)
	if err != nil {
		return nil, err
	}
	made.Store(c)
	if o.OnConnect != nil {
		o.OnConnect()
	}
	return c, nil
}

// ignore drops what the server says of forbidden subjects: who asks learns it from may, and a test from the silence.
func ignore(*nats.Conn, *nats.Subscription, error) {}

func dialUntil(ctx context.Context, url string, o DialOptions, opts []nats.Option) (*nats.Conn, error) {
	begun := time.Now()
	for attempt := 0; ; attempt++ {
		nc, err := connect(ctx, url, opts)
		if err == nil {
			return nc, nil
		}
		if refused(err) && !o.Forever && (!starting(err) || time.Since(begun) >= startingMost) {
			return nil, refusal(o, err)
		}
		if refused(err) && o.OnRefused != nil {
			o.OnRefused(err)
		}
		if !o.Forever && time.Since(begun) >= o.Patience {
			why := ""
			if !errors.Is(err, nats.ErrNoServers) { // which says nothing new
				why = ": " + strings.TrimPrefix(err.Error(), "nats: ")
			}
			return nil, fault.New(fault.Unreachable, "no head answered at %s within %s%s", strings.Join(o.Heads, ", "), o.Patience, why).
				Hint("bramble doctor, or start the head: bramble up")
		}
		select {
		case <-ctx.Done():
			return nil, fault.New(fault.Interrupted, "stopped while connecting to %s", strings.Join(o.Heads, ", "))
		case <-time.After(backoff(attempt)):
		}
	}
}

// connect gives up when ctx ends, which nats.Connect does not.
func connect(ctx context.Context, url string, opts []nats.Option) (*nats.Conn, error) {
	type result struct {
		nc  *nats.Conn
		err error
	}
	done := make(chan result, 1)
	go func() {
		nc, err := nats.Connect(url, opts...)
		done <- result{nc, err}
	}()
	select {
	case r := <-done:
		return r.nc, r.err
	case <-ctx.Done():
		go func() { // ends within the timeout of a connection
			if r := <-done; r.nc != nil {
				r.nc.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// refusal says who did not let whom in: our side may have refused the head, or the head us.
func refusal(o DialOptions, err error) error {
	where := strings.Join(o.Heads, ", ")
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return fault.New(f.Code, "%s: %w", where, f).Hint("%s", cmp.Or(f.Try, "check the address"))
	}
	if strings.Contains(err.Error(), "tls: first record") {
		return fault.New(fault.Unreachable, "what answers at %s is no bramble head", where).Hint("check the address, or make a new client file: bramble client create")
	}
	return fault.New(fault.Denied, "the head at %s refuses this identity (%s)", where, o.ID).
		Hint("an admin can make a new client file: bramble client create NAME --role operator")
}

// startingMost is how long a refusal may mean that the head is only starting and lets nobody in yet.
const startingMost = time.Second

// starting reports whether it was the head that refused us, of which the reason does not reach us.
func starting(err error) bool { return strings.Contains(err.Error(), "remote error: tls") }

func refused(err error) bool {
	return errors.Is(err, nats.ErrAuthorization) || strings.Contains(err.Error(), "tls:") || strings.Contains(err.Error(), "x509:")
}

// backoff waits longer each time, up to 5 s, jittered so that a whole cluster does not come back at one instant.
func backoff(attempt int) time.Duration {
	wait := min(5*time.Second, 100*time.Millisecond<<min(attempt, 6))
	return wait/2 + rand.N(wait/2)
}

func newConn(nc *nats.Conn, id trust.Identity) (*Conn, error) {
	ctx, cancel := context.WithCancel(context.Background())
	c := &Conn{nc: nc, who: callerOf(id), ctx: ctx, cancel: cancel, calls: make(chan struct{}, 512), serving: make(chan struct{}, 8192)}
	c.relink()
	if err := c.openMailbox(); err != nil {
		nc.Close()
		cancel()
		return nil, err
	}
	return c, nil
}

// Who is the identity of this connection.
func (c *Conn) Who() Caller { return c.who }

// Connected reports whether the head is there now.
func (c *Conn) Connected() bool { return c.nc.IsConnected() }

// Close ends the connection, its streams and handlers, and returns when all have ended.
func (c *Conn) Close() {
	c.cancel()
	ctx, done := context.WithTimeout(context.Background(), time.Second)
	c.nc.FlushWithContext(ctx)
	done()
	c.nc.Close()
	c.streams.closeAll(errConnClosed)
	c.busy.Wait()
}

var (
	errConnClosed = fault.New(fault.Unreachable, "the connection to the head was closed")
	errConnLost   = fault.New(fault.Unreachable, "the connection to the head was lost").Hint(awayHint)
)

// awayHint is what a person does whose head is away.
const awayHint = "the same again in a moment; bramble doctor if it stays away"

// subject completes a client's request subject with who asks.
func (c *Conn) subject(verb string) string {
	if c.who.Kind == trust.KindClient {
		return verb + "." + c.who.Name + "." + string(c.who.Role)
	}
	return verb
}

// Call asks and waits for the one answer, both JSON. subject is "ROOM.CLASS.VERB" from
// a client; Node(…) from the head; From(…) from a node.
func (c *Conn) Call(ctx context.Context, subject string, req, resp any) error {
	if err := c.may(subject); err != nil {
		return err
	}
	data, err := encode(req)
	if err != nil {
		return err
	}
	ctx, cancel := bounded(ctx, 30*time.Second)
	defer cancel()
	over := c.link.Load().ctx
	defer context.AfterFunc(over, cancel)()
	m, err := c.request(ctx, subject, data)
	if err != nil && over.Err() != nil && c.ctx.Err() == nil {
		return errConnLost
	}
	if err != nil {
		return c.callError(subject, err)
	}
	if text := m.Header.Get(errorHeader); text != "" {
		return faultFrom(text)
	}
	return decode(m.Data, resp)
}

// startsWithin is how long a head that takes connections may need until all its rooms answer.
const startsWithin = 3 * time.Second

// request asks, and asks the head again for a while when nobody listens: it has just started.
func (c *Conn) request(ctx context.Context, subject string, data []byte) (*nats.Msg, error) {
	peer := c.peerKey(subject)
	if c.who.Kind == trust.KindHead && peer != "head" {
		return c.askNode(ctx, peer, subject, data)
	}
	for begun := time.Now(); ; {
		m, err := c.nc.RequestWithContext(ctx, c.subject(subject), data)
		if !errors.Is(err, nats.ErrNoResponders) || peer != "head" || time.Since(begun) > startsWithin {
			return m, err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (c *Conn) callError(subject string, err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return fault.New(fault.Interrupted, "%s: interrupted", subject)
	case errors.Is(err, nats.ErrNoResponders) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout):
		silent := fault.New(fault.Unreachable, "nobody answered %s: %w", subject, err)
		if c.peerKey(subject) == "head" {
			silent.Hint(awayHint)
		}
		return silent
	}
	return unasked(subject, err)
}

// unasked is the error of a question that did not go out.
func unasked(subject string, err error) error {
	if err = plain(err); err == errConnLost {
		return err
	}
	return fault.New(fault.Unreachable, "ask %s: %w", subject, err)
}

// plain says in our words what nats calls a full buffer: the connection is lost, and nothing is kept to be sent later.
func plain(err error) error {
	if errors.Is(err, nats.ErrReconnectBufExceeded) {
		return errConnLost
	}
	return err
}

// may tells a client at once what the server would drop in silence.
func (c *Conn) may(subject string) error {
	part := strings.Split(subject, ".")
	if c.who.Kind != trust.KindClient || len(part) != 3 || c.who.Role.Includes(classes[part[1]]) {
		return nil
	}
	return fault.New(fault.Denied, "%s may not %s: that needs the role %s", c.who, strings.Join(part[2:], " "), classes[part[1]]).
		Hint("an admin can make a client file with that role: bramble client create NAME --role %s", classes[part[1]])
}

// Publish sends v as JSON, or as it is when it is a []byte, to whoever listens.
func (c *Conn) Publish(subject string, v any) error {
	data, err := encode(v)
	if err != nil {
		return err
	}
	if err := c.nc.Publish(subject, data); err != nil {
		return fmt.Errorf("publish %s: %w", subject, plain(err))
	}
	return nil
}

// Flush waits until everything published has reached the head.
func (c *Conn) Flush(ctx context.Context) error {
	ctx, cancel := bounded(ctx, 10*time.Second)
	defer cancel()
	return c.nc.FlushWithContext(ctx)
}

// bounded gives calls that come without a deadline one.
func bounded(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, limit)
}

const errorHeader = "Bramble-Error"

func faultText(err error) string {
	data, _ := json.Marshal(fault.Of(err))
	return string(data)
}

func faultFrom(text string) error {
	var f fault.Error
	if json.Unmarshal([]byte(text), &f) != nil {
		return fault.New(fault.Failed, "%s", text)
	}
	return &f
}

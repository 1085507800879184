package bus

import (
	"context"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"bramble/fault"
	"bramble/trust"
)

// Subscribe calls heard for each message on subject, one after the other, until ctx ends
// or the connection closes. It must not block for long.
func (c *Conn) Subscribe(ctx context.Context, subject string, heard func(Message)) error {
	return c.subscribe(ctx, subject, maxQueued, func(m *nats.Msg) {
		heard(Message{Subject: m.Subject, Caller: callerFrom(m.Subject), Data: m.Data})
	})
}

// subscribe lets at most so many bytes wait; -1 for any, where windows bound them.
func (c *Conn) subscribe(ctx context.Context, subject string, bytes int, heard nats.MsgHandler) error {
	sub, err := c.nc.Subscribe(subject, heard)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", subject, err)
	}
	sub.SetPendingLimits(-1, bytes)
	context.AfterFunc(ctx, func() { sub.Unsubscribe() })
	return nil
}

// maxQueued is the most bytes that wait for a subscriber; what comes beyond is dropped, so that a flood
// from one node or client cannot fill the head's memory.
const maxQueued = 128 << 20

// pattern is what a service listens on for a verb: client verbs come with user and role behind them.
func pattern(subject string) string {
	part := strings.Split(subject, ".")
	if len(part) == 3 {
		if _, client := classes[part[1]]; client {
			return subject + ".*.*"
		}
	}
	return subject
}

// Handle answers requests on subject until ctx ends: each in its own goroutine, bounded in
// number; a handler's error reaches the caller as the same *fault.Error.
func Handle[Req, Resp any](ctx context.Context, c *Conn, subject string, answer func(context.Context, Caller, Req) (Resp, error)) error {
	return c.handle(ctx, subject, func(ctx context.Context, who Caller, data []byte) (any, error) {
		var req Req
		if err := decode(data, &req); err != nil {
			return nil, err
		}
		return answer(ctx, who, req)
	})
}

// handle is Handle for all types of requests and answers: what is compiled for each of them is little.
func (c *Conn) handle(ctx context.Context, subject string, answer func(context.Context, Caller, []byte) (any, error)) error {
	ctx = c.within(ctx)
	return c.subscribe(ctx, pattern(subject), maxQueued, func(m *nats.Msg) {
		c.serve(ctx, c.calls, func() {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			var resp any
			who, err := c.caller(m)
			if err == nil {
				resp, err = answer(ctx, who, m.Data)
			}
			c.reply(m, resp, err)
		})
	})
}

// HandleStream answers requests that open a stream; the stream ends when serve returns.
func HandleStream[Req any](ctx context.Context, c *Conn, subject string, serve func(context.Context, Caller, Req, *Stream) error) error {
	return c.handleStream(ctx, subject, func(ctx context.Context, who Caller, data []byte, s *Stream) error {
		var req Req
		if err := decode(data, &req); err != nil {
			return err
		}
		return serve(ctx, who, req, s)
	})
}

func (c *Conn) handleStream(ctx context.Context, subject string, serve func(context.Context, Caller, []byte, *Stream) error) error {
	ctx = c.within(ctx)
	return c.subscribe(ctx, pattern(subject), maxQueued, func(m *nats.Msg) {
		c.serve(ctx, c.serving, func() {
			who, err := c.caller(m)
			if err != nil {
				return
			}
			s, err := c.accept(ctx, m)
			if err != nil {
				return
			}
			s.end(serve(s.ctx, who, m.Data, s))
		})
	})
}

// within ends with the connection too.
func (c *Conn) within(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.ctx, cancel)
	context.AfterFunc(ctx, func() { stop() })
	return ctx
}

// serve runs one handler, waiting for a free slot first so that a flood queues in the bus and not here.
func (c *Conn) serve(ctx context.Context, slots chan struct{}, work func()) {
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return
	}
	c.busy.Go(func() {
		defer func() { <-slots }()
		work()
	})
}

// caller is who sent m; an answer may only go to that caller's own inbox.
func (c *Conn) caller(m *nats.Msg) (Caller, error) {
	who := callerFrom(m.Subject)
	if who.Kind == trust.KindHead || m.Reply == "" {
		return who, nil
	}
	if strings.HasPrefix(m.Reply, "_INBOX."+who.key()+".") || strings.HasPrefix(m.Reply, "_S."+who.key()+".") {
		return who, nil
	}
	return who, fault.New(fault.Denied, "%s asks for an answer to somebody else", who)
}

func (c *Conn) reply(m *nats.Msg, resp any, err error) {
	if m.Reply == "" || strings.HasPrefix(m.Reply, "_S.") {
		return
	}
	answer := &nats.Msg{Subject: m.Reply}
	if err == nil {
		answer.Data, err = encode(resp)
	}
	if err != nil {
		answer.Header = nats.Header{errorHeader: {faultText(err)}}
	}
	c.nc.PublishMsg(answer)
}

package front

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"bramble/http1"
)

// check looks at a member again and again until ctx ends.
func (g *group) check(ctx context.Context, m *member, c Check) {
	ticker := time.NewTicker(c.Interval)
	defer ticker.Stop()
	slow := 0 // checks in a row that were late while answers came
	for {
		before := m.life()
		err := g.ask(ctx, m, c)
		if ctx.Err() != nil {
			return
		}
		s := Sign{OK: err == nil, Check: true}
		if err != nil {
			s.Why, s.Plain = reason(err), plain(err)
		}
		if s.Why == late && m.life() != before && (c.Path == "" || slow < mostSlow) {
			slow++ // bytes come, so it is the link that is full
		} else {
			slow = 0
			g.sign(m, s)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// mostSlow is how many checks of a path may be late in a row while other answers come: then it is the path that is slow.
const mostSlow = 2

// plain reports whether an error leaves no doubt that nobody listens.
func plain(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// late is the reason that an answer did not come in time.
const late = "no answer in time"

// reason is an error in a few words.
func reason(err error) string {
	switch {
	case plain(err):
		return "nothing listens there"
	case errors.Is(err, context.DeadlineExceeded):
		return late
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		if op.Timeout() {
			return late
		}
		return op.Err.Error()
	}
	return err.Error()
}

// ask checks once.
func (g *group) ask(ctx context.Context, m *member, c Check) error {
	if m.second && c.Path != "" {
		return g.second.check(ctx, c, m.origin.Address.String())
	}
	return c.ask(ctx, m.origin.Address.String())
}

// ask checks once.
func (c Check) ask(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		if ctx.Err() != nil {
			return context.DeadlineExceeded
		}
		return err
	}
	defer conn.Close()
	conn.(*net.TCPConn).SetLinger(0) // or each check leaves a port in TIME_WAIT for a minute
	if c.Path == "" {
		return nil
	}
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	host := c.Host
	if host == "" {
		host = address
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bramble-check\r\nConnection: close\r\n\r\n", c.Path, host); err != nil {
		return err
	}
	return wellAnswered(bufio.NewReader(conn))
}

// wellAnswered reads an answer's head, which must have a status from 200 to 399.
func wellAnswered(r *bufio.Reader) error {
	var head []byte
	var res http1.Response
	for {
		line, err := r.ReadSlice('\n')
		if head = append(head, line...); err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		switch n, err := res.Parse(head, http1.Limits{}); {
		case err != nil:
			return err
		case n == 0:
		case res.Status < 200 || res.Status > 399:
			return fmt.Errorf("the check was answered by status %d", res.Status)
		default:
			return nil
		}
	}
}

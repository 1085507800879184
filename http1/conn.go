package http1

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"time"
)

// chat is a connection that a goroutine serves.
type chat struct {
	*run
	conn net.Conn
	in   []byte // received and not yet used
	date clock

	remote netip.AddrPort
}

// serveConn serves one connection, or hands it over, and then is done with it.
func (r *run) serveConn(conn net.Conn, remote netip.AddrPort, proxied bool) {
	c := &chat{run: r, conn: conn, remote: remote}
	defer context.AfterFunc(r.ended, func() { conn.Close() })()
	if (!proxied || c.meet()) && c.serve() {
		r.fallback.take(c.conn, c.in, c.remote)
		return
	}
	conn.Close()
	r.over(c.remote)
}

// addressOf is an address of the network; of a local socket it is the zero one.
func addressOf(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	at := tcp.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// meet reads who the client is, before TLS begins; false is that it cannot be served.
func (c *chat) meet() (ok bool) {
	raw := c.conn
	if t, isTLS := raw.(*tls.Conn); isTLS {
		raw = t.NetConn()
	}
	from, err := readProxied(raw, c.limits.Proxied)
	if why, bad := err.(*Refusal); bad {
		c.counters.refused(why)
	}
	if err != nil {
		return false
	}
	c.remote, ok = c.introduced(from, addressOf(raw.RemoteAddr()))
	return ok
}

// serve returns true when the connection is to be handed over.
func (c *chat) serve() bool {
	switch negotiated, err := c.shake(); {
	case err != nil:
		return false
	case negotiated == "h2":
		return true
	}
	var req Request
	var a Answer
	since, limit := time.Now(), c.limits.ReadHead
	for {
		what, n, refusal := c.look(c.in, &req, &a, c.remote, false)
		switch what {
		case handOver:
			return true
		case refuse:
			last(c.conn, refusal, &c.limits, &c.counters)
			return false
		case answer:
			c.counters.lean.Add(1)
			closing := req.Close || c.parting()
			if err := c.send(&a, closing); err != nil || closing {
				linger(c.conn, err)
				return false
			}
			c.in = append(c.in[:0], c.in[n:]...)
			if since, limit = time.Now(), c.limits.Idle; len(c.in) > 0 {
				limit = c.limits.ReadHead
			}
			continue
		}
		if limit == c.limits.Idle && len(c.in) > 0 {
			since, limit = time.Now(), c.limits.ReadHead
		}
		if !c.read(since.Add(limit)) {
			return false
		}
	}
}

// shake does what TLS begins with and returns the protocol that was agreed on.
func (c *chat) shake() (string, error) {
	conn, ok := c.conn.(*tls.Conn)
	if !ok {
		return "", nil
	}
	ctx, cancel := context.WithTimeout(c.ended, c.limits.ReadHead)
	defer cancel()
	err := conn.HandshakeContext(ctx)
	return conn.ConnectionState().NegotiatedProtocol, err
}

// read waits for more bytes; false is that there will be none. When no more requests are wanted it only
// waits for the rest of one that has begun.
func (c *chat) read(deadline time.Time) bool {
	c.conn.SetReadDeadline(deadline)
	if len(c.in) == 0 {
		defer context.AfterFunc(c.ending, func() { c.conn.SetReadDeadline(time.Unix(1, 0)) })()
	}
	if cap(c.in)-len(c.in) < 2048 {
		c.in = append(make([]byte, 0, 2*cap(c.in)+4096), c.in...)
	}
	n, err := c.conn.Read(c.in[len(c.in):cap(c.in)])
	c.in = c.in[:len(c.in)+n]
	if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && len(c.in) > 0 {
		c.counters.refused(tooSlow)
		last(c.conn, tooSlow, &c.limits, &c.counters)
	}
	return n > 0
}

var tooSlow = &Refusal{408, "the head took too long"}

// last says why a connection ends.
func last(conn net.Conn, why *Refusal, l *Limits, c *counters) {
	var date clock
	date.set(time.Now())
	conn.SetWriteDeadline(time.Now().Add(l.Write))
	n, err := conn.Write(appendRefusal(nil, why, &date))
	c.bytes.Add(int64(n))
	linger(conn, err)
}

// linger reads until the peer has heard all, but not for long.
func linger(conn net.Conn, err error) {
	half, ok := conn.(interface{ CloseWrite() error })
	if err != nil || !ok || half.CloseWrite() != nil {
		return
	}
	conn.SetReadDeadline(time.Now().Add(lingering))
	io.CopyN(io.Discard, conn, mostDiscarded)
}

// mostDiscarded bounds what is read after the last answer, in bytes.
const mostDiscarded = 256 << 10

// send writes an answer. Each piece has the time for a write.
func (c *chat) send(a *Answer, closing bool) error {
	defer c.done(a.Done)
	if a.Open != nil {
		file, err := c.open(a.Open)
		if err != nil {
			return err
		}
		defer file.Close()
		a.File = file
	}
	c.date.set(time.Now())
	head := appendHead(nil, a.Head, &c.date, closing)
	if a.File == nil && len(a.Body) < smallBody {
		return c.write(append(head, a.Body...))
	}
	if err := c.write(head); err != nil || a.File == nil {
		return errors.Join(err, c.write(a.Body))
	}
	return c.file(a)
}

func (c *chat) write(b []byte) error {
	sent, err := writeAll(c.conn, b, c.limits.Write)
	c.counters.bytes.Add(int64(sent))
	return err
}

// writeAll sends in pieces, each with the limit for itself, so that a peer that takes some is not cut off.
func writeAll(conn net.Conn, b []byte, limit time.Duration) (sent int, err error) {
	for sent < len(b) && err == nil {
		var n int
		conn.SetWriteDeadline(time.Now().Add(limit))
		n, err = conn.Write(b[sent:min(sent+onePiece, len(b))])
		sent += n
	}
	return sent, err
}

const (
	smallBody = 4 << 10  // bytes; a body as small is copied behind its head
	onePiece  = 64 << 10 // bytes that a peer must take within Limits.Write
)

// file sends part of a file. An error is also that it became shorter.
func (c *chat) file(a *Answer) error {
	for sent := int64(0); sent < a.Size; {
		n := min(a.Size-sent, onePiece)
		c.conn.SetWriteDeadline(time.Now().Add(c.limits.Write))
		copied, err := io.CopyN(c.conn, io.NewSectionReader(a.File, a.Offset+sent, n), n)
		c.counters.bytes.Add(copied)
		if err != nil {
			return err
		}
		sent += copied
	}
	return nil
}

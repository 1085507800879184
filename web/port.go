package web

import (
	"context"
	"net"
	"sync"
	"time"
)

// tlsHandshake is the first byte of a TLS ClientHello's record, RFC 8446 section 5.1; no HTTP method begins with it.
const tlsHandshake = 22

const (
	sniffTime = 10 * time.Second // how long a connection may say nothing
	maxSilent = 512              // connections that have said nothing yet; more wait in the kernel
)

// port sorts the connections of one listener by their first byte.
type port struct {
	net.Listener
	secure, plain *half
}

// half is the listener of one sort of connections.
type half struct {
	addr  net.Addr
	conns chan net.Conn
	ended chan struct{}
	once  sync.Once
}

func splitPort(l net.Listener) *port {
	return &port{l, newHalf(l), newHalf(l)}
}

func newHalf(l net.Listener) *half {
	return &half{addr: l.Addr(), conns: make(chan net.Conn), ended: make(chan struct{})}
}

// run sorts until ctx ends.
func (p *port) run(ctx context.Context) error {
	defer p.secure.Close()
	defer p.plain.Close()
	stop := context.AfterFunc(ctx, func() { p.Listener.Close() })
	defer stop()
	var busy sync.WaitGroup
	defer busy.Wait()
	silent := make(chan struct{}, maxSilent)
	for {
		silent <- struct{}{}
		conn, err := p.Accept()
		if err != nil && ctx.Err() != nil {
			return nil
		}
		if err != nil {
			<-silent
			if !passing(err) {
				return err
			}
			time.Sleep(50 * time.Millisecond) // out of file descriptors, for one
			continue
		}
		busy.Go(func() {
			defer func() { <-silent }()
			p.sort(ctx, conn)
		})
	}
}

func passing(err error) bool {
	t, ok := err.(interface{ Temporary() bool })
	return ok && t.Temporary()
}

// sort hands a connection to the half that it belongs to.
func (p *port) sort(ctx context.Context, conn net.Conn) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	var first [1]byte
	conn.SetReadDeadline(time.Now().Add(sniffTime))
	if _, err := conn.Read(first[:]); err != nil || !stop() {
		conn.Close()
		return
	}
	conn.SetReadDeadline(time.Time{})
	to := p.plain
	if first[0] == tlsHandshake {
		to = p.secure
	}
	select {
	case to.conns <- &sniffed{Conn: conn, first: first[:]}:
	case <-to.ended:
		conn.Close()
	case <-ctx.Done():
		conn.Close()
	}
}

// sniffed is a connection whose first byte was read already.
type sniffed struct {
	net.Conn
	first []byte
}

func (c *sniffed) Read(b []byte) (int, error) {
	if len(c.first) > 0 && len(b) > 0 {
		n := copy(b, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

func (h *half) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.ended:
		return nil, net.ErrClosed
	}
}

func (h *half) Close() error {
	h.once.Do(func() { close(h.ended) })
	return nil
}

// Addr is the one port's.
func (h *half) Addr() net.Addr { return h.addr }

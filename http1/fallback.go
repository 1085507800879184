package http1

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// fallback is net/http, given connections one by one.
type fallback struct {
	run    *run
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	server *http.Server
	serve  sync.WaitGroup // the server's loop, connections and handlers
	second sync.Map       // connections with HTTP/2: *tls.Conn to *held
}

// connKey is where a request's context has its *screen, or its *held with HTTP/2.
type connKey struct{}

func newFallback(r *run) *fallback {
	f := &fallback{run: r, conns: make(chan net.Conn), closed: make(chan struct{})}
	handler := r.Fallback
	if handler == nil {
		handler = http.NotFoundHandler()
	}
	f.server = &http.Server{
		Handler:           f.counted(handler),
		ReadHeaderTimeout: r.limits.ReadHead,
		IdleTimeout:       r.limits.Idle,
		MaxHeaderBytes:    r.limits.Head + 4096, // the screen's limit comes first
		ErrorLog:          log.New(io.Discard, "", 0),
		BaseContext:       func(net.Listener) context.Context { return r.ended },
		ConnContext:       f.known,
		ConnState:         f.changed,
	}
	if r.Log != nil {
		f.server.ErrorLog = slog.NewLogLogger(r.Log.Handler(), slog.LevelWarn)
	}
	f.serve.Go(func() { f.server.Serve(f) })
	return f
}

// counted lets Serve wait for handlers, those that have taken their connection over as well, and tells them of TLS.
func (f *fallback) counted(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		f.serve.Add(1)
		defer f.serve.Done()
		f.run.counters.other.Add(1)
		switch conn := req.Context().Value(connKey{}).(type) {
		case *screen:
			req.TLS = conn.tls
		case *held: // of HTTP/2, about which net/http knows only what TLS does
			req.RemoteAddr = conn.RemoteAddr().String()
		}
		if f.run.gone.Load() && req.Header.Get("Upgrade") == "" {
			w.Header().Set("Connection", "close") // over HTTP/2 this is GOAWAY
		}
		handler.ServeHTTP(w, req)
	})
}

// known lets requests know their connection.
func (f *fallback) known(ctx context.Context, conn net.Conn) context.Context {
	if held, ok := f.second.Load(conn); ok {
		return context.WithValue(ctx, connKey{}, held)
	}
	return context.WithValue(ctx, connKey{}, conn)
}

// take gives net/http a connection, what was read from it, and whose it is. It owns the connection's slot from then on.
func (f *fallback) take(conn net.Conn, read []byte, remote netip.AddrPort) {
	f.serve.Add(1)
	held := &held{Conn: conn, remote: remote, done: func() { f.run.over(remote); f.serve.Done() }}
	held.stop = context.AfterFunc(f.run.ended, func() { held.Close() })
	given := net.Conn(held)
	t, isTLS := conn.(*tls.Conn)
	switch {
	case isTLS && t.ConnectionState().NegotiatedProtocol == "h2":
		given = t // net/http speaks HTTP/2 with this type alone
		f.second.Store(t, held)
	default:
		s := &screen{Conn: held, limits: &f.run.limits, counters: &f.run.counters, in: read}
		if isTLS {
			state := t.ConnectionState()
			s.tls = &state
		}
		given = s
	}
	select {
	case f.conns <- given:
	case <-f.closed:
		held.Close()
	}
}

// changed hears from net/http that a connection is closed, or taken over by a handler.
func (f *fallback) changed(conn net.Conn, state http.ConnState) {
	switch conn := conn.(type) {
	case *screen:
		conn.open.Store(state == http.StateHijacked)
		conn.idle.Store(state == http.StateIdle)
	case *tls.Conn:
		if h, ok := f.second.Load(conn); ok && state == http.StateClosed {
			f.second.Delete(conn)
			h.(*held).Close()
		}
	}
}

// shutdown lets answers under way finish while connections are allowed, and returns when all has ended.
func (f *fallback) shutdown() {
	f.server.Shutdown(f.run.ended)
	f.server.Close()
	f.serve.Wait()
}

// Accept, Close and Addr are net.Listener.
func (f *fallback) Accept() (net.Conn, error) {
	select {
	case conn := <-f.conns:
		return conn, nil
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

func (f *fallback) Close() error {
	f.once.Do(func() { close(f.closed) })
	return nil
}

func (f *fallback) Addr() net.Addr { return f.run.ln.Addr() }

// held is a connection that says when it is closed.
type held struct {
	net.Conn
	remote netip.AddrPort // the client, whom a proxy may have named; the zero one on local sockets
	once   sync.Once
	stop   func() bool
	done   func()
}

func (h *held) RemoteAddr() net.Addr {
	if h.remote.IsValid() {
		return net.TCPAddrFromAddrPort(h.remote)
	}
	return h.Conn.RemoteAddr()
}

func (h *held) Close() error {
	err := h.Conn.Close()
	h.once.Do(func() { h.stop(); h.done() })
	return err
}

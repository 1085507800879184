package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"bramble/fault"
	"bramble/trust"
)

// maxPeers is how many connections the peer port holds at a time; more wait to be accepted.
const maxPeers = 2048

func (h *head) listenPeers() (net.Listener, error) {
	l, err := net.Listen("tcp", h.conf.Peer)
	if err != nil {
		return nil, fault.New(fault.Failed, "cannot listen for joining nodes on %s: %w", h.conf.Peer, err).
			Hint("bramble up --peer HOST:PORT with a free port")
	}
	return bounded(l, maxPeers), nil
}

// bounded holds at most so many connections at a time.
func bounded(l net.Listener, most int) net.Listener {
	return &boundedListener{Listener: l, room: make(chan struct{}, most), closed: make(chan struct{})}
}

// servePeers answers machines that join and nodes that fetch files.
func (h *head) servePeers(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           h.peerHandler(),
		TLSConfig:         trust.JoinConfig(h.cred, h.authority.Verify, h.clock.Now),
		ReadHeaderTimeout: 20 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(h.log("peer").Handler(), slog.LevelDebug),
	}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.ServeTLS(l, "", ""); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve peers: %w", err)
	}
	return nil
}

func (h *head) peerHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", h.fleet.JoinHandler(h.conf.ports()))
	mux.Handle("/artefact/", h.filesHandler())
	return mux
}

// boundedListener accepts only while it has room, so that strangers cannot use up the head's descriptors.
type boundedListener struct {
	net.Listener
	room   chan struct{}
	once   sync.Once
	closed chan struct{}
}

func (l *boundedListener) Accept() (net.Conn, error) {
	select {
	case l.room <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.room
		return nil, err
	}
	return &boundedConn{Conn: conn, leave: func() { <-l.room }}, nil
}

func (l *boundedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type boundedConn struct {
	net.Conn
	once  sync.Once
	leave func()
}

func (c *boundedConn) Close() error {
	c.once.Do(c.leave)
	return c.Conn.Close()
}

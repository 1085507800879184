package agent

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"bramble/artefact"
	"bramble/fault"
	"bramble/fleet"
	"bramble/job"
	"bramble/trust"
)

// neighbours is where the agents of nodes talk with each other without the head in between, each proved to be the
// node that it says it is. Who was removed from the cluster is let in no more.
type neighbours struct {
	node     *node
	tls      *tls.Config
	jobs     *job.Node
	files    *artefact.Store // nil: it gives none
	courtesy *artefact.Courtesy
}

const (
	// nodePort is where a node's agent answers others' if nothing else does there.
	nodePort = 7654
	// maxNeighbours is how many connections are held at a time.
	maxNeighbours = 1024
	stepPath      = "/job/step"
	stepProtocol  = "bramble-step"
)

// listenNeighbours opens the port; said is where it is, for others: without a host, where the head sees this node.
func (n *node) listenNeighbours() (l net.Listener, said string, err error) {
	host := n.PeerHost
	if source := towards(n.conf.Heads); host == "" && source.IsLoopback() {
		host = source.String()
	}
	ip := net.ParseIP(host)
	l, err = net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(nodePort)))
	if err != nil || ip != nil && ip.IsLoopback() { // there are others on this machine
		if err == nil {
			l.Close()
		}
		l, err = net.Listen("tcp", net.JoinHostPort(host, "0"))
	}
	if err != nil {
		return nil, "", fault.New(fault.Failed, "cannot listen for other nodes: %w", err)
	}
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	if ip == nil || ip.IsUnspecified() {
		host = ""
	}
	return bounded(l, maxNeighbours), net.JoinHostPort(host, port), nil
}

// towards is the address that this machine has in the eyes of the head. Nothing is sent to find out.
func towards(heads []string) net.IP {
	for _, head := range heads {
		if conn, err := net.Dial("udp", head); err == nil {
			defer conn.Close()
			return conn.LocalAddr().(*net.UDPAddr).IP
		}
	}
	return nil
}

// serve answers other nodes until ctx ends.
func (b *neighbours) serve(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+stepPath, func(w http.ResponseWriter, r *http.Request) { b.step(ctx, w, r) })
	if b.files != nil {
		mux.Handle("/artefact/", artefact.Handler(b.files, mayRead(b.node.verifier.Verify), artefact.Limits{Courtesy: b.courtesy}))
	}
	server := &http.Server{
		Handler:           mux,
		TLSConfig:         trust.ServerConfig(b.node.cred, b.node.verifier.Verify, b.node.clock.Now, trust.KindNode, trust.KindHead),
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){}, // a step takes its connection over
		ReadHeaderTimeout: 20 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(b.node.Log.Handler(), slog.LevelDebug),
	}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.ServeTLS(l, "", ""); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve other nodes: %w", err)
	}
	return nil
}

// mayRead lets nodes and the head have files from here, and nobody put any.
func mayRead(verify trust.Verify) func(*http.Request) error {
	return func(r *http.Request) error {
		id, err := trust.Peer(r.TLS, verify)
		if err == nil && (id.Kind != trust.KindNode && id.Kind != trust.KindHead || !artefact.Reads(r)) {
			err = fault.New(fault.Denied, "%s may only read here, as nodes do", id)
		}
		return err
	}
}

// near has files from other nodes' agents.
func (b *neighbours) near() func(address string) *artefact.Client { return nearClient(b.tls) }

// nearClient asks agents of nodes for files.
func nearClient(config *tls.Config) func(address string) *artefact.Client {
	client := artefact.HTTP(config)
	return func(address string) *artefact.Client {
		return &artefact.Client{HTTP: client, Base: "https://" + address}
	}
}

// step hands the connection to the room of jobs.
func (b *neighbours) step(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	id, err := trust.Peer(r.TLS, b.node.verifier.Verify)
	if err != nil || id.Kind != trust.KindNode || r.Header.Get("Upgrade") != stepProtocol {
		http.Error(w, "not for you", http.StatusForbidden)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	conn.SetDeadline(time.Time{})
	_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", stepProtocol)
	if err != nil {
		conn.Close()
		return
	}
	b.jobs.ServePeer(ctx, id.Name, conn, buffered.Reader)
}

// Dial implements job.Peers.
func (b *neighbours) Dial(ctx context.Context, name, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	d := tls.Dialer{Config: b.tls, NetDialer: &net.Dialer{KeepAlive: 15 * time.Second}}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, lostTo(name, err)
	}
	state := conn.(*tls.Conn).ConnectionState()
	id, err := trust.Peer(&state, b.node.verifier.Verify)
	if err == nil && id.Name != name {
		err = fault.New(fault.Denied, "what answers there is %s", id)
	}
	if err == nil {
		conn, err = upgraded(ctx, conn)
	}
	if err != nil {
		conn.Close()
		return nil, lostTo(name, err)
	}
	return conn, nil
}

func lostTo(name string, err error) error {
	return fault.New(fault.Unreachable, "the agent of %s is not reached: %w", name, err).Hint("bramble nodes shows whether it is up; bramble doctor --on %s, why", name)
}

// upgraded asks for a step's protocol on a fresh connection.
func upgraded(ctx context.Context, conn net.Conn) (net.Conn, error) {
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })()
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: node\r\nConnection: Upgrade\r\nUpgrade: %s\r\nContent-Length: 0\r\n\r\n", stepPath, stepProtocol); err != nil {
		return conn, err
	}
	r := bufio.NewReader(conn)
	answer, err := http.ReadResponse(r, nil)
	if err == nil && answer.StatusCode != http.StatusSwitchingProtocols {
		err = fault.New(fault.Denied, "it answers %s", answer.Status)
	}
	return readAhead{conn, r}, err
}

// readAhead reads first what was read already.
type readAhead struct {
	net.Conn
	r *bufio.Reader
}

func (c readAhead) Read(b []byte) (int, error) { return c.r.Read(b) }

// openNeighbours opens the port for other nodes and has the head told of it; nil for a member that has none.
func (n *node) openNeighbours(member *fleet.Member) (net.Listener, error) {
	if n.sparse {
		return nil, nil
	}
	l, said, err := n.listenNeighbours()
	member.Peer = said
	return l, err
}

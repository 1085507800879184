package bus

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"bramble/fault"
	"bramble/trust"
)

// Verifier says who a certificate speaks for, or why it may not speak.
type Verifier func(*x509.Certificate) (trust.Identity, error)

// ServerOptions of an embedded bus.
type ServerOptions struct {
	Name   string
	Dir    string      // where JetStream keeps its files; "" means no JetStream
	Listen string      // host:port; "" means in-process connections only
	TLS    *tls.Config // needed with Listen
	Verify Verifier    // needed with Listen
	Log    *slog.Logger
}

// Server is the embedded bus of a head.
type Server struct {
	nats *server.Server
	auth *authenticator
	dir  string
	log  *slog.Logger
}

// StartServer starts the bus and returns once it takes connections.
func StartServer(opts ServerOptions) (*Server, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	auth := &authenticator{verify: opts.Verify, secret: rand.Text(), conns: map[uint64]trust.Identity{}}
	conf := &server.Options{
		ServerName:                 opts.Name,
		DontListen:                 opts.Listen == "",
		NoSigs:                     true,
		MaxPayload:                 MaxMessage + 64<<10, // headers count too
		MaxConn:                    20_000,
		MaxControlLine:             4096,
		MaxSubs:                    10_000,
		WriteDeadline:              10 * time.Second,
		PingInterval:               10 * time.Second,
		MaxPingsOut:                2,
		AuthTimeout:                10,
		TLSConfig:                  opts.TLS,
		TLSTimeout:                 20,
		TLSHandshakeFirst:          opts.TLS != nil,
		CustomClientAuthentication: auth,
		JetStream:                  opts.Dir != "",
		StoreDir:                   opts.Dir,
		SyncAlways:                 true,
		DisableJetStreamBanner:     true,
	}
	if opts.Listen != "" {
		host, port, err := splitHostPort(opts.Listen)
		if err != nil {
			return nil, err
		}
		conf.Host, conf.Port = host, port
		listener, err := net.Listen("tcp", opts.Listen)
		if err != nil {
			return nil, fault.New(fault.Failed, "bus cannot listen on %s: %w", opts.Listen, err).
				Hint("bramble up --bus HOST:PORT with a free port, or stop what uses it (ss -ltnp)")
		}
		listener.Close() // the server opens it itself, but only logs why it could not
	}
	ns, err := server.NewServer(conf)
	if err != nil {
		return nil, fmt.Errorf("start bus: %w", err)
	}
	ns.SetLoggerV2(natsLog{opts.Log}, false, false, false)
	auth.system = ns.SystemAccount
	ns.Start()
	if !ns.ReadyForConnections(30 * time.Second) {
		ns.Shutdown()
		return nil, fault.New(fault.Failed, "bus did not start on %s", opts.Listen).Hint("look at the log for the reason")
	}
	return &Server{nats: ns, auth: auth, dir: opts.Dir, log: opts.Log}, nil
}

func splitHostPort(addr string) (string, int, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fault.New(fault.Misused, "%q is not an address: %w", addr, err).Hint("HOST:PORT, such as 0.0.0.0:7650")
	}
	number, err := strconv.Atoi(port)
	if err != nil || number < 0 || number > 65535 {
		return "", 0, fault.New(fault.Misused, "%q is not a port", port).Hint("a number from 1 to 65535")
	}
	if number == 0 {
		number = server.RANDOM_PORT
	}
	return host, number, nil
}

// Addr is where the bus listens; nil without a listener.
func (s *Server) Addr() net.Addr { return s.nats.Addr() }

// Shutdown stops the bus and returns when it has ended.
func (s *Server) Shutdown() {
	s.nats.Shutdown()
	s.nats.WaitForShutdown()
}

// Connect opens an in-process connection that speaks as id, which this process vouches for.
func (s *Server) Connect(id trust.Identity) (*Conn, error) {
	nc, err := s.connect(id.String(), nats.CustomInboxPrefix("_INBOX."+callerOf(id).key()))
	if err != nil {
		return nil, fmt.Errorf("connect %s to own bus: %w", id, err)
	}
	return newConn(nc, id)
}

// connect tries again when time ran out: nothing but ourselves having been stopped meanwhile takes so long.
func (s *Server) connect(user string, opts ...nats.Option) (nc *nats.Conn, err error) {
	opts = append(opts, nats.InProcessServer(s.nats), nats.UserInfo(user, s.auth.secret),
		nats.ErrorHandler(ignore), nats.MaxReconnects(0), nats.ReconnectBufSize(-1))
	for range 3 {
		if nc, err = nats.Connect("", opts...); !isTimeout(err) {
			break
		}
	}
	return nc, err
}

func isTimeout(err error) bool {
	late, ok := errors.AsType[net.Error](err)
	return ok && late.Timeout() || errors.Is(err, nats.ErrTimeout)
}

// Kick closes every connection whose identity matches and says how many they were.
func (s *Server) Kick(match func(trust.Identity) bool) int {
	s.auth.mu.Lock()
	var ids []uint64
	for cid, id := range s.auth.conns {
		if match(id) {
			ids = append(ids, cid)
		}
	}
	s.auth.mu.Unlock()
	for _, cid := range ids {
		s.nats.DisconnectClientByID(cid)
	}
	return len(ids)
}

// Presence is one identity's coming or going.
type Presence struct {
	ID        trust.Identity
	Connected bool
	Conn      string // tells one connection of the identity from another
	Remote    string // IP address; "" in process
}

// Watch calls heard for every connection that opens or closes, in order, until the context ends.
func (s *Server) Watch(ctx context.Context, heard func(Presence)) error {
	nc, err := s.connect(inProcessSystem)
	if err != nil {
		return fmt.Errorf("watch connections: %w", err)
	}
	defer nc.Close()
	sub, err := nc.Subscribe("$SYS.ACCOUNT.*.*", func(m *nats.Msg) { s.presence(m, heard) })
	if err != nil {
		return fmt.Errorf("watch connections: %w", err)
	}
	sub.SetPendingLimits(-1, -1)
	<-ctx.Done()
	return nil
}

func (s *Server) presence(m *nats.Msg, heard func(Presence)) {
	var event struct {
		Client struct {
			ID   uint64 `json:"id"`
			User string `json:"user"`
			Host string `json:"host"`
		} `json:"client"`
		Reason string `json:"reason"`
		Type   string `json:"type"`
	}
	if json.Unmarshal(m.Data, &event) != nil {
		return
	}
	connected := event.Type == server.ConnectEventMsgType
	if !connected && event.Type != server.DisconnectEventMsgType {
		return
	}
	id, err := trust.ParseIdentity(event.Client.User)
	if err != nil {
		return
	}
	if !connected {
		s.auth.mu.Lock()
		delete(s.auth.conns, event.Client.ID)
		s.auth.mu.Unlock()
	}
	heard(Presence{ID: id, Connected: connected, Conn: strconv.FormatUint(event.Client.ID, 10), Remote: event.Client.Host})
}

// Connections is how many are open now.
func (s *Server) Connections() int { return s.nats.NumClients() }

// Revive switches JetStream on again after the server switched it off for want of disk.
func (s *Server) Revive() error {
	if s.dir == "" || s.nats.JetStreamEnabled() {
		return nil
	}
	s.log.Warn("switching the journal on again")
	return s.nats.EnableJetStream(&server.JetStreamConfig{StoreDir: s.dir, SyncAlways: true})
}

// Healthy reports whether the journal can be written.
func (s *Server) Healthy() bool { return s.dir == "" || s.nats.JetStreamEnabled() }

// JetStreamDir is where the server keeps its files.
func (s *Server) JetStreamDir() string { return filepath.Join(s.dir, server.JetStreamStoreDir) }

// natsLog hands the server's messages to slog; its notices are of no interest to a person.
type natsLog struct{ log *slog.Logger }

func (l natsLog) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l natsLog) Warnf(format string, v ...any) {
	if strings.Contains(format, "TLS Handshake First") {
		return // that is meant: nothing is said before the handshake
	}
	l.log.Warn(fmt.Sprintf(format, v...))
}
func (l natsLog) Fatalf(format string, v ...any) { l.log.Error(fmt.Sprintf(format, v...)) }
func (l natsLog) Errorf(format string, v ...any) { l.log.Error(fmt.Sprintf(format, v...)) }
func (l natsLog) Debugf(format string, v ...any) {}
func (l natsLog) Tracef(format string, v ...any) {}

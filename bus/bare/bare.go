// Package bare is the engine of the bus and nothing else: what one message to many nodes, and an answer from each, take at
// the least. Benchmarks hold the bus beside it.
package bare

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	question = "all" // the subject that every node hears
	starting = 30 * time.Second
	atATime  = 32 // nodes that connect
)

// Server takes nodes over TLS on loopback.
type Server struct {
	engine  *server.Server
	conn    *nats.Conn
	inbox   string
	answers chan struct{}
}

// Start starts a server that so many nodes will answer.
func Start(nodes int) (*Server, error) {
	config, err := throwaway()
	if err != nil {
		return nil, err
	}
	engine, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		TLSConfig: config, TLSHandshakeFirst: true, TLSTimeout: starting.Seconds()})
	if err != nil {
		return nil, err
	}
	engine.Start()
	s := &Server{engine: engine, inbox: nats.NewInbox(), answers: make(chan struct{}, nodes)}
	if !engine.ReadyForConnections(starting) {
		s.Close()
		return nil, fmt.Errorf("the bare server did not start")
	}
	if s.conn, err = nats.Connect("", nats.InProcessServer(engine)); err == nil {
		_, err = s.conn.Subscribe(s.inbox, func(*nats.Msg) { s.answers <- struct{}{} })
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Address is where nodes connect.
func (s *Server) Address() string { return s.engine.ClientURL() }

// Ask sends a message to all nodes and tells how long it took until as many as were announced had answered.
func (s *Server) Ask(ctx context.Context, message []byte) (time.Duration, error) {
	begun := time.Now()
	if err := s.conn.PublishRequest(question, s.inbox, message); err != nil {
		return 0, err
	}
	for range cap(s.answers) {
		select {
		case <-s.answers:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return time.Since(begun), nil
}

// Close ends it.
func (s *Server) Close() {
	if s.conn != nil {
		s.conn.Close()
	}
	s.engine.Shutdown()
	s.engine.WaitForShutdown()
}

// Answer is so many nodes that answer a server at an address with that message until ctx ends; ready is called once all do.
func Answer(ctx context.Context, address string, nodes int, message []byte, ready func()) error {
	conns, failed := make([]*nats.Conn, nodes), make([]error, nodes)
	gate := make(chan struct{}, atATime)
	var connecting sync.WaitGroup
	for i := range conns {
		gate <- struct{}{}
		connecting.Go(func() {
			defer func() { <-gate }()
			conns[i], failed[i] = join(address, message)
		})
	}
	connecting.Wait()
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	for _, err := range failed {
		if err != nil {
			return err
		}
	}
	ready()
	<-ctx.Done()
	return nil
}

// join is one node.
func join(address string, message []byte) (*nats.Conn, error) {
	trusting := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13} // it brings no secrets and obeys nobody
	c, err := nats.Connect(address, nats.Secure(trusting), nats.TLSHandshakeFirst(), nats.Timeout(starting))
	if err != nil {
		return nil, err
	}
	if _, err := c.Subscribe(question, func(m *nats.Msg) { c.Publish(m.Reply, message) }); err != nil {
		return c, err
	}
	return c, c.FlushTimeout(starting)
}

// throwaway is a certificate for one run.
func throwaway() (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}}, nil
}

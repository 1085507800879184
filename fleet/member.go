package fleet

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"bramble/bus"
	"bramble/fault"
	"bramble/host"
	"bramble/trust"
)

// Member is the node's half: it says what this machine is and, each second, how it is doing.
type Member struct {
	Conn     *bus.Conn
	Host     host.Host
	Facts    host.Facts
	Roles    []string
	Version  string
	Peer     string // where this agent answers other nodes', [HOST]:PORT; "": it does not
	Cred     *trust.Credential
	Save     func() error // writes Cred to disk
	Verifier *trust.Verifier
	Clock    *trust.Clock
	Log      *slog.Logger

	greet chan struct{}
	pace  chan time.Duration // told by the head and not yet kept to
}

// ErrRenamed ends Run when the node has got a certificate with another name and must connect anew.
var ErrRenamed = errors.New("this node has got another name")

// NewMember completes a member.
func NewMember(m Member) *Member {
	m.greet, m.pace = make(chan struct{}, 1), make(chan time.Duration, 1)
	return &m
}

// Greet says hello again; called at each connection.
func (m *Member) Greet() {
	select {
	case m.greet <- struct{}{}:
	default:
	}
}

// Run beats until ctx ends.
func (m *Member) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	name := m.Conn.Who().Name
	err := errors.Join(
		bus.Handle(ctx, m.Conn, bus.Node("fleet", name, "request"), m.request),
		bus.Handle(ctx, m.Conn, bus.Node("fleet", name, "adopt"), func(ctx context.Context, who bus.Caller, a JoinAnswer) (none, error) {
			err := m.adopt(a)
			if err == nil {
				time.AfterFunc(200*time.Millisecond, func() { cancel(ErrRenamed) }) // the answer goes out first
			}
			return none{}, err
		}),
		m.Conn.Subscribe(ctx, bus.Node("fleet", name, "deny"), func(msg bus.Message) {
			var serials []string
			if msg.Decode(&serials) == nil {
				m.Verifier.Deny(serials...)
			}
		}),
		m.Conn.Subscribe(ctx, bus.Node("fleet", name, "pace"), func(msg bus.Message) {
			var pace time.Duration
			if msg.Decode(&pace) == nil {
				m.keep(pace)
			}
		}),
	)
	if err != nil {
		return err
	}
	var ended sync.WaitGroup
	defer ended.Wait()
	ended.Go(func() { m.hello(ctx) })
	pace := BeatEvery
	next := time.NewTimer(pace)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			if cause := context.Cause(ctx); cause == ErrRenamed {
				return cause
			}
			return nil
		case told := <-m.pace:
			if told != pace { // all are told at once, and shall not beat at once
				pace = told
				next.Reset(rand.N(pace))
			}
		case <-next.C:
			next.Reset(pace)
			m.beat(ctx)
		}
	}
}

// keep has the node beat as often as the head wants; the latest word counts.
func (m *Member) keep(pace time.Duration) {
	select {
	case <-m.pace:
	default:
	}
	select {
	case m.pace <- min(max(pace, BeatEvery), DownAfter/3):
	default:
	}
}

func (m *Member) beat(ctx context.Context) {
	if !m.Conn.Connected() {
		return
	}
	sample, err := m.Host.Sample(ctx)
	if err != nil {
		m.Log.Debug("no sample", "error", err)
	}
	m.Conn.Publish(bus.From("fleet", m.Conn.Who().Name, "beat"), sample)
}

// hello greets the head at each connection, until it has answered.
func (m *Member) hello(ctx context.Context) {
	wait := 100 * time.Millisecond
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.greet:
			wait = 100 * time.Millisecond
		case <-retry.C:
		}
		if err := m.sayHello(ctx); err != nil && ctx.Err() == nil {
			m.Log.Warn("the head did not welcome us", "error", err)
			retry.Reset(wait)
			wait = min(2*wait, 5*time.Second)
			continue
		}
		retry.Reset(time.Hour) // look at the certificate's age
	}
}

func (m *Member) sayHello(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var w Welcome
	hello := Hello{Protocol: bus.Protocol, Version: m.Version, Roles: m.Roles, Facts: m.Facts, Peer: m.Peer}
	if err := m.Conn.Call(ctx, bus.From("fleet", m.Conn.Who().Name, "hello"), hello, &w); err != nil {
		return err
	}
	m.keep(w.Pace)
	m.beat(ctx)
	m.Verifier.Deny(w.Denied...)
	if err := m.Clock.Observe(w.Time); err != nil {
		m.Log.Warn("time not kept", "error", err)
	}
	if m.Cred.RenewDue(m.Clock.Now()) {
		return m.renew(ctx)
	}
	return nil
}

func (m *Member) renew(ctx context.Context) error {
	csr, err := m.Cred.Request()
	if err != nil {
		return err
	}
	var a JoinAnswer
	if err := m.Conn.Call(ctx, bus.From("fleet", m.Conn.Who().Name, "renew"), JoinRequest{CSR: csr}, &a); err != nil {
		return err
	}
	m.Log.Info("certificate renewed")
	return m.adopt(a)
}

// request makes a certificate request for the head, which is about to give us another name.
func (m *Member) request(context.Context, bus.Caller, none) (JoinRequest, error) {
	csr, err := m.Cred.Request()
	return JoinRequest{CSR: csr}, err
}

// adopt takes a new certificate for our key into use, for connections from now on.
func (m *Member) adopt(a JoinAnswer) error {
	certs, err := trust.ParseCertificates(a.Cert)
	if err != nil {
		return err
	}
	if _, err := m.Verifier.Verify(certs[0]); err != nil {
		return fault.New(fault.Denied, "the new certificate: %w", err)
	}
	if err := m.Cred.Replace(certs[0]); err != nil {
		return err
	}
	return m.Save()
}

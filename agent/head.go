package agent

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"bramble/artefact"
	"bramble/bus"
	"bramble/event"
	"bramble/fan"
	"bramble/fault"
	"bramble/fleet"
	"bramble/job"
	"bramble/metric"
	"bramble/site"
	"bramble/trust"
)

// head is a cluster's centre at work.
type head struct {
	Options
	conf      HeadConfig
	layout    Layout
	clock     *trust.Clock
	ca        *trust.CA
	cred      *trust.Credential
	authority *trust.Authority
	server    *bus.Server
	conn      *bus.Conn
	events    *event.Log
	metrics   *metric.Set
	fleet     *fleet.Service
	store     *artefact.Store
	stores    *artefact.Stores
	sites     atomic.Pointer[site.Node] // that this machine serves; nil at first
	courtesy  *artefact.Courtesy        // of all that leaves by this machine's link
	open      chan struct{}             // closed when the books are read, so that it is known who was revoked
}

// MakeHead makes the cluster, without running it.
func MakeHead(o Options, conf HeadConfig) error {
	h := &head{Options: o, conf: conf, layout: Layout(o.State)}
	return h.prepare()
}

// RunHead makes the cluster the first time, then runs it, and the machine's own node, until ctx ends.
func RunHead(ctx context.Context, o Options, conf HeadConfig) error {
	h := &head{Options: o, conf: conf, layout: Layout(o.State), metrics: &metric.Set{}, open: make(chan struct{})}
	h.courtesy = &artefact.Courtesy{Visitors: h.visitors}
	if err := h.prepare(); err != nil {
		return err
	}
	var err error
	if h.events, err = event.Open(filepath.Join(h.layout.Head(), "event"), h.clock.Now, o.Log); err != nil {
		return err
	}
	defer h.events.Close()
	if h.server, err = h.startBus(); err != nil {
		return err
	}
	defer h.server.Shutdown()
	if h.conn, err = h.server.Connect(h.cred.Identity()); err != nil {
		return err
	}
	defer h.conn.Close()
	if err := h.openBooks(ctx); err != nil {
		return err
	}
	return h.serve(ctx)
}

// prepare makes or opens the CA and the head's own certificate.
func (h *head) prepare() error {
	if err := h.layout.prepare(); err != nil {
		return err
	}
	if err := os.MkdirAll(h.layout.headCred(), 0o700); err != nil {
		return fmt.Errorf("make the head's folder: %w", err)
	}
	os.Chmod(h.layout.Head(), 0o700)
	h.clock = trust.OpenClock(filepath.Join(h.layout.Head(), "time"))
	var err error
	if h.ca, err = trust.OpenCA(h.layout.Head(), h.clock.Now); fault.Is(err, fault.NotFound) {
		h.ca, err = trust.CreateCA(h.layout.Head(), h.conf.Cluster, h.clock.Now)
	}
	if err != nil {
		return err
	}
	if err := h.certify(); err != nil {
		return err
	}
	return writeJSON(h.layout.HeadFile(), h.conf)
}

// certify sees to it that the head's certificate is in date and has the addresses that browsers look for.
func (h *head) certify() error {
	key, err := trust.OpenKey(h.layout.headCred())
	if err != nil {
		return err
	}
	hosts := []string{h.conf.Address, h.conf.Name, "localhost", "127.0.0.1", "::1"}
	if h.cred, err = trust.LoadCredential(h.layout.headCred()); err == nil &&
		!h.cred.RenewDue(h.clock.Now()) && names(h.cred.Cert(), h.conf.Address) {
		return nil
	}
	cert, err := h.ca.IssueServer(h.conf.Name, &key.PublicKey, hosts)
	if err != nil {
		return err
	}
	if h.cred, err = trust.NewCredential(key, cert, h.ca.Cert()); err != nil {
		return err
	}
	return h.cred.Save(h.layout.headCred())
}

func names(cert *x509.Certificate, address string) bool { return cert.VerifyHostname(address) == nil }

// startPatience is how long who comes while the books are read is kept waiting: a refusal would not tell him why.
const startPatience = 15 * time.Second

// verify lets nobody in before the books have been read.
func (h *head) verify(cert *x509.Certificate) (trust.Identity, error) {
	select {
	case <-h.open:
		return h.authority.Verify(cert)
	case <-time.After(startPatience):
		return trust.Identity{}, fault.New(fault.Unreachable, "the head is starting")
	}
}

func (h *head) startBus() (*bus.Server, error) {
	return bus.StartServer(bus.ServerOptions{
		Name: h.conf.Name, Dir: filepath.Join(h.layout.Head(), "bus"), Listen: h.conf.Bus, Log: h.Log.With("room", "bus"),
		TLS: trust.ServerConfig(h.cred, h.verify, h.clock.Now), Verify: h.verify,
	})
}

// openBooks reads who is trusted, and cuts off whoever is no longer.
func (h *head) openBooks(ctx context.Context) error {
	books, err := h.conn.Bucket(ctx, "trust")
	if err != nil {
		return err
	}
	h.authority = trust.NewAuthority(h.ca, books)
	if err := h.authority.Load(ctx); err != nil {
		return err
	}
	if err := h.authority.Adopt(ctx, h.cred.Cert()); err != nil {
		return err
	}
	h.authority.OnRevoke(func(revoked trust.Identity) {
		cut := h.server.Kick(revoked.Covers)
		h.Log.Info("revoked", "identity", revoked.String(), "connections", cut)
	})
	close(h.open)
	return nil
}

// serve wires the rooms and runs them.
func (h *head) serve(ctx context.Context) error {
	roll, err := h.conn.Bucket(ctx, "fleet")
	if err != nil {
		return err
	}
	h.fleet = &fleet.Service{Conn: h.conn, Watch: h.watch, Authority: h.authority, Roll: roll, Events: h.events,
		Metrics: h.metrics, Version: h.Version, Now: h.clock.Now, Log: h.log("fleet")}
	runner := &fan.Service{Conn: h.conn, Select: h.fleet.Standings, Node: h.fleet.Node, Events: h.events, Metrics: h.metrics, Log: h.log("fan")}
	h.metrics.Gauge("bramble_bus_connections", "Open bus connections.", func() float64 { return float64(h.server.Connections()) })
	if h.store, err = artefact.OpenStore(filepath.Join(h.layout.Head(), "artefact"), artefact.Options{Floor: 2 * diskFloor}); err != nil {
		return err
	}
	defer h.store.Close()
	jobs := &job.Service{Conn: h.conn, Dir: filepath.Join(h.layout.Head(), "job"), Fleet: h.fleet, Events: h.events, Metrics: h.metrics,
		Now: h.clock.Now, Log: h.log("job"), Room: h.room, Revive: h.server.Revive, Inputs: jobInputs{h.store}, Ranks: h.ca}
	books, err := h.conn.Bucket(ctx, "site")
	if err != nil {
		return err
	}
	sites := &site.Service{Conn: h.conn, Books: books, Store: h.store, Fleet: h.fleet, Sign: h.ca.Sign, Events: h.events, Metrics: h.metrics,
		Now: h.clock.Now, Log: h.log("site")}
	if h.stores, err = h.durables(ctx); err != nil {
		return err
	}
	fronts, err := h.fronts(ctx, sites)
	if err != nil {
		return err
	}
	if err := errors.Join(h.fleet.Open(ctx), jobs.Open(ctx), sites.Open(ctx), h.stores.Open(ctx), fronts.Open(ctx)); err != nil { // jobs ask the fleet from the start who may hold tasks
		return err
	}
	peers, err := h.listenPeers()
	if err != nil {
		return err
	}
	if err := errors.Join(h.ownClient(ctx), h.ownNode(ctx), h.events.Serve(ctx, h.conn)); err != nil {
		peers.Close()
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	h.fleet.OnChange = func(n fleet.Node, c fleet.Change) { jobs.FleetChanged(n, c); h.stores.Changed(n); fronts.Changed() }
	h.fleet.OnRoll = func(n fleet.Node) { jobs.RollChanged(n); h.stores.Changed(n); fronts.Changed() }
	sites.OnChange = fronts.Changed
	h.fleet.Busy = func(name string) error { return busy(ctx, jobs, name) }
	group.Go(func() error { return h.fleet.Run(ctx) })
	group.Go(func() error { return jobs.Run(ctx) })
	group.Go(func() error { return runner.Run(ctx) })
	group.Go(func() error { return sites.Run(ctx) })
	group.Go(func() error { return fronts.Run(ctx) })
	copies := &artefact.Service{Conn: h.conn, Store: h.store, Select: h.fleet.Select, Events: h.events, Metrics: h.metrics, Spreads: h.stores.Spreads, Log: h.log("artefact")}
	group.Go(func() error { return copies.Run(ctx) })
	group.Go(func() error { return h.stores.Run(ctx) })
	group.Go(func() error { return h.servePeers(ctx, peers) })
	group.Go(func() error { return h.stayCertified(ctx) })
	group.Go(func() error { return h.stayLean(ctx) })
	if h.Web != nil {
		group.Go(func() error { return h.Web(ctx, h.dashboard()) })
	}
	group.Go(func() error { return RunNode(ctx, h.nodeOptions()) })
	return group.Wait()
}

// dashboard is what the pages work with; sessions of somebody revoked end at once.
func (h *head) dashboard() Dashboard {
	signIn := trust.NewSignIn(h.authority.SignIn, h.clock.Now)
	h.authority.OnRevoke(signIn.EndAll)
	return Dashboard{Listen: h.conf.Web, URL: h.webURL(), TLS: trust.WebConfig(h.cred, h.clock.Now), Cluster: h.conf.Cluster,
		Version: h.Version, Conn: h.conn, Connect: h.server.Connect, Nodes: h.fleet.Follow, SignIn: signIn, Store: h.store, Metrics: h.metrics, Log: h.log("web")}
}

// watch hears of connections, and asks after the streams of those that closed.
func (h *head) watch(ctx context.Context, heard func(bus.Presence)) error {
	return h.server.Watch(ctx, func(p bus.Presence) {
		if !p.Connected {
			h.conn.Probe(p.ID)
		}
		heard(p)
	})
}

func (h *head) log(room string) *slog.Logger { return h.Log.With("room", room) }

// ownClient keeps an admin's client file in the state folder, for whoever may read it.
func (h *head) ownClient(ctx context.Context) error {
	file, err := trust.LoadClientFile(h.layout.Client())
	if err == nil {
		cred, err := file.Credential()
		if err == nil && !cred.RenewDue(h.clock.Now()) {
			if _, err := h.authority.Verify(cred.Cert()); err == nil {
				return h.saveClient(file)
			}
		}
	}
	key, err := trust.NewKey()
	if err != nil {
		return err
	}
	cred, err := h.issue(ctx, trust.Identity{Kind: trust.KindClient, Name: ownUser(), Role: trust.Admin}, key)
	if err != nil {
		return err
	}
	file = &trust.ClientFile{}
	if err := file.SetCredential(cred); err != nil {
		return err
	}
	return h.saveClient(file)
}

// saveClient writes the file with the addresses of today.
func (h *head) saveClient(file *trust.ClientFile) error {
	ports := h.conf.ports()
	file.Cluster = h.conf.Cluster
	file.Heads = []string{reachable(h.conf.Bus, h.conf.Address)}
	file.Join = fmt.Sprintf("%s:%d", h.conf.Address, ports.Peer)
	file.Web = h.webURL()
	return file.Save(h.layout.Client())
}

// reachable is a listener's address as somebody else has to dial it.
func reachable(listen, address string) string {
	host, port, _ := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = address
	}
	return net.JoinHostPort(host, port)
}

func (h *head) webURL() string {
	address := reachable(h.conf.Web, h.conf.Address)
	host, _, _ := net.SplitHostPort(address)
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		return "http://" + address
	}
	return "https://" + address
}

// ownNode keeps the membership of the machine that the head runs on.
func (h *head) ownNode(ctx context.Context) error {
	conf := NodeConfig{Cluster: h.conf.Cluster, Name: h.conf.Name, Roles: h.conf.roles(),
		Heads: []string{reachable(h.conf.Bus, "127.0.0.1")}, Peer: reachable(h.conf.Peer, "127.0.0.1")}
	if cred, err := trust.LoadCredential(h.layout.cred()); err == nil && !cred.RenewDue(h.clock.Now()) {
		if id, err := h.authority.Verify(cred.Cert()); err == nil {
			conf.Name = id.Name
			return writeJSON(h.layout.NodeFile(), conf)
		}
	}
	if err := os.MkdirAll(h.layout.cred(), 0o700); err != nil {
		return err
	}
	key, err := trust.OpenKey(h.layout.cred())
	if err != nil {
		return err
	}
	cred, err := h.issue(ctx, trust.Identity{Kind: trust.KindNode, Name: h.conf.Name}, key)
	if err != nil {
		return err
	}
	return errors.Join(cred.Save(h.layout.cred()), writeJSON(h.layout.NodeFile(), conf))
}

// nodeOptions are those of the machine's own node, which says when all is in service.
func (h *head) nodeOptions() Options {
	o := h.Options
	o.Metrics = "" // the dashboard has them
	o.courtesy = h.courtesy
	o.serves = func(s *site.Node) {
		s.Show(h.metrics)
		h.sites.Store(s)
	}
	o.PeerHost, _, _ = net.SplitHostPort(h.conf.Peer)
	if h.Ready != nil {
		o.Ready = func(Info) {
			h.Ready(Info{Name: h.conf.Name, Cluster: h.conf.Cluster, Address: h.conf.Address, State: h.State,
				Bus: reachable(h.conf.Bus, h.conf.Address), Peer: reachable(h.conf.Peer, h.conf.Address), Web: h.webURL()})
		}
	}
	return o
}

// stayCertified renews the head's certificate and the local client file in time.
func (h *head) stayCertified(ctx context.Context) error {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := errors.Join(h.renew(ctx), h.ownClient(ctx)); err != nil {
				h.Log.Error("certificates not renewed", "error", err)
			}
			h.clock.Observe(h.clock.Now())
		}
	}
}

func (h *head) renew(ctx context.Context) error {
	if !h.cred.RenewDue(h.clock.Now()) {
		return nil
	}
	csr, err := h.cred.Request()
	if err != nil {
		return err
	}
	text, _, err := h.authority.Renew(ctx, h.cred.Cert(), csr)
	if err != nil {
		return err
	}
	certs, err := trust.ParseCertificates(text)
	if err != nil {
		return err
	}
	return errors.Join(h.cred.Replace(certs[0]), h.cred.Save(h.layout.headCred()))
}

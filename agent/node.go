package agent

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"bramble/artefact"
	"bramble/bus"
	"bramble/fan"
	"bramble/fault"
	"bramble/fleet"
	"bramble/front"
	"bramble/host"
	"bramble/job"
	"bramble/keeper"
	"bramble/metric"
	"bramble/site"
	"bramble/trust"
)

// RunNode runs a member's services until ctx ends.
func RunNode(ctx context.Context, o Options) error {
	l := Layout(o.State)
	if _, err := ReadNode(l); err != nil { // before a keeper is started for nothing
		return err
	}
	k, err := o.Keeper(ctx)
	if err != nil {
		return err
	}
	ready := o.Ready
	for {
		conf, err := ReadNode(l)
		if err != nil {
			return err
		}
		n := node{Options: o, layout: l, conf: conf, keeper: k}
		n.Ready, n.save = ready, n.write
		if err := n.open(ctx); err != nil {
			return err
		}
		err = n.run(ctx)
		switch {
		case errors.Is(err, job.ErrKeeperLost):
			o.Log.Error("the keeper was lost and its tasks with it; starting another")
			if k, err = o.Keeper(ctx); err != nil {
				return err
			}
		case !errors.Is(err, fleet.ErrRenamed):
			return err
		}
		ready = nil
	}
}

// RunMember runs the services of a member that keeps nothing in its state folder but the work of its tasks, until
// ctx ends or it gets another name (fleet.ErrRenamed).
func RunMember(ctx context.Context, o Options, m Membership) error {
	k, err := o.Keeper(ctx)
	if err != nil {
		return err
	}
	n := node{Options: o, layout: Layout(o.State), conf: m.Conf, keeper: k, cred: m.Cred, clock: m.Clock, verifier: m.Verifier,
		files: m.Files, sparse: true, save: func() error { return nil }}
	return n.run(ctx)
}

// Membership is what a member knows of its cluster, and proves itself with.
type Membership struct {
	Conf     NodeConfig
	Cred     *trust.Credential
	Verifier *trust.Verifier
	Clock    *trust.Clock
	Files    job.Files // of tasks
}

// node is one membership at work.
type node struct {
	Options
	layout   Layout
	conf     NodeConfig
	keeper   keeper.Keeper
	cred     *trust.Credential
	verifier *trust.Verifier
	clock    *trust.Clock
	files    job.Files     // nil: from a store in the state folder
	save     func() error  // keeps a renewed or renamed credential
	sparse   bool          // has no port for other nodes
	away     chan struct{} // the head has let this node in no more, as linked says
	linked   atomic.Bool   // the head lets this node in
}

func (n *node) run(ctx context.Context) error {
	member := fleet.NewMember(fleet.Member{Host: n.Machine, Roles: n.conf.Roles, Version: n.Version,
		Cred: n.cred, Save: n.save, Verifier: n.verifier, Clock: n.clock, Log: n.Log})
	var err error
	if member.Facts, err = n.Machine.Facts(ctx); err != nil {
		return fmt.Errorf("look at this machine: %w", err)
	}
	l, err := n.openNeighbours(member)
	if err != nil {
		return err
	}
	if l != nil {
		defer l.Close()
	}
	store, err := n.openStore()
	if err != nil {
		return err
	}
	sites, closeSites := n.serveSites(ctx, store, member.Facts)
	if store != nil {
		defer store.Close()
		defer closeSites()
	}
	n.away = make(chan struct{}, 1)
	fronts, closeFronts := n.carryFronts(ctx)
	defer closeFronts()
	var jobs atomic.Pointer[job.Node]
	conn, err := n.dial(ctx, func() { greet(member, jobs.Load(), sites, fronts) })
	if err != nil {
		return err
	}
	defer conn.Close()
	member.Conn = conn
	if n.Ready != nil {
		n.Ready(Info{Name: n.conf.Name, Cluster: n.conf.Cluster, State: n.State, Bus: n.conf.Heads[0]})
	}
	set := n.figures(conn, sites, fronts)
	copies := n.copies(conn, store)
	if copies != nil {
		n.files = taskFiles{copies, n.workDir()}
	}
	worker := n.worker(conn, member.Facts)
	jobs.Store(worker)
	if peers, ok := worker.Peers.(*neighbours); ok && copies != nil {
		peers.files, copies.Near = copies.Store, peers.near()
		peers.courtesy = cmp.Or(n.courtesy, &artefact.Courtesy{Visitors: sites.Sent})
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return member.Run(ctx) })
	group.Go(func() error { return worker.Run(ctx) })
	if l != nil {
		group.Go(func() error { return worker.Peers.(*neighbours).serve(ctx, l) })
	}
	if copies != nil {
		vault := &artefact.Vault{Conn: conn, Store: copies.Store, Blobs: copies.Blobs, Near: copies.Near, Metrics: set, Log: copies.Log}
		group.Go(func() error { return copies.Run(ctx) })
		group.Go(func() error {
			return sites.Run(ctx, site.Links{Conn: conn, Files: copies, Starter: n.Machine, Accounts: n.Machine})
		})
		group.Go(func() error { return vault.Run(ctx) })
	}
	if fronts != nil {
		group.Go(func() error { return fronts.Run(ctx, conn) })
	}
	group.Go(func() error { return n.serveMetrics(ctx, set) })
	runner := fan.Node{Conn: conn, Host: n.Machine, Accounts: n.Machine, Log: n.Log.With("room", "fan")}
	group.Go(func() error { return runner.Run(ctx) })
	return group.Wait()
}

// greet has all that a node does say so to a head that it is connected with anew; what is nil there is none of.
func greet(member *fleet.Member, jobs *job.Node, sites *site.Node, fronts *front.Node) {
	member.Greet()
	if jobs != nil {
		jobs.Greet()
	}
	if sites != nil {
		sites.Connected()
	}
	if fronts != nil {
		fronts.Connected()
	}
}

// figures are what this node measures.
func (n *node) figures(conn *bus.Conn, sites *site.Node, fronts *front.Node) *metric.Set {
	set := &metric.Set{}
	hostMetrics(set, n.Machine)
	set.Gauge("bramble_bus_connected", "1 while the head is there.", func() float64 {
		if conn.Connected() {
			return 1
		}
		return 0
	})
	if fronts != nil {
		front.Register(set, fronts.Standing)
	}
	if sites != nil {
		sites.Show(set)
		if n.serves != nil {
			n.serves(sites)
		}
	}
	return set
}

// dial connects to the head, for as long as it takes, and calls greet whenever it is connected anew.
func (n *node) dial(ctx context.Context, greet func()) (*bus.Conn, error) {
	return bus.Dial(ctx, bus.DialOptions{
		ID: n.cred.Identity(), Heads: n.conf.Heads, Forever: true,
		TLS: trust.ClientConfig(n.cred, n.verifier.Verify, n.clock.Now),
		OnConnect: func() {
			n.Log.Info("connected", "head", n.conf.Heads)
			n.linked.Store(true)
			greet()
		},
		OnLost: func(err error) {
			n.Log.Warn("connection to the head lost", "error", err)
			n.linked.Store(false)
			n.miss()
		},
		OnRefused: func(err error) {
			n.Log.Error("the head refuses this node; if it was removed, join it again", "error", err)
			n.miss()
		},
	})
}

// miss tells that the head does not let this node in.
func (n *node) miss() {
	select {
	case n.away <- struct{}{}:
	default:
	}
}

// openStore opens the node's store; nil for a member that has no disk of its own.
func (n *node) openStore() (*artefact.Store, error) {
	if n.files != nil {
		return nil, nil
	}
	return artefact.OpenStore(filepath.Join(n.layout.Node(), "artefact"), artefact.Options{Floor: diskFloor})
}

// copies is the half that pushes and pulls files, with the node's store; nil without one.
func (n *node) copies(conn *bus.Conn, store *artefact.Store) *artefact.Node {
	if store == nil {
		return nil
	}
	blobs := &artefact.Client{HTTP: peerClient(n.cred, n.verifier.Verify, n.clock.Now), Base: "https://" + n.conf.Peer}
	return &artefact.Node{Conn: conn, Store: store, Blobs: blobs, Host: n.Machine, Accounts: n.Machine,
		Porter: []string{"/proc/self/exe", "porter"}, Log: n.Log.With("room", "artefact")}
}

// workDir has a folder for each job.
func (n *node) workDir() string { return cmp.Or(n.Work, filepath.Join(n.layout.Node(), "work")) }

// worker is the half that runs jobs.
func (n *node) worker(conn *bus.Conn, facts host.Facts) *job.Node {
	w := job.NewNode(&job.Node{Conn: conn, Keeper: n.keeper, Accounts: n.Machine, Files: n.files, Dir: n.workDir(),
		Layered: os.Geteuid() == 0 && n.files != nil, Dress: n.Dress, Cores: facts.Cores, Memory: facts.Memory, Log: n.Log.With("room", "job")})
	if !n.sparse {
		peers := &neighbours{node: n, jobs: w, tls: trust.ClientConfig(n.cred, n.verifier.Verify, n.clock.Now, trust.KindNode)}
		peers.tls.ClientSessionCache = tls.NewLRUClientSessionCache(maxNeighbours) // mpirun comes back to the same nodes; each is still looked at
		w.Peers = peers
	}
	return w
}

// peerClient speaks to peer ports as the credential's holder.
func peerClient(cred *trust.Credential, verify trust.Verify, now func() time.Time) *http.Client {
	return artefact.HTTP(trust.ClientConfig(cred, verify, now))
}

// diskFloor is how much of a disk is left free, in bytes.
const diskFloor = 64 << 20

// open loads the credential and renews it where it ran out.
func (n *node) open(ctx context.Context) error {
	n.clock = trust.OpenClock(n.layout.clock())
	var err error
	if n.cred, err = trust.LoadCredential(n.layout.cred()); err != nil {
		return err
	}
	n.verifier = trust.NewVerifier(n.cred.CA(), n.clock.Now)
	for {
		_, err := n.verifier.Verify(n.cred.Cert())
		if !errors.Is(err, trust.ErrExpired) {
			return err
		}
		n.Log.Warn("the certificate ran out; renewing it", "head", n.conf.Peer)
		answer, err := fleet.Renew(ctx, n.conf.Peer, n.cred, n.clock.Now)
		if err == nil {
			certs, err := trust.ParseCertificates(answer.Cert)
			if err != nil {
				return err
			}
			return errors.Join(n.cred.Replace(certs[0]), n.write())
		}
		if fault.Is(err, fault.Denied) {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(5 * time.Second):
		}
	}
}

// write keeps the credential, and the name in it, after a renewal or a renaming.
func (n *node) write() error {
	if err := n.cred.Save(n.layout.cred()); err != nil {
		return err
	}
	conf := n.conf
	conf.Name = n.cred.Identity().Name
	return writeJSON(n.layout.NodeFile(), conf)
}

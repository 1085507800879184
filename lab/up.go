package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"bramble/artefact"
	"bramble/cluster"
	"bramble/fault"
	"bramble/fleet"
	hostnet "bramble/host/net"
	"bramble/trust"
)

const (
	// startPatience is how long the head, and after it each node, may take to come up.
	startPatience = 2 * time.Minute
	// atOnce is how many agents start at the same time: more only make each other slow.
	atOnce = 8
)

// Up makes a lab and returns when all its nodes are up. When it fails, or ctx ends before, nothing is left of it.
func Up(ctx context.Context, o Options) (*Lab, error) {
	netns := !o.NoNetns && os.Geteuid() == 0
	if err := o.check(netns); err != nil {
		return nil, err
	}
	state, err := filepath.Abs(o.State)
	if err != nil {
		return nil, err
	}
	if o.Exe == "" {
		if o.Exe, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("find own program: %w", err)
		}
	}
	l := &Lab{State: state, Say: o.Say}
	r := record{ID: hostnet.ID(state), Netns: netns, Link: o.Link, Seed: o.Seed, Exe: o.Exe}
	if err := l.claim(&r, names(o.Nodes)); err != nil {
		return nil, err
	}
	if err := l.raise(ctx, &r, o); err != nil {
		if ctx.Err() != nil {
			err = fault.New(fault.Interrupted, "interrupted: the lab is taken down again")
		}
		return nil, errors.Join(err, l.Down(context.WithoutCancel(ctx)))
	}
	return l, nil
}

// claim makes the state folder this lab's, with a record of what is going to be in it.
func (l *Lab) claim(r *record, names []string) error {
	if _, err := os.Stat(l.State); errors.Is(err, fs.ErrNotExist) {
		r.Made = true
	}
	if err := os.MkdirAll(l.State, 0o755); err != nil {
		return fault.New(fault.Failed, "state folder %s: %w", l.State, err).Hint("--state DIR with a folder that you may write")
	}
	if r.Made {
		if err := artefact.Settle(l.State); err != nil {
			return fault.New(fault.Failed, "state folder: %w", err)
		}
	}
	unlock, err := l.lock()
	if err != nil {
		return err
	}
	defer unlock()
	for _, name := range append([]string{recordFile, clientFile}, names...) {
		if _, err := os.Lstat(l.path(name)); err == nil {
			return fault.New(fault.Conflict, "%s holds a %s already", l.State, name).Hint("bramble lab down --state %s, or another folder", l.State)
		}
	}
	for _, name := range names {
		r.Nodes = append(r.Nodes, Node{Name: name})
	}
	return l.write(*r)
}

// raise makes the network, the head, and then the nodes.
func (l *Lab) raise(ctx context.Context, r *record, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience+time.Duration(o.Nodes)*time.Second)
	defer cancel()
	unlock, err := l.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := r.place(ctx); err != nil {
		return err
	}
	if err := l.write(*r); err != nil {
		return err
	}
	c, err := l.startHead(ctx, r)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := l.startNodes(ctx, r, c, o.Joined); err != nil {
		return err
	}
	return l.write(*r)
}

// place gives every node its address, and the head its ports.
func (r *record) place(ctx context.Context) error {
	if !r.Netns {
		ports, err := choosePorts(chance(r.Seed), freePort)
		r.At = listenAt("127.0.0.1", ports)
		for i := range r.Nodes {
			r.Nodes[i].Address = "127.0.0.1"
		}
		return err
	}
	n, err := hostnet.Up(ctx, hostnet.Spec{Lab: r.ID, Nodes: r.names(), Rate: r.Link})
	if err != nil {
		return err
	}
	for i, node := range n.Nodes {
		r.Nodes[i].Address, r.Nodes[i].Namespace = node.Addr.String(), node.Namespace
	}
	r.At = listenAt(r.Nodes[0].Address, [3]int{fleet.BusPort, fleet.PeerPort, fleet.WebPort})
	return nil
}

func chance(seed uint64) *rand.Rand {
	if seed == 0 {
		seed = rand.Uint64()
	}
	return rand.New(rand.NewPCG(seed, 0x6c6162))
}

func freePort(port int) bool {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	listener.Close()
	return true
}

// startHead returns a connection to the head once it answers.
func (l *Lab) startHead(ctx context.Context, r *record) (*cluster.Cluster, error) {
	head, err := l.start(ctx, r, Head, "")
	if err != nil {
		return nil, err
	}
	for {
		c, err := l.greetHead(ctx)
		if err == nil {
			return c, nil
		}
		select {
		case <-ctx.Done():
			return nil, fault.New(fault.Unreachable, "the head did not come up: %w; it said last:\n%s", err, lastLines(head.log, 8))
		case <-head.ended:
			return nil, head.failed()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// greetHead copies the head's client file and uses it.
func (l *Lab) greetHead(ctx context.Context) (*cluster.Cluster, error) {
	file, err := trust.LoadClientFile(l.path(Head, "client"))
	if err != nil {
		return nil, err
	}
	c, err := cluster.Dial(ctx, file)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(l.upAlready(ctx, c, Head), file.Save(l.path(clientFile))); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (l *Lab) upAlready(ctx context.Context, c *cluster.Cluster, name string) error {
	nodes, err := c.Fleet.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if n.Name == name && isUp(n) {
			return nil
		}
	}
	return fault.New(fault.Unreachable, "%s is not up yet", name)
}

// isUp: a node that is connected but has not said what it is has no version.
func isUp(n fleet.Node) bool { return n.State == fleet.Up && n.Version != "" }

// startNodes lets the nodes join, a few at the same time, and returns when all are up.
func (l *Lab) startNodes(ctx context.Context, r *record, c *cluster.Cluster, joined func(string)) error {
	if joined == nil {
		joined = func(string) {}
	}
	joined(Head)
	waiting := r.names()[1:]
	token, _, err := c.Fleet.CreateToken(ctx, trust.TokenSpec{Kind: trust.KindNode, TTL: time.Hour, Max: len(waiting)})
	if err != nil {
		return err
	}
	ups := map[string]chan struct{}{}
	for _, name := range waiting {
		ups[name] = make(chan struct{})
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return watchUp(ctx, c.Fleet, ups, joined) })
	group.Go(func() error {
		starts, ctx := errgroup.WithContext(ctx)
		starts.SetLimit(atOnce)
		for _, name := range waiting {
			starts.Go(func() error { return l.startNode(ctx, r, name, token, ups[name]) })
		}
		return starts.Wait()
	})
	return group.Wait()
}

func (l *Lab) startNode(ctx context.Context, r *record, name, token string, up <-chan struct{}) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	node, err := l.start(ctx, r, name, token)
	if err != nil {
		return err
	}
	select {
	case <-up:
		return nil
	case <-node.ended:
		return node.failed()
	case <-ctx.Done():
		return fault.New(fault.Unreachable, "%s did not join: %w; it said last:\n%s", name, ctx.Err(), lastLines(node.log, 8))
	}
}

// watchUp closes each node's channel when it is up, and returns when all are.
func watchUp(ctx context.Context, f fleet.Client, ups map[string]chan struct{}, joined func(string)) error {
	left := len(ups)
	seen := map[string]bool{}
	for nodes, err := range f.Watch(ctx) {
		if err != nil {
			return err
		}
		for _, n := range nodes {
			up := ups[n.Name]
			if up == nil || seen[n.Name] || !isUp(n) {
				continue
			}
			seen[n.Name] = true
			close(up)
			joined(n.Name)
			left--
		}
		if left == 0 {
			return nil
		}
	}
	return ctx.Err()
}

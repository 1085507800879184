package fan_test

import (
	"context"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"bramble/bus"
	"bramble/bus/bustest"
	"bramble/event"
	"bramble/fan"
	"bramble/fault"
	"bramble/fleet"
	"bramble/host"
	"bramble/metric"
	"bramble/trust"
)

func TestMain(m *testing.M) { bustest.Main(m) }

// rig is a head and nodes in this process.
type rig struct {
	*testing.T
	bus   *bustest.Bus
	head  *bus.Conn
	nodes map[string]*bus.Conn

	machines map[string]host.Host

	mu    sync.Mutex
	heard []string // subjects, by count
}

// self runs everything as this process's own account.
type self struct{}

func (self) AccountFor(string) string { return "" }
func (self) Account(name string) (host.Account, error) {
	return host.Account{}, fault.New(fault.NotFound, "no account %q here", name)
}

// realRig has nodes that start real processes.
func realRig(t *testing.T, names ...string) *rig {
	return newRig(t, names, func(string) host.Host {
		h := host.NewReal(host.RealOptions{StateDir: t.TempDir()})
		t.Cleanup(func() { h.Close() })
		return h
	})
}

// simRig has nodes that start nothing.
func simRig(t *testing.T, names ...string) *rig {
	return newRig(t, names, func(name string) host.Host {
		h, err := host.NewSim(host.SimOptions{Hostname: name})
		if err != nil {
			t.Fatal(err)
		}
		return h
	})
}

func newRig(t *testing.T, names []string, machine func(name string) host.Host) *rig {
	t.Helper()
	b := bustest.Start(t)
	r := &rig{T: t, bus: b, head: b.Head(), nodes: map[string]*bus.Conn{}, machines: map[string]host.Host{}}
	events, err := event.Open(t.TempDir(), time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var members []fleet.Node
	for _, name := range names {
		members = append(members, fleet.Node{Name: name, State: fleet.Up, Labels: map[string]string{}})
	}
	var running sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(func() { stop(); running.Wait(); events.Close() })
	service := &fan.Service{Conn: r.head, Events: events, Metrics: &metric.Set{}, Log: slog.New(slog.DiscardHandler),
		Select: func(text string) (standings []fleet.Standing, err error) {
			sel, err := fleet.ParseSelector(text)
			if err != nil {
				return nil, err
			}
			nodes, err := sel.Select(members)
			for _, n := range nodes {
				standings = append(standings, fleet.Standing{Name: n.Name, State: n.State})
			}
			return standings, err
		},
		Node: func(name string) (fleet.Node, error) {
			for _, n := range members {
				if n.Name == name {
					return n, nil
				}
			}
			return fleet.Node{}, fault.New(fault.NotFound, "no node is called %q", name)
		}}
	running.Go(func() { service.Run(ctx) })
	running.Go(func() {
		b.Watch(ctx, func(p bus.Presence) {
			if !p.Connected {
				r.head.Probe(p.ID)
			}
		})
	})
	for _, name := range names {
		conn := b.Node(name)
		r.nodes[name] = conn
		r.machines[name] = machine(name)
		node := &fan.Node{Conn: conn, Host: r.machines[name], Accounts: self{}, Log: slog.New(slog.DiscardHandler)}
		running.Go(func() { node.Run(ctx) })
	}
	r.settle()
	return r
}

// settle returns when the services listen.
func (r *rig) settle() {
	r.Helper()
	probe := r.bus.Client("probe", trust.Operator)
	defer probe.Close()
	for {
		ok := true
		for range r.nodes {
			ends := collect(fan.Client{Conn: probe}, fan.Request{On: "all", Args: []string{"true"}}, nil).ends
			for _, end := range ends {
				ok = ok && !end.Lost
			}
			ok = ok && len(ends) == len(r.nodes)
			break
		}
		if ok {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// said is what a run reported.
type said struct {
	names    []string
	out, err map[string]string
	ends     map[string]fan.End
	fault    error
}

func collect(c fan.Client, req fan.Request, stdin io.Reader) said {
	return collectIn(context.Background(), c, req, stdin, nil)
}

// collectIn calls each, if any, for every event.
func collectIn(ctx context.Context, c fan.Client, req fan.Request, stdin io.Reader, each func(fan.Event)) said {
	s := said{out: map[string]string{}, err: map[string]string{}, ends: map[string]fan.End{}}
	out, errs := map[string]*strings.Builder{}, map[string]*strings.Builder{}
	add := func(m map[string]*strings.Builder, ev fan.Event) {
		if m[ev.Node] == nil {
			m[ev.Node] = &strings.Builder{}
		}
		m[ev.Node].Write(ev.Data)
	}
	for ev, err := range c.Run(ctx, req, stdin) {
		if err != nil {
			s.fault = err
			break
		}
		if each != nil {
			each(ev)
		}
		switch ev.Kind {
		case fan.Nodes:
			s.names = append(s.names, ev.Names...)
		case fan.Stdout:
			add(out, ev)
		case fan.Stderr:
			add(errs, ev)
		case fan.Ended:
			s.ends[ev.Node] = ev.End
		}
	}
	for node, b := range out {
		s.out[node] = b.String()
	}
	for node, b := range errs {
		s.err[node] = b.String()
	}
	return s
}

func (r *rig) client() fan.Client { return fan.Client{Conn: r.bus.Client("ann", trust.Operator)} }

// run runs a command on all nodes.
func (r *rig) run(args ...string) said {
	r.Helper()
	s := collect(r.client(), fan.Request{On: "all", Args: args}, nil)
	if s.fault != nil {
		r.Fatalf("run %q: %v", args, s.fault)
	}
	return s
}

// until waits for a condition that must come true.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	stacks := make([]byte, 1<<20)
	t.Fatalf("never came true: %s\n%s", what, stacks[:runtime.Stack(stacks, true)])
}

// Package sim joins thousands of simulated boards to a real head, from one process: the real
// agent's code over a host that is only imagined. Each holds one connection and no file.
package sim

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"bramble/agent"
	"bramble/cluster"
	"bramble/fault"
	"bramble/fleet"
	"bramble/host"
	"bramble/keeper"
	"bramble/trust"
)

const (
	// joinAtOnce is how many nodes ask to join at the same time; more only queue at the head's disk.
	joinAtOnce = 64
	// leaveAtOnce is how many are removed at the same time.
	leaveAtOnce = 16
	// MaxNodes fit into the files that one process may open.
	MaxNodes = 15_000
)

// Options of a simulation.
type Options struct {
	Cluster *cluster.Cluster // an admin's
	Nodes   int
	Model   string // as host.SimOptions has it
	Prefix  string // of the nodes' names; "": sim
	Seed    uint64
	Keep    bool // leave the nodes' memberships when the simulation ends
	Version string
	Log     *slog.Logger // nil: nothing is logged
	// Joined is called as each node has got its certificate, and Up as its agent is in service; nil: nothing.
	Joined, Up func()
	// Ready is called once all nodes are up at the head; nil: nothing. An error of it ends the simulation.
	Ready func(ctx context.Context, s Summary) error
}

// Summary is what it took to bring all nodes up.
type Summary struct {
	Names []string
	Took  time.Duration
	Heap  int64 // bytes a node, goroutines' stacks not included
	Stack int64 // bytes a node
}

// simulation is one at work.
type simulation struct {
	Options
	names []string
	token trust.Token
	key   *ecdsa.PrivateKey // of all nodes: it names the simulator
	clock *trust.Clock      // of all nodes too: they are on one machine
	dir   string
}

// Run joins the nodes and runs them until ctx ends, then removes them.
func Run(ctx context.Context, o Options) error {
	s := &simulation{Options: o}
	s.Prefix = cmp.Or(s.Prefix, "sim")
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	var err error
	if s.names, err = names(s.Prefix, s.Nodes); err != nil {
		return err
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	defer os.RemoveAll(s.dir)
	err = s.run(ctx)
	if s.Keep {
		return err
	}
	if left := s.leave(context.WithoutCancel(ctx)); err == nil {
		err = left
	}
	return err
}

// prepare makes what all nodes share.
func (s *simulation) prepare(ctx context.Context) error {
	text, _, err := s.Cluster.Fleet.CreateToken(ctx, trust.TokenSpec{Kind: trust.KindNode, TTL: time.Hour})
	if err != nil {
		return err
	}
	if s.token, err = trust.ParseToken(text); err != nil {
		return err
	}
	if s.key, err = trust.NewKey(); err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp("", "bramble-sim-"); err != nil {
		return err
	}
	s.clock = trust.OpenClock(s.dir + "/time")
	return nil
}

// run ends when every node has ended.
func (s *simulation) run(ctx context.Context) error {
	begun, before := time.Now(), memory()
	members, err := s.join(ctx)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	up := make(chan struct{}, len(members))
	for i, m := range members {
		group.Go(func() error { return s.node(ctx, i, m, up) })
	}
	group.Go(func() error {
		for range members {
			select {
			case <-up:
				if s.Up != nil {
					s.Up()
				}
			case <-ctx.Done():
				return nil
			}
		}
		if err := s.awaitUp(ctx); err != nil || s.Ready == nil {
			return err
		}
		took, now := time.Since(begun), memory()
		each := int64(len(members))
		return s.Ready(ctx, Summary{Names: s.names, Took: took, Heap: (now.heap - before.heap) / each, Stack: (now.stack - before.stack) / each})
	})
	err = group.Wait()
	if ctx.Err() != nil && fault.Is(err, fault.Interrupted) {
		return nil
	}
	return err
}

// join gets every node a certificate.
func (s *simulation) join(ctx context.Context) ([]agent.Membership, error) {
	members := make([]agent.Membership, len(s.names))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(joinAtOnce)
	for i, name := range s.names {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			conf, cred, told, err := agent.Enrol(ctx, s.Cluster.File.Join, s.token, name, s.key)
			if err != nil {
				return fmt.Errorf("joining %s: %w", name, err)
			}
			s.clock.Observe(told)
			members[i] = agent.Membership{Conf: conf, Cred: cred, Clock: s.clock,
				Verifier: trust.NewVerifier(cred.CA(), s.clock.Now), Files: noFiles{}}
			if s.Joined != nil {
				s.Joined()
			}
			return nil
		})
	}
	return members, group.Wait()
}

// node runs one agent.
func (s *simulation) node(ctx context.Context, i int, m agent.Membership, up chan<- struct{}) error {
	board, err := host.NewSim(host.SimOptions{Seed: s.Seed + uint64(i), Model: s.Model, Hostname: m.Conf.Name})
	if err != nil {
		return err
	}
	defer board.Close()
	err = agent.RunMember(ctx, agent.Options{
		State: filepath.Join(s.dir, m.Conf.Name), Version: s.Version, Machine: machine{board}, Log: s.Log.With("node", m.Conf.Name),
		Keeper: func(context.Context) (keeper.Keeper, error) { return NewKeeper(ctx, board), nil },
		Ready:  func(agent.Info) { up <- struct{}{} },
	}, m)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// machine is a board on which all work runs as nobody in particular.
type machine struct{ *host.Sim }

func (machine) AccountFor(string) string { return "" }

func (machine) Account(name string) (host.Account, error) {
	return host.Account{}, fault.New(fault.NotFound, "a simulated board has no account %s", name)
}

// noFiles leaves simulated tasks, which read and write none, without files.
type noFiles struct{}

func (noFiles) Place(context.Context, string, string, host.Account) error { return nil }

func (noFiles) Collect(context.Context, string, []string) (string, error) { return "", nil }

// awaitUp returns when the head has all nodes up.
func (s *simulation) awaitUp(ctx context.Context) error {
	for nodes, err := range s.Cluster.Fleet.Watch(ctx) {
		if err != nil {
			return err
		}
		up := map[string]bool{}
		for _, n := range nodes {
			up[n.Name] = n.State == fleet.Up && n.Version != ""
		}
		if countTrue(s.names, up) == len(s.names) {
			return nil
		}
	}
	return ctx.Err()
}

// leave removes the nodes, those too that never got further than their certificate.
func (s *simulation) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute+time.Duration(len(s.names))*10*time.Millisecond)
	defer cancel()
	s.Cluster.Fleet.RevokeToken(ctx, s.token.ID) // an hour later it is void anyway
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(leaveAtOnce)
	for _, name := range s.names {
		group.Go(func() error {
			err := s.Cluster.Fleet.Remove(ctx, name)
			if fault.Is(err, fault.NotFound) {
				return nil
			}
			return err
		})
	}
	return group.Wait()
}

// usage of memory, in bytes.
type usage struct{ heap, stack int64 }

func memory() usage {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return usage{int64(m.HeapAlloc), int64(m.StackInuse)}
}

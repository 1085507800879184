// Package sim joins thousands of simulated boards to a real head, from one process: the real
// agent's code over a host that is only imagined. Each holds one connection and no file.
package sim

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
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
	// startAtOnce is how many nodes are between asking to join and being up; more only queue at the head's disk.
	startAtOnce = 256
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
	// Up is called as each node is up at the head; nil: nothing.
	Up func()
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

	starting chan struct{}            // a place for each node that may be starting
	ups      map[string]chan struct{} // closed when the node is up
	once     sync.Once
	verifier *trust.Verifier // of all nodes
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
	defer s.tidy()
	err = s.run(ctx)
	if s.Keep {
		return err
	}
	if left := s.leave(context.WithoutCancel(ctx)); err == nil {
		err = left
	}
	return err
}

// tidy removes the folder; what a connection that is ending still writes there may come between.
func (s *simulation) tidy() {
	for range 100 {
		if os.RemoveAll(s.dir) == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.Log.Warn("a folder is left", "folder", s.dir)
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
	s.starting = make(chan struct{}, startAtOnce)
	s.ups = map[string]chan struct{}{}
	for _, name := range s.names {
		s.ups[name] = make(chan struct{})
	}
	group, ctx := errgroup.WithContext(ctx)
	for i, name := range s.names {
		group.Go(func() error { return s.node(ctx, i, name) })
	}
	group.Go(func() error {
		if err := s.watch(ctx); err != nil || ctx.Err() != nil || s.Ready == nil {
			return err
		}
		took, now := time.Since(begun), memory()
		each := int64(len(s.names))
		return s.Ready(ctx, Summary{Names: s.names, Took: took, Heap: (now.heap - before.heap) / each, Stack: (now.stack - before.stack) / each})
	})
	err := group.Wait()
	if fault.Is(err, fault.Interrupted) {
		return nil
	}
	return err
}

// node joins and runs one agent. It holds a place among those that are starting until the head has it up.
func (s *simulation) node(ctx context.Context, i int, name string) error {
	select {
	case s.starting <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	m, err := s.join(ctx, name)
	if err != nil {
		return s.unlessEnded(ctx, fmt.Errorf("joining %s: %w", name, err))
	}
	board, err := host.NewSim(host.SimOptions{Seed: s.Seed + uint64(i), Model: s.Model, Hostname: name})
	if err != nil {
		return err
	}
	defer board.Close()
	var up sync.WaitGroup
	defer up.Wait()
	up.Go(func() {
		select {
		case <-s.ups[name]:
			<-s.starting
		case <-ctx.Done():
		}
	})
	err = agent.RunMember(ctx, agent.Options{
		State: filepath.Join(s.dir, name), Version: s.Version, Machine: machine{board}, Log: s.Log.With("node", name),
		Keeper: func(context.Context) (keeper.Keeper, error) { return NewKeeper(ctx, board), nil },
	}, m)
	return s.unlessEnded(ctx, err)
}

// unlessEnded is nil for what failed because the simulation ends.
func (s *simulation) unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// join gets a node its certificate. A head that a thousand ask at once may be late with an answer, and does not mind
// being asked again for the same name and key.
func (s *simulation) join(ctx context.Context, name string) (m agent.Membership, err error) {
	return m, again(ctx, func() error {
		m, err = s.enrol(ctx, name)
		return err
	})
}

// Who gets no answer asks so many times in all, with a pause between them.
const (
	joinTries = 5
	joinPause = time.Second
)

// again repeats what failed because the head did not answer.
func again(ctx context.Context, ask func() error) error {
	for try := 1; ; try++ {
		err := ask()
		if !fault.Is(err, fault.Unreachable) || try == joinTries {
			return err
		}
		select {
		case <-time.After(joinPause):
		case <-ctx.Done():
			return err
		}
	}
}

func (s *simulation) enrol(ctx context.Context, name string) (agent.Membership, error) {
	conf, cred, told, err := agent.Enrol(ctx, s.Cluster.File.Join, s.token, name, s.key)
	if err != nil {
		return agent.Membership{}, err
	}
	s.once.Do(func() { s.verifier = trust.NewVerifier(cred.CA(), s.clock.Now) })
	return agent.Membership{Conf: conf, Cred: cred, Clock: s.clock, Verifier: s.verifier, Files: noFiles{}}, s.clock.Observe(told)
}

// watch notes each node that is up at the head, and returns when all have been.
func (s *simulation) watch(ctx context.Context) error {
	waiting := maps.Clone(s.ups)
	for nodes, err := range s.Cluster.Fleet.Watch(ctx) {
		if err != nil {
			return s.unlessEnded(ctx, err)
		}
		for _, n := range nodes {
			if up := waiting[n.Name]; up != nil && n.State == fleet.Up && n.Version != "" {
				close(up)
				delete(waiting, n.Name)
				if s.Up != nil {
					s.Up()
				}
			}
		}
		if len(waiting) == 0 {
			return nil
		}
	}
	return nil
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

func (noFiles) Changes(context.Context, string, string, []string) (string, error) { return "", nil }

// leave removes the nodes, those too that never got further than their certificate.
func (s *simulation) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute+time.Duration(len(s.names))*10*time.Millisecond)
	defer cancel()
	s.Cluster.Fleet.RevokeToken(ctx, s.token.ID) // an hour later it is void anyway
	if err := s.remove(ctx, s.names); err != nil {
		return err
	}
	for { // the head may have had words of a node in its ears still, and taken it for a new one
		nodes, err := s.Cluster.Fleet.Nodes(ctx)
		if err != nil {
			return err
		}
		left := slices.DeleteFunc(nodes, func(n fleet.Node) bool { return s.ups[n.Name] == nil })
		if len(left) == 0 {
			return nil
		}
		var names []string
		for _, n := range left {
			names = append(names, n.Name)
		}
		if err := s.remove(ctx, names); err != nil {
			return err
		}
	}
}

func (s *simulation) remove(ctx context.Context, names []string) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(leaveAtOnce)
	for _, name := range names {
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
	for range 2 { // pools give back what was used once only at the second
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return usage{int64(m.HeapAlloc), int64(m.StackInuse)}
}

package sim_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bramble/cluster"
	"bramble/fault"
	"bramble/fleet"
	"bramble/lab/labtest"
	"bramble/sim"
)

const nodes = 50

// start runs a simulation until stop is called, which returns how it ended.
func start(t *testing.T, c *cluster.Cluster, o sim.Options) (s sim.Summary, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan sim.Summary, 1), make(chan error, 1)
	o.Cluster, o.Version = c, "test"
	o.Ready = func(_ context.Context, s sim.Summary) error { ready <- s; return nil }
	go func() { ended <- sim.Run(ctx, o) }()
	stop = sync.OnceValue(func() error { cancel(); return <-ended })
	select {
	case s = <-ready:
	case err := <-ended:
		t.Fatalf("the simulation ended: %v", err)
	}
	return s, stop
}

func TestNodesJoinWorkAndLeave(t *testing.T) {
	l := labtest.Up(t, 1, labtest.Loopback)
	t.Setenv("TMPDIR", t.TempDir()) // other simulations may run on this machine
	c := l.Connect()
	s, stop := start(t, c, sim.Options{Nodes: nodes, Model: "pi4", Seed: 1})
	t.Logf("%d bytes of heap and %d of stacks each, after %v", s.Heap, s.Stack, s.Took)
	defer stop()
	models := strings.Count(l.Must("nodes", "--on", "model=pi4"), "\n")
	if models != nodes {
		t.Errorf("%d nodes are of the model", models)
	}
	out := strings.Split(strings.TrimSpace(l.Must("run", "--on", "sim[01-50]", "--", "hostname")), "\n")
	slices.Sort(out)
	for i, line := range out {
		if name := s.Names[i]; strings.Join(strings.Fields(line), " ") != name+": "+name {
			t.Errorf("%s says %q", name, line)
		}
	}
	if len(out) != nodes {
		t.Errorf("%d nodes answered", len(out))
	}
	if r := l.Bramble("run", "--on", "sim01", "--", "rm", "-rf", "/"); r.Code != 5 || !strings.Contains(r.Stderr, "simulated") {
		t.Errorf("an unknown command: %+v", r)
	}
	if times, err := sim.FanOut(t.Context(), c.Fan, s.Names, 3); err != nil || len(times) != 3 || slices.Min(times) <= 0 {
		t.Errorf("fan-out: %v, %v", times, err)
	}
	id := strings.Fields(l.Must("submit", "--on", "sim[01-50]", "--array", "1-200", "--", "echo", "hello"))[1]
	l.Must("wait", id)
	if out := l.Must("logs", id); strings.Count(out, "hello") != 200 {
		t.Errorf("200 tasks said\n%s", out)
	}
	if err := stop(); err != nil {
		t.Errorf("leaving: %v", err)
	}
	left, err := c.Fleet.Nodes(t.Context())
	if err != nil || len(left) != 2 {
		t.Errorf("%d nodes are left: %v", len(left), err)
	}
	if dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), "bramble-sim-*")); len(dirs) > 0 {
		t.Errorf("folders are left: %v", dirs)
	}
	again, stop := start(t, c, sim.Options{Nodes: nodes, Keep: true})
	if err := stop(); err != nil {
		t.Errorf("the second time: %v", err)
	}
	l.Await(fleet.Fold(again.Names), fleet.Down)
}

func TestRefusals(t *testing.T) {
	for name, o := range map[string]sim.Options{
		"none":     {Nodes: 0},
		"too many": {Nodes: sim.MaxNodes + 1},
		"prefix":   {Nodes: 1, Prefix: "../"},
	} {
		if err := sim.Run(t.Context(), o); !fault.Is(err, fault.Misused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPercentile(t *testing.T) {
	times := []time.Duration{40, 10, 30, 20}
	for p, want := range map[float64]time.Duration{0: 10, 0.25: 10, 0.5: 20, 0.51: 30, 0.99: 40, 1: 40} {
		if got := sim.Percentile(times, p); got != want {
			t.Errorf("%v: %v, want %v", p, got, want)
		}
	}
	if got := sim.Percentile(nil, 0.5); got != 0 {
		t.Errorf("of none: %v", got)
	}
}

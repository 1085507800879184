package fleet_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bramble/bus"
	"bramble/bus/bustest"
	"bramble/event"
	"bramble/fault"
	"bramble/fleet"
	"bramble/host"
	"bramble/metric"
	"bramble/trust"
	"bramble/trust/trusttest"
)

func TestMain(m *testing.M) { bustest.Main(m) }

// house is a head with its roll, in fake time.
type house struct {
	*testing.T
	bus       *bustest.Bus
	authority *trust.Authority
	roll      *trusttest.Store
	events    *event.Log
	client    *bus.Conn
	closing   []*bus.Conn
	head      *desk

	mu      sync.Mutex
	changes []fleet.Change
	names   []string
	most    int // beats a second that the head wants
}

// desk is one life of the head's service.
type desk struct {
	*fleet.Service
	stop func()
}

// machine is one life of a node's service.
type machine struct {
	*fleet.Member
	stop func()
}

func inHouse(t *testing.T, test func(*house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &house{T: t, bus: bustest.Start(t), roll: &trusttest.Store{}}
		h.authority = trusttest.Authority(t, time.Now)
		h.authority.OnRevoke(func(id trust.Identity) { h.bus.Kick(id.Covers) })
		var err error
		if h.events, err = event.Open(t.TempDir(), time.Now, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		h.up()
		h.client = h.connect(trust.Identity{Kind: trust.KindClient, Name: "ann", Role: trust.Admin})
		test(h)
		h.head.stop()
		h.events.Close()
		h.bus.StopAll(h.closing...)
	})
}

func (h *house) connect(id trust.Identity) *bus.Conn {
	c := h.bus.As(id)
	h.closing = append(h.closing, c)
	return c
}

// up starts the head's service over the roll.
func (h *house) up() {
	conn := h.connect(trust.Identity{Kind: trust.KindHead, Name: "head"})
	s := &fleet.Service{Conn: conn, Watch: h.bus.Watch, Authority: h.authority, Roll: h.roll, Events: h.events,
		Metrics: &metric.Set{}, Version: "1.0", Now: time.Now, Log: slog.New(slog.DiscardHandler), BeatsMost: h.most,
		OnChange: func(n fleet.Node, c fleet.Change) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.changes, h.names = append(h.changes, c), append(h.names, n.Name)
		}}
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() {
		if err := s.Run(ctx); err != nil {
			h.Error(err)
		}
	})
	h.head = &desk{s, func() { cancel(); ended.Wait(); conn.Close() }}
	synctest.Wait()
}

// node starts a node's service on a new connection, and is called back while it says nothing.
func (h *house) node(name string) *machine {
	h.Helper()
	id := trust.Identity{Kind: trust.KindNode, Name: name}
	sim, err := host.NewSim(host.SimOptions{Model: "pi4", Hostname: name})
	if err != nil {
		h.Fatal(err)
	}
	facts, _ := sim.Facts(context.Background())
	cred := trusttest.Credential(h, h.authority, id)
	m := &machine{Member: fleet.NewMember(fleet.Member{Host: sim, Facts: facts, Roles: []string{fleet.RoleWorker}, Version: "1.0",
		Cred: cred, Save: func() error { return nil }, Verifier: trust.NewVerifier(cred.CA(), time.Now),
		Clock: trust.OpenClock(h.TempDir() + "/time"), Log: slog.New(slog.DiscardHandler)})}
	m.Conn = h.connect(id)
	h.start(m)
	return m
}

func (h *house) start(m *machine) {
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() { m.Run(ctx) })
	m.stop = func() { cancel(); ended.Wait() }
	synctest.Wait()
}

// became waits a while and returns the changes meanwhile, such as "n1 suspect 3s" after since.
func (h *house) became(wait time.Duration, since time.Time) string {
	time.Sleep(wait)
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []string
	for i, c := range h.changes {
		all = append(all, h.names[i]+" "+string(c.To)+" "+c.At.Sub(since).Round(time.Second).String())
	}
	h.changes, h.names = nil, nil
	return strings.Join(all, ", ")
}

func (h *house) fleet() fleet.Client { return fleet.Client{Conn: h.client} }

// list is the members as a client sees them, such as "n1 up, n2 down".
func (h *house) list() string {
	h.Helper()
	nodes, err := h.fleet().Nodes(context.Background())
	if err != nil {
		h.Fatal(err)
	}
	return states(nodes)
}

func states(nodes []fleet.Node) string {
	var all []string
	for _, n := range nodes {
		all = append(all, n.Name+" "+string(n.State))
	}
	return strings.Join(all, ", ")
}

func (h *house) expect(what, got, want string) {
	h.Helper()
	if got != want {
		h.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestLiveness(t *testing.T) {
	inHouse(t, func(h *house) {
		begun := time.Now()
		n := h.node("n1")
		h.expect("hello", h.became(time.Second/2, begun), "n1 up 0s")
		nodes, _ := h.fleet().Nodes(context.Background())
		if n := nodes[0]; n.Model != "pi4" || n.Cores != 4 || n.Arch != "arm64" || n.Version != "1.0" || n.Memory == 0 || n.Sample.MemTotal == 0 || n.Roles[0] != fleet.RoleWorker {
			t.Errorf("node is %+v", n)
		}
		h.expect("nothing happens", h.became(time.Minute, begun), "")

		silent := time.Now()
		n.stop()
		h.expect("silence", h.became(20*time.Second, silent), "n1 suspect 3s, n1 down 10s")
		again := time.Now()
		n.Conn.Publish(bus.From("fleet", "n1", "beat"), host.Sample{})
		h.expect("a beat", h.became(time.Second, again), "n1 up 0s")
		h.start(n)

		shut := time.Now()
		n.stop()
		n.Conn.Close()
		h.expect("connection closed", h.became(10*time.Second, shut), "n1 suspect 0s, n1 down 2s")
		back := time.Now()
		n.Conn = h.connect(trust.Identity{Kind: trust.KindNode, Name: "n1"})
		h.start(n)
		h.expect("connected again", h.became(2*time.Second, back), "n1 up 0s")
		n.stop()
	})
}

func TestHeadRestart(t *testing.T) {
	inHouse(t, func(h *house) {
		here, away := h.node("n1"), h.node("n2")
		time.Sleep(time.Second)
		if err := h.fleet().Label(context.Background(), []string{"n1"}, []fleet.LabelChange{{Key: "camera", Value: "2"}}); err != nil {
			t.Fatal(err)
		}
		away.stop()
		away.Conn.Close()
		h.became(10*time.Second, time.Now())
		h.head.stop()
		here.stop()
		begun := time.Now()
		h.up()
		h.expect("known at once", h.list(), "n1 suspect, n2 suspect")
		h.start(here)
		h.expect("grace", h.became(14*time.Second, begun), "n1 up 0s")
		h.expect("then", h.became(10*time.Second, begun), "n2 down 15s")
		nodes, _ := h.fleet().Select(context.Background(), "camera=2")
		h.expect("labels stay", states(nodes), "n1 up")
		here.stop()
	})
}

func TestWatchCoalesces(t *testing.T) {
	inHouse(t, func(h *house) {
		n := h.node("n1")
		ctx, cancel := context.WithCancel(context.Background())
		lists, last := 0, ""
		done := make(chan struct{})
		go func() {
			defer close(done)
			for nodes, err := range h.fleet().Watch(ctx) {
				if err != nil {
					return
				}
				lists, last = lists+1, states(nodes)
			}
		}()
		time.Sleep(time.Second)
		for i := range 500 {
			if err := h.fleet().Label(ctx, []string{"n1"}, []fleet.LabelChange{{Key: "x", Remove: i%2 == 0}}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(3 * time.Second)
		n.stop()
		n.Conn.Close()
		time.Sleep(5 * time.Second)
		cancel()
		<-done
		h.expect("the last", last, "n1 down")
		if lists < 5 || lists > 40 {
			t.Errorf("%d lists came in 9 s", lists)
		}
	})
}

// TestFollow has samples told once a beat, and what changes a node at once.
func TestFollow(t *testing.T) {
	inHouse(t, func(h *house) {
		n := h.node("n1")
		defer n.stop()
		ctx, cancel := context.WithCancel(context.Background())
		var lists []time.Time
		labelled := ""
		done := make(chan struct{})
		go func() {
			defer close(done)
			for nodes := range h.head.Follow(ctx) {
				lists = append(lists, time.Now())
				labelled = nodes[0].Labels["x"]
			}
		}()
		time.Sleep(10*time.Second + 500*time.Millisecond)
		synctest.Wait()
		if len(lists) < 10 || len(lists) > 12 {
			t.Errorf("%d lists came in 10 s", len(lists))
		}
		begun := time.Now()
		if err := h.fleet().Label(ctx, []string{"n1"}, []fleet.LabelChange{{Key: "x", Value: "y"}}); err != nil {
			t.Fatal(err)
		}
		for labelled == "" && time.Since(begun) < time.Second {
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
		}
		if took := time.Since(begun); took > 300*time.Millisecond {
			t.Errorf("a label was told after %s", took)
		}
		cancel()
		<-done
	})
}

// TestPace has a head that wants one beat a second of three nodes.
func TestPace(t *testing.T) {
	inHouse(t, func(h *house) {
		h.head.stop()
		h.most = 1
		h.up()
		beats := 0
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		if err := h.connect(trust.Identity{Kind: trust.KindHead, Name: "head"}).Subscribe(ctx, bus.From("fleet", "*", "beat"), func(bus.Message) { beats++ }); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		n1, n2, n3 := h.node("n1"), h.node("n2"), h.node("n3")
		defer n1.stop()
		defer n2.stop()
		h.became(10*time.Second, begun)
		before := beats
		h.expect("while they beat every 3 s", h.became(30*time.Second, begun), "")
		if n := beats - before; n < 29 || n > 31 {
			t.Errorf("%d beats in 30 s of three nodes", n)
		}
		before = beats
		n3.stop()
		silent := time.Now()
		for h.list() == "n1 up, n2 up, n3 up" {
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(silent); took < 4*time.Second || took > 8*time.Second {
			t.Errorf("a silent node was suspect after %s", took)
		}
		if err := h.fleet().Remove(ctx, "n3"); err != nil {
			t.Fatal(err)
		}
		if err := h.fleet().Remove(ctx, "n2"); err != nil {
			t.Fatal(err)
		}
		h.became(5*time.Second, begun)
		before = beats
		h.expect("one node", h.became(30*time.Second, begun), "")
		if n := beats - before; n < 29 || n > 31 {
			t.Errorf("%d beats in 30 s of one node", n)
		}
	})
}

func TestLabels(t *testing.T) {
	inHouse(t, func(h *house) {
		defer h.node("n1").stop()
		defer h.node("n2").stop()
		many := func(n int) (all []fleet.LabelChange) {
			for i := range n {
				all = append(all, fleet.LabelChange{Key: "l" + strings.Repeat("x", i)})
			}
			return all
		}
		tests := []struct {
			name    string
			names   []string
			changes []fleet.LabelChange
			want    fault.Code
		}{
			{"reserved", []string{"n1"}, []fleet.LabelChange{{Key: "all"}}, fault.Misused},
			{"control characters", []string{"n1"}, []fleet.LabelChange{{Key: "a", Value: "\x1b[2J"}}, fault.Misused},
			{"one unknown node changes none", []string{"n1", "n3"}, []fleet.LabelChange{{Key: "a"}}, fault.NotFound},
			{"too many", []string{"n1"}, append(many(60), fleet.LabelChange{Key: "b"}, fleet.LabelChange{Key: "c"}, fleet.LabelChange{Key: "d"}, fleet.LabelChange{Key: "e"}, fleet.LabelChange{Key: "f"}), fault.Full},
		}
		for _, tt := range tests {
			err := h.fleet().Label(context.Background(), tt.names, tt.changes)
			if !fault.Is(err, tt.want) || fault.Of(err).Try == "" {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
		nodes, _ := h.fleet().Nodes(context.Background())
		if len(nodes[0].Labels) != 0 {
			t.Errorf("labels are %v", nodes[0].Labels)
		}
		viewer := fleet.Client{Conn: h.connect(trust.Identity{Kind: trust.KindClient, Name: "vic", Role: trust.Operator})}
		if err := viewer.Label(context.Background(), []string{"n1"}, []fleet.LabelChange{{Key: "a"}}); !fault.Is(err, fault.Denied) {
			t.Errorf("an operator: %v", err)
		}
	})
}

func TestRename(t *testing.T) {
	inHouse(t, func(h *house) {
		n, other := h.node("n1"), h.node("n2")
		defer other.stop()
		time.Sleep(time.Second)
		for _, tt := range []struct {
			old, new string
			want     fault.Code
		}{{"n3", "x", fault.NotFound}, {"n1", "n2", fault.Conflict}, {"n1", "N 1", fault.Misused}, {"n1", "all", fault.Misused}, {"n1", "n1", fault.Conflict}} {
			if err := h.fleet().Rename(context.Background(), tt.old, tt.new); !fault.Is(err, tt.want) {
				t.Errorf("%s to %s: %v", tt.old, tt.new, err)
			}
		}
		if err := h.fleet().Rename(context.Background(), "n1", "kitchen"); err != nil {
			t.Fatal(err)
		}
		n.stop()
		if got := n.Cred.Identity().Name; got != "kitchen" {
			t.Errorf("the node's certificate says %s", got)
		}
		n.Conn = h.connect(n.Cred.Identity())
		h.start(n)
		time.Sleep(time.Second)
		h.expect("list", h.list(), "kitchen up, n2 up")
		n.stop()
		n.Conn.Close()
		time.Sleep(5 * time.Second)
		if err := h.fleet().Rename(context.Background(), "kitchen", "n1"); !fault.Is(err, fault.Unreachable) {
			t.Errorf("a node that is down: %v", err)
		}
		h.expect("list", h.list(), "kitchen down, n2 up")
	})
}

func TestRenameRefusedByTheNode(t *testing.T) {
	inHouse(t, func(h *house) {
		n := h.node("n1")
		defer n.stop()
		n.Save = func() error { return fault.New(fault.Full, "the disk is full") }
		time.Sleep(time.Second)
		err := h.fleet().Rename(context.Background(), "n1", "kitchen")
		if !fault.Is(err, fault.Full) {
			t.Errorf("got %v", err)
		}
		h.expect("list", h.list(), "n1 up")
		if keys, _ := h.roll.List(context.Background(), "node."); len(keys) != 1 {
			t.Errorf("the roll has %d records", len(keys))
		}
	})
}

func TestRemove(t *testing.T) {
	inHouse(t, func(h *house) {
		n, other := h.node("n1"), h.node("n2")
		defer other.stop()
		time.Sleep(time.Second)
		serial := n.Cred.Identity().Serial
		begun := time.Now()
		if err := h.fleet().Remove(context.Background(), "n1"); err != nil {
			t.Fatal(err)
		}
		for n.Conn.Connected() {
			time.Sleep(10 * time.Millisecond)
		}
		for !denies(other, serial) {
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("it was cut after %s", took)
		}
		h.expect("list", h.list(), "n2 up")
		if _, err := h.authority.Verify(n.Cred.Cert()); !fault.Is(err, fault.Denied) {
			t.Errorf("its certificate: %v", err)
		}
		// In process nothing asks for certificates: what it still says must change nothing.
		n.stop()
		n.Conn = h.connect(trust.Identity{Kind: trust.KindNode, Name: "n1"})
		h.start(n)
		time.Sleep(5 * time.Second)
		h.expect("list", h.list(), "n2 up")
		n.stop()
		if keys, _ := h.roll.List(context.Background(), "node."); len(keys) != 1 {
			t.Errorf("the roll has %d records", len(keys))
		}
		if err := h.fleet().Remove(context.Background(), "n1"); !fault.Is(err, fault.NotFound) {
			t.Errorf("again: %v", err)
		}
	})
}

func denies(m *machine, serial string) bool {
	for _, s := range m.Verifier.Denied() {
		if s == serial {
			return true
		}
	}
	return false
}

func TestOversizedHelloIsRefused(t *testing.T) {
	inHouse(t, func(h *house) {
		conn := h.connect(trust.Identity{Kind: trust.KindNode, Name: "n1"})
		hello := fleet.Hello{Protocol: bus.Protocol, Version: "1.0", Facts: host.Facts{Board: strings.Repeat("x", 100<<10)}}
		if err := conn.Call(context.Background(), bus.From("fleet", "n1", "hello"), hello, nil); !fault.Is(err, fault.Full) {
			t.Errorf("got %v", err)
		}
		hello = fleet.Hello{Protocol: bus.Protocol + 1, Version: "2.0"}
		if err := conn.Call(context.Background(), bus.From("fleet", "n1", "hello"), hello, nil); !fault.Is(err, fault.Misused) {
			t.Errorf("got %v", err)
		}
		h.expect("list", h.list(), "")
	})
}

func TestRenewForAnotherKeyIsRefused(t *testing.T) {
	inHouse(t, func(h *house) {
		n := h.node("n1")
		defer n.stop()
		key, err := trust.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		csr, _ := trust.NewRequest(key)
		if err := n.Conn.Call(context.Background(), bus.From("fleet", "n1", "renew"), fleet.JoinRequest{CSR: csr, Name: "n2"}, nil); err == nil {
			t.Error("another key got the node's name")
		}
		own, _ := n.Cred.Request()
		var a fleet.JoinAnswer
		if err := n.Conn.Call(context.Background(), bus.From("fleet", "n1", "renew"), fleet.JoinRequest{CSR: own, Name: "n2"}, &a); err != nil || a.ID.Name != "n1" {
			t.Errorf("got %v, %v", a.ID, err)
		}
	})
}

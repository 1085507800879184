package front

import (
	"context"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bramble/accesslog"
	"bramble/bus"
	"bramble/bus/bustest"
	"bramble/event"
	"bramble/fault"
	"bramble/fleet"
	"bramble/host"
	"bramble/trust"
)

func TestMain(m *testing.M) { bustest.Main(m) }

// world is a head and nodes that carry fronts by processes in this one.
type world struct {
	t    *testing.T
	dir  string
	bus  *bustest.Bus
	head *Service
	end  func()

	hosts map[string]string // where a node opens ports for which no address is said

	mu     sync.Mutex
	nodes  []fleet.Node
	served map[string]Served
}

// Select, Nodes and Served are the fleet and the sites.
func (c *world) Select(on string) (found []fleet.Node, err error) {
	selector, err := fleet.ParseSelector(on)
	if err != nil {
		return nil, err
	}
	return selector.Select(c.Nodes())
}

func (c *world) Nodes() []fleet.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.nodes)
}

func (c *world) Served(site string) (Served, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.served[site]
	if !ok {
		return s, fault.New(fault.NotFound, "there is no site %s", site)
	}
	return s, nil
}

// set changes what the fleet and the sites are.
func (c *world) set(change func()) {
	c.mu.Lock()
	change()
	c.mu.Unlock()
	c.head.Changed()
}

func newWorld(t *testing.T, nodes ...string) *world {
	c := &world{t: t, dir: t.TempDir(), served: map[string]Served{}}
	c.startHead()
	t.Cleanup(func() { c.end() })
	for _, name := range nodes {
		c.set(func() { c.nodes = append(c.nodes, fleet.Node{Name: name, State: fleet.Up, Address: "127.0.0.1"}) })
		c.startNode(name)
	}
	return c
}

// startHead starts a head over the folder.
func (c *world) startHead() {
	c.bus = bustest.StartIn(c.t, c.dir+"/bus")
	conn := c.bus.Head()
	books, err := conn.Bucket(c.t.Context(), "front")
	if err != nil {
		c.t.Fatal(err)
	}
	events, err := event.Open(c.dir+"/events", time.Now, quiet)
	if err != nil {
		c.t.Fatal(err)
	}
	ca, err := trust.CreateCA(c.t.TempDir(), "test", time.Now)
	if err != nil {
		c.t.Fatal(err)
	}
	c.head = &Service{soon: 20 * time.Millisecond, Conn: conn, Books: books, Fleet: c, Source: c, Events: events, Now: time.Now, Log: quiet,
		Certify: func(names []string) (Pair, error) {
			cert, key, err := ca.IssueWeb(names)
			return Pair{string(cert), string(key)}, err
		}}
	if err := c.head.Open(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := events.Serve(ctx, conn); err != nil {
		c.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.head.Run(ctx) }()
	c.end = sync.OnceFunc(func() {
		cancel()
		c.bus.StopAll(conn)
		if err := <-ended; err != nil {
			c.t.Error(err)
		}
		events.Close()
	})
}

// startNode starts a node, whose process ends with the test.
func (c *world) startNode(name string) *Node {
	conn := c.bus.Node(name)
	dir := c.dir + "/" + name
	n := NewNode(&Node{Dir: dir, Version: "1", Log: quiet})
	n.Launch = func() (*os.Process, error) {
		ctx, end := context.WithCancel(context.Background())
		p := &process{t: c.t, dir: dir, end: end, ended: make(chan error, 1)}
		go func() { p.ended <- (&Process{Dir: dir, Host: c.hosts[name], Version: "1", Log: quiet}).Run(ctx) }()
		c.t.Cleanup(func() { end(); p.over() })
		return nil, nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { n.Supervise(ctx) })
	running.Go(func() { n.Run(ctx, conn) })
	c.t.Cleanup(func() { cancel(); running.Wait() })
	return n
}

func (c *world) client() Client { return Client{c.bus.Client("ann", trust.Operator)} }

// settled waits until all nodes do what is wanted, and returns the front's members as a line for each pool.
func (c *world) settled(what string, ok func(Status) bool) Status {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	st, err := c.client().Await(ctx, "front", func(s Status) bool { return s.Settled() && ok(s) })
	for fault.Is(err, fault.Unreachable) && ctx.Err() == nil { // the head is starting
		st, err = c.client().Await(ctx, "front", func(s Status) bool { return s.Settled() && ok(s) })
	}
	if err != nil {
		c.t.Fatalf("%s: %v, %+v", what, err, st)
	}
	return st
}

func memberOf(s Status, name string) (m Standing) {
	for _, n := range s.Nodes {
		for _, p := range n.Pools {
			for _, one := range p.Members {
				if one.Name == name {
					m = one
				}
			}
		}
	}
	return m
}

// A front's members follow the sites and the fleet by themselves, what people change of them stays, and all of it is there again
// after the head has ended.
func TestFrontInTheCluster(t *testing.T) {
	c := newWorld(t, "one", "two")
	a, b := newBackend(t, "a", nil), newBackend(t, "b", nil)
	c.served["blog"] = Served{Places: []Place{{Node: "a", Address: a.Address}}}
	f := Front{Name: "front", On: "one", Doors: anyPort(t, "front", Spec{}).Doors, Sites: []SiteRef{{Name: "blog"}}, Common: Pool{Check: Check{Interval: -1}}}
	f.Doors.TLS = anyPort(t, "x", Spec{}).Doors.Plain
	cl := c.client()
	if _, err := cl.Up(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	st := c.settled("the front is up", func(s Status) bool { return len(s.Nodes) == 1 && len(s.Nodes[0].Pools) == 1 })
	if n := st.Nodes[0]; !slices.Equal(n.Plain, f.Doors.Plain) || !slices.Equal(n.TLS, f.Doors.TLS) || n.Error != "" {
		t.Errorf("it is up as %+v", n)
	}
	w := &web{t: t, addr: f.Doors.Plain[0]}
	if _, body := w.ask(get); !strings.HasPrefix(body, "a") {
		t.Errorf("a visitor got %q", body)
	}
	c.set(func() {
		c.served["blog"] = Served{Places: []Place{{Node: "a", Address: a.Address, Drained: true}, {Node: "b", Address: b.Address}}}
	})
	c.settled("another node serves the site, and one is drained", func(s Status) bool { return memberOf(s, "b").Share == 1 && memberOf(s, "a").Mode == Draining })
	if _, body := w.ask(get); !strings.HasPrefix(body, "b") {
		t.Errorf("a visitor got %q", body)
	}
	c.set(func() {
		c.served["blog"] = Served{Places: []Place{{Node: "a", Address: a.Address}, {Node: "b", Address: b.Address}}}
	})
	three, drain := 3, Draining
	if _, err := cl.Change(t.Context(), Change{Front: "front", Member: "a", Setting: Setting{Weight: &three}}); err != nil {
		t.Fatal(err)
	}
	c.settled("it has another weight", func(s Status) bool { return memberOf(s, "a").Share == 0.75 })
	if _, err := cl.Change(t.Context(), Change{Member: "b", Setting: Setting{Mode: &drain}}); err != nil { // the only front
		t.Fatal(err)
	}
	c.settled("it is drained", func(s Status) bool { return memberOf(s, "a").Share == 1 && memberOf(s, "b").Mode == Draining })
	for _, bad := range []Change{{Member: "z", Setting: Setting{Weight: &three}}, {Front: "nosuch", Member: "a", Setting: Setting{Weight: &three}}} {
		if _, err := cl.Change(t.Context(), bad); !fault.Is(err, fault.NotFound) {
			t.Errorf("%+v: %v", bad, err)
		}
	}

	c.end()
	c.startHead()
	for _, name := range []string{"one", "two"} {
		c.startNode(name) // whose connection was this bus's
	}
	st = c.settled("the front is there again", func(s Status) bool { return len(s.Nodes) == 1 && memberOf(s, "b").Mode == Draining })
	if w := memberOf(st, "a").Weight; w != 3 {
		t.Errorf("the weight is %d", w)
	}
	if text := c.eventTexts(); !strings.Contains(text, "ann changes b of the front front: drained") {
		t.Errorf("the audit has\n%s", text)
	}
}

func (c *world) eventTexts() string {
	var b strings.Builder
	for ev, err := range (event.Client{Conn: c.bus.Client("ann", trust.Admin)}).List(c.t.Context(), event.Filter{}) {
		if err != nil {
			c.t.Fatal(err)
		}
		b.WriteString(ev.Text + "\n")
	}
	return b.String()
}

// With heartbeat, visitors go where processors are idle, as nodes report.
func TestHeartbeat(t *testing.T) {
	c := newWorld(t, "one")
	a, b := newBackend(t, "a", nil), newBackend(t, "b", nil)
	c.served["blog"] = Served{Places: []Place{{Node: "a", Address: a.Address}, {Node: "b", Address: b.Address}}}
	c.set(func() {
		c.nodes = append(c.nodes, fleet.Node{Name: "a", State: fleet.Down, Sample: host.Sample{CPU: 0.75}}, fleet.Node{Name: "b", State: fleet.Down})
	})
	f := Front{Name: "front", On: "one", Doors: anyPort(t, "front", Spec{}).Doors, Sites: []SiteRef{{Name: "blog"}}, Common: Pool{Balance: Heartbeat, Check: Check{Interval: -1}}}
	if _, err := c.client().Up(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	c.settled("the busy one has a fifth", func(s Status) bool { return memberOf(s, "a").Share == 0.2 && memberOf(s, "b").Share == 0.8 })
	c.set(func() { c.nodes[1].Sample.CPU, c.nodes[2].Sample.CPU = 0, 1 })
	c.settled("the other one is busy now", func(s Status) bool { return memberOf(s, "b").Share < 0.05 && memberOf(s, "b").Share > 0 })
}

// Keys do not leave the head but to the nodes that need them, and a front that is taken down leaves nothing open.
func TestFrontDown(t *testing.T) {
	c := newWorld(t, "one")
	a := newBackend(t, "a", nil)
	f := Front{Name: "front", On: "all", Doors: Doors{TLS: anyPort(t, "x", Spec{}).Doors.Plain}, Servers: []Backend{{Member: Member{Name: "a"}, Server: a.Address.String()}}}
	pair, err := c.head.Certify([]string{"shop.example"})
	if err != nil {
		t.Fatal(err)
	}
	f.Doors.Pairs = []Pair{pair}
	cl := c.client()
	st, err := cl.Up(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	if st.Front.Doors.Pairs[0].Key != "" || st.Front.Doors.Pairs[0].Cert == "" {
		t.Error("who puts it up is told the key")
	}
	st = c.settled("it is up", func(s Status) bool { return len(s.Nodes[0].TLS) == 1 })
	if st.Front.Doors.Pairs[0].Key != "" {
		t.Error("who looks is told the key")
	}
	if info, err := os.Stat(c.dir + "/one/orders.json"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the order is %v, %v", info, err)
	}
	if _, err := (Client{c.bus.Client("eve", trust.Viewer)}).Down(t.Context(), ""); !fault.Is(err, fault.Denied) {
		t.Errorf("a viewer: %v", err)
	}
	if name, err := cl.Down(t.Context(), ""); err != nil || name != "front" {
		t.Errorf("got %q, %v", name, err)
	}
	eventually(t, "no process is left", func() bool { _, _, err := talk(c.dir+"/one", asked{Do: "look"}); return err != nil })
	if list, err := readOrders(c.dir + "/one"); err != nil || len(list.Fronts) != 0 {
		t.Errorf("%d orders are left, %v", len(list.Fronts), err)
	}
	if _, err := cl.Down(t.Context(), ""); !fault.Is(err, fault.NotFound) {
		t.Errorf("a second time: %v", err)
	}
}

// A node that is removed from the cluster carries nothing any more, and the others go on.
func TestCarrierRemoved(t *testing.T) {
	c := newWorld(t, "one")
	c.set(func() { c.nodes = append(c.nodes, fleet.Node{Name: "two", State: fleet.Up, Address: "127.0.0.2"}) })
	two := c.startNode("two")
	a := newBackend(t, "a", nil)
	_, port, _ := net.SplitHostPort(freePort(t))
	f := Front{Name: "front", On: "one,two", Doors: Doors{Plain: []string{"127.0.0.1:" + port}, Log: true}, Servers: []Backend{{Member: Member{Name: "a"}, Server: a.Address.String()}}}
	if _, err := c.client().Up(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	carried := func(node string) bool {
		answer, _, err := talk(c.dir+"/"+node, asked{Do: "look"})
		return err == nil && len(answer.Fronts) == 1
	}
	eventually(t, "both have it", func() bool { return carried("one") && carried("two") })
	c.set(func() { c.nodes = c.nodes[:1] })
	two.Removed()
	eventually(t, "the removed node has no process", func() bool { return !held(c.dir + "/two") })
	if list, err := readOrders(c.dir + "/two"); err != nil || len(list.Fronts) != 0 {
		t.Errorf("it would begin again: %d orders, %v", len(list.Fronts), err)
	}
	st := c.settled("only the other one is named", func(s Status) bool { return len(s.Nodes) == 1 })
	if st.Nodes[0].Node != "one" || !carried("one") {
		t.Errorf("the other one does %+v", st.Nodes[0])
	}
	weight := 3
	if st, err := c.client().Change(t.Context(), Change{Member: "a", Setting: Setting{Weight: &weight}}); err != nil || len(st.Nodes) != 1 {
		t.Errorf("a change: %+v, %v", st.Nodes, err)
	}
	for l, err := range c.client().Log(t.Context(), accesslog.Request{Lines: 1}) {
		if err != nil || l.Node != "one" {
			t.Errorf("its log: %+v, %v", l, err)
		}
	}
	c.settled("the other one hears of changes", func(s Status) bool { return memberOf(s, "a").Weight == 3 })
}

// Who names no front where there are several is told how to, in the way of what was asked.
func TestWhichFront(t *testing.T) {
	s := &Service{fronts: map[string]Front{"shop": {Name: "shop"}, "blog": {Name: "blog"}}}
	mode := Draining
	_, down := s.down(t.Context(), bus.Caller{}, which{})
	_, change := s.change(t.Context(), bus.Caller{}, Change{Member: "a", Setting: Setting{Mode: &mode}})
	log := s.sendLog(t.Context(), bus.Caller{}, accesslog.Request{}, nil)
	for _, test := range []struct {
		err error
		try string
	}{{down, "bramble front down NAME"}, {change, "--front NAME"}, {log, "bramble front log NAME"}} {
		if !fault.Is(test.err, fault.Misused) || fault.Of(test.err).Try != test.try || !strings.Contains(test.err.Error(), "2 fronts: blog, shop") {
			t.Errorf("%v; try %q, want %q", test.err, fault.Of(test.err).Try, test.try)
		}
	}
}

// The cluster's own certificate is for all that visitors may type: names of sites and nodes, and the address that nodes share.
func TestCertifiedNames(t *testing.T) {
	var got []string
	nodes := &world{nodes: []fleet.Node{{Name: "one", State: fleet.Up, Address: "192.0.2.1"}}}
	s := &Service{Now: time.Now, Fleet: nodes, Certify: func(names []string) (Pair, error) {
		got = names
		return Pair{}, fault.New(fault.Failed, "not today")
	}}
	f := Front{Name: "shared", On: "one", Doors: Doors{TLS: []string{":443", "192.0.2.9:8443"}, Address: "192.0.2.77/24,priority=150"}}
	if _, err := s.certified(t.Context(), f, Spec{Pools: []Pool{{Host: "shop.example"}, {}}}); err == nil {
		t.Error("there is a certificate all the same")
	}
	if want := []string{"192.0.2.1", "192.0.2.77", "192.0.2.9", "localhost", "one", "shop.example"}; !slices.Equal(got, want) {
		t.Errorf("it is for %q, want %q", got, want)
	}
}

// A server's name is looked up again now and then, and what it stood for stays when nobody knows it.
func TestLook(t *testing.T) {
	now := time.Unix(1000, 0)
	s := &Service{Now: func() time.Time { return now }, looked: map[string]looked{}}
	before := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:80")}
	s.looked["gone.invalid:80"] = looked{at: now, addresses: before}
	for _, later := range []time.Duration{0, lookEvery, 3 * lookEvery} {
		now = now.Add(later)
		if got, err := s.look(t.Context(), "gone.invalid:80"); err != nil || !slices.Equal(got, before) {
			t.Errorf("after %s: %v, %v", later, got, err)
		}
	}
	if _, err := s.look(t.Context(), "never.invalid:80"); !fault.Is(err, fault.NotFound) {
		t.Errorf("got %v", err)
	}
}

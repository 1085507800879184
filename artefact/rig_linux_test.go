package artefact_test

import (
	"context"
	"flag"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	. "bramble/artefact"
	"bramble/bus"
	"bramble/bus/bustest"
	"bramble/event"
	"bramble/fault"
	"bramble/fleet"
	"bramble/host"
	"bramble/metric"
	"bramble/trust"
)

// porterProgram makes this binary a porter.
var porterProgram = []string{"/proc/self/exe", "-test.run=^TestPorterProcess$", "porter"}

func TestPorterProcess(t *testing.T) {
	if flag.Arg(0) != "porter" {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := RunPorter(ctx, os.Stdin); err != nil {
		t.Fatal(err)
	}
	syscall.Kill(os.Getpid(), syscall.SIGKILL) // the race detector would take a second to end
}

// spread is a head and nodes in this process, with a home for each node's user.
type spread struct {
	*testing.T
	base   string // has the homes, which anybody may enter
	bus    *bustest.Bus
	head   *bus.Conn
	store  *Store // the head's
	server *httptest.Server
	nodes  map[string]*spreadNode
	halves []*Node      // that answer there
	chosen func()       // called when the head has chosen nodes
	quiet  atomic.Int64 // nanoseconds of silence after which a node is asked whether it is there
	away   sync.Map     // names of nodes that are down
}

type spreadNode struct {
	conn  *bus.Conn
	home  string
	dir   string // of the store
	store *Store
	via   *gate            // its files from the head
	near  *gate            // and from other nodes
	peer  *httptest.Server // gives its files to other nodes
	spoil atomic.Pointer[func(http.Handler) http.Handler]
}

// gate lets requests through until it is shut; then their bodies stop after so many bytes until it opens.
type gate struct {
	http.RoundTripper
	mu   sync.Mutex
	shut chan struct{} // closed when it opens; nil: open
	left int           // bytes still let through
	seen int           // bytes that came through
	hit  chan struct{} // closed when somebody waits
}

func (g *gate) close(after int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut, g.left, g.hit = make(chan struct{}), after, make(chan struct{})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.shut)
	g.shut = nil
}

func (g *gate) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := g.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = &gatedBody{resp.Body, g, r.Context()}
	}
	return resp, err
}

type gatedBody struct {
	body interface {
		Read([]byte) (int, error)
		Close() error
	}
	g   *gate
	ctx context.Context
}

func (b *gatedBody) Close() error { return b.body.Close() }

func (b *gatedBody) Read(p []byte) (int, error) {
	b.g.mu.Lock()
	shut := b.g.shut
	if shut != nil && b.g.left <= 0 {
		select {
		case <-b.g.hit:
		default:
			close(b.g.hit)
		}
		b.g.mu.Unlock()
		select {
		case <-shut:
		case <-b.ctx.Done():
			return 0, b.ctx.Err()
		}
		return b.body.Read(p)
	}
	if shut != nil {
		p = p[:min(len(p), b.g.left)]
	}
	b.g.mu.Unlock()
	n, err := b.body.Read(p)
	b.g.mu.Lock()
	b.g.left -= n
	b.g.seen += n
	b.g.mu.Unlock()
	return n, err
}

// homes tells a node's users where they live there.
type homes struct {
	*host.Real
	account string
	home    string
}

func (h homes) AccountFor(string) string { return h.account }

func (h homes) Account(name string) (host.Account, error) {
	a, err := h.Real.Account(name)
	if name == h.account {
		a.Home = h.home
	}
	return a, err
}

// newSpread starts a head and nodes, whose users have the account that an unprivileged user of this machine has.
func newSpread(t *testing.T, names ...string) *spread {
	return newSpreadIn(t, map[string]Options{}, names...)
}

func newSpreadIn(t *testing.T, limits map[string]Options, names ...string) *spread {
	t.Helper()
	r := &spread{T: t, base: t.TempDir(), bus: bustest.Start(t), nodes: map[string]*spreadNode{}}
	r.quiet.Store(int64(20 * time.Second))
	for _, dir := range []string{r.base, filepath.Dir(r.base)} {
		must(t, os.Chmod(dir, 0o755))
	}
	r.head, r.store = r.bus.Head(), open(t, Options{})
	r.server = httptest.NewTLSServer(Handler(r.store, anybody, Limits{}))
	t.Cleanup(r.server.Close)
	var running sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(func() { stop(); running.Wait() })
	var nodes []*Node
	for _, name := range names {
		nodes = append(nodes, r.newNode(name, limits[name]))
	}
	r.halves = nodes
	running.Go(func() { r.runHead(ctx, names) })
	running.Go(func() {
		r.bus.Watch(ctx, func(p bus.Presence) {
			if !p.Connected {
				r.head.Probe(p.ID)
			}
		})
	})
	for _, node := range nodes {
		running.Go(func() { node.Run(ctx) })
	}
	r.settle(names)
	return r
}

func (r *spread) runHead(ctx context.Context, names []string) {
	log := slog.New(slog.DiscardHandler)
	events, err := event.Open(r.TempDir(), time.Now, log)
	if err != nil {
		r.Error(err)
		return
	}
	defer events.Close()
	var members []fleet.Node
	links := host.Facts{Links: []host.Link{{Default: true, Mbits: 1}}} // however slow this machine is, no node is slower than that
	for _, name := range names {
		members = append(members, fleet.Node{Name: name, State: fleet.Up, Labels: map[string]string{}, Peer: r.nodes[name].peer.Listener.Addr().String(), Facts: links})
	}
	members = append(members, fleet.Node{Name: "asleep", State: fleet.Down, Labels: map[string]string{}})
	service := &Service{Conn: r.head, Store: r.store, Events: events, Metrics: &metric.Set{}, Spreads: &Spreads{Now: time.Now}, Log: log,
		Select: func(text string) ([]fleet.Node, error) {
			sel, err := fleet.ParseSelector(text)
			if err != nil {
				return nil, err
			}
			nodes, err := sel.Select(members)
			for i, n := range nodes {
				if _, away := r.away.Load(n.Name); away {
					nodes[i].State = fleet.Down
				}
			}
			if r.chosen != nil {
				r.chosen()
			}
			return nodes, err
		}}
	if err := service.Run(ctx); err != nil {
		r.Error(err)
	}
}

func (r *spread) newNode(name string, limits Options) *Node {
	n := &spreadNode{conn: r.bus.Node(name), home: filepath.Join(r.base, name), dir: r.TempDir()}
	must(r, os.Mkdir(n.home, 0o755))
	n.store = openIn(r, n.dir, limits)
	machine := host.NewReal(host.RealOptions{StateDir: r.TempDir()})
	r.Cleanup(func() { machine.Close() })
	self, err := user.Current()
	must(r, err)
	account := self.Username
	if os.Geteuid() == 0 {
		account = "nobody"
		must(r, os.Chown(n.home, 65534, 65534))
	}
	client := r.client()
	n.via = &gate{RoundTripper: client.HTTP.Transport}
	client.HTTP = &http.Client{Transport: n.via}
	r.nodes[name] = n
	files := Handler(n.store, anybody, Limits{})
	n.peer = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		h := files
		if spoil := n.spoil.Load(); spoil != nil {
			h = (*spoil)(files)
		}
		h.ServeHTTP(w, req)
	}))
	r.Cleanup(n.peer.Close)
	n.near = &gate{RoundTripper: n.peer.Client().Transport}
	near := func(address string) *Client {
		return &Client{HTTP: &http.Client{Transport: n.near}, Base: "https://" + address, Quiet: time.Duration(r.quiet.Load())}
	}
	return &Node{Conn: n.conn, Store: n.store, Blobs: client, Near: near, Host: machine, Accounts: homes{machine, account, n.home},
		Porter: porterProgram, Log: slog.New(slog.DiscardHandler)}
}

func (r *spread) client() *Client {
	return &Client{HTTP: r.server.Client(), Base: r.server.URL, Pause: time.Millisecond}
}

func (r *spread) copier(user string, role trust.Role) Copier {
	return Copier{Conn: r.bus.Client(user, role), Blobs: r.client()}
}

// settle returns when all listen.
func (r *spread) settle(names []string) {
	r.Helper()
	c := r.copier("probe", trust.Operator)
	for _, name := range names {
		for {
			ends, err := r.pull(c, Pull{On: name, Paths: []string{"/nowhere/at/all"}, Dir: r.TempDir()})
			if err == nil && !ends[name].Lost {
				break
			}
			if err != nil && !fault.Is(err, fault.Unreachable) {
				r.Fatal(err)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

func (r *spread) push(c Copier, req Push) (map[string]End, error) {
	return ends(r.T, func(yield func(Event, error) bool) { c.Push(r.Context(), req)(yield) })
}

func (r *spread) pull(c Copier, req Pull) (map[string]End, error) {
	return ends(r.T, func(yield func(Event, error) bool) { c.Pull(r.Context(), req)(yield) })
}

// ends are what became of each node; every chosen node must have ended exactly once.
func ends(t *testing.T, events func(func(Event, error) bool)) (map[string]End, error) {
	t.Helper()
	found, names := map[string]End{}, map[string]bool{}
	for ev, err := range events {
		if err != nil {
			return found, err
		}
		for _, name := range ev.Names {
			names[name] = true
		}
		if ev.Done > ev.Total && ev.Step != Reading {
			t.Errorf("more than all: %+v", ev)
		}
		if ev.Kind == Ended {
			if _, twice := found[ev.Node]; twice || !names[ev.Node] {
				t.Errorf("%s ended twice, or was not chosen", ev.Node)
			}
			found[ev.Node] = *ev.End
		}
	}
	if len(found) != len(names) {
		t.Errorf("%d of %d nodes have ended", len(found), len(names))
	}
	return found, nil
}

// allOK reports nodes that failed.
func (r *spread) allOK(ends map[string]End, err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
	for name, end := range ends {
		if !end.OK() {
			r.Errorf("%s: %+v", name, end)
		}
	}
}

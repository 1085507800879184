package site

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bramble/artefact"
	"bramble/bus/bustest"
	"bramble/event"
	"bramble/fault"
	"bramble/fleet"
	"bramble/host"
	"bramble/metric"
	"bramble/trust"
)

func TestMain(m *testing.M) { bustest.Main(m) }

// world is a head and nodes of which each part can be killed and started again over its folder.
type world struct {
	t     *testing.T
	dir   string
	ca    *trust.CA
	log   *slog.Logger
	nodes map[string]*board

	mu    sync.Mutex
	bus   *bustest.Bus
	head  *Service
	store *artefact.Store
	files *httptest.Server
	sent  sync.Map // bytes that the head has sent: by path, an *atomic.Int64
	stop  func()
}

// board is one node.
type board struct {
	w    *world
	name string
	node *Node
	stop func()
	hold chan struct{} // when not nil, bringing waits for it

	bring func(way artefact.Way, tell artefact.Progress) error // when not nil, what comes before bringing
}

func newWorld(t *testing.T, nodes ...string) *world {
	w := &world{t: t, dir: t.TempDir(), nodes: map[string]*board{}, log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	var err error
	if w.ca, err = trust.CreateCA(filepath.Join(w.dir, "ca"), "test", time.Now); err != nil {
		t.Fatal(err)
	}
	w.startHead()
	t.Cleanup(func() {
		for _, b := range w.nodes {
			b.kill()
		}
		w.killHead()
	})
	for _, name := range nodes {
		w.nodes[name] = &board{w: w, name: name}
		w.nodes[name].start()
	}
	return w
}

// Select and Nodes are the fleet: nodes that were never started do not count.
func (w *world) Select(on string) ([]fleet.Node, error) {
	selector, err := fleet.ParseSelector(on)
	if err != nil {
		return nil, err
	}
	return selector.Select(w.Nodes())
}

func (w *world) Nodes() []fleet.Node {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []fleet.Node
	for name, b := range w.nodes {
		n := fleet.Node{Name: name, State: fleet.Up, Address: "127.0.0.1", Peer: name + ":7651"}
		if b.stop == nil {
			n.State = fleet.Down
		}
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b fleet.Node) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func (w *world) startHead() {
	b := bustest.StartIn(w.t, filepath.Join(w.dir, "bus"))
	conn := b.Head()
	books, err := conn.Bucket(w.t.Context(), "site")
	if err != nil {
		w.t.Fatal(err)
	}
	store, err := artefact.OpenStore(filepath.Join(w.dir, "head"), artefact.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	events, err := event.Open(filepath.Join(w.dir, "events"), time.Now, w.log)
	if err != nil {
		w.t.Fatal(err)
	}
	s := &Service{Conn: conn, Books: books, Store: store, Fleet: w, Sign: w.ca.Sign, Events: events, Metrics: &metric.Set{}, Now: time.Now, Log: w.log}
	if err := s.Open(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bus, w.head, w.store = b, s, store
	blobs := artefact.Handler(store, func(*http.Request) error { return nil }, artefact.Limits{})
	w.files = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		sent, _ := w.sent.LoadOrStore(r.URL.Path, &atomic.Int64{})
		blobs.ServeHTTP(&weighed{rw, sent.(*atomic.Int64)}, r)
	}))
	w.stop = func() {
		cancel()
		b.StopAll(conn)
		<-ended
		w.files.CloseClientConnections()
		w.files.Close()
		store.Close()
		events.Close()
	}
}

// weighed counts what is sent.
type weighed struct {
	http.ResponseWriter
	sent *atomic.Int64
}

func (x *weighed) Unwrap() http.ResponseWriter { return x.ResponseWriter }

func (x *weighed) Write(b []byte) (int, error) {
	x.sent.Add(int64(len(b)))
	return x.ResponseWriter.Write(b)
}

// killHead ends the head; what it has not written down is lost.
func (w *world) killHead() {
	w.mu.Lock()
	stop := w.stop
	w.stop = nil
	w.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// client asks as a person does.
func (w *world) client() Client {
	return Client{Conn: w.bus.Client("ann", trust.Operator), Blobs: &artefact.Client{HTTP: http.DefaultClient, Base: w.files.URL}}
}

// start starts a node over its folder; when the head is there it is linked.
func (b *board) start() {
	store, err := artefact.OpenStore(filepath.Join(b.w.dir, b.name, "store"), artefact.Options{})
	if err != nil {
		b.w.t.Fatal(err)
	}
	ca := b.w.ca.Cert()
	b.node = NewNode(&Node{Store: store, Dir: filepath.Join(b.w.dir, b.name, "site"), Host: "127.0.0.1", Budget: 1 << 20, Log: b.w.log.With("node", b.name),
		Trusted: func(purpose string, data, sig []byte) error { return trust.Signed(ca, purpose, data, sig) }})
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		if err := b.node.Serve(ctx); err != nil {
			b.w.t.Error(err)
		}
	})
	unlink := b.link(ctx, store, &all)
	b.w.mu.Lock()
	b.stop = func() {
		cancel()
		unlink()
		all.Wait()
		store.Close()
	}
	b.w.mu.Unlock()
}

func (b *board) link(ctx context.Context, store *artefact.Store, all *sync.WaitGroup) (unlink func()) {
	b.w.mu.Lock()
	there := b.w.stop != nil
	b.w.mu.Unlock()
	if !there {
		return func() {}
	}
	conn := b.w.bus.Node(b.name)
	copies := &artefact.Node{Conn: conn, Store: store, Log: b.w.log, Blobs: &artefact.Client{HTTP: http.DefaultClient, Base: b.w.files.URL, Tries: 2}}
	all.Go(func() {
		machine := host.NewReal(host.RealOptions{StateDir: filepath.Join(b.w.dir, b.name, "host")})
		if err := b.node.Run(ctx, Links{Conn: conn, Files: held{b, copies}, Starter: machine, Accounts: nobody{}}); err != nil && ctx.Err() == nil {
			b.w.t.Error(err)
		}
	})
	return conn.Close
}

// held lets a test stop a node before it has anything.
type held struct {
	b *board
	*artefact.Node
}

func (h held) Bring(ctx context.Context, pin string, list artefact.Blob, way artefact.Way, tell artefact.Progress) (artefact.Manifest, int64, error) {
	if h.b.hold != nil {
		select {
		case <-h.b.hold:
		case <-ctx.Done():
			return artefact.Manifest{}, 0, ctx.Err()
		}
	}
	if h.b.bring != nil {
		if err := h.b.bring(way, tell); err != nil {
			return artefact.Manifest{}, 0, err
		}
	}
	return h.Node.Bring(ctx, pin, list, way, tell)
}

// Lay lays out with our own rights, which needs no process of its own.
func (h held) Lay(ctx context.Context, _, _ string, _ artefact.Ref, m artefact.Manifest, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	return artefact.Place(ctx, h.Store, m, to, artefact.PlaceOptions{Overwrite: true})
}

// nobody knows no accounts, so that all is done with our own rights.
type nobody struct{}

func (nobody) AccountFor(string) string { return "" }
func (nobody) Account(string) (host.Account, error) {
	return host.Account{}, fault.New(fault.NotFound, "no accounts")
}

func (b *board) kill() {
	b.w.mu.Lock()
	stop := b.stop
	b.stop = nil
	b.w.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// address is where a node serves a site; "" nowhere.
func (b *board) address(name string) string {
	b.node.mu.Lock()
	defer b.node.mu.Unlock()
	if h := b.node.hosted[name]; h != nil && h.door != nil {
		return h.door.said
	}
	return ""
}

// get asks a node for a page.
func (b *board) get(name, path string) (status int, body string) {
	address := b.address(name)
	if address == "" {
		return 0, ""
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + address + path)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	data, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(data)
}

// until waits for a condition.
func (w *world) until(what string, is func() bool) {
	w.t.Helper()
	for begun := time.Now(); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begun) > time.Minute {
			w.t.Fatalf("never %s", what)
		}
	}
}

// folder makes a folder of files: names and contents.
func folder(t *testing.T, files ...string) string {
	dir := t.TempDir()
	write(t, dir, files...)
	return dir
}

func write(t *testing.T, dir string, files ...string) {
	for i := 0; i < len(files); i += 2 {
		path := filepath.Join(dir, files[i])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// publish publishes a folder and returns what was reported.
func (w *world) publish(dir string, spec Spec) ([]Event, error) {
	spec.Name = "blog"
	return collect(w.client().Publish(w.t.Context(), Publish{Spec: spec}, Source(dir)))
}

func collect(events iter.Seq2[Event, error]) (all []Event, err error) {
	for ev, err := range events {
		if err != nil {
			return all, err
		}
		all = append(all, ev)
	}
	return all, nil
}

// serve waits until nodes serve a page.
func (w *world) serve(body string, names ...string) {
	w.t.Helper()
	for _, name := range names {
		w.until(name+" serves "+body, func() bool { _, got := w.nodes[name].get("blog", "/"); return got == body })
	}
}

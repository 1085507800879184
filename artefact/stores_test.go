package artefact_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	. "bramble/artefact"
	"bramble/bus"
	"bramble/bus/bustest"
	"bramble/event"
	"bramble/fault"
	"bramble/fleet"
	"bramble/metric"
	"bramble/trust"
)

// inMemory carries requests to handlers by host name, without a network, so that fake time passes.
type inMemory struct {
	mu    sync.Mutex
	hosts map[string]http.Handler
}

func (n *inMemory) set(host string, h http.Handler) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[host] = h
}

func (n *inMemory) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	n.mu.Lock()
	h := n.hosts[r.URL.Host]
	n.mu.Unlock()
	if h == nil {
		return nil, errors.New("connection refused")
	}
	defer func() {
		if recover() != nil {
			err = io.ErrUnexpectedEOF
		}
	}()
	w := httptest.NewRecorder()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	h.ServeHTTP(w, r)
	return w.Result(), nil
}

// vaults is a head that knows names and nodes that keep things, in a bubble of fake time.
type vaults struct {
	*testing.T
	bus    *bustest.Bus
	conn   *bus.Conn
	net    *inMemory
	books  *bus.Bucket
	store  *Store
	events *event.Log
	stores *Stores
	caller trust.Identity // of requests to the head
	nodes  map[string]*vaultNode
	conns  []*bus.Conn
	stop   []func()

	mu    sync.Mutex
	fleet []fleet.Node
}

type vaultNode struct {
	store *Store
	dir   string
}

// inBubble runs a test with a head and nodes that are up.
func inBubble(t *testing.T, names []string, limits map[string]Options, test func(*vaults)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		v := &vaults{T: t, bus: bustest.Start(t), net: &inMemory{hosts: map[string]http.Handler{}}, nodes: map[string]*vaultNode{}}
		v.conn = v.bus.Head()
		v.conns = append(v.conns, v.conn)
		var err error
		v.books, err = v.conn.Bucket(t.Context(), "artefact")
		must(t, err)
		v.events, err = event.Open(t.TempDir(), time.Now, slog.New(slog.DiscardHandler))
		must(t, err)
		v.store = open(t, Options{})
		v.caller = trust.Identity{Kind: trust.KindClient, Name: "ann", Role: trust.Operator}
		for _, name := range names {
			v.node(name, limits[name])
		}
		end := v.startHead()
		synctest.Wait()
		test(v)
		end()
		for _, stop := range v.stop {
			stop()
		}
		v.events.Close()
		v.bus.StopAll(v.conns...)
	})
}

// startHead runs the head's half until what it returns is called.
func (v *vaults) startHead() (end func()) {
	v.Helper()
	v.stores = &Stores{Conn: v.conn, Store: v.store, Self: "head", Books: v.books, Nodes: v.members, Near: v.near, Events: v.events, Metrics: &metric.Set{},
		Now: time.Now, Log: slog.New(slog.DiscardHandler), Select: func(text string) ([]fleet.Node, error) {
			sel, err := fleet.ParseSelector(text)
			if err != nil {
				return nil, err
			}
			return sel.Select(v.members())
		}}
	must(v.T, v.stores.Open(v.Context()))
	v.net.set("head", v.stores.Relay(Handler(v.store, anybody, Limits{}), func(*http.Request) (trust.Identity, error) { return v.caller, nil }))
	return v.run(v.stores.Run)
}

func (v *vaults) run(work func(context.Context) error) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := work(ctx); err != nil {
			v.Error(err)
		}
	})
	return func() { cancel(); running.Wait() }
}

func (v *vaults) near(address string) *Client {
	return &Client{HTTP: &http.Client{Transport: v.net}, Base: "https://" + address, Pause: time.Millisecond, Tries: 2}
}

func (v *vaults) node(name string, limits Options) {
	n := &vaultNode{dir: v.TempDir()}
	n.store = openIn(v.T, n.dir, limits)
	v.nodes[name] = n
	conn := v.bus.Node(name)
	v.conns = append(v.conns, conn)
	v.net.set(name, Handler(n.store, anybody, Limits{}))
	vault := &Vault{Conn: conn, Store: n.store, Blobs: v.near("head"), Near: v.near, Metrics: &metric.Set{}, Log: slog.New(slog.DiscardHandler)}
	v.stop = append(v.stop, v.run(vault.Run))
	v.fleet = append(v.fleet, fleet.Node{Name: name, State: fleet.Up, Roles: []string{fleet.RoleWorker}, Labels: map[string]string{}, Peer: name})
}

func (v *vaults) members() []fleet.Node {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.fleet)
}

// change edits a member as the fleet would.
func (v *vaults) change(name string, edit func(*fleet.Node)) {
	v.mu.Lock()
	i := slices.IndexFunc(v.fleet, func(n fleet.Node) bool { return n.Name == name })
	edit(&v.fleet[i])
	n := v.fleet[i]
	v.mu.Unlock()
	v.stores.Changed(n)
}

func (v *vaults) down(name string) {
	v.net.set(name, nil)
	v.change(name, func(n *fleet.Node) { n.State = fleet.Down })
}

func (v *vaults) up(name string) {
	v.net.set(name, Handler(v.nodes[name].store, anybody, Limits{}))
	v.change(name, func(n *fleet.Node) { n.State = fleet.Up })
}

func (v *vaults) as(user string, role trust.Role) Durables {
	conn := v.bus.Client(user, role)
	v.conns = append(v.conns, conn)
	return Durables{Conn: conn, Blobs: v.near("head")}
}

// put keeps a file of noise, and returns what is in it.
func (v *vaults) put(c Durables, name string, size, copies int) (Durable, []byte, error) {
	v.Helper()
	data := noise(uint64(size), size)
	path := filepath.Join(v.TempDir(), "file")
	must(v.T, os.WriteFile(path, data, 0o644))
	var kept Durable
	for ev, err := range c.Put(v.Context(), Put{Name: name, Copies: copies, Source: path}) {
		if err != nil {
			return kept, data, err
		}
		if ev.Kept != nil {
			kept = *ev.Kept
		}
	}
	if kept.Name == "" {
		v.Fatal("nobody said that it is kept")
	}
	return kept, data, nil
}

// find is what is kept under a name, and by whom.
func (v *vaults) find(name string) (Durable, []string) {
	v.Helper()
	list, err := v.as("finder", trust.Viewer).List(v.Context())
	must(v.T, err)
	for _, d := range list {
		if d.Name == name {
			var nodes []string
			for _, h := range d.Ring {
				nodes = append(nodes, h.Node)
			}
			return d, nodes
		}
	}
	return Durable{}, nil
}

// has reports whether a node's store has what is in data, as it should be.
func (v *vaults) has(node string, data []byte) bool {
	return v.nodes[node].store.Verify(v.Context(), RefOf(data)) == nil
}

// holds reports whether a node pins something for a durable artefact.
func (v *vaults) holds(node string, d Durable) bool {
	v.Helper()
	pins, err := v.nodes[node].store.Pins()
	must(v.T, err)
	return slices.Contains(pins, "store-"+d.ID)
}

// spoil changes a byte of a blob on a node's disk.
func (v *vaults) spoil(node string, data []byte) {
	v.Helper()
	ref := string(RefOf(data))
	path := filepath.Join(v.nodes[node].dir, "blobs", ref[:2], ref)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(v.T, err)
	defer f.Close()
	_, err = f.WriteAt([]byte{data[len(data)/2] ^ 1}, int64(len(data)/2))
	must(v.T, err)
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func others(all, some []string) (rest []string) {
	for _, n := range all {
		if !slices.Contains(some, n) {
			rest = append(rest, n)
		}
	}
	return rest
}

var fourNodes = []string{"a", "b", "c", "d"}

// A node that is away for longer than the patience is made good by the next of the order; when it comes back, it keeps
// its copy again, and the surplus one is let go.
func TestCopiesAreMadeAnew(t *testing.T) {
	inBubble(t, fourNodes, nil, func(v *vaults) {
		d, data, err := v.put(v.as("ann", trust.Operator), "thing", 300_000, 2)
		must(v.T, err)
		_, first := v.find("thing")
		if len(first) != 2 || !v.has(first[0], data) || !v.has(first[1], data) {
			v.Fatalf("kept by %v, not whole on each", first)
		}
		v.down(first[0])
		pass(Patience - 5*time.Second)
		if _, now := v.find("thing"); !slices.Equal(now, first) {
			v.Errorf("moved to %v before the patience was over", now)
		}
		pass(10 * time.Second)
		_, now := v.find("thing")
		if len(now) != 2 || slices.Contains(now, first[0]) || !v.has(now[0], data) || !v.has(now[1], data) {
			v.Fatalf("after the patience it is kept by %v, which should be two that are there", now)
		}
		spare := others(now, first)[0]
		v.up(first[0])
		pass(5 * time.Second)
		if _, back := v.find("thing"); !slices.Equal(back, first) || v.holds(spare, d) {
			v.Errorf("after it came back it is kept by %v, and %s holds it: %t", back, spare, v.holds(spare, d))
		}
	})
}

// One of the nodes that were named for it is removed from the cluster: its copy is made anew by another one of them.
func TestRemovedNodesCopies(t *testing.T) {
	inBubble(t, fourNodes, nil, func(v *vaults) {
		c := v.as("ann", trust.Operator)
		path := filepath.Join(v.TempDir(), "file")
		data := noise(7, 300_000)
		must(v.T, os.WriteFile(path, data, 0o644))
		for _, err := range c.Put(v.Context(), Put{Name: "thing", Copies: 2, Source: path, On: "a,b,c"}) {
			must(v.T, err)
		}
		_, first := v.find("thing")
		v.mu.Lock()
		v.fleet = slices.DeleteFunc(v.fleet, func(n fleet.Node) bool { return n.Name == first[0] })
		v.mu.Unlock()
		v.net.set(first[0], nil)
		pass(Patience + 10*time.Second)
		_, now := v.find("thing")
		if len(now) != 2 || slices.Contains(now, first[0]) || slices.Contains(now, "d") || !v.has(now[0], data) || !v.has(now[1], data) {
			v.Errorf("kept by %v, of which %s was removed", now, first[0])
		}
		for _, err := range c.Put(v.Context(), Put{Name: "other", Copies: 1, Source: path, On: "a,b,c"}) {
			if !fault.Is(err, fault.NotFound) {
				v.Errorf("one that is no member is named: %v", err)
			}
		}
	})
}

// A drained node is empty once others have what it kept, and not before.
func TestDrainMovesCopies(t *testing.T) {
	inBubble(t, fourNodes, nil, func(v *vaults) {
		d, data, err := v.put(v.as("ann", trust.Operator), "thing", 300_000, 3)
		must(v.T, err)
		_, first := v.find("thing")
		v.change(first[1], func(n *fleet.Node) { n.Drained = "new card" })
		pass(3 * time.Second)
		_, now := v.find("thing")
		if len(now) != 3 || slices.Contains(now, first[1]) || v.holds(first[1], d) {
			v.Fatalf("kept by %v after %s was drained, which holds it: %t", now, first[1], v.holds(first[1], d))
		}
		for _, node := range now {
			if !v.has(node, data) {
				v.Errorf("%s has no whole copy", node)
			}
		}
		for _, node := range now { // all that are left: there is nobody for a third copy
			v.change(node, func(n *fleet.Node) { n.Drained = "all" })
		}
		pass(5 * time.Second)
		if _, stuck := v.find("thing"); !slices.Equal(stuck, now) || !v.holds(now[0], d) {
			v.Errorf("with nobody to move to, it is kept by %v, not by %v", stuck, now)
		}
	})
}

// The last copy is let go by nobody, whoever comes and goes.
func TestLastCopyStays(t *testing.T) {
	inBubble(t, []string{"a", "b"}, nil, func(v *vaults) {
		d, data, err := v.put(v.as("ann", trust.Operator), "thing", 100_000, 2)
		must(v.T, err)
		v.down("b")
		pass(Patience + 5*time.Second)
		v.down("a")
		pass(Patience + 5*time.Second)
		v.up("b")
		pass(5 * time.Minute)
		if !v.holds("b", d) || !v.has("b", data) {
			v.Fatal("b has let go of the last copy there is")
		}
		v.up("a")
		pass(5 * time.Minute)
		if _, now := v.find("thing"); !slices.Equal(now, []string{"a", "b"}) || !v.holds("a", d) || !v.holds("b", d) {
			v.Errorf("when both are back it is kept by %v", now)
		}
	})
}

// What rots on a disk is found by reading it through, counted, and brought anew.
func TestScrubFindsAndMends(t *testing.T) {
	inBubble(t, fourNodes, nil, func(v *vaults) {
		_, data, err := v.put(v.as("ann", trust.Operator), "thing", 700_000, 2)
		must(v.T, err)
		_, nodes := v.find("thing")
		store := v.nodes[nodes[0]].store
		must(v.T, store.Change(func(s *Settings) { s.Every = 3600 }))
		pass(10 * time.Minute)
		v.spoil(nodes[0], data)
		pass(2*time.Hour + 5*time.Minute)
		if got := store.Settings(); got.Damaged != 1 || got.Scrub.Passes < 1 {
			v.Errorf("after two times through: %+v", got)
		}
		if !v.has(nodes[0], data) {
			v.Error("the copy was not brought anew")
		}
	})
}

// Nothing wrong is laid out: a node that lies is passed over, and where all do, nothing is there.
func TestGetProvesEveryByte(t *testing.T) {
	inBubble(t, fourNodes, nil, func(v *vaults) {
		ann := v.as("ann", trust.Operator)
		_, data, err := v.put(ann, "thing", 400_000, 2)
		must(v.T, err)
		pass(2 * time.Hour) // until the head has nothing of it any more
		_, err = v.store.Collect(v.Context())
		must(v.T, err)
		if missing := v.store.Has([]Ref{RefOf(data)}); len(missing) == 0 {
			v.Fatal("the head still has it")
		}
		_, nodes := v.find("thing")
		lie := func(node string) {
			v.net.set(node, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				rec := httptest.NewRecorder()
				Handler(v.nodes[node].store, anybody, Limits{}).ServeHTTP(rec, r)
				body := rec.Body.Bytes()
				if len(body) > 1000 {
					body[777] ^= 1
				}
				for k, vs := range rec.Header() {
					w.Header()[k] = vs
				}
				w.WriteHeader(rec.Code)
				w.Write(body)
			}))
		}
		get := func() ([]byte, error) {
			to := filepath.Join(v.TempDir(), "out")
			_, err := ann.Get(v.Context(), "thing", to, false, nil)
			got, _ := os.ReadFile(to)
			return got, err
		}
		if got, err := get(); err != nil || RefOf(got) != RefOf(data) {
			v.Fatalf("with honest nodes: %d bytes, %v", len(got), err)
		}
		for _, node := range nodes {
			lie(node)
			got, err := get()
			if node == nodes[0] && (err != nil || RefOf(got) != RefOf(data)) {
				v.Errorf("with one liar: %d bytes, %v", len(got), err)
			}
			if node == nodes[1] && (!errors.Is(err, ErrMismatch) || len(got) > 0) {
				v.Errorf("with liars only: %d bytes, %v", len(got), err)
			}
		}
		for _, node := range nodes {
			v.up(node)
			v.spoil(node, data)
		}
		if got, err := get(); err == nil || len(got) > 0 {
			v.Errorf("with both copies rotten: %d bytes, %v", len(got), err)
		}
	})
}

// What was never acknowledged goes from the nodes after a restart of the head; what was, stays; and what nobody knows
// of is let go of by nobody.
func TestHeadRestart(t *testing.T) {
	inBubble(t, fourNodes, nil, func(v *vaults) {
		ann := v.as("ann", trust.Operator)
		d, data, err := v.put(ann, "thing", 200_000, 2)
		must(v.T, err)
		coming := `{"name":"half","id":"00000000000000ff","owner":"ann","ref":"` + string(d.Ref) + `","copies":2,"stage":"coming","ring":[{"node":"a"}]}`
		must(v.T, v.books.Put(v.Context(), "durable.00000000000000ff", []byte(coming)))
		must(v.T, v.nodes["a"].store.Pin("store-00000000000000ff", d.Ref))
		must(v.T, v.nodes["a"].store.Pin("store-00000000000000ee", d.Ref))
		must(v.T, v.store.Pin("store-00000000000000ff", d.Ref))
		end := v.startHead()
		pass(5 * time.Second)
		defer end()
		_, nodes := v.find("thing")
		if len(nodes) != 2 || !v.has(nodes[0], data) || !v.has(nodes[1], data) {
			v.Errorf("kept by %v after a restart", nodes)
		}
		pins, err := v.nodes["a"].store.Pins()
		must(v.T, err)
		if slices.Contains(pins, "store-00000000000000ff") || !slices.Contains(pins, "store-00000000000000ee") {
			v.Errorf("a holds %v", pins)
		}
		if _, err := v.books.Get(v.Context(), "durable.00000000000000ff"); !fault.Is(err, fault.NotFound) {
			v.Errorf("what was coming is still in the book: %v", err)
		}
		reports, err := ann.Doctor(v.Context(), "")
		must(v.T, err)
		if last := reports[len(reports)-1]; !slices.Equal(last.Unknown, []string{"a"}) {
			v.Errorf("the doctor says %+v", last)
		}
	})
}

// A node whose disk is full is passed over; when too few are left, nothing is kept, and nothing stays behind.
func TestPutPassesFullNodesOver(t *testing.T) {
	full := Options{Budget: 100_000}
	inBubble(t, fourNodes, map[string]Options{"a": full, "b": full}, func(v *vaults) {
		ann := v.as("ann", trust.Operator)
		for i := range 6 {
			_, data, err := v.put(ann, "thing", 200_000+i, 2)
			must(v.T, err)
			if _, nodes := v.find("thing"); !slices.Equal(nodes, []string{"c", "d"}) || !v.has("c", data) || !v.has("d", data) {
				v.Fatalf("kept by %v", nodes)
			}
		}
		_, _, err := v.put(ann, "more", 300_000, 3)
		if err == nil {
			v.Fatal("three copies were kept where two nodes have room")
		}
		pass(2 * time.Minute)
		d, _ := v.find("thing")
		for name, n := range v.nodes {
			pins, err := n.store.Pins()
			must(v.T, err)
			if len(pins) > 1 || len(pins) == 1 && pins[0] != "store-"+d.ID {
				v.Errorf("%s still holds %v", name, pins)
			}
		}
	})
}

// Only its owner and an admin may take a name away or put it anew; what is private is had by them alone.
func TestWhoMayWhat(t *testing.T) {
	inBubble(t, fourNodes, nil, func(v *vaults) {
		ann, bob, root := v.as("ann", trust.Operator), v.as("bob", trust.Operator), v.as("root", trust.Admin)
		_, _, err := v.put(ann, "thing", 1000, 2)
		must(v.T, err)
		if _, _, err := v.put(bob, "thing", 1001, 2); !fault.Is(err, fault.Conflict) {
			v.Errorf("bob puts ann's name: %v", err)
		}
		if err := bob.Remove(v.Context(), "thing"); !fault.Is(err, fault.Denied) {
			v.Errorf("bob removes ann's name: %v", err)
		}
		path := filepath.Join(v.TempDir(), "secret")
		must(v.T, os.WriteFile(path, []byte("secret"), 0o600))
		for _, err := range ann.Put(v.Context(), Put{Name: "own", Copies: 2, Private: true, Source: path}) {
			must(v.T, err)
		}
		get := func(c Durables, id trust.Identity) error {
			v.caller = id
			_, err := c.Get(v.Context(), "own", filepath.Join(v.TempDir(), "out"), false, nil)
			return err
		}
		if err := get(bob, trust.Identity{Kind: trust.KindClient, Name: "bob", Role: trust.Operator}); !fault.Is(err, fault.Denied) {
			v.Errorf("bob has what is private: %v", err)
		}
		must(v.T, get(ann, trust.Identity{Kind: trust.KindClient, Name: "ann", Role: trust.Operator}))
		must(v.T, get(root, trust.Identity{Kind: trust.KindClient, Name: "root", Role: trust.Admin}))
		must(v.T, root.Remove(v.Context(), "thing"))
		pass(3 * time.Second)
		for name, n := range v.nodes {
			if pins, _ := n.store.Pins(); len(pins) > 1 {
				v.Errorf("%s holds %v", name, pins)
			}
		}
	})
}

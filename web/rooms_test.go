package web_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bramble/artefact"
	"bramble/bus"
	"bramble/fault"
	"bramble/host"
	"bramble/metric"
	"bramble/site"
	"bramble/trust"
)

// rooms is the head's half of artefacts and sites beside a dashboard, and nodes that do as a test says.
type rooms struct {
	*house
	ctx   context.Context
	blobs *artefact.Client
	nodes map[string]*carrier
}

// carrier is a node that answers as a test says.
type carrier struct {
	says  chan artefact.Event // of what is pushed to it, until it has ended
	conn  *bus.Conn
	mu    sync.Mutex
	sites map[string]map[string]any // what it reports of each
	stuck map[string]string         // why it cannot serve one
}

// rooms starts them; album is in the books as kept by node1 and node2.
func (h *house) rooms(names ...string) *rooms {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &rooms{house: h, ctx: ctx, nodes: map[string]*carrier{}}
	head, log, metrics := h.bus.Head(), slog.New(slog.DiscardHandler), &metric.Set{}
	kept, _ := json.Marshal(artefact.Durable{Name: "album", ID: "0123456789abcdef", Owner: "ann", Ref: artefact.RefOf([]byte("x")), Files: 2, Bytes: 7 << 20,
		Copies: 2, At: time.Now(), Ring: []artefact.Holder{{Node: "node1"}, {Node: "node2"}}})
	var books [2]*bus.Bucket
	for i, name := range []string{"artefact", "site"} {
		var err error
		if books[i], err = head.Bucket(ctx, name); err != nil {
			h.t.Fatal(err)
		}
	}
	if err := books[0].Put(ctx, "durable.0123456789abcdef", kept); err != nil {
		h.t.Fatal(err)
	}
	stores := &artefact.Stores{Conn: head, Store: h.store, Self: "head", Books: books[0], Nodes: h.fleet.Nodes, Select: h.fleet.Select,
		Near: func(string) *artefact.Client { return r.blobs }, Events: h.events, Metrics: metrics, Spreads: &artefact.Spreads{Now: time.Now}, Now: time.Now, Log: log}
	copies := &artefact.Service{Conn: head, Store: h.store, Select: h.fleet.Select, Events: h.events, Metrics: metrics, Spreads: stores.Spreads, Log: log}
	sites := &site.Service{Conn: head, Books: books[1], Store: h.store, Fleet: h.fleet, Events: h.events, Metrics: metrics, Now: time.Now, Log: log,
		Sign: func(string, []byte) ([]byte, error) { return []byte("signed"), nil }}
	files := httptest.NewServer(artefact.Handler(h.store, func(*http.Request) error { return nil }, artefact.Limits{}))
	r.blobs = &artefact.Client{Base: files.URL, HTTP: files.Client()}
	for _, name := range names {
		r.carrier(name)
	}
	if err := stores.Open(ctx); err != nil {
		h.t.Fatal(err)
	}
	if err := sites.Open(ctx); err != nil {
		h.t.Fatal(err)
	}
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{stores.Run, copies.Run, sites.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				h.t.Error(err)
			}
		})
	}
	h.t.Cleanup(func() { cancel(); running.Wait(); files.Close() })
	p := h.as("asker", trust.Viewer)
	h.until("the rooms answer", func() bool {
		status, _ := p.get("/artefact")
		return status == http.StatusOK
	})
	return r
}

func (r *rooms) carrier(name string) {
	r.node(name, host.Facts{Model: "pi4", Cores: 4})
	c := &carrier{says: make(chan artefact.Event), conn: r.bus.Node(name), sites: map[string]map[string]any{}, stuck: map[string]string{}}
	r.nodes[name] = c
	order := func(room, verb string, do func(context.Context, bus.Caller, json.RawMessage, *bus.Stream) error) {
		if err := bus.HandleStream(r.ctx, c.conn, bus.Node(room, name, verb), do); err != nil {
			r.t.Fatal(err)
		}
	}
	order("artefact", "fetch", func(ctx context.Context, _ bus.Caller, _ json.RawMessage, out *bus.Stream) error {
		for {
			select {
			case ev := <-c.says:
				if err := out.SendJSON(ev); err != nil || ev.Kind == artefact.Ended {
					return err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	order("artefact", "store", func(_ context.Context, _ bus.Caller, _ json.RawMessage, out *bus.Stream) error {
		return out.SendJSON(artefact.StoreEvent{Report: &artefact.StoreReport{Blobs: 1234, Used: 3 << 30, Held: 1 << 30, Keep: 4 << 30, Free: 9 << 30, Damaged: 5}})
	})
	order("artefact", "held", func(context.Context, bus.Caller, json.RawMessage, *bus.Stream) error { return nil })
	order("site", "stage", func(_ context.Context, _ bus.Caller, order json.RawMessage, out *bus.Stream) error {
		var o struct{ Spec site.Spec }
		json.Unmarshal(order, &o)
		c.mu.Lock()
		defer c.mu.Unlock()
		news := map[string]any{"ended": true}
		if why := c.stuck[o.Spec.Name]; why != "" {
			news["fault"] = fault.New(fault.Failed, "%s", why)
		}
		return out.SendJSON(news)
	})
	if err := c.conn.Subscribe(r.ctx, bus.Node("site", name, "want"), func(m bus.Message) { c.wanted(name, m) }); err != nil {
		r.t.Fatal(err)
	}
}

// wanted does at once what the head wants of the node's sites, and reports it.
func (c *carrier) wanted(name string, m bus.Message) {
	var w struct {
		Sites []struct {
			Spec site.Spec
			Seq  int64
			Live site.Release
		}
	}
	m.Decode(&w)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sites = map[string]map[string]any{}
	for _, s := range w.Sites {
		c.sites[s.Spec.Name] = map[string]any{"seq": s.Seq, "release": s.Live.ID, "address": ":8080"}
	}
	c.conn.Publish(bus.From("site", name, "report"), map[string]any{"sites": c.sites})
}

// push begins a push of a file of so many bytes; what it returns waits for its end.
func (r *rooms) push(user, on, to string, size int) (wait func()) {
	r.t.Helper()
	file := filepath.Join(r.t.TempDir(), "file")
	if err := os.WriteFile(file, make([]byte, size), 0o644); err != nil {
		r.t.Fatal(err)
	}
	copier := artefact.Copier{Conn: r.bus.Client(user, trust.Operator), Blobs: r.blobs}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for _, err := range copier.Push(r.ctx, artefact.Push{On: on, To: to, Sources: []string{file}}) {
			if err != nil && r.ctx.Err() == nil {
				r.t.Errorf("push: %v", err)
			}
		}
	}()
	return func() { <-ended }
}

func (r *rooms) says(node string, ev artefact.Event) {
	r.t.Helper()
	select {
	case r.nodes[node].says <- ev:
	case <-time.After(20 * time.Second):
		r.t.Fatalf("%s is not asked for anything", node)
	}
}

func moving(done, total int64) artefact.Event {
	return artefact.Event{Kind: artefact.Moving, Step: artefact.Fetching, Done: done, Total: total}
}

func endedWith(end artefact.End) artefact.Event {
	return artefact.Event{Kind: artefact.Ended, End: &end}
}

const mib = 1 << 20

func TestArtefactPage(t *testing.T) {
	h := open(t)
	r := h.rooms("node1", "node2", "node3")
	p := h.as("vic", trust.Viewer)
	for _, want := range []string{"bramble push FILE --on all", "Nothing in the last hour", ">album<", "2 copies on node[1-2]", "7.0 MiB, 2 files", "Asking the nodes"} {
		if _, body := p.get("/artefact"); !strings.Contains(body, want) {
			t.Errorf("no %q in\n%s", want, body)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	kept, _ := p.stream(ctx, "/artefact/kept/live")
	p.hears(kept, `id="kept"`, "1 of 1 blob nowhere that answers", `id="stores"`, "3.0 GiB <small>of 4.0 GiB", "1,234 blobs, 9.0 GiB free", "5 found damaged")

	live, _ := p.stream(ctx, "/artefact/live")
	wait := r.push("ann", "all", "/srv/<b>", 6*mib)
	p.hears(live, "push to /srv/&lt;b&gt;", "by ann", ">node3</a>", "waits")
	r.says("node1", moving(2*mib, 6*mib))
	p.hears(live, "2.0 MiB of 6.0 MiB", "on 0 of 3 nodes")
	r.says("node1", artefact.Event{Kind: artefact.Moving, Step: artefact.Placing, Done: 3 * mib, Total: 6 * mib})
	p.hears(live, "writes 6.0 MiB", `<rect class="done"`)
	r.says("node1", endedWith(artefact.End{Files: 1, Bytes: 6 * mib}))
	p.hears(live, "on 1 of 3 nodes", `<li class="leg done">`)
	for _, node := range []string{"node2", "node3"} {
		r.says(node, endedWith(artefact.End{Code: fault.Full, Error: "no <i>room", Try: "bramble store gc"}))
	}
	wait()
	p.hears(live, "bramble push FILE", `class="entry failed"`, "on 1 of 3 nodes", "<b>node[2-3]</b>: no &lt;i&gt;room", "try: bramble store gc")
	_, body := p.get("/artefact")
	if !strings.Contains(body, "<b>node[2-3]</b>: no &lt;i&gt;room") {
		t.Errorf("after it:\n%s", body)
	}

	var spreads []artefact.Spread
	_, body = p.get("/api/v1/spreads")
	asJSON(t, body, &spreads)
	if len(spreads) != 1 || spreads[0].Kind != artefact.SpreadPush || spreads[0].Whole != 1 || len(spreads[0].Nodes) != 2 || spreads[0].Nodes[0].Error != "no <i>room" {
		t.Errorf("%s", body)
	}
	follow, status := p.stream(ctx, "/api/v1/spreads?follow=1")
	_ = follow
	if status != http.StatusOK {
		t.Errorf("follow: %d", status)
	}
	var stores []artefact.StoreEvent
	_, body = p.get("/api/v1/stores")
	asJSON(t, body, &stores)
	var durables []artefact.Durable
	_, kinds := p.get("/api/v1/durables")
	asJSON(t, kinds, &durables)
	var health []artefact.Report
	_, doctor := p.get("/api/v1/durables/health")
	asJSON(t, doctor, &health)
	if len(stores) != 3 || stores[2].Node != "node3" || len(durables) != 1 || durables[0].Ref != "" || len(health) != 2 || health[0].Standing.Lost != 1 {
		t.Errorf("%s\n%s\n%s", body, kinds, doctor)
	}
	if status, _ := h.stranger().get("/api/v1/spreads"); status != http.StatusUnauthorized {
		t.Errorf("a stranger is told: %d", status)
	}
}

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
	"sync/atomic"
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
	work  sync.WaitGroup
}

// carrier is a node that answers as a test says.
type carrier struct {
	says   chan artefact.Event // of what is pushed to it, until it has ended
	conn   *bus.Conn
	looked atomic.Int32 // how often its store was asked what it holds
	mu     sync.Mutex
	sites  map[string]map[string]any // what it reports of each
	stuck  map[string]string         // why it cannot serve one
	lie    map[string]any            // what it reports of each in place of what is
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
	for _, run := range []func(context.Context) error{stores.Run, copies.Run, sites.Run} {
		r.work.Go(func() {
			if err := run(ctx); err != nil {
				h.t.Error(err)
			}
		})
	}
	h.t.Cleanup(func() { cancel(); r.work.Wait(); files.Close() })
	p := h.as("asker", trust.Viewer)
	h.until("the rooms answer", func() bool {
		status, _ := p.get("/artefact")
		return status == http.StatusOK
	})
	return r
}

func (r *rooms) carrier(name string) {
	beat := r.node(name, host.Facts{Model: "pi4", Cores: 4})
	r.work.Go(func() { // or it is down before a slow test has ended
		for tick := time.NewTicker(time.Second); r.ctx.Err() == nil; {
			beat(host.Sample{Load: 1})
			select {
			case <-tick.C:
			case <-r.ctx.Done():
			}
		}
	})
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
		c.looked.Add(1)
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
		c.sites[s.Spec.Name] = map[string]any{"seq": s.Seq, "release": s.Live.ID, "address": "127.0.0.1:8080"}
		if c.lie != nil {
			c.sites[s.Spec.Name] = c.lie
		}
	}
	c.conn.Publish(bus.From("site", name, "report"), map[string]any{"sites": c.sites})
}

// lies has the node say something else of a site than what is.
func (r *rooms) lies(node, name string, what map[string]any) {
	r.set(node, func(c *carrier) { c.lie = what })
	r.nodes[node].conn.Publish(bus.From("site", node, "report"), map[string]any{"sites": map[string]any{name: what}})
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

	var stores []artefact.StoreEvent
	_, body := p.get("/api/v1/stores")
	asJSON(t, body, &stores)
	var durables []artefact.Durable
	_, kinds := p.get("/api/v1/durables")
	asJSON(t, kinds, &durables)
	var health []artefact.Report
	_, doctor := p.get("/api/v1/durables/health")
	asJSON(t, doctor, &health)
	if len(stores) != 3 || stores[2].Node != "node3" || len(durables) != 1 || durables[0].Name != "album" || len(health) != 2 || health[0].Standing.Lost != 1 {
		t.Errorf("%s\n%s\n%s", body, kinds, doctor)
	}
	if n := r.nodes["node1"].looked.Load(); n != 1 {
		t.Errorf("a page and a program have the store of a node looked through %d times", n)
	}
	if err := (artefact.Durables{Conn: h.bus.Client("ann", trust.Operator)}).Remove(ctx, "album"); err != nil {
		t.Fatal(err)
	}
	p.hears(kept, `id="kept"`, "Nothing is kept by name")

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
	_, body = p.get("/artefact")
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
	if status, _ := h.stranger().get("/api/v1/spreads"); status != http.StatusUnauthorized {
		t.Errorf("a stranger is told: %d", status)
	}
}

// publish makes a release of files, named and written in turn, and returns the site as it is then.
func (r *rooms) publish(name string, files ...string) (s site.Site) {
	r.t.Helper()
	dir := r.t.TempDir()
	for i := 0; i < len(files); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, files[i]), []byte(files[i+1]), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
	ann := site.Client{Conn: r.bus.Client("ann", trust.Operator), Blobs: r.blobs}
	for ev, err := range ann.Publish(r.ctx, site.Publish{Spec: site.Spec{Name: name}}, site.Source(dir)) {
		if err != nil {
			r.t.Fatal(err)
		}
		if ev.Site != nil {
			s = *ev.Site
		}
	}
	return s
}

func (r *rooms) set(node string, edit func(*carrier)) {
	c := r.nodes[node]
	c.mu.Lock()
	defer c.mu.Unlock()
	edit(c)
}

func TestSitePages(t *testing.T) {
	h := open(t)
	r := h.rooms("node1", "node2")
	viewer, operator := h.as("vic", trust.Viewer), h.as("ann", trust.Operator)
	if _, body := viewer.get("/site"); !strings.Contains(body, "bramble site publish DIR --name blog") {
		t.Errorf("no sites:\n%s", body)
	}
	first := r.publish("live", "index.html", "one", "old<b>.html", "x")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	all, _ := viewer.stream(ctx, "/site/-/live")
	viewer.hears(all, `href="/site/live"`, site.Short(first.Live), "2 of 2 nodes", `href="http://127.0.0.1:8080/"`)
	second := r.publish("live", "index.html", "two", "new.html", "y")
	was, is := site.Short(first.Live), site.Short(second.Live)

	_, body := viewer.get("/site/live")
	for _, want := range []string{"2 of 2 nodes serve it", is, was, ">old&lt;b&gt;.html</span>", ">new.html</span>", `<section class="changes removed">`, ">index.html</span>"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in\n%s", want, body)
		}
	}
	if strings.Contains(body, "/rollback") {
		t.Error("a viewer is shown a button that may not be used")
	}
	if _, body := operator.get("/site/live"); strings.Count(body, `action="/site/live/rollback"`) != 1 || !strings.Contains(body, `name="to" value="`+string(first.Live)) {
		t.Errorf("an operator is shown no button:\n%s", body)
	}
	if _, body := viewer.get("/site/live?a=" + is + "&b=nonsense"); !strings.Contains(body, "has no release nonsense") {
		t.Errorf("a release that there is not:\n%s", body)
	}
	to := "?to=" + string(first.Live)
	for name, try := range map[string]struct {
		who    *person
		path   string
		header http.Header
		want   int
	}{
		"a viewer":       {viewer, "/site/live/rollback" + to, nil, http.StatusForbidden},
		"by the API":     {viewer, "/api/v1/sites/live/rollback" + to, nil, http.StatusForbidden},
		"another page":   {operator, "/site/live/rollback" + to, http.Header{"Origin": {"https://evil.example"}}, http.StatusForbidden},
		"no release":     {operator, "/site/live/rollback", nil, http.StatusBadRequest},
		"a long one":     {operator, "/site/live/rollback?to=" + strings.Repeat("a", 65), nil, http.StatusBadRequest},
		"one of nobody":  {operator, "/site/live/rollback?to=ffffffffffff", nil, http.StatusNotFound},
		"no site":        {operator, "/site/none/rollback" + to, nil, http.StatusNotFound},
		"no site's name": {operator, "/site/-/rollback" + to, nil, http.StatusBadRequest},
	} {
		if status, body := try.who.do("POST", try.path, try.header); status != try.want {
			t.Errorf("%s: %d\n%s", name, status, body)
		}
	}
	page, _ := operator.stream(ctx, "/site/live/live")
	operator.hears(page, `id="site-head"`, is)
	r.set("node2", func(c *carrier) { c.stuck["live"] = "the <disk> is full" })
	if status, body := operator.do("POST", "/site/live/rollback"+to, nil); status == http.StatusSeeOther || !strings.Contains(body, "node2: the &lt;disk&gt; is full") || !strings.Contains(body, "stays as it was") {
		t.Errorf("a node is not ready: %d\n%s", status, body)
	}
	r.set("node2", func(c *carrier) { delete(c.stuck, "live") })
	if status, body := operator.do("POST", "/site/live/rollback"+to, nil); status != http.StatusSeeOther {
		t.Errorf("roll back: %d\n%s", status, body)
	}
	operator.hears(page, `id="site-head"`, "release <code>"+was+"</code>", "2 of 2 nodes serve it")

	var one struct {
		site.Site
		Nodes []site.Standing
	}
	_, body = viewer.get("/api/v1/sites/live")
	asJSON(t, body, &one)
	if one.Live != first.Live || len(one.Nodes) != 2 || one.Nodes[1].State != site.Serving {
		t.Errorf("%s", body)
	}
	var back site.Event
	_, body = operator.do("POST", "/api/v1/sites/live/rollback?to="+is, nil)
	if asJSON(t, body, &back); back.Kind != site.Finished || back.Site.Live != second.Live {
		t.Errorf("%s", body)
	}
	var changes []site.Change
	_, body = viewer.get("/api/v1/sites/live/diff")
	if asJSON(t, body, &changes); len(changes) != 3 || changes[1].What != "added" {
		t.Errorf("%s", body)
	}
	var list []site.Site
	_, body = viewer.get("/api/v1/sites")
	if asJSON(t, body, &list); len(list) != 1 {
		t.Errorf("%s", body)
	}

	r.lies("node1", "live", map[string]any{"address": `"><script>:80`, "error": "<script>alert(1)"})
	m := operator.hears(page, `id="site-nodes"`, "alert(1)")
	if strings.Contains(m, "<script>") || strings.Contains(m, `href="http://%22`) {
		t.Errorf("what a node says is taken for markup or a link: %s", m)
	}
}

package web_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"bramble/bus"
	"bramble/fault"
	"bramble/front"
	"bramble/host"
	"bramble/trust"
	"bramble/web"
)

// fronts is the head's half of fronts beside a dashboard, and a node that carries them as a test says.
type fronts struct {
	*house
	mu     sync.Mutex
	orders []front.Order
	change func(*front.Standing) // what is seen of each member
	asked  int64                 // requests of each member; visitors ask each twice a look
}

// Served is of sites, of which there are none.
func (f *fronts) Served(string) (front.Served, error) {
	return front.Served{}, fault.New(fault.NotFound, "there is no site")
}

func (h *house) fronts() *fronts {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f := &fronts{house: h, change: func(*front.Standing) {}}
	head := h.bus.Head()
	books, err := head.Bucket(ctx, "front")
	if err != nil {
		h.t.Fatal(err)
	}
	service := &front.Service{Conn: head, Books: books, Fleet: h.fleet, Source: f, Page: h.url + "/front", Events: h.events, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	if err := service.Open(ctx); err != nil {
		h.t.Fatal(err)
	}
	beat, conn := h.node("node1", host.Facts{Model: "pi4", Cores: 4}), h.bus.Node("node1")
	var work sync.WaitGroup
	work.Go(func() { // or it is down before a slow test has ended
		for tick := time.NewTicker(time.Second); ctx.Err() == nil; {
			beat(host.Sample{Load: 1})
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	if err := conn.Subscribe(ctx, bus.Node("front", "node1", "want"), func(m bus.Message) { f.want(conn, m) }); err != nil {
		h.t.Fatal(err)
	}
	if err := bus.Handle(ctx, conn, bus.Node("front", "node1", "look"), f.look); err != nil {
		h.t.Fatal(err)
	}
	work.Go(func() {
		if err := service.Run(ctx); err != nil {
			h.t.Error(err)
		}
	})
	h.t.Cleanup(func() { cancel(); work.Wait() })
	return f
}

// want does at once what the head wants, and reports it.
func (f *fronts) want(conn *bus.Conn, m bus.Message) {
	var wanted struct{ Fronts []front.Order }
	m.Decode(&wanted)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.orders = wanted.Fronts
	revs := map[string]string{}
	for _, o := range f.orders {
		revs[o.Name] = o.Rev
	}
	conn.Publish(bus.From("front", "node1", "report"), map[string]any{"fronts": revs})
}

// look says how a front does.
func (f *fronts) look(_ context.Context, _ bus.Caller, req struct{ Name string }) (c front.Carried, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked += 2
	for _, o := range f.orders {
		if o.Name != req.Name {
			continue
		}
		c = front.Carried{Rev: o.Rev, Plain: []string{"127.0.0.1:8080", "evil.example:80"}, Count: front.Counts{Open: 7, Requests: 1000 + 2*f.asked}}
		for _, p := range o.Spec.Pools {
			standing := front.PoolStanding{Host: p.Host, Path: p.Path}
			for _, m := range p.Members {
				one := front.Standing{Member: m, Share: 0.5, Busy: 3, Requests: f.asked, Failures: 1, Bytes: 5 << 20, Latency: 2500 * time.Microsecond, Health: front.Health{Since: time.Now()}}
				f.change(&one)
				standing.Members = append(standing.Members, one)
			}
			c.Pools = append(c.Pools, standing)
		}
	}
	return c, nil
}

// sees changes what is seen of members.
func (f *fronts) sees(change func(*front.Standing)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.change = change
}

// up puts a front up before two servers, whose members are changed from some networks only.
func (f *fronts) up(name string, manager ...string) {
	f.t.Helper()
	spec := front.Front{Name: name}
	for _, at := range manager {
		spec.Manager = append(spec.Manager, netip.MustParsePrefix(at))
	}
	f.put(spec)
}

// put puts a front up on all nodes before two servers.
func (f *fronts) put(spec front.Front) {
	f.t.Helper()
	spec.On = "all"
	for i, member := range []string{"anna", "berta"} {
		spec.Servers = append(spec.Servers, front.Backend{Member: front.Member{Name: member, Route: member[:1]}, Server: "192.0.2." + string(rune('1'+i)) + ":80"})
	}
	ann := front.Client{Conn: f.bus.Client("ann", trust.Operator)}
	f.until("the front is up", func() bool { _, err := ann.Up(f.t.Context(), spec); return err == nil })
	if _, err := ann.Await(f.t.Context(), spec.Name, front.Status.Settled); err != nil {
		f.t.Fatal(err)
	}
}

// post sends a form, or where body is no form's, JSON.
func (p *person) post(path, body string) (status int, to, answer string) {
	p.t.Helper()
	r, _ := http.NewRequest("POST", p.url+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := p.http.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	return res.StatusCode, res.Header.Get("Location"), string(text)
}

func TestFrontPage(t *testing.T) {
	h := open(t)
	f := h.fronts()
	viewer, operator := h.as("vic", trust.Viewer), h.as("ann", trust.Operator)
	h.until("the room answers", func() bool { status, _ := viewer.get("/front"); return status == http.StatusOK })
	if _, body := viewer.get("/front"); !strings.Contains(body, "bramble front up --site blog") {
		t.Errorf("no fronts:\n%s", body)
	}
	f.up("shop")
	_, body := viewer.get("/front")
	for _, want := range []string{`id="front-shop"`, "2 of 2 members may get visitors", `href="http://127.0.0.1:8080/"`, "7 connected", ">anna <small>route a</small>", ">berta ",
		"50 %", `data-of="busy">3<`, "5.0 MiB", "2.5ms", "ann puts the front shop up on all"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in\n%s", want, body)
		}
	}
	if strings.Contains(body, `href="http://evil`) {
		t.Error("a node's word leads elsewhere")
	}
	if strings.Contains(body, "/change") {
		t.Error("a viewer is shown a button that may not be used")
	}
	if _, body := operator.get("/front"); strings.Count(body, `action="/front/shop/change"`) != 6 {
		t.Errorf("an operator is shown no forms:\n%s", body)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	live, _ := operator.stream(ctx, "/front/-/live")
	audit, _ := viewer.stream(ctx, "/events/live?room=front")
	first := operator.hears(live, `id="fronts"`)
	if !strings.Contains(first, `data-of="a second">–<`) {
		t.Errorf("it is known at once how fast requests come: %s", first)
	}
	h.until("it can be told", func() bool {
		m := operator.hears(live, `id="fronts"`)
		return !strings.Contains(m, `data-of="a second">–<`) && !strings.Contains(m, `data-of="a second">0<`)
	})
	change := "/front/shop/change"
	for name, try := range map[string]struct {
		who        *person
		path, form string
		want       int
	}{
		"a viewer":          {viewer, change, "member=anna&weight=3", http.StatusForbidden},
		"a viewer's API":    {viewer, "/api/v1/fronts/shop/change", `{"member":"anna","weight":3}`, http.StatusForbidden},
		"no weight":         {operator, change, "member=anna&weight=x", http.StatusBadRequest},
		"too heavy":         {operator, change, "member=anna&weight=101", http.StatusBadRequest},
		"no mode":           {operator, change, "member=anna&mode=gone", http.StatusBadRequest},
		"no route":          {operator, change, "member=anna&route=a.b", http.StatusBadRequest},
		"nothing":           {operator, change, "member=anna", http.StatusBadRequest},
		"nobody":            {operator, change, "weight=3", http.StatusNotFound},
		"somebody else":     {operator, change, "member=carla&weight=3", http.StatusNotFound},
		"no front":          {operator, "/front/none/change", "member=anna&weight=3", http.StatusNotFound},
		"not in an address": {operator, change + "?member=anna&weight=3", "", http.StatusBadRequest},
	} {
		if status, _, body := try.who.post(try.path, try.form); status != try.want {
			t.Errorf("%s: %d\n%s", name, status, body)
		}
	}
	if status, body := operator.do("POST", change, http.Header{"Origin": {"https://evil.example"}}); status != http.StatusForbidden {
		t.Errorf("another page's form: %d\n%s", status, body)
	}

	status, to, _ := operator.post(change, "member=anna&weight=3")
	where, err := url.Parse(to)
	if err != nil || status != http.StatusSeeOther {
		t.Fatalf("a weight: %d to %q", status, to)
	}
	if _, body := operator.get(to[:strings.Index(to, "#")]); !strings.Contains(body, "weight 3") || !strings.Contains(body, `id="`+where.Fragment+`"`) ||
		strings.Count(body, `class="change" open`) != 1 || !strings.Contains(body, "ann changes anna of the front shop: weight 3") {
		t.Errorf("after %s:\n%s", to, body)
	}
	operator.hears(live, `id="fronts"`, "weight 3")
	viewer.hears(audit, ">ann</span>", "ann changes anna of the front shop: weight 3")
	if status, _, body := operator.post(change, "member=berta&mode=drain"); status != http.StatusSeeOther {
		t.Errorf("drain: %d\n%s", status, body)
	}
	operator.hears(live, ">draining<")
	viewer.hears(audit, "ann changes berta of the front shop: drained")

	f.sees(func(m *front.Standing) {
		if m.Name == "anna" {
			m.Health, m.Share = front.Health{Down: true, Why: "<script>alert(1)"}, 0
		}
	})
	if m := operator.hears(live, ">down<", "alert(1)", "1 of 2 members may get visitors"); strings.Contains(m, "<script>") {
		t.Errorf("what is seen of a member is taken for markup: %s", m)
	}

	var st front.Status
	status, _, body = operator.post("/api/v1/fronts/shop/change", `{"member": "berta", "mode": "", "route": "z"}`)
	if asJSON(t, body, &st); status != http.StatusOK || st.Nodes[0].Pools[0].Members[1].Mode != front.Enabled || st.Nodes[0].Pools[0].Members[1].Route != "z" {
		t.Errorf("%d %s", status, body)
	}
	viewer.hears(audit, "ann changes berta of the front shop: enabled, route z")
	var all []front.Status
	_, body = viewer.get("/api/v1/fronts")
	if asJSON(t, body, &all); len(all) != 1 || all[0].Front.Name != "shop" {
		t.Errorf("%s", body)
	}
	_, body = viewer.get("/api/v1/fronts/shop")
	if asJSON(t, body, &st); len(st.Nodes) != 1 || st.Nodes[0].Pools[0].Members[0].Weight != 3 {
		t.Errorf("%s", body)
	}
	if status, body := viewer.get("/api/v1/fronts/none"); status != http.StatusNotFound {
		t.Errorf("%d %s", status, body)
	}
	for _, path := range []string{"/front", "/front/-/live", "/api/v1/fronts"} {
		if status, body := h.stranger().get(path); status != http.StatusUnauthorized || strings.Contains(body, "anna") {
			t.Errorf("a stranger at %s: %d\n%s", path, status, body)
		}
	}
}

// Until when names are certified, why not and when they are asked for again is shown, and goes on as the CA answers.
func TestFrontCertificates(t *testing.T) {
	h := open(t)
	f := h.fronts()
	viewer := h.as("vic", trust.Viewer)
	ask := make(chan struct{})
	refuse := sync.OnceFunc(func() { close(ask) })
	ca := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-ask:
		case <-r.Context().Done():
		}
		http.Error(w, "<script>come back", http.StatusForbidden)
	}))
	defer ca.Close()
	defer refuse()
	roots := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Certificate().Raw})
	f.put(front.Front{Name: "shop", Doors: front.Doors{Plain: []string{":80"}, TLS: []string{":443"},
		ACME: &front.Issuer{Hosts: []string{"shop.example", "kept.example"}, Directory: ca.URL, Roots: string(roots)}}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	live, _ := viewer.stream(ctx, "/front/-/live")
	viewer.hears(live, "<h3>certificates</h3>", "<b>shop.example</b>", ">asked for<")
	refuse()
	if m := viewer.hears(live, ">not certified<", "come back", "asked for again at <time"); strings.Contains(m, "<script>") {
		t.Errorf("what a CA says is taken for markup: %s", m)
	}
	if _, body := viewer.get("/front"); !strings.Contains(body, ">not certified<") {
		t.Errorf("the page:\n%s", body)
	}
	var st front.Status
	_, body := viewer.get("/api/v1/fronts/shop")
	if asJSON(t, body, &st); len(st.Certified) != 2 || st.Certified[1].Why == "" || st.Certified[1].Next.IsZero() {
		t.Errorf("%s", body)
	}
}

// A front whose members are changed from some networks only is shown to those who are elsewhere, who can change nothing.
func TestFrontManagedFromElsewhere(t *testing.T) {
	h := open(t)
	f := h.fronts()
	admin := h.as("root", trust.Admin)
	f.up("near", "127.0.0.0/8", "10.1.0.0/16")
	f.up("far", "10.1.0.0/16", "fd00::/8")
	_, body := admin.get("/front")
	if strings.Count(body, `action="/front/near/change"`) != 6 || strings.Contains(body, "/front/far/change") || strings.Count(body, "changed from 10.1.0.0/16, fd00::/8 only") != 1 {
		t.Errorf("the page:\n%s", body)
	}
	for _, form := range []string{"/front/far/change", "/api/v1/fronts/far/change"} {
		body := "member=anna&weight=3"
		if strings.HasPrefix(form, "/api/") {
			body = `{"member":"anna","weight":3}`
		}
		if status, _, answer := admin.post(form, body); status != http.StatusForbidden || !strings.Contains(answer, "changed from 10.1.0.0/16, fd00::/8 only, and you come from 127.0.0.1") {
			t.Errorf("%s: %d\n%s", form, status, answer)
		}
	}
	r, _ := http.NewRequest("POST", h.url+"/front/far/change", strings.NewReader("member=anna&weight=3"))
	r.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "X-Forwarded-For": {"10.1.0.1"}, "Forwarded": {"for=10.1.0.1"}, "X-Real-Ip": {"10.1.0.1"}}
	res, err := admin.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if res.Body.Close(); res.StatusCode != http.StatusForbidden {
		t.Errorf("by what somebody says of himself: %s", res.Status)
	}
	if status, _, answer := admin.post("/front/near/change", "member=anna&weight=3"); status != http.StatusSeeOther {
		t.Errorf("from here: %d\n%s", status, answer)
	}
	ann := front.Client{Conn: h.bus.Client("ann", trust.Operator)}
	all, err := ann.Status(t.Context(), "far")
	if text, _ := json.Marshal(all); err != nil || len(all[0].Front.Changed) != 0 {
		t.Errorf("%s, %v", text, err)
	}
}

// A person looks after a front with the keyboard.
func TestBrowserFronts(t *testing.T) {
	h := open(t)
	f := h.fronts()
	f.up("shop")
	link, err := web.Client{Conn: h.bus.Client("ann", trust.Operator)}.Link(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tab := startBrowser(t).tab()
	tab.goTo(link.URL)
	tab.sees(`location.pathname === "/nodes"`)
	tab.goTo(h.url + "/front")
	member := `document.querySelectorAll(".members article")[0]`
	tab.sees(member + `.querySelector("b").innerText.startsWith("anna") && Number(` + member + `.querySelector("[data-of='a second']").innerText) > 0`)

	// What is typed stays while the page goes on, and so does the open panel.
	tab.eval(member+`.querySelector("summary").focus()`, nil)
	tab.press("Enter")
	tab.eval(member+`.querySelector("input[type=number]").value = "4"; `+member+`.querySelector("input[type=number]").focus(); window.field = document.activeElement; window.seen = `+member+`.querySelector("[data-of=requests]").innerText`, nil)
	tab.sees(member + `.querySelector("[data-of=requests]").innerText !== window.seen`)
	tab.sees(`document.activeElement === window.field && window.field.isConnected && window.field.value === "4" && ` + member + `.querySelector("details").open`)
	tab.press("Enter")
	tab.sees(`location.hash && document.querySelector("#events li .text").innerText === "ann changes anna of the front shop: weight 4" && ` + member + `.querySelector(".share").innerText.includes("weight 4")`)
	tab.sees(member + `.querySelector("details").open && ` + member + `.matches(":target")`)

	// What somebody else changes is seen as well, and by whom.
	drain := front.Draining
	if _, err := (front.Client{Conn: h.bus.Client("bob", trust.Operator)}).Change(t.Context(), front.Change{Member: "berta", Setting: front.Setting{Mode: &drain}}); err != nil {
		t.Fatal(err)
	}
	tab.sees(`document.querySelectorAll(".members article")[1].querySelector(".state").innerText === "draining" && document.querySelector("#events li .user").innerText === "bob"`)
	tab.eval(`document.querySelectorAll(".members article")[1].querySelector("button[value='']").click()`, nil)
	tab.sees(`document.querySelectorAll(".members article")[1].querySelector(".state").innerText === "up" && document.querySelectorAll("#events li").length === 4`)

	f.put(front.Front{Name: "tls", Doors: front.Doors{Plain: []string{":80"}, TLS: []string{":443"},
		ACME: &front.Issuer{Hosts: []string{"a.rather.long.name.of.a.shop.example"}, Directory: "https://127.0.0.1:1/directory"}}})
	tab.sees(`document.querySelector(".names .failed .note").innerText.includes("127.0.0.1:1")`)
	tab.look(360, 700, "dark")
	tab.goTo(h.url + "/front")
	tab.sees(`!location.hash && document.querySelector(".names") && document.readyState === "complete" && document.querySelector("#lamp").dataset.state === "live"`)
	tab.eval(member+`.querySelector("details").open = true`, nil)
	var wide int
	if tab.eval("document.documentElement.scrollWidth", &wide); wide > 360 {
		t.Errorf("the page is %d pixels wide on a phone of 360", wide)
	}
	tab.clean()
}

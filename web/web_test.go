package web_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"bramble/event"
	"bramble/fault"
	"bramble/fleet"
	"bramble/host"
	"bramble/job"
	"bramble/trust"
)

func TestStrangers(t *testing.T) {
	h := open(t)
	h.jobs.set(array(1, 3, job.Spec{User: "ann", Args: []string{"secret"}}))
	p := h.stranger()
	for _, path := range []string{"/", "/nodes", "/nodes/node1", "/jobs", "/jobs/1", "/events", "/api", "/what"} {
		status, body := p.get(path)
		if status != http.StatusUnauthorized || !strings.Contains(body, "bramble ui") || strings.Contains(body, "secret") {
			t.Errorf("%s: %d\n%s", path, status, body)
		}
	}
	for _, path := range []string{"/api/v1/nodes", "/api/v1/jobs/1", "/api/v1/what"} {
		status, body := p.get(path)
		var f fault.Error
		asJSON(t, body, &f)
		if status != http.StatusUnauthorized || f.Code != fault.Denied || f.Try == "" {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	for _, path := range []string{"/nodes/live", "/jobs/1/output", "/events/live"} {
		if status, body := p.do("GET", path, http.Header{"Accept": {"text/event-stream"}}); status != http.StatusUnauthorized || strings.Contains(body, "secret") {
			t.Errorf("%s: %d", path, status)
		}
	}
	if status, _ := p.do("POST", "/jobs/1/cancel", nil); status != http.StatusUnauthorized {
		t.Errorf("cancel: %d", status)
	}
	if status, body := p.get("/static/style.css"); status != http.StatusOK || len(body) < 1000 {
		t.Errorf("style sheet: %d", status)
	}
}

func TestSignIn(t *testing.T) {
	h := open(t)
	p := h.as("ann", trust.Operator)
	if status, body := p.get("/nodes"); status != http.StatusOK || !strings.Contains(body, "ann") {
		t.Errorf("nodes: %d", status)
	}
	secret := h.signIn.NewLink(trust.Identity{Kind: trust.KindClient, Name: "bob", Role: trust.Viewer}, time.Minute)
	for _, header := range []http.Header{{"Sec-Fetch-Dest": {"document"}, "Sec-Purpose": {"prefetch;prerender"}}, {"Sec-Fetch-Dest": {"document"}, "Sec-Fetch-Site": {"same-site"}},
		{"Sec-Fetch-Dest": {"document"}, "Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-User": {"?1"}}, {"Sec-Fetch-Dest": {"image"}}} {
		if status, body := h.stranger().do("GET", "/signin?key="+secret, header); status != http.StatusUnauthorized || !strings.Contains(body, "may not sign its reader in") {
			t.Errorf("a link that a page has opened, with %v: %d", header, status)
		}
	}
	if status, _ := h.stranger().do("GET", "/signin?key="+secret, http.Header{"Sec-Fetch-Dest": {"document"}, "Sec-Fetch-Site": {"none"}, "Sec-Fetch-User": {"?1"}}); status != http.StatusOK {
		t.Errorf("a link: %d", status)
	}
	if status, body := h.stranger().get("/signin?key=" + secret); status != http.StatusUnauthorized || !strings.Contains(body, "was used") {
		t.Errorf("the same link again: %d\n%s", status, body)
	}
	if status, _ := p.do("POST", "/signout", nil); status != http.StatusSeeOther {
		t.Errorf("sign out: %d", status)
	}
	if status, _ := p.get("/nodes"); status != http.StatusUnauthorized {
		t.Errorf("after signing out: %d", status)
	}
	wrong := h.stranger()
	for i := range trust.TriesPerMinute + 1 {
		resp, err := wrong.http.PostForm(h.url+"/signin", url.Values{"key": {"AAAAAAAAAAAAAAAAAAAAAAAAAA"}})
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		limited := resp.StatusCode == http.StatusTooManyRequests
		if late := i >= trust.TriesPerMinute-1; limited != late && i != trust.TriesPerMinute-1 || len(resp.Cookies()) > 0 {
			t.Errorf("wrong key %d: %d", i, resp.StatusCode)
		}
	}
}

func TestCookie(t *testing.T) {
	h := open(t)
	for scheme, name := range map[string]string{"http": "bramble" + h.port, "https": "__Host-bramble" + h.port} {
		secret := h.signIn.NewLink(trust.Identity{Kind: trust.KindClient, Name: "ann", Role: trust.Viewer}, time.Minute)
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		resp, err := client.Get(scheme + "://127.0.0.1:" + h.port + "/signin?key=" + secret)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		client.CloseIdleConnections()
		cookies := resp.Cookies()
		if len(cookies) != 1 {
			t.Fatalf("%s: %d cookies", scheme, len(cookies))
		}
		if c := cookies[0]; c.Name != name || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure != (scheme == "https") || c.Path != "/" {
			t.Errorf("%s: %+v", scheme, c)
		}
	}
}

func TestBearer(t *testing.T) {
	h := open(t)
	h.node("node1", host.Facts{Model: "pi4", Cores: 4})
	token, info, err := h.authority.CreateToken(t.Context(), trust.TokenSpec{Kind: trust.KindClient, User: "robot", Role: trust.Viewer})
	if err != nil {
		t.Fatal(err)
	}
	bearer := http.Header{"Authorization": {"Bearer " + token.String()}}
	p := h.stranger()
	for range 3 {
		status, body := p.do("GET", "/api/v1/nodes?on=model=pi4", bearer)
		var nodes []fleet.Node
		asJSON(t, body, &nodes)
		if status != http.StatusOK || len(nodes) != 1 || nodes[0].Name != "node1" {
			t.Errorf("%d %s", status, body)
		}
	}
	tokens, err := h.authority.Tokens(t.Context())
	if err != nil || len(tokens) != 1 || tokens[0].ID != info.ID || tokens[0].Uses != 1 {
		t.Errorf("three requests in a row are one use: %+v %v", tokens, err)
	}
	for _, wrong := range []string{"bt1-nonsense", h.signIn.NewLink(trust.Identity{Kind: trust.KindClient, Name: "a", Role: trust.Admin}, time.Minute), ""} {
		if status, _ := p.do("GET", "/api/v1/nodes", http.Header{"Authorization": {"Bearer " + wrong}}); status != http.StatusUnauthorized {
			t.Errorf("bearer %q: %d", wrong, status)
		}
	}
}

func TestViewer(t *testing.T) {
	h := open(t)
	h.jobs.set(array(1, 3, job.Spec{User: "ann", Args: []string{"sleep", "9"}}))
	viewer, operator := h.as("vic", trust.Viewer), h.as("ann", trust.Operator)
	if _, body := viewer.get("/jobs/1"); strings.Contains(body, "/cancel") {
		t.Error("a viewer is shown a button that may not be used")
	}
	if _, body := operator.get("/jobs/1"); !strings.Contains(body, `action="/jobs/1/cancel"`) {
		t.Error("an operator is shown no button")
	}
	if _, body := h.as("bob", trust.Operator).get("/jobs/1"); strings.Contains(body, "/cancel") {
		t.Error("an operator is shown a button for somebody else's job")
	}
	if _, body := h.as("root", trust.Admin).get("/jobs/1"); !strings.Contains(body, "/cancel") {
		t.Error("an admin is shown no button")
	}
	if status, body := viewer.do("POST", "/jobs/1/cancel", nil); status != http.StatusForbidden || !strings.Contains(body, "needs the role operator") {
		t.Errorf("a viewer cancels: %d\n%s", status, body)
	}
	if status, body := viewer.do("POST", "/api/v1/jobs/1/cancel", nil); status != http.StatusForbidden || !strings.Contains(body, `"denied"`) {
		t.Errorf("a viewer cancels: %d\n%s", status, body)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	output, _ := viewer.stream(ctx, "/jobs/1/output?task=1")
	viewer.hears(output, "may read the output")
	viewer.hears(output, "event: done")
	if status, _ := operator.do("POST", "/jobs/1/cancel", nil); status != http.StatusSeeOther {
		t.Errorf("an operator cancels: %d", status)
	}
	if _, body := operator.get("/jobs/1"); !strings.Contains(body, "Cancelled by ann") || strings.Contains(body, "/cancel") {
		t.Errorf("a cancelled job:\n%s", body)
	}
}

func TestForeignPages(t *testing.T) {
	h := open(t)
	h.jobs.set(array(1, 3, job.Spec{User: "ann", Args: []string{"sleep", "9"}}))
	p := h.as("ann", trust.Operator)
	for _, header := range []http.Header{{"Origin": {"https://evil.example"}}, {"Sec-Fetch-Site": {"cross-site"}}, {"Sec-Fetch-Site": {"same-site"}}} {
		for _, path := range []string{"/jobs/1/cancel", "/api/v1/jobs/1/cancel", "/signout", "/signin"} {
			if status, _ := p.do("POST", path, header.Clone()); status != http.StatusForbidden {
				t.Errorf("POST %s with %v: %d", path, header, status)
			}
		}
	}
	if d, _ := h.jobs.as(h.bus.Head().Who()).Job(t.Context(), 1); d.State != job.Running {
		t.Errorf("the job is %s", d.State)
	}
	for _, path := range []string{"/nodes", "/metrics", "/signin", "/static/live.js"} {
		if status, body := p.do("GET", path, http.Header{"Host": {"evil.example:" + h.port}}); status != http.StatusMisdirectedRequest || strings.Contains(body, "bramble_") {
			t.Errorf("%s under a name that is not ours: %d", path, status)
		}
	}
	// Over the loopback, but under an address that others use: not in the clear.
	if status, _ := p.do("GET", "/nodes", http.Header{"Host": {"10.1.2.3:7652"}}); status != http.StatusPermanentRedirect {
		t.Errorf("plain HTTP under an outward address: %d", status)
	}
	resp, err := p.http.Get(h.url + "/nodes")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	policy := resp.Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'self'") || !strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q", policy)
	}
}

func TestHostileText(t *testing.T) {
	const evil = `<script>alert(1)</script>"'><img src=x onerror=alert(1)>`
	h := open(t)
	beat := h.node("node1", host.Facts{Model: evil, Board: evil, OS: evil, Kernel: evil, Arch: evil, Links: []host.Link{{Name: evil, MAC: evil, Addrs: []string{evil}}}})
	beat(host.Sample{Load: 1, MemTotal: 4, MemUsed: 1})
	h.events.Record(event.Event{Kind: event.Audit, Room: evil, Node: "node1", User: evil, Text: evil + "\x1b[2J"})
	d := array(1, 2, job.Spec{User: evil, Name: evil, On: evil, Args: []string{evil}})
	d.Why, d.Failures = job.Reason{Text: evil}, []job.Failure{{Index: 1, Node: evil, Error: evil, Signal: evil}}
	h.jobs.set(d)
	h.jobs.write(1, job.Line{Index: 1, Attempt: 1, Data: []byte(evil + "\n")})
	p := h.as("ann", trust.Operator)
	h.until("node1 is there", func() bool { status, _ := p.get("/nodes/node1"); return status == http.StatusOK })
	check := func(where, body string) {
		t.Helper()
		lower := strings.ToLower(body)
		if strings.Contains(lower, "<script>") || strings.Contains(lower, "<img src=x") || strings.ContainsRune(body, 0x1b) {
			t.Errorf("%s lets markup through:\n%s", where, body)
		}
		if !strings.Contains(body, "alert(1)") {
			t.Errorf("%s does not show the text", where)
		}
	}
	for _, path := range []string{"/nodes", "/nodes/node1", "/events", "/jobs", "/jobs/1", "/nodes?on=" + url.QueryEscape(evil), "/nodes/" + url.PathEscape("x"+evil)} {
		_, body := p.get(path)
		check(path, body)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, path := range []string{"/jobs/1/output?task=1", "/jobs/1/live", "/jobs/live", "/events/live", "/nodes/node1/live"} {
		messages, _ := p.stream(ctx, path)
		check(path, p.hears(messages, "alert(1)"))
	}
}

func TestLive(t *testing.T) {
	h := open(t)
	beat := h.node("node1", host.Facts{Model: "pi4", Cores: 4})
	p := h.as("ann", trust.Viewer)
	h.until("node1 is shown", func() bool { _, body := p.get("/nodes"); return strings.Contains(body, `id="n-node1"`) })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	nodes, _ := p.stream(ctx, "/nodes/live?size=0")
	p.hears(nodes, `id="n-node1"`)
	beat(host.Sample{Load: 3.25, MemTotal: 8 << 30, MemUsed: 2 << 30, Temp: 61})
	p.hears(nodes, `id="n-node1"`, "3.25", "25 %", "61 °C")
	h.node("node2", host.Facts{Model: "pi3", Cores: 4})
	p.hears(nodes, `data-into="tiles" data-after="n-node1"`, `id="n-node2"`)
	events, _ := p.stream(ctx, "/events/live")
	p.hears(events, ">node2</a> is up")
	h.events.Record(event.Event{Room: "fan", Text: "something new"})
	seq := p.hears(events, "something new", `data-into="events"`)
	id, _, _ := strings.Cut(strings.TrimPrefix(seq, "id: "), "\n")
	h.events.Record(event.Event{Room: "fan", Text: "something newer"})
	again, _ := p.stream(ctx, "/events/live?after="+id)
	if m := p.hears(again, "something newer"); strings.Contains(m, "something new<") {
		t.Errorf("told again: %s", m)
	}
	h.jobs.set(array(1, 3, job.Spec{User: "ann", Args: []string{"true"}}))
	output, _ := p.stream(ctx, "/jobs/1/output?task=2")
	p.hears(output, `id="output"`)
	h.jobs.write(1, job.Line{Index: 1, Attempt: 1, Data: []byte("another task's\n")})
	h.jobs.write(1, job.Line{Index: 2, Attempt: 1, Data: []byte("forty-two\n")})
	if m := p.hears(output, "forty-two", `data-into="output" data-last`); strings.Contains(m, "another") {
		t.Errorf("another task's output is shown: %s", m)
	}
	rows, _ := p.stream(ctx, "/jobs/live")
	p.hears(rows, `id="job-1"`)
}

func TestStreamsEnd(t *testing.T) {
	h := open(t)
	h.node("node1", host.Facts{Model: "pi4", Cores: 4})
	h.jobs.set(array(1, 1, job.Spec{User: "ann", Args: []string{"true"}}))
	p := h.as("ann", trust.Viewer)
	paths := []string{"/nodes/live?size=0", "/nodes/node1/live", "/events/live", "/jobs/live", "/jobs/1/live", "/jobs/1/output"}
	h.until("node1 is shown", func() bool { status, _ := p.get("/nodes/node1"); return status == http.StatusOK })

	ctx, cancel := context.WithCancel(t.Context())
	for _, path := range paths {
		if _, status := p.stream(ctx, path); status != http.StatusOK {
			t.Fatalf("%s: %d", path, status)
		}
	}
	cancel()
	h.until("streams end with their requests", func() bool { return !running("web.(*Server).live") })

	for i := range 17 {
		_, status := p.stream(t.Context(), paths[i%len(paths)])
		if want := i < 16; (status == http.StatusOK) != want || !want && status != http.StatusTooManyRequests {
			t.Errorf("stream %d: %d", i+1, status)
		}
	}
	over, _ := h.as("eve", trust.Viewer).stream(t.Context(), "/events/live")
	h.signIn.EndAll(trust.Identity{Kind: trust.KindClient, Name: "eve"})
	p.hears(over, "event: over")

	h.stop()
	h.until("nothing of the dashboard is left", func() bool { return !running("bramble/web.(") })
}

// running reports whether a goroutine is in a function.
func running(name string) bool {
	buf := make([]byte, 4<<20)
	return strings.Contains(string(buf[:runtime.Stack(buf, true)]), name)
}

func TestOnePort(t *testing.T) {
	h := open(t)
	secure := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer secure.CloseIdleConnections()
	for name, ask := range map[string]func() (*http.Response, error){
		"plain":  func() (*http.Response, error) { return http.Get(h.url + "/signin") },
		"secure": func() (*http.Response, error) { return secure.Get("https://localhost:" + h.port + "/signin") },
	} {
		resp, err := ask()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK || (resp.TLS != nil) != (name == "secure") {
			t.Errorf("%s: %s", name, resp.Status)
		}
	}
	silent, err := net.Dial("tcp", "127.0.0.1:"+h.port) // says nothing, and holds nobody up
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if status, _ := h.stranger().get("/signin"); status != http.StatusOK {
		t.Errorf("beside a silent connection: %d", status)
	}
	h.stop()
	if n, err := silent.Read(make([]byte, 1)); err == nil {
		t.Errorf("the silent connection got %d bytes", n)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestLimits(t *testing.T) {
	h := open(t)
	p := h.as("ann", trust.Operator)
	resp, err := p.http.Post(h.url+"/signin", "application/x-www-form-urlencoded", strings.NewReader("key="+strings.Repeat("x", 1<<20)))
	if err == nil {
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			t.Errorf("a body of a megabyte: %s", resp.Status)
		}
	}
	if status, _ := p.do("GET", "/nodes", http.Header{"X-Large": {strings.Repeat("x", 64<<10)}}); status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of 64 kB: %d", status)
	}
}

func TestAPI(t *testing.T) {
	h := open(t)
	beat := h.node("node1", host.Facts{Model: "pi4", Cores: 4})
	beat(host.Sample{Load: 1})
	h.jobs.set(array(3, 2, job.Spec{User: "ann", Args: []string{"true"}}))
	h.jobs.set(array(4, 2, job.Spec{User: "ann", Args: []string{"true"}}))
	h.jobs.write(3, job.Line{Index: 2, Attempt: 1, Data: []byte("hello\n")})
	p := h.as("ann", trust.Operator)
	h.until("node1 is there", func() bool { status, _ := p.get("/api/v1/nodes/node1"); return status == http.StatusOK })
	var nodes []fleet.Node
	_, body := p.get("/api/v1/nodes")
	asJSON(t, body, &nodes)
	var jobs []job.Summary
	_, body = p.get("/api/v1/jobs")
	asJSON(t, body, &jobs)
	if len(nodes) != 1 || len(jobs) != 2 || jobs[0].ID != 4 {
		t.Errorf("nodes %v, jobs %v", nodes, jobs)
	}
	var events []event.Event
	_, body = p.get("/api/v1/events?limit=1&room=fleet")
	asJSON(t, body, &events)
	if len(events) != 1 || events[0].Node != "node1" {
		t.Errorf("events %v", events)
	}
	_, body = p.get("/api/v1/events?user=nobody")
	if strings.TrimSpace(body) != "[]" {
		t.Errorf("no events are %s", body)
	}
	var lines []job.Line
	_, body = p.get("/api/v1/jobs/3/output?task=2")
	asJSON(t, body, &lines)
	if len(lines) != 1 || string(lines[0].Data) != "hello\n" {
		t.Errorf("output %v", lines)
	}
	for path, want := range map[string]struct {
		status int
		code   fault.Code
	}{
		"/api/v1/nodes?on=model%3D":     {http.StatusBadRequest, fault.Misused},
		"/api/v1/nodes?on=nobody":       {http.StatusNotFound, fault.NotFound},
		"/api/v1/nodes/nod1":            {http.StatusNotFound, fault.NotFound},
		"/api/v1/jobs/99":               {http.StatusNotFound, fault.NotFound},
		"/api/v1/jobs/x":                {http.StatusBadRequest, fault.Misused},
		"/api/v1/jobs/3/output?task=-1": {http.StatusBadRequest, fault.Misused},
		"/api/v1/nothing":               {http.StatusNotFound, fault.NotFound},
	} {
		status, body := p.get(path)
		var f fault.Error
		asJSON(t, body, &f)
		if status != want.status || f.Code != want.code || f.Text == "" || f.Try == "" {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if _, body := p.get("/api"); strings.Count(body, "/api/v1/") < 14 {
		t.Errorf("the API's page:\n%s", body)
	}
	if status, body := h.stranger().get("/metrics"); status != http.StatusOK || !strings.Contains(body, "# TYPE bramble_web_streams gauge") || !strings.Contains(body, `bramble_fleet_node_load{node="node1"} 1`) {
		t.Errorf("metrics: %d\n%s", status, body)
	}
}

func TestEmpty(t *testing.T) {
	h := open(t)
	p := h.as("ann", trust.Operator)
	h.node("node1", host.Facts{Model: "pi4", Cores: 4})
	for path, want := range map[string]string{
		"/jobs":             "bramble submit --array 1-10 -- sleep 1",
		"/nodes":            "bramble token create",
		"/nodes?on=camera":  "bramble nodes label",
		"/events?user=mina": "bramble run --on all -- uptime",
	} {
		h.until(path+" tells what to type", func() bool { _, body := p.get(path); return strings.Contains(body, want) })
	}
}

func TestManyNodes(t *testing.T) {
	h := open(t)
	for i := range 101 {
		h.node(fmt.Sprintf("node%d", i+1), host.Facts{Model: "pi4", Cores: 4})
	}
	p := h.as("vic", trust.Viewer)
	h.until("the nodes are small", func() bool { _, body := p.get("/nodes"); return strings.Count(body, `class="cell `) == 101 })
	if _, body := p.get("/nodes?on=node[1-3]"); strings.Count(body, `<article id="n-node`) != 3 {
		t.Errorf("three of them are large:\n%s", body)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	old, _ := p.stream(ctx, "/nodes/live?size=0") // of a page that was drawn when there were few
	p.hears(old, "event: done")
}

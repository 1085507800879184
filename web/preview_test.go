package web_test

import (
	"io/fs"
	"net/http"
	"strings"
	"testing"

	"bramble/artefact"
	"bramble/fault"
	"bramble/trust"
	"bramble/web"
)

// tree puts a site's files, names and contents, into the head's store as an upload does.
func (h *house) tree(files ...string) artefact.Ref {
	h.t.Helper()
	m := artefact.Manifest{Entries: []artefact.Entry{{Path: "files", Mode: uint32(fs.ModeDir | 0o755)}}}
	for i := 0; i < len(files); i += 2 {
		ref, size, err := h.store.Put(h.t.Context(), strings.NewReader(files[i+1]), "")
		if err != nil {
			h.t.Fatal(err)
		}
		m.Entries = append(m.Entries, artefact.Entry{Path: "files/" + files[i], Mode: 0o644, Ref: ref, Size: size})
	}
	ref, err := h.store.PutManifest(h.t.Context(), m)
	if err != nil {
		h.t.Fatal(err)
	}
	return ref
}

// preview opens a preview and shows files in it.
func (h *house) preview(user, name string, files ...string) *web.Preview {
	h.t.Helper()
	p, err := web.Client{Conn: h.bus.Client(user, trust.Operator)}.Preview(h.t.Context(), name)
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := p.Show(h.tree(files...)); err != nil {
		h.t.Fatal(err)
	}
	return p
}

// at is the same person looking at another address.
func (p *person) at(url string) *person {
	other := *p.house
	other.url = strings.TrimSuffix(url, "/")
	return &person{&other, p.http}
}

func TestPreview(t *testing.T) {
	h := open(t)
	shown := h.preview("ann", "blog", "_headers", "/*\n  Strict-Transport-Security: max-age=9\n  X-Own: 1\n",
		"about.html", "<p>about", "index.html", "<p>first", "style.css", "body{}")
	viewer, stranger := h.as("vic", trust.Viewer).at(shown.URL), h.stranger().at(shown.URL)
	for path, want := range map[string]string{"/": "<p>first", "/about": "<p>about", "/style.css": "body{}"} {
		if status, body := viewer.get(path); status != http.StatusOK || body != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
		if status, body := stranger.get(path); status != http.StatusUnauthorized || strings.Contains(body, want) {
			t.Errorf("%s for a stranger: %d %s", path, status, body)
		}
	}
	resp, err := viewer.http.Get(shown.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if h := resp.Header; h.Get("Cache-Control") != "no-store" || h.Get("Set-Cookie")+h.Get("Strict-Transport-Security") != "" || h.Get("X-Own") != "1" {
		t.Errorf("fields of an answer: %v", h)
	}
	if status, _ := viewer.do("GET", "/style.css", http.Header{"Service-Worker": {"script"}}); status != http.StatusForbidden {
		t.Errorf("a service worker: %d", status)
	}
	if status, _ := viewer.do("GET", "/", http.Header{"Host": {"evil.example"}}); status != http.StatusMisdirectedRequest {
		t.Errorf("a name that is not the head's: %d", status)
	}
	if _, body := viewer.do("GET", "/", http.Header{"Sec-Fetch-Dest": {"document"}}); !strings.HasPrefix(body, "<p>first\n<script src=\"/.bramble/preview.js?") {
		t.Errorf("a browser gets %q", body)
	}

	messages, _ := viewer.stream(t.Context(), "/.bramble/preview")
	viewer.hears(messages, "data: ")
	next := h.tree("index.html", "<p>second")
	if shown, err := shown.Show(next); err != nil || shown.Files != 1 {
		t.Errorf("%+v %v", shown, err)
	}
	viewer.hears(messages, "data: "+string(next[:12]))
	if status, _ := viewer.get("/style.css"); status != http.StatusNotFound {
		t.Errorf("a file that is there no more: %d", status)
	}
	if _, err := shown.Show(h.tree("_redirects", "/a /b 999\n", "index.html", "<p>third")); !fault.Is(err, fault.Misused) || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("a file that nobody understands: %v", err)
	}
	if _, body := viewer.get("/"); body != "<p>second" {
		t.Errorf("after a change that is not shown: %q", body)
	}

	shown.Close()
	h.until("the preview's port is closed", func() bool { _, err := viewer.http.Get(shown.URL); return err != nil })
	h.until("nobody is sent to a preview that has ended", func() bool {
		status, _ := h.as("vic", trust.Viewer).get("/previews/blog")
		return status == http.StatusNotFound
	})
	if pins, err := h.store.Pins(); err != nil || len(pins) > 0 {
		t.Errorf("it left %v, %v", pins, err)
	}
}

// Who comes to a preview without being signed in is led to the dashboard, and from there to the preview.
func TestPreviewSignIn(t *testing.T) {
	h := open(t)
	shown := h.preview("ann", "blog", "index.html", "<p>first")
	page := http.Header{"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Site": {"cross-site"}}
	location := func(p *person, path string) string {
		t.Helper()
		req, _ := http.NewRequest("GET", p.url+path, nil)
		req.Header = page
		resp, err := p.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.Header.Get("Location") + resp.Header.Get("Refresh")
	}
	if to := location(h.stranger().at(shown.URL), "/about"); to != h.url+"/previews/blog" {
		t.Errorf("a stranger goes to %s", to)
	}
	if to := location(h.stranger(), "/previews/blog"); to != "0" {
		t.Errorf("whoever comes from another site's page, without the cookie, is not asked again: %q", to)
	}
	if to := location(h.as("vic", trust.Viewer), "/previews/blog"); to != shown.URL {
		t.Errorf("who is signed in goes to %s", to)
	}
}

func TestPreviewNames(t *testing.T) {
	h := open(t)
	first := h.preview("ann", "blog", "index.html", "<p>first")
	viewer := web.Client{Conn: h.bus.Client("vic", trust.Viewer)}
	if _, err := viewer.Preview(t.Context(), "mine"); !fault.Is(err, fault.Denied) {
		t.Errorf("a viewer opens a preview: %v", err)
	}
	bob := web.Client{Conn: h.bus.Client("bob", trust.Operator)}
	for name, code := range map[string]fault.Code{"blog": fault.Conflict, "Blog": fault.Misused, "a.b": fault.Misused} {
		if _, err := bob.Preview(t.Context(), name); !fault.Is(err, code) {
			t.Errorf("a preview named %s: %v", name, err)
		}
	}
	second := h.preview("ann", "blog", "index.html", "<p>second")
	if second.URL != first.URL {
		t.Errorf("it was at %s and is at %s", first.URL, second.URL)
	}
	if _, err := first.Show(h.tree("index.html", "<p>third")); !fault.Is(err, fault.Conflict) || !fault.Is(first.Err(), fault.Conflict) {
		t.Errorf("one that was taken over: %v, %v", err, first.Err())
	}
	if _, body := h.as("vic", trust.Viewer).at(second.URL).get("/"); body != "<p>second" {
		t.Errorf("shown is %q", body)
	}
}

// A page of a preview runs in a browser that is signed in to the dashboard, and can do nothing there.
func TestPreviewInBrowser(t *testing.T) {
	h := open(t)
	shown := h.preview("ann", "blog", "index.html", "<p>first", "worker.js", "self.idle = true;")
	vic := web.Client{Conn: h.bus.Client("vic", trust.Viewer)}
	link, err := vic.Link(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tab := startBrowser(t).tab()
	tab.goTo(shown.URL)
	tab.sees(`document.body.innerText.includes("Sign in to test")`)
	tab.goTo(link.URL)
	tab.sees(`location.pathname === "/nodes"`)
	tab.goTo(shown.URL + "?q")
	tab.sees(`document.body.innerText === "first"`)

	mallory, err := web.Client{Conn: h.bus.Client("mallory", trust.Operator)}.Link(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tab.eval(`Promise.allSettled([
		fetch("`+h.url+`/signout", {method: "POST", mode: "no-cors", credentials: "include"}),
		fetch("`+mallory.URL+`", {mode: "no-cors", credentials: "include"}),
		fetch("`+h.url+`/api/v1/nodes", {credentials: "include"}).then(r => r.text()).then(t => { window.stolen = t; }),
		navigator.serviceWorker.register("/worker.js").then(() => { window.stolen = "worker"; }),
	]).then(() => { window.done = true; })`, nil)
	tab.sees(`window.done === true && window.stolen === undefined && document.cookie === ""`)

	if _, err := shown.Show(h.tree("index.html", `<link rel="stylesheet" href="/style.css"><p>second`, "style.css", "p { color: rgb(1, 2, 3) }")); err != nil {
		t.Fatal(err)
	}
	tab.sees(`document.body.innerText === "second" && getComputedStyle(document.querySelector("p")).color === "rgb(1, 2, 3)"`)
	tab.goTo(h.url + "/nodes")
	tab.sees(`document.querySelector("form.who").innerText.includes("vic")`)
}

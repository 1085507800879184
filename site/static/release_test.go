package static

import (
	"strings"
	"testing"

	"bramble/fault"
)

func TestFingerprint(t *testing.T) {
	for name, want := range map[string]mark{
		"app.3f9a1c07.js": surely, "main.3f9a1c07.chunk.js": surely, "main.4d2e8a91.js.map": surely, "css/site.5e2f8f9b0a1c2d3e4f5061728394a5b6c7d8e9f00112233445566778899aabbc.css": surely, "img-0a1b2c3d4e5f6071.png": surely, "clipboard-1626706a.min.js": surely, "3f9a1c07.js": surely, "base.4a9c1e2b7d55.css": surely,
		"index-DiwrgTda.css": maybe, "index-BZ3kLq9a.js": maybe, "chunk-QGM4M3NI.js": maybe, "inter-latin-400-normal-C38fXH4l.woff2": maybe, "a-x_y-Z9Qw.js": maybe, "report-20240131.pdf": maybe, "photo.12345678.jpg": maybe, "hero-Win11Pro.png": maybe, "notes-20240131b.pdf": maybe, "app.3F9A1C07.js": maybe,
		"index.html": plainName, "jquery-3.7.1.min.js": plainName, "my-document.pdf": plainName, "deadbeef.js": plainName, "effaced.css": plainName, "app.js": plainName, "app.3f9a1c0.js": plainName, "README": plainName, "3f9a1c07": plainName, "lib.interface.js": plainName, "open-JAVASCRIPT.js": plainName, "": plainName, "a.": plainName, "3f9a1c07/app.js": plainName, "jquery-3.js": plainName,
	} {
		if got := fingerprint(name); got != want {
			t.Errorf("%s: %d instead of %d", name, got, want)
		}
	}
}

func TestHashed(t *testing.T) {
	r := compile(t, tree{
		"app.3f9a1c07.js": "1", "assets/index-DiwrgTda.js": "2", "assets/index-Aa1_bC-d.css": "3", "assets/sub/x.png": "4", "img/hero-Win11Pro.png": "5", "js/app-DiwrgTda.js": "6", "js/plain.js": "7", "_astro/hero.DhVn9kQw.webp": "8", "page.3f9a1c07.html": "9", "files/report-20240131.pdf": "10", "changes.3f9a1c07.txt": "new",
		"named/logo.png": "11", "_headers": "/named/*\n  Cache-Control: public, max-age=31536000, immutable",
	}, func(o *Options) {
		o.Earlier = []*Release{compile(t, tree{"changes.3f9a1c07.txt": "old", "app.3f9a1c07.js": "1"})}
	})
	for name, want := range map[string]bool{
		"app.3f9a1c07.js": true, "assets/index-DiwrgTda.js": true, "assets/index-Aa1_bC-d.css": true, "assets/sub/x.png": false, "img/hero-Win11Pro.png": false, "js/app-DiwrgTda.js": false, "js/plain.js": false, "_astro/hero.DhVn9kQw.webp": true, "page.3f9a1c07.html": false, "files/report-20240131.pdf": false,
		"changes.3f9a1c07.txt": false, "named/logo.png": true,
	} {
		if f := r.files[name]; f.hashed != want || strings.Contains(string(f.own.cache), "immutable") != want {
			t.Errorf("%s: %v %s", name, f.hashed, f.own.cache)
		}
	}
}

// three releases of a site, and a server that has had the first, has the second and is to have the third.
func three(t *testing.T) (s *Server, a, b, c *Release) {
	site := func(id, hash string, more tree) *Release {
		all := tree{"index.html": "page " + id, "about.html": "about " + id, "style.css": "style " + id, "app." + hash + ".js": "app " + id, "404.html": "404 " + id, "part.html": "part " + id}
		for k, v := range more {
			all[k] = v
		}
		return compile(t, all, func(o *Options) { o.ID = id })
	}
	a = site("A", "aaaa1111", tree{"only-a.css": "only A", "only-a.html": "only A"})
	b = site("B", "bbbb2222", nil)
	c = site("C", "cccc3333", tree{"only-c.css": "only C"})
	s = &Server{}
	s.Commit(a)
	s.Commit(b)
	s.Stage(c)
	return s, a, b, c
}

func TestReleases(t *testing.T) {
	s, a, b, c := three(t)
	type want struct{ path, cookie, mode, body, set string }
	for _, w := range []want{
		{"/", "", "", "page B", "B"}, {"/", "A", "", "page B", "B"}, {"/", "B", "", "page B", ""}, {"/", "gone", "", "page B", "B"}, {"/", "C", "", "page C", ""},
		{"/", "A", "cors", "page A", ""}, {"/", "A", "navigate", "page B", "B"}, {"/", "", "cors", "page B", ""}, {"/about", "A", "", "about B", "B"},
		{"/style.css", "", "", "style B", ""}, {"/style.css", "A", "", "style A", ""}, {"/style.css", "B", "", "style B", ""}, {"/style.css", "C", "", "style C", ""}, {"/style.css", "gone", "", "style B", ""},
		{"/app.aaaa1111.js", "", "", "app A", ""}, {"/app.bbbb2222.js", "", "", "app B", ""}, {"/app.cccc3333.js", "", "", "app C", ""}, {"/app.bbbb2222.js", "A", "", "app B", ""}, {"/app.cccc3333.js", "A", "", "app C", ""},
		{"/only-a.css", "", "", "only A", ""}, {"/only-a.css", "A", "", "only A", ""}, {"/only-c.css", "", "", "404 B", "B"}, {"/only-c.css", "C", "", "only C", ""},
		{"/only-a", "", "", "404 B", "B"}, {"/only-a", "A", "", "404 B", "B"}, {"/gone.css", "A", "", "404 A", ""},
	} {
		g := ask(t, s, w.path, "Cookie: x=1; bramble-release="+w.cookie+"; y=2", "Sec-Fetch-Mode: "+w.mode)
		set, _, _ := strings.Cut(strings.TrimPrefix(g.header["Set-Cookie"], "bramble-release="), ";")
		if g.body != w.body || set != w.set {
			t.Errorf("%+v: %q, cookie %q", w, g.body, set)
		}
	}
	if g := ask(t, s, "/", "Cookie: bramble-release=A", "If-None-Match: "+tagOf("page B")); g.status != 304 || g.header["Set-Cookie"] == "" {
		t.Errorf("a page that is had already: %v", g)
	}

	older := compile(t, tree{"only-a.css": "older than A"}, func(o *Options) { o.ID = "older" })
	s.Keep([]*Release{older, a})
	if g := ask(t, s, "/only-a.css"); g.body != "only A" {
		t.Errorf("not the latest: %v", g)
	}

	bodyOf := func(path string) string { return ask(t, s, path).body }
	s.Unstage(c)
	if got := bodyOf("/app.cccc3333.js"); got != "404 B" {
		t.Errorf("unstaged: %s", got)
	}
	s.Keep(nil)
	if got := bodyOf("/app.aaaa1111.js"); got != "404 B" {
		t.Errorf("no longer kept: %s", got)
	}
	s.Commit(a) // back again
	if got := bodyOf("/style.css") + bodyOf("/app.bbbb2222.js"); got != "style Aapp B" || s.Live() != a {
		t.Errorf("rolled back: %s", got)
	}
	s.Keep([]*Release{b, a})
	s.Commit(a)
	if st := s.state.Load(); len(st.kept) != 1 || st.kept[0] != b || len(st.staged) != 0 {
		t.Errorf("%+v", st)
	}
}

// Where nothing can be mixed, no cookie is set.
func TestNoCookie(t *testing.T) {
	for _, tr := range []tree{{"index.html": "home", "b.html": "b"}, {"index.html": "home", "app.3f9a1c07.js": "x"}} {
		if g := ask(t, live(t, tr), "/"); g.header["Set-Cookie"] != "" || g.header["Cache-Control"] != "no-cache" {
			t.Errorf("%v: %v", tr, g)
		}
	}
	s := live(t, tree{"index.html": "home", "a.css": "x"}, func(o *Options) { o.Cookie = "mine" })
	if g := ask(t, s, "/"); !strings.HasPrefix(g.header["Set-Cookie"], "mine=r1;") {
		t.Errorf("got %v", g)
	}
}

func TestBadLinks(t *testing.T) {
	for _, c := range []struct {
		tr   tree
		want string
	}{
		{tree{"a": "-> /etc/passwd"}, "leads out of the site"}, {tree{"a": "-> ../x"}, "leads out of the site"}, {tree{"d/a": "-> ../../x"}, "leads out of the site"}, {tree{"a": "-> b"}, "does not have"},
		{tree{"a": "-> b", "b": "-> a"}, "in a circle"}, {tree{"d/a": "-> ."}, "a folder that it is in"}, {tree{"d/a": "-> ../d"}, "a folder that it is in"}, {tree{"a": "-> ."}, "a folder that it is in"},
		{tree{"d/up": "-> ../e", "e/back": "-> ../d"}, "through 8 other links"}, {tree{"d/x": "1", "a": "-> d/../../x"}, "leads out of the site"}, {tree{"a": "-> b/x", "b": "-> /tmp"}, "leads out of the site"},
	} {
		src := newSource(t)
		_, err := Compile(t.Context(), src, c.tr.manifest(t, src), Options{ID: "r1"})
		if !fault.Is(err, fault.Misused) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", c.tr, err)
		}
	}
}

func TestBadID(t *testing.T) {
	for _, id := range []string{"", "a b", "a;b", "a\r\nb", "é"} {
		src := newSource(t)
		if _, err := Compile(t.Context(), src, tree{"a": "1"}.manifest(t, src), Options{ID: id}); !fault.Is(err, fault.Misused) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestTypes(t *testing.T) {
	for name, want := range map[string]string{
		"a.html": "text/html; charset=utf-8", "a.HTML": "text/html; charset=utf-8", "a.js": "text/javascript; charset=utf-8", "a.svg": "image/svg+xml", "a.json": "application/json", "a.woff2": "font/woff2", "a.wasm": "application/wasm", "a.tar.gz": "application/gzip",
		"LICENSE": "text/plain; charset=utf-8", "a.unknown": "application/octet-stream", "a.": "text/plain; charset=utf-8",
	} {
		if got := typeOf(name, []byte("text"), true); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	for _, c := range []struct {
		name, content string
		whole         bool
		want          string
	}{
		{"old.html", "caf\xe9 au lait", true, "text/html"}, {"new.html", "café", true, "text/html; charset=utf-8"}, {"cut.html", "caf\xc3", false, "text/html; charset=utf-8"}, {"cut.html", "caf\xc3", true, "text/html"}, {"BIN", "a\x00b", true, "application/octet-stream"}, {"NONE", "", true, "application/octet-stream"}, {"empty.txt", "", true, "text/plain; charset=utf-8"},
	} {
		if got := typeOf(c.name, []byte(c.content), c.whole); got != c.want {
			t.Errorf("%s %q: %s", c.name, c.content, got)
		}
	}
}

func TestBudget(t *testing.T) {
	large, small := strings.Repeat("x", 1000), "tiny"
	r := compile(t, tree{"large.bin": large, "small.bin": small, "same.bin": small}, func(o *Options) { o.Budget = 500 })
	if r.Memory() != 4 || r.files["small.bin"].plain().body == nil || r.files["large.bin"].plain().body != nil {
		t.Errorf("%d bytes", r.Memory())
	}
	next := compile(t, tree{"other.bin": small}, func(o *Options) { o.Budget, o.Earlier = 500, []*Release{r} })
	if &next.files["other.bin"].plain().body[0] != &r.files["small.bin"].plain().body[0] {
		t.Error("the same body is in memory twice")
	}
}

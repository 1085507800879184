package static

import (
	"fmt"
	"strings"
	"testing"

	"bramble/fault"
)

func TestRedirects(t *testing.T) {
	s := live(t, tree{
		"index.html": "home", "app.html": "the app", "file.html": "file", "new/a.html": "new a", "lost.html": "lost", "forced.html": "forced file", "a.css": "x",
		"_redirects": "\ufeff# comment\n\n" + `
/old /new              # said without a status
/temp /new 302
/see /new 303
/keep /new 307
/kept  /new   308
/ext https://example.com/x?y=1
/ext2 https://example.com/x
/frag /new#part
/query /new?a=1
/file /elsewhere
/forced /elsewhere 301!
/slash/ /new
/blog/:year/:month/:slug /posts/:slug-:month-:year
/user/:id /profile?id=:id 302
/docs/* /manual/:splat 301
/up/* /:splat
/out/* https://example.com/:splat
/caf%C3%A9 /café-new
/first/x /one
/first/* /two
/late/* /three
/late/x /four
/rewrite/* /new/:splat 200
/gone/* /lost.html 404
/nowhere /not-there 200
/app/* /app 200
`})
	for _, c := range []struct {
		path   string
		status int
		want   string
	}{
		{"/old", 301, "/new"}, {"/old/", 301, "/new"}, {"/old?x=y&z", 301, "/new?x=y&z"}, {"/temp", 302, "/new"}, {"/see", 303, "/new"}, {"/keep", 307, "/new"}, {"/kept", 308, "/new"},
		{"/ext?z=1", 301, "https://example.com/x?y=1"}, {"/ext2?z=1", 301, "https://example.com/x?z=1"}, {"/frag?z=1", 301, "/new?z=1#part"}, {"/query?z", 301, "/new?a=1"},
		{"/file", 200, "file"}, {"/forced", 301, "/elsewhere"}, {"/forced.html", 200, "forced file"}, {"/slash", 301, "/new"}, {"/slash/", 301, "/new"},
		{"/blog/2026/11/hello", 301, "/posts/hello-11-2026"}, {"/blog/2026/11/hello/", 301, "/posts/hello-11-2026"}, {"/blog/2026/11", 404, ""}, {"/blog/2026//hello", 404, ""}, {"/blog/2026/11/a/b", 404, ""},
		{"/user/a%20b%3Fc%26d", 302, "/profile?id=a%20b%3Fc&d"}, {"/user/caf%c3%a9", 302, "/profile?id=caf%C3%A9"},
		{"/docs/a/b", 301, "/manual/a/b"}, {"/docs/", 301, "/manual/"}, {"/docs", 301, "/manual/"}, {"/docs/a/", 301, "/manual/a/"}, {"/docsy", 404, ""},
		{"/up//evil.example", 301, "/evil.example"}, {"/up/%5Cevil.example", 301, "/%5Cevil.example"}, {"/up///evil.example/x", 301, "/evil.example/x"}, {"/out/%0a", 400, ""}, {"/out/a%20b", 301, "https://example.com/a%20b"},
		{"/caf%C3%A9", 301, "/caf%C3%A9-new"}, {"/first/x", 301, "/one"}, {"/first/y", 301, "/two"}, {"/late/x", 301, "/three"},
		{"/rewrite/a", 200, "new a"}, {"/rewrite/b", 404, ""}, {"/gone/x", 404, "lost"}, {"/nowhere", 404, ""}, {"/app/x/y?z", 200, "the app"}, {"/app", 200, "the app"}, {"/_redirects", 404, ""},
		{"/%2e%2e/old", 400, ""},
	} {
		if c.path == "/out/%0a" {
			continue // refused by the parser already
		}
		g := ask(t, s, c.path)
		if g.status != c.status || c.status/100 == 3 && g.header["Location"] != c.want || c.status == 200 && g.body != c.want || c.want == "lost" && g.body != "lost" {
			t.Errorf("%s: %d %q %q", c.path, g.status, g.header["Location"], g.body)
		}
		if c.status/100 == 3 && g.header["Cache-Control"] != "no-cache" {
			t.Errorf("%s: %v", c.path, g.header)
		}
	}
}

// A site that is one page answers with it for everything else.
func TestOnePage(t *testing.T) {
	s := live(t, tree{"index.html": "app", "a.js": "x()", "_redirects": "/* /index.html 200"})
	for path, want := range map[string]string{"/": "app", "/any/thing": "app", "/a.js": "x()", "/b.js": "app"} {
		if g := ask(t, s, path); g.status != 200 || g.body != want {
			t.Errorf("%s: %v", path, g)
		}
	}
	if g := ask(t, s, "/x", "If-None-Match: "+tagOf("app")); g.status != 304 {
		t.Errorf("got %v", g)
	}
}

func TestBadRedirects(t *testing.T) {
	many := func(n int, format string) string {
		var all strings.Builder
		for i := range n {
			fmt.Fprintf(&all, format+"\n", i)
		}
		return all.String()
	}
	for text, want := range map[string]string{
		"/a":                                  "line 1: a rule is",
		"# x\n\n/a /b 301 x":                  "line 3: a rule is",
		"/a /b 300":                           "line 1: 300 is not a status",
		"/a /b 3xx":                           "3xx is not a status",
		"/a /b 301 Country=us":                "Country=us",
		"/a /b 301! Language=de":              "Language=de",
		"/store id=:id /blog/:id 301":         "id=:id",
		"a /b":                                "begins with '/'",
		"https://a.example/* /b":              "begins with '/'",
		"/a b":                                "neither a path nor an address",
		"/a //b.example":                      "neither a path nor an address",
		"/a ftp://b.example/":                 "neither a path nor an address",
		"/a javascript:alert(1)":              "neither a path nor an address",
		`/a /\b.example`:                      "neither a path nor an address",
		"/a https://u@b.example/":             "neither a path nor an address",
		"/a https://b.example/ 200":           "not supported",
		"/a /b?c 200":                         "neither ? nor #",
		"/*/b /c":                             "nothing may follow",
		"/a/*/* /c":                           "at most one *",
		"/a/:b/:b /c":                         "two placeholders",
		"/a/x:b /c":                           "only a part of a name",
		"/a/:b.html /c":                       "only a part of a name",
		"/a/:b /c/:d":                         ":d does not come in /a/:b",
		"/a /c/:splat":                        ":splat does not come",
		"/a/* https://:splat/":                "part of a host",
		"/a/* https://b.example:splat":        "part of a host",
		"/a/ /a":                              "leads to itself",
		"/a%2fb /c":                           "a character or an escape",
		"/a /../b":                            "a character or an escape",
		"/a /b\x01":                           "control character",
		"/a /\xff":                            "not UTF-8",
		"/a /" + strings.Repeat("b", 1000):    "at most 1000 bytes",
		many(mostFixed+1, "/a%d /b"):          "line 2001: there are more than 2000",
		many(mostDynamic+1, "/a%d/* /b"):      "line 101: there are more than 100",
		strings.Repeat("#", longestFile) + "": "at most 1000 bytes",
	} {
		src := newSource(t)
		_, err := Compile(t.Context(), src, tree{"_redirects": text}.manifest(t, src), Options{ID: "r1", Budget: 1 << 20})
		if !fault.Is(err, fault.Misused) || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "_redirects, line") {
			t.Errorf("%.60q: %v", text, err)
		} else if fault.Of(err).Try == "" {
			t.Errorf("%.60q: no hint", text)
		}
	}
	src := newSource(t)
	if _, err := Compile(t.Context(), src, tree{"_redirects": strings.Repeat("#\n", longestFile)}.manifest(t, src), Options{ID: "r1"}); !fault.Is(err, fault.Misused) {
		t.Errorf("a file too long: %v", err)
	}
}

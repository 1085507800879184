package static

import "testing"

var someSite = tree{
	"index.html": "home", "about.html": "about", "both": "bare", "both.html": "page", "a b.txt": "space", "café.html": "café",
	"dir/index.html": "dir", "dir/x.css": "x", "twin.html": "twin", "twin/index.html": "twin dir", "empty": "", "q?.txt": "mark", "100%.txt": "percent",
	".git/config": "secret", ".htpasswd": "secret", "dir/.env": "secret", ".well-known/security.txt": "contact", ".well-known/.x": "secret",
	"link.txt": "-> dir/x.css", "linked": "-> dir", "hop.txt": "-> linked/x.css", "deep/only.txt": "deep", "back\\slash.txt": "b",
}

func TestPaths(t *testing.T) {
	s := live(t, someSite)
	for _, c := range []struct {
		path   string
		status int
		want   string // the body, or where it leads
	}{
		{"/", 200, "home"}, {"/?a=b", 200, "home"}, {"/index.html", 200, "home"},
		{"/about", 200, "about"}, {"/about.html", 200, "about"}, {"/about/", 301, "/about"}, {"/about/?a=b", 301, "/about?a=b"},
		{"/both", 200, "bare"}, {"/both.html", 200, "page"},
		{"/dir/", 200, "dir"}, {"/dir", 301, "/dir/"}, {"/dir?a=/b?c", 301, "/dir/?a=/b?c"}, {"/dir/index.html", 200, "dir"}, {"/dir/index", 200, "dir"},
		{"/twin", 200, "twin"}, {"/twin/", 200, "twin dir"}, {"/empty", 200, ""},
		{"/a%20b.txt", 200, "space"}, {"/caf%C3%A9", 200, "café"}, {"/caf%C3%A9/", 301, "/caf%C3%A9"}, {"/%61bout", 200, "about"}, {"/q%3F.txt", 200, "mark"}, {"/100%25.txt", 200, "percent"},
		{"/100%2525.txt", 404, ""}, {"/%2561bout", 404, ""}, // decoded once
		{"/dir%2fx.css", 400, ""}, {"/dir%2Fx.css", 400, ""}, {"/../about", 400, ""}, {"/dir/..", 400, ""}, {"/dir/%2e%2e/about", 400, ""}, {"/dir/.%2e/about", 400, ""}, {"/./about", 400, ""}, {"/dir/.", 400, ""},
		{"/dir/...", 404, ""}, {"/..about", 404, ""}, {"/back%5Cslash.txt", 200, "b"},
		{"//about", 404, ""}, {"/dir//x.css", 404, ""}, {"//dir", 404, ""}, {"/dir//", 404, ""}, {"//", 404, ""},
		{"/About", 404, ""}, {"/dir/x.css/", 404, ""}, {"/deep", 404, ""}, {"/deep/", 404, ""},
		{"/.git/config", 404, ""}, {"/.htpasswd", 404, ""}, {"/dir/.env", 404, ""}, {"/.well-known/security.txt", 200, "contact"}, {"/.well-known/.x", 404, ""},
		{"/link.txt", 200, "x"}, {"/linked/x.css", 200, "x"}, {"/linked/", 200, "dir"}, {"/linked", 301, "/linked/"}, {"/hop.txt", 200, "x"}, {"/linked/.env", 404, ""},
	} {
		g := ask(t, s, c.path)
		if got := g.body; g.status != c.status || c.status == 200 && got != c.want || c.status == 301 && g.header["Location"] != c.want {
			t.Errorf("%s: %d %q %v", c.path, g.status, got, g.header)
		}
	}
}

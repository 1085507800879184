package static

import (
	"strings"
	"testing"

	"bramble/artefact"
	"bramble/fault"
	"bramble/http1"
)

// sound checks what must be true of every answer.
func sound(t *testing.T, raw string, a *http1.Answer) got {
	g := read(t, a)
	to, moved := g.header["Location"]
	if moved && (strings.HasPrefix(to, "//") || strings.HasPrefix(to, `/\`) || strings.ContainsFunc(to, func(r rune) bool { return r <= ' ' || r >= 0x7f })) {
		t.Errorf("%q leads to %q", raw, to)
	}
	if g.body == "secret" {
		t.Errorf("%q gives what is hidden", raw)
	}
	return g
}

// try gives a raw target to a server, if the parser lets it through.
func try(t *testing.T, s *Server, target string, fields ...string) (g got, ok bool) {
	raw := "GET " + target + " HTTP/1.1\r\nHost: a\r\n" + strings.Join(append(fields, "", ""), "\r\n")
	var req http1.Request
	if n, err := req.Parse([]byte(raw), http1.Limits{}); err != nil || n != len(raw) {
		return g, false
	}
	var a http1.Answer
	if !s.Lean(&req, &a) {
		t.Fatalf("%q: not answered", raw)
	}
	return sound(t, raw, &a), true
}

func FuzzPath(f *testing.F) {
	for _, path := range []string{"/", "/about", "/dir", "/dir/", "/about/?a=//b", "//dir", "/%2e%2e/.htpasswd", "/.git/config", "/%2Egit/config", "/dir/.env", "/a%20b.txt", "/caf%C3%A9/", "/100%25.txt", "/%", "/%2f", "/%5c", "/linked/.env", "/up//x", "/up/%5cx", "/up/?#", "/linked", "/.well-known/security.txt"} {
		f.Add(path)
	}
	site := tree{"_redirects": "/up/* /:splat\n/p/:a/:b /:b/:a?x\n/r/* /dir/:splat 200"}
	for path, content := range someSite {
		site[path] = content
	}
	s := live(f, site)
	f.Fuzz(func(t *testing.T, path string) { try(t, s, path) })
}

func FuzzRange(f *testing.F) {
	for _, v := range []string{"bytes=0-0", "bytes=-5", "bytes=5-", "bytes=0-1,3-4", "bytes=9-,0-0", "bytes=99999999999999999999-", "bytes=-0", "bytes=,", "items=0-1", "bytes=0-9,0-9"} {
		f.Add(v, int64(10))
	}
	f.Fuzz(func(t *testing.T, v string, size int64) {
		if size < 0 {
			return
		}
		spans, ok := parseRange([]byte(v), size, nil)
		total := int64(0)
		for _, s := range spans {
			if s.offset < 0 || s.size <= 0 || s.offset > size-s.size {
				t.Errorf("%q of %d: %v", v, size, s)
			}
			total += s.size
		}
		if ok && (total > size || len(spans) > mostSpans) {
			t.Errorf("%q of %d: %d bytes in %d parts", v, size, total, len(spans))
		}
	})
}

func FuzzAcceptEncoding(f *testing.F) {
	for _, v := range []string{"gzip", "gzip;q=0.5, br;q=1", "*", "*;q=0", "identity;q=0", "x-gzip", "gzip;q=1.0001", " , ;q=", "zstd;q=0.001,gzip;q=0.002"} {
		f.Add(v)
	}
	s := live(f, tree{"a.txt": text, "a.txt.gz": gzipped(text), "a.txt.br": "br", "a.txt.zst": "zstd"})
	f.Fuzz(func(t *testing.T, v string) {
		g, ok := try(t, s, "/a.txt", "Accept-Encoding: "+v)
		coding := g.header["Content-Encoding"]
		if ok && (g.status != 200 || coding != "" && !strings.Contains(strings.ToLower(v), coding) && !strings.Contains(v, "*")) {
			t.Errorf("%q: %v", v, g)
		}
		for _, n := range []int{weight([]byte(v)), quality([]byte(v), "gzip")} {
			if n < 0 || n > 1000 {
				t.Errorf("%q: %d", v, n)
			}
		}
	})
}

func FuzzRedirects(f *testing.F) {
	for _, text := range []string{"/a /b", "/a/* /:splat 301!", "/a/:x/:y /:y/:x 302", "/* /index.html 200", "/a https://b.example/:splat", "# c\n/a  /b  404 # d", "/a/* https://b.example/x/:splat?y#z", "/é /ü", "/a /b\\c", "/a /%2e%2e"} {
		f.Add(text, "/a/b/c")
	}
	files := compile(f, tree{"index.html": "home", "a.html": "a"}).files
	f.Fuzz(func(t *testing.T, text, path string) {
		rules, err := parseRedirects(text)
		if err != nil {
			if !fault.Is(err, fault.Misused) || !strings.HasPrefix(err.Error(), redirectsFile) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		s := &Server{}
		s.Commit(&Release{files: files, rules: rules})
		try(t, s, path)
		try(t, s, "/a"+path)
	})
}

func FuzzHeaders(f *testing.F) {
	for _, text := range []string{"/*\n  X-A: b", "/a\n  X-A: b\n  ! X-A", "/:x/*\n  X-A: :x :splat", "/*\n  Cache-Control: immutable\n/*\n  cache-control: x", "/*.css\n\tX: y", "/*\n  Vary: *", "/*\n  Content-Type: text/html", "/*\n  ! Content-Type\n  ! Cache-Control"} {
		f.Add(text, "dir/a.css")
	}
	body := []byte("x")
	blob := artefact.Blob{Ref: artefact.RefOf(body), Size: 1}
	f.Fuzz(func(t *testing.T, text, path string) {
		if len(path) > artefact.MaxName || len(text) > longestHeader {
			return // so that the head stays within what parsers take
		}
		blocks, err := parseHeaders(text)
		if err != nil {
			if !fault.Is(err, fault.Misused) || !strings.HasPrefix(err.Error(), headersFile) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		if decoded, ok := decode(path); ok {
			path = decoded
		}
		d := dresser{blocks: blocks, known: map[look]*lines{}}
		l := d.dress("/"+path, "text/css", false, true)
		s := &Server{}
		s.Commit(&Release{rules: &redirects{}, files: map[string]*file{"a.css": {forms: []form{{Blob: blob, body: body}}, own: l, clean: l}}})
		for _, more := range []string{"X: y", "Range: bytes=0-0", "If-None-Match: *"} {
			if g, _ := try(t, s, "/a.css", more); g.status != 200 && g.status != 206 && g.status != 304 {
				t.Errorf("%q: %v", text, g)
			}
		}
	})
}

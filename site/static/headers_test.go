package static

import (
	"fmt"
	"strings"
	"testing"

	"bramble/fault"
)

func TestHeaders(t *testing.T) {
	s := live(t, tree{
		"index.html": "home", "about.html": "about", "dir/index.html": "dir", "img/a.png": "png", "img/b.jpg": "jpg", "u/ann/x.txt": "x", "data.bin": "{}", "a.txt": text, "a.txt.gz": gzipped(text), "once.txt": "1", "odd": "\x00",
		"_headers": `# everything
/*
  X-Frame-Options: DENY
  link: </a.css>; rel=preload

/about
	X-Page : clean
/about.html
  X-Page: plain
/dir/
  X-Dir: yes
/img/*.png
  Cache-Control: public, max-age=60
/u/:who/*
  X-Who: it is :who, at :splat; not :nobody
/data.bin
  content-type: application/json
  ! X-Frame-Options
  ! X-Content-Type-Options
/a.txt
  Vary: Origin
/once.txt
  X-Frame-Options: SAMEORIGIN
  Cache-Control: max-age=31536000, immutable
/*
  X-Last: 1
`})
	for path, want := range map[string]string{
		"/":            "X-Frame-Options=DENY Link= X-Page= X-Dir= X-Last=1",
		"/about":       "X-Page=clean X-Frame-Options=DENY Cache-Control=private, no-cache",
		"/about.html":  "X-Page=plain",
		"/dir/":        "X-Dir=yes",
		"/dir/index":   "X-Dir=yes", // the page's own address is /dir/
		"/img/a.png":   "Cache-Control=public, max-age=60",
		"/img/b.jpg":   "Cache-Control=no-cache",
		"/u/ann/x.txt": "X-Who=it is ann, at x.txt; not :nobody",
		"/data.bin":    "Content-Type=application/json X-Frame-Options= X-Content-Type-Options= X-Last=1",
		"/a.txt":       "Vary=Origin, Accept-Encoding",
		"/once.txt":    "X-Frame-Options=DENY, SAMEORIGIN Cache-Control=max-age=31536000, immutable",
	} {
		g := ask(t, s, path)
		for part := range strings.SplitSeq(strings.ReplaceAll(want, " X-", "\nX-"), "\n") {
			part = strings.ReplaceAll(part, " Cache-", "\nCache-")
			for part := range strings.SplitSeq(part, "\n") {
				name, value, _ := strings.Cut(part, "=")
				if strings.HasSuffix(value, " Link=") {
					value = strings.TrimSuffix(value, " Link=")
				}
				if g.header[name] != value {
					t.Errorf("%s: %s is %q instead of %q", path, name, g.header[name], value)
				}
			}
		}
		if g.status != 200 || g.header["link"] != "</a.css>; rel=preload" {
			t.Errorf("%s: %v", path, g)
		}
	}
	g := ask(t, s, "/data.bin", "If-None-Match: *")
	if g.status != 304 || g.header["X-Last"] != "1" || g.header["content-type"]+g.header["Content-Type"] != "" {
		t.Errorf("304: %v", g)
	}
	if g := ask(t, s, "/_headers"); g.status != 404 {
		t.Errorf("the file itself: %v", g)
	}
}

// A page that others may keep carries no cookie.
func TestCachedPageHasNoCookie(t *testing.T) {
	s := live(t, tree{"index.html": "home", "a.css": "x", "_headers": "/\n  Cache-Control: public, max-age=60"})
	if g := ask(t, s, "/"); g.header["Set-Cookie"] != "" || g.header["Cache-Control"] != "public, max-age=60" {
		t.Errorf("got %v", g)
	}
}

func TestBadHeaders(t *testing.T) {
	many := strings.Builder{}
	for i := range mostBlocks + 1 {
		fmt.Fprintf(&many, "/a%d\n  X: y\n", i)
	}
	for text, want := range map[string]string{
		"  X: y":                                "line 1: there is no path",
		"/a\n  X":                               "line 2: a field is",
		"/a\n  X:":                              "line 2: a field is",
		"/a\n  X Y: z":                          "is not a field's name",
		"/a\n  : z":                             "is not a field's name",
		"/a\n  !":                               "is not a field's name",
		"/a\n\n#\n  Content-Length: 5":          "line 4: Content-Length cannot be set",
		"/a\n  transfer-encoding: x":            "cannot be set",
		"/a\n  Set-Cookie: a=b":                 "cannot be set",
		"/a\n  ETag: \"x\"":                     "cannot be set",
		"/a\n  ! Date":                          "cannot be set",
		"/a\n  Basic-Auth: ann:secret":          "cannot be set",
		"https://a.example/*\n  X: y":           "paths with a host are not supported",
		"/a/*/*\n  X: y":                        "at most one *",
		"/a\n  X: y\x01":                        "control character",
		"/a\n  X: y\rz":                         "control character",
		"/a\n  X: " + strings.Repeat("y", 2000): "at most 2000 bytes",
		many.String():                           "line 201: there are more than 100",
	} {
		src := newSource(t)
		_, err := Compile(t.Context(), src, tree{"_headers": text}.manifest(t, src), Options{ID: "r1", Budget: 1 << 20})
		if !fault.Is(err, fault.Misused) || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "_headers, line") {
			t.Errorf("%.60q: %v", text, err)
		}
	}
}

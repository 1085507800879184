package static

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"strings"
	"testing"

	"bramble/artefact"
	"bramble/http1"
)

func gzipped(text string) string {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	w.Write([]byte(text))
	w.Close()
	return b.String()
}

var text = strings.Repeat("some text that can be made smaller. ", 100)

// budgets are the ways in which a body is had: from memory, and from the store.
var budgets = map[string]int64{"memory": 1 << 30, "store": 0}

func eachBudget(t *testing.T, test func(t *testing.T, with func(*Options))) {
	for name, n := range budgets {
		t.Run(name, func(t *testing.T) { test(t, func(o *Options) { o.Budget = n }) })
	}
}

func tagOf(content string) string { return `"` + string(artefact.RefOf([]byte(content))[:32]) + `"` }

func TestWhole(t *testing.T) {
	eachBudget(t, func(t *testing.T, with func(*Options)) {
		s := live(t, tree{"index.html": "<p>hi", "a.css": "p{}", "app.3f9a1c07.js": "x()", "empty.bin": ""}, with)
		for path, want := range map[string]got{
			"/": {200, map[string]string{"Content-Length": "5", "Content-Type": "text/html; charset=utf-8", "Cache-Control": "private, no-cache", "ETag": tagOf("<p>hi"),
				"Set-Cookie": "bramble-release=r1; Path=/; HttpOnly; SameSite=Lax"}, "<p>hi"},
			"/a.css":           {200, map[string]string{"Content-Length": "3", "Content-Type": "text/css; charset=utf-8", "Cache-Control": "no-cache", "ETag": tagOf("p{}")}, "p{}"},
			"/app.3f9a1c07.js": {200, map[string]string{"Content-Length": "3", "Content-Type": "text/javascript; charset=utf-8", "Cache-Control": "public, max-age=31536000, immutable", "ETag": tagOf("x()")}, "x()"},
			"/empty.bin":       {200, map[string]string{"Content-Length": "0", "Content-Type": "application/octet-stream", "Cache-Control": "no-cache", "ETag": tagOf("")}, ""},
		} {
			want.header["Accept-Ranges"], want.header["X-Content-Type-Options"], want.header["Last-Modified"] = "bytes", "nosniff", someDate
			if g := ask(t, s, path); fmt.Sprint(g) != fmt.Sprint(want) {
				t.Errorf("%s:\n%v\n%v", path, g, want)
			}
			head := ask(t, s, "HEAD "+path)
			if fmt.Sprint(head.header) != fmt.Sprint(want.header) || head.status != 200 {
				t.Errorf("HEAD %s: %v", path, head)
			}
		}
	})
}

func TestEncoding(t *testing.T) {
	zstd, br := "pretend zstd, the smallest", "pretend br, as small as that?"
	eachBudget(t, func(t *testing.T, with func(*Options)) {
		s := live(t, tree{"a.txt": text, "a.txt.gz": gzipped(text), "a.txt.zst": zstd, "a.txt.br": br, "b.txt": "small", "b.txt.br": "larger than the text", "c.txt": text}, with)
		for accept, coding := range map[string]string{
			"": "", "gzip": "gzip", "br": "br", "zstd": "zstd", "gzip, deflate, br, zstd": "zstd", "gzip, br": "br", "GZIP": "gzip", "x-gzip": "gzip",
			"*": "zstd", "*;q=0.5": "zstd", "gzip;q=1, zstd;q=0.9": "gzip", "gzip;q=0.001,br;q=0": "gzip", "zstd;q=0, *": "br", "gzip;q=0": "", "*;q=0": "", "identity": "",
			"identity;q=0": "", "identity, gzip": "gzip", "identity;q=1, gzip;q=0.5": "", "identity;q=0.5, gzip;q=0.5": "gzip", "deflate": "", "gzip;q=0.0001": "", "gzip;q=2": "", "gzip;q=": "",
			"gzip ; q=0.7 , br ;q=0.3": "gzip", ",,gzip,,": "gzip", "gzip;foo=bar": "", "gzipx": "", ";q=1": "", "gzip;q=1.000": "gzip", "gzip;q=0.": "",
		} {
			g := ask(t, s, "/a.txt", "Accept-Encoding: "+accept)
			want := map[string]string{"": text, "gzip": gzipped(text), "br": br, "zstd": zstd}[coding]
			if g.body != want || g.header["Content-Encoding"] != coding || g.header["ETag"] != tagOf(want) || g.header["Vary"] != "Accept-Encoding" || g.header["Content-Type"] != "text/plain; charset=utf-8" {
				t.Errorf("%q: %v instead of %q", accept, g.header, coding)
			}
		}
		if g := ask(t, s, "/a.txt"); g.body != text || g.header["Vary"] == "" {
			t.Errorf("without the field: %v", g.header)
		}
		if g := ask(t, s, "/a.txt", "Accept-Encoding: gzip;q=0.5", "Accept-Encoding: br"); g.header["Content-Encoding"] != "br" {
			t.Errorf("two lines: %v", g.header)
		}
		for _, path := range []string{"/b.txt", "/c.txt"} {
			if g := ask(t, s, path, "Accept-Encoding: gzip, br, zstd"); g.header["Vary"]+g.header["Content-Encoding"] != "" {
				t.Errorf("%s: %v", path, g.header)
			}
		}
		if g := ask(t, s, "/a.txt.gz", "Accept-Encoding: gzip"); g.body != gzipped(text) || g.header["Content-Encoding"] != "" || g.header["Content-Type"] != "application/gzip" {
			t.Errorf("the sibling itself: %v", g.header)
		}
		g := ask(t, s, "/a.txt", "Accept-Encoding: gzip", "If-None-Match: "+tagOf(gzipped(text)))
		if g.status != 304 || g.header["Vary"] != "Accept-Encoding" || g.header["ETag"] != tagOf(gzipped(text)) || g.header["Content-Encoding"] != "" {
			t.Errorf("304: %v", g)
		}
		if g := ask(t, s, "/a.txt", "Accept-Encoding: gzip", "If-None-Match: "+tagOf(text)); g.status != 200 {
			t.Errorf("the tag of another form: %v", g)
		}
		g = ask(t, s, "/a.txt", "Accept-Encoding: gzip", "Range: bytes=0-1")
		if g.status != 206 || g.body != "\x1f\x8b" || g.header["Content-Encoding"] != "gzip" {
			t.Errorf("a part: %v", g)
		}
	})
}

// A compressed sibling that somebody forgot to make anew is not taken for the file.
func TestStaleSibling(t *testing.T) {
	eachBudget(t, func(t *testing.T, with func(*Options)) {
		for _, sibling := range []string{gzipped(text + "!"), gzipped("x" + text[1:]), "no gzip at all", ""} {
			s := live(t, tree{"a.txt": text, "a.txt.gz": sibling}, with)
			if g := ask(t, s, "/a.txt", "Accept-Encoding: gzip"); g.body != text {
				t.Errorf("%d bytes: %v", len(sibling), g.header)
			}
		}
	})
}

// Forms that were made at publishing come before siblings.
func TestVariants(t *testing.T) {
	src := newSource(t)
	m := tree{"a.txt": text, "a.txt.br": "a sibling"}.manifest(t, src)
	o := Options{ID: "r1", Budget: 1 << 20, Variants: map[string][]Variant{"a.txt": {{"br", src.put(t, "made")}, {"zstd", src.put(t, text+text)}}, "gone.txt": {{"br", src.put(t, "nothing")}}}}
	r, err := Compile(t.Context(), src, m, o)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{}
	s.Commit(r)
	if g := ask(t, s, "/a.txt", "Accept-Encoding: br, zstd"); g.body != "made" || g.header["Content-Encoding"] != "br" {
		t.Errorf("got %v", g)
	}
}

func TestConditions(t *testing.T) {
	const tag, other, earlier, later = "TAG", `"other"`, "Thu, 01 Jan 2026 03:04:05 GMT", "Sat, 03 Jan 2026 03:04:05 GMT"
	eachBudget(t, func(t *testing.T, with func(*Options)) {
		s := live(t, tree{"a.txt": text}, with)
		for _, c := range []struct {
			fields string
			status int
		}{
			{"If-None-Match: " + tag, 304}, {"If-None-Match: W/" + tag, 304}, {"If-None-Match: *", 304}, {"If-None-Match: " + other, 200}, {"If-None-Match: " + other + ", " + tag, 304},
			{"If-None-Match: " + other + "\nIf-None-Match: " + tag, 304}, {`If-None-Match: "a,b",` + tag, 304}, {`If-None-Match: "a, ` + tag, 200}, {"If-None-Match: TA", 200}, {"If-None-Match:", 200}, {"If-None-Match: ,,", 200},
			{"If-Modified-Since: " + someDate, 304}, {"If-Modified-Since: " + later, 200}, {"If-Modified-Since: " + earlier, 200}, {"If-Modified-Since: yesterday", 200},
			{"If-None-Match: " + other + "\nIf-Modified-Since: " + someDate, 200}, {"If-None-Match: " + tag + "\nIf-Modified-Since: " + earlier, 304},
			{"If-Match: " + tag, 200}, {"If-Match: *", 200}, {"If-Match: " + other, 412}, {"If-Match: W/" + tag, 412}, {"If-Match: " + other + ", " + tag, 200}, {"If-Match: nonsense", 412},
			{"If-Unmodified-Since: " + someDate, 200}, {"If-Unmodified-Since: " + earlier, 412}, {"If-Unmodified-Since: nonsense", 200}, {"If-Match: " + tag + "\nIf-Unmodified-Since: " + earlier, 200},
			{"If-Match: " + tag + "\nIf-None-Match: " + tag, 304},
			{"Range: bytes=0-0\nIf-Range: " + tag, 206}, {"Range: bytes=0-0\nIf-Range: " + other, 200}, {"Range: bytes=0-0\nIf-Range: W/" + tag, 200}, {"Range: bytes=0-0\nIf-Range: " + someDate, 206}, {"Range: bytes=0-0\nIf-Range: " + earlier, 200}, {"Range: bytes=0-0\nIf-Range: *", 200},
			{"Range: bytes=0-0\nIf-None-Match: " + tag, 304}, {"Range: bytes=9999-\nIf-Range: " + other, 200},
		} {
			fields := strings.Split(strings.ReplaceAll(c.fields, "TAG", tagOf(text)), "\n")
			g := ask(t, s, "/a.txt", fields...)
			if g.status != c.status {
				t.Errorf("%s: %d instead of %d", c.fields, g.status, c.status)
			}
			if g.status == 304 && (g.body != "" || g.header["Content-Length"]+g.header["Content-Type"] != "" || g.header["ETag"] != tagOf(text) || g.header["Cache-Control"] != "no-cache") {
				t.Errorf("%s: %v", c.fields, g)
			}
		}
	})
}

func TestRange(t *testing.T) {
	const body = "0123456789"
	eachBudget(t, func(t *testing.T, with func(*Options)) {
		s := live(t, tree{"a.txt": body, "empty.txt": ""}, with)
		for _, c := range []struct {
			span   string
			status int
			want   string // the part, with its place
		}{
			{"bytes=0-0", 206, "0 0-0"}, {"bytes=0-", 206, body + " 0-9"}, {"bytes=5-", 206, "56789 5-9"}, {"bytes=2-4", 206, "234 2-4"}, {"bytes=8-100", 206, "89 8-9"}, {"bytes=9-9", 206, "9 9-9"},
			{"bytes=-3", 206, "789 7-9"}, {"bytes=-10", 206, body + " 0-9"}, {"bytes=-100", 206, body + " 0-9"}, {"BYTES=1-1", 206, "1 1-1"}, {"bytes= 1-1 ", 206, "1 1-1"}, {"bytes=1-1,", 206, "1 1-1"},
			{"bytes=10-", 416, ""}, {"bytes=10-20", 416, ""}, {"bytes=-0", 416, ""}, {"bytes=99999999999999999999999-", 416, ""}, {"bytes=20-30,40-50", 416, ""},
			{"bytes=5-99999999999999999999999", 206, "56789 5-9"},
			{"bytes=4-2", 200, ""}, {"bytes=", 200, ""}, {"bytes=-", 200, ""}, {"bytes", 200, ""}, {"bytes=a-b", 200, ""}, {"bytes=1-2x", 200, ""}, {"bytes=0x1-2", 200, ""}, {"bytes=--1", 200, ""}, {"bytes=1 -2", 200, ""}, {"lines=1-2", 200, ""}, {"bytes=1-2-3", 200, ""}, {"bytes=+1-2", 200, ""},
			{"bytes=0-9,0-9", 200, ""}, {"bytes=0-5,5-9", 200, ""}, // more than there is
			{"bytes=20-,3-4", 206, "34 3-4"},
		} {
			g := ask(t, s, "/a.txt", "Range: "+c.span)
			got := ""
			if g.status == 206 {
				got = g.body + " " + strings.TrimSuffix(strings.TrimPrefix(g.header["Content-Range"], "bytes "), "/10")
			}
			if g.status != c.status || got != c.want {
				t.Errorf("%s: %d %q, %v", c.span, g.status, got, g.header)
			}
			if g.status == 416 && g.header["Content-Range"] != "bytes */10" {
				t.Errorf("%s: %v", c.span, g.header)
			}
		}
		if g := ask(t, s, "/a.txt", "Range: bytes=0-0", "Range: bytes=1-1"); g.status != 200 {
			t.Errorf("two lines: %d", g.status)
		}
		if g := ask(t, s, "HEAD /a.txt", "Range: bytes=0-0"); g.status != 200 || g.header["Content-Length"] != "10" {
			t.Errorf("HEAD: %v", g)
		}
		if g := ask(t, s, "/empty.txt", "Range: bytes=0-"); g.status != 416 || g.header["Content-Range"] != "bytes */0" {
			t.Errorf("empty: %v", g)
		}
	})
}

func TestSeveralParts(t *testing.T) {
	const body = "0123456789"
	s := live(t, tree{"a.txt": body})
	g := ask(t, s, "/a.txt", "Range: bytes=1-2, -2")
	boundary := strings.Trim(tagOf(body), `"`)
	part := func(place, bytes string) string {
		return "\r\n--" + boundary + "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes " + place + "/10\r\n\r\n" + bytes
	}
	want := part("1-2", "12") + part("8-9", "89") + "\r\n--" + boundary + "--\r\n"
	if g.status != 206 || g.body != want || g.header["Content-Type"] != "multipart/byteranges; boundary="+boundary || g.header["Content-Length"] != fmt.Sprint(len(want)) || g.header["Content-Range"] != "" {
		t.Errorf("got %v", g)
	}
	spans := "bytes=0-0" + strings.Repeat(",1-1", mostSpans)
	if g := ask(t, live(t, tree{"a.txt": text}), "/a.txt", "Range: "+spans); g.status != 200 {
		t.Errorf("too many: %d", g.status)
	}
	if g := ask(t, live(t, tree{"a.txt": text}, func(o *Options) { o.Budget = 0 }), "/a.txt", "Range: bytes=0-1,4-5"); g.status != 200 || g.body != text {
		t.Errorf("from the store: %d", g.status)
	}
}

func TestOthers(t *testing.T) {
	s := live(t, tree{"index.html": "home"})
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PATCH"} {
		if g := ask(t, s, method+" /"); g.status != 405 || g.header["Allow"] != "GET, HEAD" {
			t.Errorf("%s: %v", method, g)
		}
	}
	if g := ask(t, &Server{}, "/"); g.status != 503 || g.header["Retry-After"] == "" {
		t.Errorf("nothing live: %v", g)
	}
	if g := ask(t, s, "/gone"); g.status != 404 || g.body != "404 Not Found\n" || g.header["Cache-Control"] != "no-cache" {
		t.Errorf("missing: %v", g)
	}
}

func TestMissing(t *testing.T) {
	s := live(t, tree{"index.html": "home", "404.html": "none here", "docs/404.html": "no such chapter", "docs/a.html": "a", "a.css": "x"})
	for path, want := range map[string]string{"/gone": "none here", "/x/y/z": "none here", "/docs/gone": "no such chapter", "/docs/x/y": "no such chapter", "/docsy": "none here", "/gone.css": "none here"} {
		g := ask(t, s, path, "Range: bytes=0-1", "If-None-Match: *")
		if g.status != 404 || g.body != want || g.header["ETag"] != "" || g.header["Content-Type"] != "text/html; charset=utf-8" || !strings.Contains(g.header["Cache-Control"], "no-cache") {
			t.Errorf("%s: %v", path, g)
		}
	}
	if g := ask(t, s, "/404.html"); g.status != 200 {
		t.Errorf("the page itself: %d", g.status)
	}
}

// What is asked for most costs no allocation.
func TestAllocations(t *testing.T) {
	s := live(t, tree{"index.html": "home", "a.css": text, "a.css.gz": gzipped(text), "b c.html": "x", "_headers": "/*\n  X-Frame-Options: DENY\n"})
	for _, raw := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n", "GET /a.css HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nCookie: x=y; bramble-release=r1\r\n", "HEAD /b%20c HTTP/1.1\r\nHost: a\r\n",
		"GET /a.css HTTP/1.1\r\nHost: a\r\nIf-None-Match: " + tagOf(text) + "\r\nIf-Modified-Since: " + someDate + "\r\n", "GET /a.css HTTP/1.1\r\nHost: a\r\nRange: bytes=5-9\r\n",
	} {
		var req http1.Request
		if _, err := req.Parse([]byte(raw+"\r\n"), http1.Limits{}); err != nil {
			t.Fatal(err)
		}
		var a http1.Answer
		n := testing.AllocsPerRun(100, func() {
			a = http1.Answer{Space: a.Space[:0]}
			if !s.Lean(&req, &a) || len(a.Head) == 0 {
				t.Fatal("not answered")
			}
		})
		if n != 0 {
			t.Errorf("%q: %v allocations", raw, n)
		}
	}
}

// A release that is closed waits for files that are being opened, and nobody else begins to.
func TestClose(t *testing.T) {
	src := newSource(t)
	m := tree{"a.bin": text}.manifest(t, src)
	r, err := Compile(t.Context(), src, m, Options{ID: "r1"})
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{}
	s.Commit(r)
	var req http1.Request
	req.Parse([]byte("GET /a.bin HTTP/1.1\r\nHost: a\r\n\r\n"), http1.Limits{})
	var a http1.Answer
	s.Lean(&req, &a)
	closed := make(chan bool)
	go func() { r.Close(); close(closed) }()
	select {
	case <-closed:
		t.Fatal("closed while a file is to be opened")
	default:
	}
	if f, err := a.Open(); err != nil {
		t.Fatal(err)
	} else {
		f.Close()
	}
	<-closed
	if g := ask(t, s, "/a.bin"); g.status != 503 {
		t.Errorf("after Close: %v", g)
	}
}

// Bytes in the store that are not what they should be are found, and named.
func TestDamaged(t *testing.T) {
	for _, budget := range []int64{0, 1 << 20} {
		src := newSource(t)
		m := tree{"a.txt": text}.manifest(t, src)
		damaged := "x" + text[1:]
		if budget == 0 {
			damaged = text[1:] // what is not read whole still shows its length
		}
		if err := os.WriteFile(src.at(m.Entries[0].Ref), []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Compile(t.Context(), src, m, Options{ID: "r1", Budget: budget})
		if err == nil || !strings.Contains(err.Error(), artefact.ErrCorrupt.Error()) {
			t.Errorf("got %v", err)
		}
	}
}

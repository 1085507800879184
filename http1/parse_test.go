package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// judge is what the parser says of what a client sends, given piece by piece: the status of the refusal, 0 when it
// accepts, -1 when it waits for more.
func judge(raw []byte, pieces func([]byte) []byte) int {
	var r Request
	var have []byte
	l := Limits{}.filled()
	for len(raw) > 0 {
		piece := pieces(raw)
		have, raw = append(have, piece...), raw[len(piece):]
		skipped := skipEmpty(have)
		if len(have) == 1 && have[0] == '\r' {
			continue
		}
		n, err := r.parse(have[skipped:], &l)
		if err != nil {
			return err.(*Refusal).Status
		}
		if n == 0 {
			continue
		}
		if !r.Chunked {
			return 0
		}
		return judgeBody(append(have[skipped+n:], raw...), pieces)
	}
	return -1
}

func judgeBody(raw []byte, pieces func([]byte) []byte) int {
	var c Chunks
	for len(raw) > 0 {
		for piece := pieces(raw); len(piece) > 0 && !c.Done(); {
			_, n, err := c.Next(piece)
			if err != nil {
				return err.(*Refusal).Status
			}
			piece, raw = piece[n:], raw[n:]
		}
		if c.Done() {
			return 0
		}
	}
	return -1
}

func whole(b []byte) []byte { return b }
func one(b []byte) []byte   { return b[:1] }

func TestCases(t *testing.T) {
	if n := len(rawCases); n < 150 {
		t.Errorf("only %d cases", n)
	}
	names := map[string]bool{}
	for _, c := range rawCases {
		if names[c.Name] {
			t.Errorf("%s: there are two such cases", c.Name)
		}
		names[c.Name] = true
		if got := judge([]byte(c.Raw), whole); got != c.Status {
			t.Errorf("%s: got %d, want %d", c.Name, got, c.Status)
		}
		if got := judge([]byte(c.Raw), one); got != c.Status {
			t.Errorf("%s, byte by byte: got %d, want %d", c.Name, got, c.Status)
		}
	}
}

// Wherever a request is cut, the parser waits at the cut or says what it says of the whole, and takes the same in the end.
func TestCuts(t *testing.T) {
	for _, c := range rawCases {
		if len(c.Raw) > 1000 {
			continue
		}
		for cut := 1; cut < len(c.Raw); cut++ {
			first := true
			got := judge([]byte(c.Raw), func(b []byte) []byte {
				if first && len(b) > cut {
					first = false
					return b[:cut]
				}
				return b
			})
			if got != c.Status {
				t.Errorf("%s, cut after %d: got %d, want %d", c.Name, cut, got, c.Status)
			}
		}
	}
}

func TestRequest(t *testing.T) {
	raw := "GET /a/b?c=d?e HTTP/1.1\r\nhOsT: a:80\r\nX: \t1 2\t\r\nx: 3\r\nConnection: Close\r\nUpgrade: h\r\nExpect: 100-continue\r\nContent-Length: 42\r\n\r\nbody"
	var r Request
	n, err := r.Parse([]byte(raw), Limits{})
	if err != nil || raw[n:] != "body" {
		t.Fatalf("n %d, %v", n, err)
	}
	for _, pair := range [][2]string{
		{string(r.Method), "GET"}, {string(r.Target), "/a/b?c=d?e"}, {string(r.Path), "/a/b"}, {string(r.Query), "c=d?e"},
		{string(r.Host()), "a:80"}, {string(r.Get("x")), "1 2"}, {string(r.Get("content-length")), "42"}, {string(r.Get("none")), ""},
	} {
		if pair[0] != pair[1] {
			t.Errorf("got %q, want %q", pair[0], pair[1])
		}
	}
	if r.Minor != 1 || r.Length != 42 || r.Chunked || !r.Close || r.KeepAlive || !r.Upgrade || !r.Expect || len(r.Fields) != 7 || r.Body() != ByLength {
		t.Errorf("got %+v", r)
	}
	if _, err := r.Parse([]byte("GET / HTTP/1.0\r\n\r\n"), Limits{}); err != nil || !r.Close || r.Minor != 0 || r.Host() != nil || r.Length != -1 {
		t.Errorf("used again: %+v, %v", r, err)
	}
}

func TestLimits(t *testing.T) {
	for _, c := range []struct {
		limits Limits
		raw    string
		status int
	}{
		{Limits{Target: 4}, line("GET /abc HTTP/1.1"), 0},
		{Limits{Target: 4}, line("GET /abcd HTTP/1.1"), 414},
		{Limits{Fields: 2}, with("A: b"), 0},
		{Limits{Fields: 2}, with("A: b", "C: d"), 431},
		{Limits{Line: 8}, with("A: 45678"), 0},
		{Limits{Line: 8}, with("A: 456789"), 431},
		{Limits{Line: 8}, with("A2345678: "), 431},
		{Limits{Head: len(with())}, with(), 0},
		{Limits{Head: len(with()) - 1}, with(), 431},
	} {
		var r Request
		_, err := r.Parse([]byte(c.raw), c.limits)
		got := 0
		if refusal, ok := errors.AsType[*Refusal](err); ok {
			got = refusal.Status
		}
		if got != c.status {
			t.Errorf("%q with %+v: got %d, want %d", c.raw, c.limits, got, c.status)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	raw := []byte(with("User-Agent: x", "Accept: */*", "Connection: keep-alive", "Accept-Encoding: gzip"))
	var r Request
	l := Limits{}.filled()
	r.parse(raw, &l)
	if n := testing.AllocsPerRun(100, func() { r.parse(raw, &l); r.Get("accept") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestResponse(t *testing.T) {
	for _, c := range []struct {
		raw, method string
		body        BodyEnd
		ok          bool
	}{
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "GET", ByLength, true},
		{"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "GET", NoBody, true},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD", NoBody, true},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", ByChunks, true},
		{"HTTP/1.0 200 OK\r\n\r\n", "GET", WithClose, true},
		{"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "GET", NoBody, true},
		{"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", "GET", NoBody, true},
		{"HTTP/1.1 204 No Content\r\n\r\n", "GET", NoBody, true},
		{"HTTP/1.1 599 caf\xc3\xa9\r\n\r\n", "GET", WithClose, true},
		{"HTTP/1.1 200\r\n\r\n", "GET", 0, false},
		{"HTTP/1.1 99 Low\r\n\r\n", "GET", 0, false},
		{"HTTP/1.1 600 High\r\n\r\n", "GET", 0, false},
		{"HTTP/1.1 2000 Long\r\n\r\n", "GET", 0, false},
		{"HTTP/1.1  200 OK\r\n\r\n", "GET", 0, false},
		{"HTTP/2.0 200 OK\r\n\r\n", "GET", 0, false},
		{"ICY 200 OK\r\n\r\n\r\n", "GET", 0, false},
		{"hello\r\n\r\n", "GET", 0, false},
		{"HTTP/1.1 200 OK\nA: b\n\n", "GET", 0, false},
		{"HTTP/1.1 200 O\x00K\r\n\r\n", "GET", 0, false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", "GET", 0, false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", 0, false},
		{"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", 0, false},
		{"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", "GET", 0, false},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "GET", 0, false},
	} {
		var r Response
		n, err := r.Parse([]byte(c.raw), Limits{})
		if c.ok != (err == nil && n == len(c.raw)) {
			t.Errorf("%q: %d, %v", c.raw, n, err)
		} else if c.ok && r.Body(c.method) != c.body {
			t.Errorf("%q: got %d, want %d", c.raw, r.Body(c.method), c.body)
		} else if !c.ok && err.(*Refusal).Status != 502 {
			t.Errorf("%q: %v", c.raw, err)
		}
		for cut := range c.raw[:len(c.raw)-1] {
			if n, err := r.Parse([]byte(c.raw[:cut]), Limits{}); c.ok && (n != 0 || err != nil) {
				t.Errorf("%q: %d, %v", c.raw[:cut], n, err)
			}
		}
	}
}

func TestChunks(t *testing.T) {
	raw := "5;a=b\r\nhello\r\n1\r\n \r\n005\r\nworld\r\n0\r\nX: y\r\n\r\nnext"
	for size := 1; size <= len(raw); size++ {
		var c Chunks
		var data []byte
		rest := []byte(raw)
		for !c.Done() {
			piece := rest[:min(size, len(rest))]
			for len(piece) > 0 && !c.Done() {
				d, n, err := c.Next(piece)
				if err != nil {
					t.Fatal(err)
				}
				data, piece, rest = append(data, d...), piece[n:], rest[n:]
			}
		}
		if string(data) != "hello world" || string(rest) != "next" || string(c.Trailers.Get("x")) != "y" {
			t.Errorf("pieces of %d: got %q, rest %q, trailers %q", size, data, rest, c.Trailers.Fields)
		}
	}
}

// What is accepted must mean the same to net/http.
func FuzzRequest(f *testing.F) {
	for _, c := range rawCases {
		f.Add([]byte(c.Raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var r Request
		n, err := r.Parse(raw, Limits{})
		if err != nil || n == 0 {
			return
		}
		theirs, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw[:n])))
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", raw[:n], err)
		}
		compare(t, &r, theirs)
		if r.Chunked {
			compareBody(t, raw[:n], raw[n:])
		}
	})
}

func compare(t *testing.T, r *Request, theirs *http.Request) {
	length := max(r.Length, 0)
	if r.Chunked {
		length = -1
	}
	if string(r.Method) != theirs.Method || string(r.Target) != theirs.RequestURI || string(r.Host()) != theirs.Host ||
		r.Minor != theirs.ProtoMinor || length != theirs.ContentLength || r.Chunked != slices.Equal(theirs.TransferEncoding, []string{"chunked"}) ||
		r.Close != theirs.Close && r.Minor == 1 || string(r.Query) != theirs.URL.RawQuery {
		t.Fatalf("ours %+v, theirs %+v", r, theirs)
	}
	if path := theirs.URL.EscapedPath(); string(r.Target) != "*" && !strings.Contains(string(r.Path), "%") && path != string(r.Path) && theirs.URL.Path != string(r.Path) {
		t.Fatalf("path: ours %q, theirs %q", r.Path, path)
	}
	for name, values := range theirs.Header {
		var ours []string
		for _, f := range r.Fields {
			if fold(f.Name, strings.ToLower(name)) {
				ours = append(ours, string(f.Value))
			}
		}
		if name != "Cache-Control" && !slices.Equal(ours, values) { // which ReadRequest makes of Pragma
			t.Fatalf("%s: ours %q, theirs %q", name, ours, values)
		}
	}
}

// compareBody reads a chunked body both ways.
func compareBody(t *testing.T, head, rest []byte) {
	var c Chunks
	var ours []byte
	body := rest
	for len(rest) > 0 && !c.Done() {
		data, n, err := c.Next(rest)
		if err != nil {
			return
		}
		ours, rest = append(ours, data...), rest[n:]
	}
	if !c.Done() {
		return
	}
	reader := bufio.NewReader(io.MultiReader(bytes.NewReader(head), bytes.NewReader(body)))
	req, err := http.ReadRequest(reader)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := io.ReadAll(req.Body)
	left, _ := io.ReadAll(reader)
	if err != nil || !bytes.Equal(ours, theirs) || !bytes.Equal(left, rest) {
		t.Fatalf("%q: ours %q and then %q, theirs %q and then %q, %v", body, ours, rest, theirs, left, err)
	}
}

func FuzzResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"))
	f.Add([]byte("HTTP/1.0 404 \r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var r Response
		n, err := r.Parse(raw, Limits{})
		if err != nil || n == 0 {
			return
		}
		theirs, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw[:n])), nil)
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", raw[:n], err)
		}
		if r.Status != theirs.StatusCode || r.Minor != theirs.ProtoMinor || r.Chunked != (len(theirs.TransferEncoding) > 0) && r.Body("GET") != NoBody {
			t.Fatalf("ours %+v, theirs %+v", r, theirs)
		}
	})
}

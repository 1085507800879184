package http1

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// What goes out for a request: the request line, Host, then the other fields, which are sorted here, and the body.
func TestTransportRequest(t *testing.T) {
	body := func(text string) io.Reader { return io.MultiReader(strings.NewReader(text)) } // whose length nobody knows
	for _, c := range []struct {
		name   string
		method string
		body   io.Reader
		change func(*http.Request)
		want   string
	}{
		{"plain", "GET", nil, nil, "GET /a?b HTTP/1.1|Host: a||"},
		{"no method", "", nil, func(r *http.Request) { r.Method = "" }, "GET /a?b HTTP/1.1|Host: a||"},
		{"all of a server", "OPTIONS", nil, func(r *http.Request) { r.URL = &url.URL{Scheme: "http", Host: r.URL.Host, Path: "*"} },
			"OPTIONS * HTTP/1.1|Host: a||"},
		{"escapes", "GET", nil, func(r *http.Request) { r.URL.Path, r.URL.RawQuery = "/ä b", "q=%20;x" }, "GET /%C3%A4%20b?q=%20;x HTTP/1.1|Host: a||"},
		{"fields", "GET", nil, func(r *http.Request) {
			r.Header = http.Header{"X": {"1", " 2"}, "Te": {"trailers"}, "y": {"caf\xe9"}, "Z": {""}}
		},
			"GET /a?b HTTP/1.1|Host: a|Te: trailers|X:  2|X: 1|Z: |y: caf\xe9||"},
		{"no agent", "GET", nil, func(r *http.Request) { r.Header.Set("User-Agent", "") }, "GET /a?b HTTP/1.1|Host: a||"},
		{"nothing posted", "POST", nil, nil, "POST /a?b HTTP/1.1|Host: a|Content-Length: 0||"},
		{"length", "POST", strings.NewReader("hello"), nil, "POST /a?b HTTP/1.1|Host: a|Content-Length: 5||hello"},
		{"chunks", "POST", body("hello"), nil, "POST /a?b HTTP/1.1|Host: a|Transfer-Encoding: chunked||5|hello|0||"},
		{"chunks wanted", "POST", strings.NewReader("hello"), func(r *http.Request) { r.TransferEncoding = []string{"chunked"} },
			"POST /a?b HTTP/1.1|Host: a|Transfer-Encoding: chunked||5|hello|0||"},
		{"empty chunked", "PUT", body(""), nil, "PUT /a?b HTTP/1.1|Host: a|Transfer-Encoding: chunked||0||"},
		{"trailers", "PUT", body("hello"), func(r *http.Request) { r.Trailer = http.Header{"T": {"1", "2"}} },
			"PUT /a?b HTTP/1.1|Host: a|Trailer: T|Transfer-Encoding: chunked||5|hello|0|T: 1|T: 2||"},
		{"closes", "GET", nil, func(r *http.Request) { r.Close = true }, "GET /a?b HTTP/1.1|Host: a|Connection: close||"},
		{"other framing", "POST", strings.NewReader("hello"), func(r *http.Request) {
			r.Header = http.Header{"Content-Length": {"7"}, "content-length": {"0"}, "Transfer-Encoding": {"chunked"}, "TRANSFER-ENCODING": {"gzip"},
				"Trailer": {"X"}, "Connection": {"close"}, "Keep-Alive": {"1"}, "Proxy-Connection": {"1"}, "Host": {"evil"}, "host": {"evil"}, "Expect": {"200-ok"}}
		}, "POST /a?b HTTP/1.1|Host: a|Content-Length: 5||hello"},
		{"upgrade", "GET", nil, func(r *http.Request) { r.Header = http.Header{"Connection": {"x, upgrade"}, "Upgrade": {"websocket"}} },
			"GET /a?b HTTP/1.1|Host: a|Connection: Upgrade|Upgrade: websocket||"},
		{"upgrade not asked for", "GET", nil, func(r *http.Request) { r.Header = http.Header{"Connection": {"close"}, "Upgrade": {"websocket"}} },
			"GET /a?b HTTP/1.1|Host: a||"},
		{"upgrade with a body", "POST", strings.NewReader("hello"), func(r *http.Request) {
			r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}
		}, "POST /a?b HTTP/1.1|Host: a|Content-Length: 5||hello"},
		{"nothing to wait for", "GET", nil, func(r *http.Request) { r.Header.Set("Expect", "100-continue") }, "GET /a?b HTTP/1.1|Host: a||"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBackend(t, func(s *spoken) {
				if req, err := http.ReadRequest(s.r); err != nil {
					t.Error(err)
				} else if _, err = io.Copy(io.Discard, req.Body); err != nil {
					t.Error(err)
				}
				io.WriteString(s, "HTTP/1.1 204 No\r\n\r\n")
				s.r.ReadByte()
			})
			tr := newTransport(t, &Transport{})
			req := b.request(c.method, c.body)
			if req.Host = "a"; c.change != nil {
				c.change(req)
			}
			if _, _, err := fetch(tr, req); err != nil {
				t.Fatal(err)
			}
			head, rest, _ := strings.Cut(b.got(), "\r\n\r\n")
			lines := strings.Split(head, "\r\n")
			slices.Sort(lines[2:])
			got := strings.Join(lines, "|") + "||" + strings.ReplaceAll(rest, "\r\n", "|")
			if got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

// Requests of which not a byte goes out.
func TestTransportRefuses(t *testing.T) {
	field := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = []string{value} }
	}
	for name, change := range map[string]func(*http.Request){
		"small method":          func(r *http.Request) { r.Method = "get" },
		"method with a space":   func(r *http.Request) { r.Method = "GET / HTTP/1.1\r\nX: y\r\n\r\nGET" },
		"tunnel":                func(r *http.Request) { r.Method = "CONNECT" },
		"trace":                 func(r *http.Request) { r.Method = "TRACE" },
		"target with a line":    func(r *http.Request) { r.URL.Opaque = "/ HTTP/1.1\r\nX: y" },
		"target with a space":   func(r *http.Request) { r.URL.Opaque = "/a b" },
		"query with a line":     func(r *http.Request) { r.URL.RawQuery = "a HTTP/1.1\r\nX: y" },
		"query with a tab":      func(r *http.Request) { r.URL.RawQuery = "a\tb" },
		"query with high bytes": func(r *http.Request) { r.URL.RawQuery = "\xff" },
		"absolute target":       func(r *http.Request) { r.URL.Opaque = "http://b/" },
		"bad escape":            func(r *http.Request) { r.URL.Opaque = "/%zz" },
		"host with a line":      func(r *http.Request) { r.Host = "a\r\nX: y" },
		"host with a path":      func(r *http.Request) { r.Host = "a/b" },
		"host with blanks":      func(r *http.Request) { r.Host = " a" },
		"name with a line":      field("X: y\r\nZ", "1"),
		"name with a colon":     field("X: y", "1"),
		"name with a space":     field("X ", "1"),
		"empty name":            field("", "1"),
		"length in disguise":    field("Content_Length", "1"),
		"coding in disguise":    field("Transfer_Encoding", "chunked"),
		"value with a line":     field("X", "1\r\nZ: y"),
		"value with a CR":       field("X", "1\r"),
		"value with a LF":       field("X", "1\n Z: y"),
		"value with a NUL":      field("X", "1\x00"),
		"value with a DEL":      field("X", "1\x7f"),
		"coding":                func(r *http.Request) { r.TransferEncoding = []string{"gzip", "chunked"} },
		"protocol with a line": func(r *http.Request) {
			r.Body, r.ContentLength = nil, 0
			r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"x\r\nY: z"}}
		},
		"trailer with a line": func(r *http.Request) { r.ContentLength, r.Trailer = -1, http.Header{"X\r\nY": nil} },
		"framing trailer":     func(r *http.Request) { r.ContentLength, r.Trailer = -1, http.Header{"Content-Length": nil} },
	} {
		body := &watched{Reader: strings.NewReader("hello")}
		req, err := http.NewRequest("POST", "http://b:1/", body)
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = 5
		change(req)
		closes := req.Body != nil
		tr := &Transport{Dial: func(context.Context, string, string) (net.Conn, error) {
			t.Errorf("%s: it connects", name)
			return nil, io.EOF
		}}
		_, err = tr.RoundTrip(req)
		if r, ok := errors.AsType[*Refusal](err); !ok || r.Status >= 502 || body.reads.Load() > 0 || body.closed.Load() != closes {
			t.Errorf("%s: got %v, the body is closed: %v", name, err, body.closed.Load())
		}
	}
	req, _ := http.NewRequest("GET", "https://b:1/", nil)
	if _, err := (&Transport{}).RoundTrip(req); err == nil {
		t.Error("it is not TLS")
	}
}

// What is wrong with a body ends its request, so that the origin does not take it for whole.
func TestTransportBadBody(t *testing.T) {
	why := errors.New("a reason")
	for name, c := range map[string]struct {
		body    io.Reader
		length  int64
		trailer http.Header
		err     error
	}{
		"short":         {strings.NewReader("hell"), 5, nil, io.ErrUnexpectedEOF},
		"long":          {strings.NewReader("hello!"), 5, nil, errLonger},
		"fails":         {io.MultiReader(strings.NewReader("hell"), failing{why}), 5, nil, why},
		"chunked fails": {io.MultiReader(strings.NewReader("hell"), failing{why}), -1, nil, why},
		"no progress":   {failing{nil}, -1, nil, io.ErrNoProgress},
		"bad trailer":   {strings.NewReader("hello"), -1, http.Header{"X": {"1\r\nY: z"}}, badValue},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t, func(s *spoken) {
				req, err := http.ReadRequest(s.r)
				if err == nil {
					_, err = io.Copy(io.Discard, req.Body)
				}
				if err == nil {
					t.Error("the request is whole")
				}
			})
			tr := newTransport(t, &Transport{})
			body := &watched{Reader: c.body}
			req := b.request("PUT", body)
			req.ContentLength, req.Trailer = c.length, c.trailer
			_, err := tr.RoundTrip(req)
			if _, unsent := errors.AsType[*Unsent](err); unsent || !errors.Is(err, c.err) {
				t.Errorf("got %v", err)
			}
			eventually(t, "the body is closed", body.closed.Load)
		})
	}
}

type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }

// An answer before the body is whole is the answer, and the body ends.
func TestTransportEarlyAnswer(t *testing.T) {
	for _, length := range []int64{-1, 1 << 40} {
		b := newBackend(t, func(c *spoken) {
			c.head()
			io.ReadFull(c.r, make([]byte, 100<<10))
			io.WriteString(c, "HTTP/1.1 413 Too much\r\nContent-Length: 4\r\n\r\n")
			io.WriteString(c, "no")
			io.WriteString(c, "no")
			io.Copy(io.Discard, c.r) // until the connection is closed
		})
		tr := newTransport(t, &Transport{})
		body := &watched{Reader: endless{}}
		req := b.request("POST", body)
		req.ContentLength = length
		res, got, err := fetch(tr, req)
		if err != nil || res.StatusCode != 413 || got != "nono" {
			t.Fatalf("got %q, %v", got, err)
		}
		if !body.closed.Load() {
			t.Error("the body is not closed")
		}
		eventually(t, "the connection is closed", func() bool { return b.open.Load() == 0 })
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// A body that waits for its reader is let go by an early answer as well.
func TestTransportEarlyAnswerWhileReading(t *testing.T) {
	b := says(t, "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno", false)
	tr := newTransport(t, &Transport{})
	pipe, w := io.Pipe()
	if res, got, err := fetch(tr, b.request("POST", pipe)); err != nil || got != "no" {
		t.Fatalf("got %v, %q, %v", res, got, err)
	}
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("the body is still read")
	}
	eventually(t, "the connection is closed", func() bool { return b.open.Load() == 0 })
}

// An origin that answers and resets the connection, for it wants no more, is heard.
func TestTransportAnswerAndClose(t *testing.T) {
	b := newBackend(t, func(c *spoken) {
		c.head()
		io.WriteString(c, "HTTP/1.1 413 Too much\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
	})
	tr := newTransport(t, &Transport{})
	pipe, w := io.Pipe()
	var res *http.Response
	var got string
	var err error
	done := make(chan bool)
	go func() { res, got, err = fetch(tr, b.request("POST", pipe)); close(done) }()
	eventually(t, "the origin has closed", func() bool { return b.conns() == 1 && b.open.Load() == 0 })
	for werr := error(nil); werr == nil; { // until it is noticed
		_, werr = w.Write(pattern(1 << 16))
	}
	if <-done; err != nil || res.StatusCode != 413 || got != "no" {
		t.Errorf("got %v, %q, %v", res, got, err)
	}
}

// Both directions pass each piece on at once.
func TestTransportStreams(t *testing.T) {
	b := newBackend(t, func(c *spoken) {
		c.head()
		for _, want := range []string{"1\r\na\r\n", "2\r\nbb\r\n", "0\r\n\r\n"} {
			got := make([]byte, len(want))
			if _, err := io.ReadFull(c.r, got); err != nil || string(got) != want {
				t.Errorf("got %q, %v", got, err)
			}
			io.WriteString(c, "HTTP/1.1 102 Processing\r\n\r\n") // so that the other side knows
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for c.head() == "\r\n" { // the next piece is wanted
			io.WriteString(c, "1\r\nz\r\n")
		}
	})
	tr := newTransport(t, &Transport{})
	pipe, w := io.Pipe()
	got := make(chan int, 10)
	trace := &httptrace.ClientTrace{Got1xxResponse: func(status int, _ textproto.MIMEHeader) error { got <- status; return nil }}
	var own net.Conn
	tr.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		var err error
		own, err = new(net.Dialer).DialContext(ctx, network, address)
		return own, err
	}
	go func() {
		for _, piece := range []string{"a", "bb"} {
			io.WriteString(w, piece)
			<-got
		}
		w.Close()
	}()
	res, err := tr.RoundTrip(b.request("POST", pipe).WithContext(httptrace.WithClientTrace(t.Context(), trace)))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		io.WriteString(own, "\r\n")
		piece := make([]byte, 100)
		if n, err := res.Body.Read(piece); err != nil || string(piece[:n]) != "z" {
			t.Errorf("got %q, %v", piece[:n], err)
		}
	}
	res.Body.Close()
}

// The body waits for the origin's consent, and stays where it is if that does not come.
func TestTransportExpect(t *testing.T) {
	for name, c := range map[string]struct {
		first string
		sent  bool
		kept  bool
	}{
		"consent":                {"HTTP/1.1 100 Continue\r\n\r\n", true, true},
		"consent after a hint":   {"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", true, true},
		"consent said twice":     {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", true, true},
		"an answer":              {"", false, false},
		"an answer after a hint": {"HTTP/1.1 103 Early Hints\r\n\r\n", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t, func(s *spoken) {
				for head := s.head(); head != ""; head = s.head() {
					if !strings.Contains(head, "Expect: 100-continue\r\n") {
						t.Errorf("got %q", head)
					}
					if io.WriteString(s, c.first); c.sent {
						if got := make([]byte, 5); true {
							io.ReadFull(s.r, got)
						}
					}
					io.WriteString(s, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				}
			})
			tr := newTransport(t, &Transport{Continue: patience})
			for range 2 {
				body := &watched{Reader: strings.NewReader("hello")}
				req := b.request("POST", body)
				req.ContentLength = 5
				req.Header.Set("Expect", "100-Continue")
				if _, got, err := fetch(tr, req); got != "ok" || err != nil {
					t.Fatalf("got %q, %v", got, err)
				}
				eventually(t, "the body is closed", body.closed.Load)
				if sent := body.reads.Load() > 0; sent != c.sent {
					t.Errorf("the body was read: %v", sent)
				}
			}
			if kept := b.conns() == 1; kept != c.kept {
				t.Errorf("%d connections", b.conns())
			}
		})
	}
}

// Answers before the final one go to the caller, who may refuse them.
func TestTransportInforms(t *testing.T) {
	b := says(t, "HTTP/1.1 103 Early Hints\r\nLink: a\r\nContent-Length: 5\r\n\r\nHTTP/1.1 204 No\r\n\r\n", false)
	tr := newTransport(t, &Transport{})
	why := errors.New("a reason")
	var calls atomic.Int64
	for _, want := range []error{nil, why} {
		trace := &httptrace.ClientTrace{Got1xxResponse: func(status int, h textproto.MIMEHeader) error {
			if calls.Add(1); status != 103 || h.Get("Link") != "a" || len(h) != 1 {
				t.Errorf("got %d, %v", status, h)
			}
			return want
		}}
		req := b.request("GET", nil)
		if _, _, err := fetch(tr, req.WithContext(httptrace.WithClientTrace(t.Context(), trace))); !errors.Is(err, want) {
			t.Errorf("got %v", err)
		}
	}
	if calls.Load() != 2 {
		t.Errorf("%d calls", calls.Load())
	}
}

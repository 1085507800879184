package artefact_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "bramble/artefact"
	"bramble/fault"
)

func anybody(*http.Request) error { return nil }

// serve serves a handler over TLS and returns a client that trusts it.
func serve(t testing.TB, h http.Handler) *Client {
	t.Helper()
	server := httptest.NewTLSServer(h)
	t.Cleanup(server.Close)
	server.Client().Transport.(*http.Transport).MaxIdleConnsPerHost = 4
	return &Client{HTTP: server.Client(), Base: server.URL, Pause: time.Millisecond}
}

// raw sends a request as it is and returns status, headers and body.
func raw(t testing.TB, c *Client, method, path string, body io.Reader, head ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, c.Base+path, body)
	must(t, err)
	for i := 0; i < len(head); i += 2 {
		req.Header.Set(head[i], head[i+1])
	}
	resp, err := c.HTTP.Do(req)
	must(t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp, string(data)
}

func TestWire(t *testing.T) {
	s := open(t, Options{Budget: 1 << 20})
	c := serve(t, Handler(s, anybody, Limits{Blob: 1000}))
	put(t, s, "hello\n")
	other := RefOf([]byte("other"))
	at := func(r Ref) string { return "/artefact/" + string(r) }
	for _, q := range []struct {
		name, method, path, body string
		head                     []string
		status                   int
		want                     string // body, or a header as Name: value
	}{
		{"get", "GET", at(hello), "", nil, 200, "hello\n"},
		{"get verified", "GET", at(hello), "", []string{"Bramble-Verify", "yes"}, 200, "hello\n"},
		{"range", "GET", at(hello), "", []string{"Range", "bytes=2-3"}, 206, "ll"},
		{"rest", "GET", at(hello), "", []string{"Range", "bytes=4-"}, 206, "o\n"},
		{"beyond", "GET", at(hello), "", []string{"Range", "bytes=7-"}, 416, "Content-Range: bytes */6"},
		{"none", "GET", at(other), "", nil, 404, ""},
		{"not a ref", "GET", "/artefact/passwd", "", nil, 400, ""},
		{"up", "GET", "/artefact/..%2f..%2fetc", "", nil, 400, ""},
		{"head", "HEAD", at(hello), "", nil, 200, "Content-Length: 6"},
		{"head of none", "HEAD", at(other), "", nil, 404, "Bramble-Have: 0"},
		{"put wrong", "PUT", at(other), "OTHER", nil, 422, ""},
		{"put from the middle", "PUT", at(other), "her", []string{"Bramble-Offset", "2"}, 409, "Bramble-Have: 0"},
		{"put at nonsense", "PUT", at(other), "her", []string{"Bramble-Offset", "-2"}, 400, ""},
		{"put too long", "PUT", at(other), strings.Repeat("x", 1001), nil, 507, ""},
		{"put too far", "PUT", at(other), "x", []string{"Bramble-Offset", strconv.FormatInt(1<<62, 10)}, 507, ""},
		{"put as a pin", "PUT", "/artefact/pins", "x", nil, 400, ""},
		{"put", "PUT", at(other), "other", nil, 201, ""},
		{"put again", "PUT", at(other), "other", nil, 200, ""},
		{"put empty", "PUT", at(empty), "", nil, 200, ""},
		{"missing", "POST", "/artefact/missing", fmt.Sprintf("[%q,%q]", hello, RefOf([]byte("x"))), nil, 200, fmt.Sprintf("[%q]", RefOf([]byte("x")))},
		{"missing none", "POST", "/artefact/missing", "[]", nil, 200, "[]"},
		{"missing nonsense", "POST", "/artefact/missing", "{", nil, 400, ""},
		{"missing a path", "POST", "/artefact/missing", `["../x"]`, nil, 400, ""},
		{"missing many", "POST", "/artefact/missing", "[" + strings.Repeat(`"x",`, MaxMissing) + `"x"]`, nil, 413, ""},
		{"missing long", "POST", "/artefact/missing", `["` + strings.Repeat("x", 1<<20), nil, 413, ""},
		{"delete", "DELETE", at(hello), "", nil, 405, ""},
	} {
		resp, body := raw(t, c, q.method, q.path, strings.NewReader(q.body), q.head...)
		name, value, isHeader := strings.Cut(q.want, ": ")
		if resp.StatusCode != q.status || q.want != "" && !isHeader && body != q.want || isHeader && resp.Header.Get(name) != value {
			t.Errorf("%s: %s, %v, %q; want %d, %q", q.name, resp.Status, resp.Header, body, q.status, q.want)
		}
	}
	resp, _ := raw(t, c, "PUT", at(RefOf([]byte("x"))), io.MultiReader(strings.NewReader("x"))) // of unknown length
	if resp.StatusCode != http.StatusLengthRequired {
		t.Errorf("put without a length: %s", resp.Status)
	}
}

func TestAllow(t *testing.T) {
	s := open(t, Options{})
	put(t, s, "hello\n")
	readers := func(r *http.Request) error {
		switch {
		case r.Header.Get("Authorization") != "":
			return errors.New("no passwords here")
		case r.Method == http.MethodPut:
			return fault.New(fault.Denied, "viewers may not upload").Hint("ask an operator")
		}
		return nil
	}
	c := serve(t, Handler(s, readers, Limits{}))
	_, err := c.Upload(t.Context(), s, Manifest{Entries: []Entry{file("a")}}, nil)
	if !fault.Is(err, fault.Denied) || fault.Of(err).Try != "ask an operator" || !strings.Contains(err.Error(), "viewers may not upload") {
		t.Errorf("upload: %v", err)
	}
	must(t, c.Fetch(t.Context(), open(t, Options{}), []Blob{{hello, 6}}, nil))
	if resp, _ := raw(t, c, "GET", "/artefact/"+string(hello), nil, "Authorization", "x"); resp.StatusCode != http.StatusForbidden {
		t.Errorf("a plain error: %s", resp.Status)
	}
	if files(t, t.TempDir(), ".") != 0 || s.Have(hello) != 0 {
		t.Error("something was written")
	}
}

// watch collects progress and checks that it makes sense.
type watch struct {
	t           testing.TB
	inside      atomic.Bool
	calls       int
	done, total int64
}

func (w *watch) tell(done, total int64) {
	if w.inside.Swap(true) {
		w.t.Error("progress calls overlap")
	}
	defer w.inside.Store(false)
	if done < 0 || total > 0 && done > total {
		w.t.Errorf("progress %d of %d", done, total)
	}
	w.calls++
	w.done, w.total = done, total
}

func TestTransfer(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	plant(t, from, map[string]string{"d/a": "a", "d/e/b": string(noise(1, 3<<20)), "d/empty": "", "d/same": "a", "d/l": "-> a"})
	head, node := open(t, Options{}), open(t, Options{})
	c := serve(t, Handler(head, anybody, Limits{}))
	tree := scan(t, from+"/d")
	up, down := &watch{t: t}, &watch{t: t}
	ref, err := c.Upload(t.Context(), tree, tree.Manifest, up.tell)
	must(t, err)
	m, err := c.FetchTree(t.Context(), node, ref, down.tell)
	must(t, err)
	must(t, Place(t.Context(), node, m, to, PlaceOptions{}))
	if got, want := show(t, to), show(t, from); !slices.Equal(got, want) {
		t.Errorf("arrived:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	const size = 3<<20 + 1
	if up.done != size || up.total != size || down.done != size || down.total != size {
		t.Errorf("progress: up %d of %d, down %d of %d; want %d", up.done, up.total, down.done, down.total, size)
	}

	// The second time nothing moves.
	counted := &counter{Handler: Handler(head, anybody, Limits{})}
	c = serve(t, counted)
	again, err := c.Upload(t.Context(), tree, tree.Manifest, up.tell)
	must(t, err)
	_, err = c.FetchTree(t.Context(), node, ref, nil)
	must(t, err)
	if again != ref || counted.bytes.Load() != 0 {
		t.Errorf("%d bytes moved for nothing", counted.bytes.Load())
	}
	// The smallest change moves one file.
	must(t, os.WriteFile(from+"/d/a", []byte("A"), 0o644))
	changed := scan(t, from+"/d")
	next, err := c.Upload(t.Context(), changed, changed.Manifest, nil)
	must(t, err)
	if n := counted.bytes.Load(); n > 2000 || next == ref {
		t.Errorf("%d bytes moved for one", n)
	}
}

// counter counts bytes of blobs that come in.
type counter struct {
	http.Handler
	bytes atomic.Int64
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPut {
		r.Body = &countedBody{r.Body, &c.bytes}
	}
	c.Handler.ServeHTTP(w, r)
}

type countedBody struct {
	io.ReadCloser
	n *atomic.Int64
}

func (c *countedBody) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// cutter is a listener whose first connections break after so many bytes in either direction.
type cutter struct {
	net.Listener
	after int64
	left  atomic.Int64 // connections to break
	cuts  atomic.Int64
}

func (c *cutter) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil || c.left.Add(-1) < 0 {
		return conn, err
	}
	return &cutConn{Conn: conn, c: c}, nil
}

type cutConn struct {
	net.Conn
	c    *cutter
	n    atomic.Int64
	once sync.Once
}

func (c *cutConn) pass(n int) {
	if c.n.Add(int64(n)) > c.c.after {
		c.once.Do(func() {
			c.c.cuts.Add(1)
			c.Conn.Close()
		})
	}
}

func (c *cutConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.pass(n)
	return n, err
}

func (c *cutConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.pass(n)
	return n, err
}

// serveCut serves through a cutter.
func serveCut(t testing.TB, h http.Handler, after, breaks int64) (*Client, *cutter) {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	cut := &cutter{Listener: server.Listener, after: after}
	cut.left.Store(breaks)
	server.Listener = cut
	server.StartTLS()
	t.Cleanup(server.Close)
	return &Client{HTTP: server.Client(), Base: server.URL, Pause: time.Millisecond, Tries: 3}, cut
}

func TestBrokenConnections(t *testing.T) {
	data := noise(7, 8<<20)
	src := open(t, Options{})
	put(t, src, string(data))
	m := Manifest{Entries: []Entry{{Path: "f", Mode: 0o644, Size: int64(len(data)), Ref: RefOf(data)}}}

	head := open(t, Options{})
	counted := &counter{Handler: Handler(head, anybody, Limits{})}
	c, cut := serveCut(t, counted, 1<<20, 5) // more breaks than tries: what moves counts
	w := &watch{t: t}
	ref, err := c.Upload(t.Context(), src, m, w.tell)
	must(t, err)
	if n := counted.bytes.Load(); cut.cuts.Load() != 5 || n > int64(len(data))+5*(256<<10)+64<<10 { // with each cut a piece that had not come whole
		t.Errorf("upload: %d cuts, %d bytes arrived for %d", cut.cuts.Load(), n, len(data))
	}
	if w.done != int64(len(data)) || w.total != w.done {
		t.Errorf("progress %d of %d", w.done, w.total)
	}

	node := open(t, Options{})
	served := &sentBytes{Handler: Handler(head, anybody, Limits{})}
	c, cut = serveCut(t, served, 1<<20, 5)
	w = &watch{t: t}
	_, err = c.FetchTree(t.Context(), node, ref, w.tell)
	must(t, err)
	if cut.cuts.Load() != 5 || served.ranges.Load() == 0 {
		t.Errorf("fetch: %d cuts, %d ranges", cut.cuts.Load(), served.ranges.Load())
	}
	must(t, node.Verify(t.Context(), RefOf(data)))

	// A connection that breaks for ever ends with an error that says so, and leaves what came.
	node = open(t, Options{})
	c, _ = serveCut(t, Handler(head, anybody, Limits{}), 100, 1<<40)
	err = c.Fetch(t.Context(), node, []Blob{{RefOf(data), int64(len(data))}}, nil)
	if !fault.Is(err, fault.Unreachable) || !strings.Contains(err.Error(), string(RefOf(data)[:12])) {
		t.Errorf("broken for ever: %v", err)
	}
	c = &Client{HTTP: http.DefaultClient, Base: "http://127.0.0.1:1", Pause: time.Millisecond}
	if _, err := c.Missing(t.Context(), []Ref{hello}); !fault.Is(err, fault.Unreachable) || fault.Of(err).Try == "" {
		t.Errorf("nobody there: %v", err)
	}
}

// sentBytes counts requests for ranges.
type sentBytes struct {
	http.Handler
	ranges atomic.Int64
}

func (s *sentBytes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Range") != "" {
		s.ranges.Add(1)
	}
	s.Handler.ServeHTTP(w, r)
}

func TestSilentServer(t *testing.T) {
	stop := make(chan struct{})
	asked := 0
	c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		w.Header().Set("Content-Length", "6")
		w.Write([]byte("he"))
		w.(http.Flusher).Flush()
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	}))
	defer close(stop)
	c.Idle, c.Tries = 50*time.Millisecond, 2
	s := open(t, Options{})
	err := c.Fetch(t.Context(), s, []Blob{{hello, 6}}, nil)
	if !fault.Is(err, fault.Unreachable) || !strings.Contains(err.Error(), "silent") || asked < 2 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}

func TestSilentClient(t *testing.T) {
	s := open(t, Options{})
	server := httptest.NewServer(Handler(s, anybody, Limits{Transfers: 1, Idle: 50 * time.Millisecond}))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	must(t, err)
	defer conn.Close()
	fmt.Fprintf(conn, "PUT /artefact/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nhe", hello)
	if _, err := io.ReadAll(conn); err != nil { // ends when the server has had enough
		t.Error(err)
	}
	c := &Client{HTTP: server.Client(), Base: server.URL, Pause: time.Millisecond}
	src := open(t, Options{})
	put(t, src, "hello\n")
	_, err = c.Upload(t.Context(), src, Manifest{Entries: []Entry{file("a")}}, nil) // the slot is free again, and so is the blob
	must(t, err)
}

func TestLyingServer(t *testing.T) {
	big := noise(3, 1<<20)
	bad := bytes.Clone(big)
	bad[len(bad)/2] ^= 1
	ref := RefOf(big)
	endless := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(bad); err != nil {
				return
			}
		}
	}
	for name, c := range map[string]struct {
		honestFrom int // which request gets the truth; 0: none
		size       int64
		lie        http.HandlerFunc
	}{
		"one wrong bit":            {0, 1 << 20, func(w http.ResponseWriter, r *http.Request) { w.Write(bad) }},
		"one wrong bit, then none": {2, 1 << 20, func(w http.ResponseWriter, r *http.Request) { w.Write(bad) }},
		"wrong bit, size unknown":  {0, -1, func(w http.ResponseWriter, r *http.Request) { w.Write(bad) }},
		"endless":                  {0, 1 << 20, endless},
		"endless, then honest":     {3, 1 << 20, endless},
		"too short": {0, 1 << 20, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "9")
			w.Write(bad[:9])
		}},
		"another range": {0, 1 << 20, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", "bytes 5-9/10")
			w.WriteHeader(206)
			w.Write(bad[:5])
		}},
	} {
		s := open(t, Options{})
		honest := open(t, Options{})
		put(t, honest, string(big))
		truth := Handler(honest, anybody, Limits{})
		var asked atomic.Int64
		client := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n := int(asked.Add(1)); c.honestFrom > 0 && n >= c.honestFrom {
				if r.Header.Get("Bramble-Verify") == "" {
					t.Errorf("%s: after wrong bytes the server was not asked to verify", name)
				}
				truth.ServeHTTP(w, r)
				return
			}
			c.lie(w, r)
		}))
		err := client.Fetch(t.Context(), s, []Blob{{ref, c.size}}, nil)
		missing := len(s.Has([]Ref{ref}))
		if c.honestFrom > 0 {
			if err != nil || missing != 0 || s.Verify(t.Context(), ref) != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.Is(err, ErrMismatch) || !fault.Is(err, fault.Failed) || !strings.Contains(err.Error(), string(ref[:12])) {
			t.Errorf("%s: %v", name, err)
		}
		if missing != 1 || s.Used() != 0 || asked.Load() != 3 {
			t.Errorf("%s: missing %d, used %d, asked %d times", name, missing, s.Used(), asked.Load())
		}
	}
}

// TestDamageAtTheServer: the server finds its own damage when a client doubts it.
func TestDamageAtTheServer(t *testing.T) {
	dir := t.TempDir()
	head := openIn(t, dir, Options{})
	ref := put(t, head, "hello\n")
	must(t, os.WriteFile(blobPath(dir, ref), []byte("hellO\n"), 0o600))
	c := serve(t, Handler(head, anybody, Limits{}))
	node := open(t, Options{})
	err := c.Fetch(t.Context(), node, []Blob{{ref, 6}}, nil)
	if !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("fetch: %v", err)
	}
	src := open(t, Options{})
	put(t, src, "hello\n")
	_, err = c.Upload(t.Context(), src, Manifest{Entries: []Entry{file("a")}}, nil)
	must(t, err)
	must(t, c.Fetch(t.Context(), node, []Blob{{ref, 6}}, nil))
}

func TestPoisonedPartials(t *testing.T) {
	data := noise(9, 1<<20)
	ref := RefOf(data)
	poison := func(s *Store, n int) {
		p, err := s.Resume(t.Context(), ref)
		must(t, err)
		_, err = p.Append(t.Context(), bytes.NewReader(make([]byte, n)))
		must(t, err)
		must(t, p.Close())
	}
	src := open(t, Options{})
	put(t, src, string(data))
	m := Manifest{Entries: []Entry{{Path: "f", Mode: 0o644, Size: int64(len(data)), Ref: ref}}}
	for _, n := range []int{10, len(data), len(data) + 10} {
		head, node := open(t, Options{}), open(t, Options{})
		c := serve(t, Handler(head, anybody, Limits{}))
		poison(head, n)
		_, err := c.Upload(t.Context(), src, m, nil)
		must(t, err)
		poison(node, n)
		must(t, c.Fetch(t.Context(), node, m.Blobs(), nil))
		must(t, head.Verify(t.Context(), ref))
		must(t, node.Verify(t.Context(), ref))
	}
}

func TestFullServerAndClient(t *testing.T) {
	data := noise(2, 1<<20)
	src := open(t, Options{})
	put(t, src, string(data))
	m := Manifest{Entries: []Entry{{Path: "f", Mode: 0o644, Size: int64(len(data)), Ref: RefOf(data)}}}
	small := open(t, Options{Budget: 1000})
	if _, err := serve(t, Handler(small, anybody, Limits{})).Upload(t.Context(), src, m, nil); !fault.Is(err, fault.Full) || small.Used() != 0 {
		t.Errorf("upload: %v, %d used", err, small.Used())
	}
	for _, size := range []int64{int64(len(data)), -1} {
		err := serve(t, Handler(src, anybody, Limits{})).Fetch(t.Context(), small, []Blob{{RefOf(data), size}}, nil)
		if !fault.Is(err, fault.Full) || small.Used() > 1000 {
			t.Errorf("fetch: %v, %d used", err, small.Used())
		}
	}
}

func TestSenderIsDamagedOrChanges(t *testing.T) {
	dir := t.TempDir()
	src := openIn(t, dir, Options{})
	ref := put(t, src, "hello\n")
	must(t, os.WriteFile(blobPath(dir, ref), []byte("hellO\n"), 0o600))
	head := open(t, Options{})
	c := serve(t, Handler(head, anybody, Limits{}))
	if _, err := c.Upload(t.Context(), src, Manifest{Entries: []Entry{file("a")}}, nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("damaged: %v", err)
	}
	path := filepath.Join(t.TempDir(), "f")
	must(t, os.WriteFile(path, []byte("hello\n"), 0o644))
	tree := scan(t, path)
	must(t, os.WriteFile(path, []byte("hello, hello\n"), 0o644))
	if _, err := c.Upload(t.Context(), tree, tree.Manifest, nil); !fault.Is(err, fault.Conflict) {
		t.Errorf("changed: %v", err)
	}
	if head.Used() != 0 {
		t.Errorf("the head holds %d bytes of it", head.Used())
	}
}

func TestBusyServer(t *testing.T) {
	s := open(t, Options{})
	var blobs []Blob
	for i := range 20 {
		text := string(noise(uint64(i), 50_000))
		blobs = append(blobs, Blob{put(t, s, text), int64(len(text))})
	}
	release := make(chan struct{})
	inner := Handler(s, anybody, Limits{Transfers: 1})
	var refused atomic.Int64
	c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &statusOnly{ResponseWriter: w, hold: release}
		inner.ServeHTTP(rec, r)
		if rec.status == http.StatusTooManyRequests {
			if w.Header().Get("Retry-After") != "1" {
				t.Error("busy, but no word when to come back")
			}
			if refused.Add(1) == 1 {
				close(release)
			}
		}
	}))
	c.Busy = time.Minute
	must(t, c.Fetch(t.Context(), open(t, Options{}), blobs, nil))
	if refused.Load() == 0 {
		t.Error("nobody was refused")
	}
}

// statusOnly holds the first blob back until another request was refused.
type statusOnly struct {
	http.ResponseWriter
	hold   chan struct{}
	status int
}

func (s *statusOnly) WriteHeader(code int) {
	s.status = code
	if code == http.StatusOK {
		<-s.hold
	}
	s.ResponseWriter.WriteHeader(code)
}

func (s *statusOnly) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// TestSameBlobFromManySides: uploads and downloads of one blob at the same time help each other.
func TestSameBlobFromManySides(t *testing.T) {
	data := noise(11, 4<<20)
	src := open(t, Options{})
	put(t, src, string(data))
	m := Manifest{Entries: []Entry{{Path: "f", Mode: 0o644, Size: int64(len(data)), Ref: RefOf(data)}}}
	head, node := open(t, Options{}), open(t, Options{})
	counted := &counter{Handler: Handler(head, anybody, Limits{Wait: 10 * time.Millisecond})}
	c := serve(t, counted)
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			ref, err := c.Upload(t.Context(), src, m, nil)
			if err == nil {
				_, err = c.FetchTree(t.Context(), node, ref, nil)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := counted.bytes.Load(); n > 2*int64(len(data)) {
		t.Errorf("%d bytes arrived for %d", n, len(data))
	}
	if more := head.Used() - node.Used(); more < 0 || more > 8<<10 { // the head also keeps how the blob is cut
		t.Errorf("node %d, head %d", node.Used(), head.Used())
	}
}

func TestCancelledTransfer(t *testing.T) {
	src, node := open(t, Options{}), open(t, Options{})
	data := noise(12, 8<<20)
	put(t, src, string(data))
	c := serve(t, Handler(src, anybody, Limits{}))
	ctx, stop := context.WithCancel(t.Context())
	err := c.Fetch(ctx, node, []Blob{{RefOf(data), int64(len(data))}}, func(done, _ int64) {
		if done > 1<<20 {
			stop()
		}
	})
	if !errors.Is(err, context.Canceled) || node.Have(RefOf(data)) == 0 {
		t.Errorf("%v; %d bytes stay", err, node.Have(RefOf(data)))
	}
	must(t, c.Fetch(t.Context(), node, []Blob{{RefOf(data), int64(len(data))}}, nil))
}

func TestLargeFileNeedsLittleMemory(t *testing.T) {
	const size = 200 << 20
	from, to := t.TempDir(), t.TempDir()
	f, err := os.Create(from + "/large")
	must(t, err)
	block := noise(13, 1<<20)
	for i := range size >> 20 {
		block[0] = byte(i)
		_, err := f.Write(block)
		must(t, err)
	}
	must(t, f.Close())
	head, node := open(t, Options{}), open(t, Options{})
	c := serve(t, Handler(head, anybody, Limits{}))
	runtime.GC()
	var now runtime.MemStats
	var peak uint64
	sample := func(int64, int64) {
		runtime.ReadMemStats(&now)
		peak = max(peak, now.HeapInuse)
	}
	tree := scan(t, from+"/large")
	sample(0, 0)
	ref, err := c.Upload(t.Context(), tree, tree.Manifest, sample)
	must(t, err)
	m, err := c.FetchTree(t.Context(), node, ref, sample)
	must(t, err)
	must(t, Place(t.Context(), node, m, to, PlaceOptions{}))
	if sample(0, 0); peak > 32<<20 {
		t.Errorf("%d bytes in memory to move %d", peak, size)
	}
	if a, b := tree.Manifest.Entries[0].Ref, scan(t, to+"/large").Manifest.Entries[0].Ref; a != b {
		t.Errorf("%s became %s", a, b)
	}
}

func TestTenThousandSmallFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("short: it takes seconds; make test runs it")
	}
	const count = 10_000
	from, to := t.TempDir(), t.TempDir()
	for i := range count {
		if i%1000 == 0 {
			must(t, os.Mkdir(fmt.Sprintf("%s/%d", from, i/1000), 0o755))
		}
		must(t, os.WriteFile(fmt.Sprintf("%s/%d/%d", from, i/1000, i), []byte(strconv.Itoa(i)), 0o644))
	}
	head, node := open(t, Options{}), open(t, Options{})
	c := serve(t, Handler(head, anybody, Limits{}))
	tree := scan(t, from+"/.")
	start := time.Now()
	ref, err := c.Upload(t.Context(), tree, tree.Manifest, nil)
	must(t, err)
	sent := time.Now()
	m, err := c.FetchTree(t.Context(), node, ref, nil)
	must(t, err)
	came := time.Now()
	must(t, Place(t.Context(), node, m, to, PlaceOptions{NoSync: true}))
	t.Logf("upload %v, fetch %v, place %v", sent.Sub(start), came.Sub(sent), time.Since(came))
	if got := scan(t, to+"/.").Manifest; fmt.Sprint(got) != fmt.Sprint(tree.Manifest) {
		t.Error("another tree arrived")
	}
}

package http1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// backend is an origin server whose answers are raw bytes. It logs the raw bytes that it gets.
type backend struct {
	t    testing.TB
	ln   net.Listener
	addr string
	open atomic.Int64

	mu  sync.Mutex
	log []*bytes.Buffer // by connection
}

// spoken is a connection with a backend, from its side.
type spoken struct {
	net.Conn
	r *bufio.Reader
}

// newBackend starts an origin which serves a connection until its function returns.
func newBackend(t testing.TB, serve func(c *spoken)) *backend {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{t: t, ln: ln, addr: ln.Addr().String()}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			b.open.Add(1)
			log := &bytes.Buffer{}
			b.mu.Lock()
			b.log = append(b.log, log)
			b.mu.Unlock()
			running.Go(func() {
				defer b.open.Add(-1)
				defer conn.Close()
				serve(&spoken{conn, bufio.NewReader(io.TeeReader(conn, &locked{&b.mu, log}))})
			})
		}
	})
	t.Cleanup(func() { ln.Close(); running.Wait() })
	return b
}

type locked struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// conns is the number of connections there were.
func (b *backend) conns() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.log)
}

// got is all that came, over all connections.
func (b *backend) got() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all strings.Builder
	for _, log := range b.log {
		all.Write(log.Bytes())
	}
	return all.String()
}

// head reads a request's head; empty is the end.
func (c *spoken) head() string {
	var head strings.Builder
	for {
		text, err := c.r.ReadString('\n')
		if err != nil {
			return ""
		}
		if head.WriteString(text); text == "\r\n" {
			return head.String()
		}
	}
}

// says answers each request with the same bytes, and then closes the connection if close is true.
func says(t *testing.T, answer string, close bool) *backend {
	return newBackend(t, func(c *spoken) {
		for c.head() != "" {
			if io.WriteString(c, answer); close {
				return
			}
		}
	})
}

// newTransport checks after the test that nothing of the transport is left.
func newTransport(t *testing.T, tr *Transport) *Transport {
	t.Cleanup(func() {
		tr.CloseIdle()
		eventually(t, "no goroutine, request or connection is left", func() bool {
			buf := make([]byte, 1<<20)
			tr.mu.Lock()
			defer tr.mu.Unlock()
			return !strings.Contains(string(buf[:runtime.Stack(buf, true)]), "http1.(*trip)") && len(tr.trips)+len(tr.idle) == 0
		})
	})
	return tr
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	(&served{t: t}).until(what, ok)
}

// request is for a backend.
func (b *backend) request(method string, body io.Reader) *http.Request {
	b.t.Helper()
	req, err := http.NewRequest(method, "http://"+b.addr+"/a?b", body)
	if err != nil {
		b.t.Fatal(err)
	}
	return req
}

// fetch does a request and reads its answer.
func fetch(tr *Transport, req *http.Request) (*http.Response, string, error) {
	res, err := tr.RoundTrip(req)
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	return res, string(body), err
}

// isSame compares errors, refusals by their reason.
func isSame(got, want error) bool {
	if r, ok := errors.AsType[*Refusal](got); ok && want != nil {
		return r.Status == 502 && r.Reason == want.Error()
	}
	return errors.Is(got, want)
}

// What origins answer, and what comes of it.
func TestTransportAnswers(t *testing.T) {
	cases := []struct {
		name, method, answer string
		close                bool
		body                 string
		kept                 bool  // the connection is used again
		err                  error // of the body, unless early
		early                bool  // there is no response
	}{
		{"by length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello", false, "hello", true, nil, false},
		{"empty", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, "", true, nil, false},
		{"chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;a=b\r\n ok\r\n0\r\nT: u\r\n\r\n", false, "hello ok", true, nil, false},
		{"until the end", "GET", "HTTP/1.1 200 OK\r\n\r\nhello", true, "hello", false, nil, false},
		{"old version", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, "hello", false, nil, false},
		{"old version, kept", "GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", false, "hello", true, nil, false},
		{"says that it closes", "GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", false, "hello", false, nil, false},
		{"HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false, "", true, nil, false},
		{"HEAD, chunked", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, "", true, nil, false},
		{"HEAD with a body", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, "", false, nil, false},
		{"not modified", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false, "", true, nil, false},
		{"no content", "GET", "HTTP/1.1 204 No Content\r\n\r\n", false, "", true, nil, false},
		{"interim answers", "GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX: z\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!", false, "!", true, nil, false},
		{"more than its length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!", false, "hello", false, nil, false},
		{"another answer", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", false, "hello", false, nil, false},
		{"more than its chunks", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n", false, "ok", false, nil, false},
		{"a body behind no content", "GET", "HTTP/1.1 204 No Content\r\n\r\nhello", false, "", false, nil, false},
		{"more than nothing", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nhello", false, "", false, nil, false},
		{"less than its length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", true, "hell", false, io.ErrUnexpectedEOF, false},
		{"chunks without an end", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", true, "hello", false, io.ErrUnexpectedEOF, false},
		{"half a chunk", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", true, "he", false, io.ErrUnexpectedEOF, false},
		{"bad chunk", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0x5\r\nhello\r\n", false, "hello", false, badChunk, false},
		{"long chunk", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n", false, "hello", false, badChunkEnd, false},
		{"framing trailer", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 4\r\n\r\n", false, "", false, badTrailer, false},
		{"closes without an answer", "GET", "", true, "", false, io.ErrUnexpectedEOF, true},
		{"half a head", "GET", "HTTP/1.1 200 OK\r\nContent-Le", true, "", false, io.ErrUnexpectedEOF, true},
		{"garbage", "GET", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x01\x02\x03", false, "", false, badStatusLine, true},
		{"HTTP/0.9", "GET", "<html>hello</html>\r\n", false, "", false, badStatusLine, true},
		{"short HTTP/0.9", "GET", "hello\n", true, "", false, badStatusLine, true},
		{"two lengths", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", false, "", false, twoLengths, true},
		{"one length twice", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", false, "", false, twoLengths, true},
		{"length and chunks", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false, "", false, bothLengths, true},
		{"negative length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", false, "", false, badLength, true},
		{"folded", "GET", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n", false, "", false, folded, true},
		{"bare LF", "GET", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", false, "", false, badValue, true},
		{"one bare LF", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\n\r\n", false, "", false, badValue, true},
		{"NUL", "GET", "HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n", false, "", false, badValue, true},
		{"endless head", "GET", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 1<<20), false, "", false, longHead, true},
		{"changes the protocol", "GET", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", false, "", false, ErrUnasked, true},
		{"endless interim answers", "GET", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 100), false, "", false, ErrUnasked, true},
		{"nothing but an interim answer", "GET", "HTTP/1.1 103 Early Hints\r\n\r\n", true, "", false, io.ErrUnexpectedEOF, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := says(t, c.answer, c.close)
			tr := newTransport(t, &Transport{})
			for range 2 {
				req := b.request(c.method, nil)
				res, err := tr.RoundTrip(req)
				if c.early {
					long := c.err == longHead && isSame(err, longLine) // whichever the reads show first
					if !isSame(err, c.err) && !long || res != nil {
						t.Fatalf("got %v, %v", res, err)
					}
					if _, unsent := errors.AsType[*Unsent](err); unsent {
						t.Fatalf("%v is said not to have been sent", err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(res.Body)
				if string(body) != c.body || !isSame(err, c.err) || res.Request != req {
					t.Fatalf("got %q, %v", body, err)
				}
				res.Body.Close()
			}
			if got := b.conns(); c.kept != (got == 1) {
				t.Errorf("two requests took %d connections", got)
			}
			if want := fmt.Sprintf("%s /a?b HTTP/1.1\r\nHost: %s\r\n\r\n", c.method, b.addr); b.got() != want+want {
				t.Errorf("the origin was asked %q", b.got())
			}
		})
	}
}

// What net/http's Response says.
func TestTransportResponse(t *testing.T) {
	for _, c := range []struct {
		method, answer, want string
	}{
		{"GET", "HTTP/1.1 200 Fine so\r\nx-y: 1\r\nX-Y: 2\r\nSet-Cookie: a\r\nContent-Length: 2\r\n\r\nok",
			"200 Fine so HTTP/1.1 2 [] map[Content-Length:[2] Set-Cookie:[a] X-Y:[1 2]] map[] close false"},
		{"GET", "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\nTrailer: a, b\r\n\r\n0\r\na: 1\r\na: 2\r\nc: 3\r\n\r\n",
			"200  HTTP/1.1 -1 [chunked] map[] map[A:[1 2] B:[] C:[3]] close false"},
		{"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", "200 OK HTTP/1.1 500 [] map[Content-Length:[500]] map[] close false"},
		{"GET", "HTTP/1.0 404 No\r\n\r\n", "404 No HTTP/1.0 -1 [] map[] map[] close true"},
		{"GET", "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", "204 No HTTP/1.1 0 [] map[] map[] close false"},
		{"GET", "HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n", "304 No HTTP/1.1 0 [] map[Content-Length:[5]] map[] close false"},
	} {
		b := says(t, c.answer, true)
		tr := newTransport(t, &Transport{})
		res, _, err := fetch(tr, b.request(c.method, nil))
		if err != nil {
			t.Error(err)
			continue
		}
		got := fmt.Sprint(res.Status, " ", res.Proto, " ", res.ContentLength, " ", res.TransferEncoding, " ", res.Header, " ", res.Trailer, " close ", res.Close)
		if got != c.want {
			t.Errorf("%q:\ngot  %s\nwant %s", c.answer, got, c.want)
		}
	}
}

// peek reports whether something waits to be read from a connection that is kept, or it has ended.
func peek(t *testing.T, tr *Transport, addr string) bool {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, w := range tr.idle[addr] {
		var some bool
		w.raw.Read(func(fd uintptr) bool {
			_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
			some = err == nil
			return true
		})
		return some
	}
	t.Fatal("no connection was kept")
	return false
}

// What an origin sends while nobody asked, and its end, are noticed before the connection is used again.
func TestTransportIdle(t *testing.T) {
	for _, more := range []string{"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", "\r\n", ""} {
		goOn := make(chan bool)
		b := newBackend(t, func(c *spoken) {
			c.head()
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
			if <-goOn; more != "" {
				io.WriteString(c, more)
				c.head()
			}
		})
		tr := newTransport(t, &Transport{})
		for n := range 3 {
			if _, body, err := fetch(tr, b.request("POST", nil)); body != "good" || err != nil {
				t.Fatalf("got %q, %v", body, err)
			}
			goOn <- true
			eventually(t, "it has come", func() bool { return peek(t, tr, b.addr) })
			if b.conns() != n+1 {
				t.Errorf("%d requests took %d connections", n+1, b.conns())
			}
		}
	}
}

// A connection that ends once the request is on its way: what may be done twice is, once.
func TestTransportStale(t *testing.T) {
	for _, c := range []struct {
		method  string
		body    string
		getBody bool
		fresh   bool // an origin's new connections answer
		asked   int  // requests that came after the first
		err     error
	}{
		{"GET", "", false, true, 2, nil},
		{"GET", "", false, false, 2, io.ErrUnexpectedEOF},
		{"HEAD", "", false, true, 2, nil},
		{"DELETE", "", false, true, 2, nil},
		{"PUT", "hello", true, true, 2, nil},
		{"PUT", "hello", false, true, 1, io.ErrUnexpectedEOF},
		{"POST", "hello", true, true, 1, io.ErrUnexpectedEOF},
		{"POST", "", false, true, 1, io.ErrUnexpectedEOF},
		{"PATCH", "", false, true, 1, io.ErrUnexpectedEOF},
	} {
		t.Run(fmt.Sprint(c.method, c.body, c.getBody, c.fresh), func(t *testing.T) {
			var asked atomic.Int64
			b := newBackend(t, func(c1 *spoken) {
				for n := 0; ; n++ {
					req, err := http.ReadRequest(c1.r)
					if err != nil {
						return
					}
					body, err := io.ReadAll(req.Body)
					if number := asked.Add(1); n > 0 || number > 1 && !c.fresh {
						return
					} else if number > 1 && (string(body) != c.body || err != nil) {
						t.Errorf("the origin got %q, %v", body, err)
					}
					io.WriteString(c1, "HTTP/1.1 204 No\r\n\r\n")
				}
			})
			tr := newTransport(t, &Transport{})
			if _, _, err := fetch(tr, b.request("GET", nil)); err != nil {
				t.Fatal(err)
			}
			req := b.request(c.method, strings.NewReader(c.body))
			if !c.getBody {
				req.GetBody = nil
			}
			_, _, err := fetch(tr, req)
			if !errors.Is(err, c.err) && !errors.Is(err, syscall.ECONNRESET) || (err == nil) != (c.err == nil) || asked.Load() != int64(1+c.asked) {
				t.Errorf("the origin was asked %d times; %v", asked.Load()-1, err)
			}
			if _, unsent := errors.AsType[*Unsent](err); unsent {
				t.Error("it is said not to have been sent")
			}
		})
	}
}

// However many connections are stale, a request is sent no more than twice, the second time over a new one; and once an answer has
// begun, it is not sent again.
func TestTransportStaleOnce(t *testing.T) {
	for _, c := range []struct {
		last string // what comes for the second request of a connection
		sent int    // requests after the first two
		err  error
	}{{"", 2, nil}, {"H", 1, io.ErrUnexpectedEOF}} {
		begun, goOn := make(chan bool), make(chan bool)
		var sent atomic.Int64
		b := newBackend(t, func(s *spoken) {
			for n := 0; s.head() != ""; n++ {
				if number := sent.Add(1); number <= 2 {
					begun <- true
					<-goOn
				}
				if n > 0 {
					io.WriteString(s, c.last)
					return
				}
				io.WriteString(s, "HTTP/1.1 204 No\r\n\r\n")
			}
		})
		tr := newTransport(t, &Transport{Idle: patience})
		var two sync.WaitGroup
		for range 2 {
			two.Go(func() { fetch(tr, b.request("GET", nil)) })
			<-begun
		}
		close(goOn)
		two.Wait()
		if _, _, err := fetch(tr, b.request("GET", nil)); !errors.Is(err, c.err) || sent.Load() != int64(2+c.sent) {
			t.Errorf("after %q it was sent %d times; %v", c.last, sent.Load()-2, err)
		}
	}
}

// Who wants the connection to close gets that, though the origin would keep it.
func TestTransportCloses(t *testing.T) {
	b := says(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false)
	tr := newTransport(t, &Transport{Idle: patience})
	req := b.request("GET", nil)
	req.Close = true
	if _, got, err := fetch(tr, req); got != "ok" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	eventually(t, "the connection is closed", func() bool { return b.open.Load() == 0 })
}

// Where nobody listens nothing was sent, and the body is as it was.
func TestTransportUnsent(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	body := &watched{Reader: strings.NewReader("hello")}
	req, _ := http.NewRequest("POST", "http://"+ln.Addr().String()+"/", body)
	tr := newTransport(t, &Transport{})
	_, err = tr.RoundTrip(req)
	if _, unsent := errors.AsType[*Unsent](err); !unsent || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v", err)
	}
	if body.reads.Load() > 0 || !body.closed.Load() {
		t.Error("the body was read, or not closed")
	}
}

// watched is a body that knows what was done to it.
type watched struct {
	io.Reader
	reads  atomic.Int64
	closed atomic.Bool
}

func (w *watched) Read(p []byte) (int, error) {
	w.reads.Add(1)
	return w.Reader.Read(p)
}

func (w *watched) Close() error {
	w.closed.Store(true)
	if c, ok := w.Reader.(io.Closer); ok {
		c.Close()
	}
	return nil
}

// An answer comes byte by byte, and is read byte by byte.
func TestTransportByteByByte(t *testing.T) {
	const answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nT: u\r\n\r\n"
	b := newBackend(t, func(c *spoken) {
		for c.head() != "" {
			for i := range answer {
				io.WriteString(c, answer[i:i+1])
			}
		}
	})
	tr := newTransport(t, &Transport{})
	for range 3 {
		res, err := tr.RoundTrip(b.request("GET", nil))
		if err != nil {
			t.Fatal(err)
		}
		var body []byte
		one := make([]byte, 1)
		for err == nil {
			var n int
			n, err = res.Body.Read(one)
			body = append(body, one[:n]...)
		}
		if string(body) != "hello" || err != io.EOF || res.Trailer.Get("T") != "u" {
			t.Errorf("got %q, %v, %v", body, err, res.Trailer)
		}
	}
	if b.conns() != 1 {
		t.Errorf("%d connections", b.conns())
	}
}

// A body that is not read to its end ends its connection.
func TestTransportClosedEarly(t *testing.T) {
	b := newBackend(t, func(c *spoken) {
		c.head()
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
		c.head()
	})
	tr := newTransport(t, &Transport{})
	res, err := tr.RoundTrip(b.request("GET", nil))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	eventually(t, "the connection is closed", func() bool { return b.open.Load() == 0 })
	if n, err := res.Body.Read(make([]byte, 10)); n > 0 || !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

// A context that ends, and an address that is given up, end everything at once, in whatever state.
func TestTransportCancelled(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"
	type end func(tr *Transport, b *backend, cancel context.CancelCauseFunc)
	why := errors.New("a reason")
	ends := map[string]struct {
		end
		err error
	}{
		"cancelled": {func(_ *Transport, _ *backend, cancel context.CancelCauseFunc) { cancel(why) }, why},
		"broken":    {func(tr *Transport, b *backend, _ context.CancelCauseFunc) { tr.Break(b.addr) }, ErrBroken},
	}
	for name, e := range ends {
		for _, stage := range []string{"connecting", "waiting", "sending", "reading", "tunnel"} {
			t.Run(name+" "+stage, func(t *testing.T) {
				asked := make(chan bool, 1)
				b := newBackend(t, func(c *spoken) {
					c.head()
					switch stage {
					case "reading":
						io.WriteString(c, head)
					case "tunnel":
						io.WriteString(c, "HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nhe")
					}
					asked <- true
					io.Copy(io.Discard, c.r)
				})
				tr := newTransport(t, &Transport{})
				if stage == "connecting" {
					tr.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
						asked <- true
						<-ctx.Done()
						return nil, ctx.Err()
					}
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				req := b.request("GET", nil).WithContext(ctx)
				body := &watched{}
				switch stage {
				case "sending":
					pipe, _ := io.Pipe()
					body.Reader = pipe
					req.Method, req.Body = "POST", body
				case "tunnel":
					req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"x"}}
				}
				go func() {
					if <-asked; stage != "reading" && stage != "tunnel" {
						e.end(tr, b, cancel)
					}
				}()
				res, err := tr.RoundTrip(req)
				if stage == "reading" || stage == "tunnel" {
					if err != nil {
						t.Fatal(err)
					}
					if _, err := io.ReadFull(res.Body, make([]byte, 2)); err != nil {
						t.Error(err)
					}
					done := make(chan bool)
					go func() { e.end(tr, b, cancel); close(done) }()
					_, err = res.Body.Read(make([]byte, 1))
					<-done
					if !errors.Is(err, e.err) {
						t.Errorf("got %v", err)
					}
				} else if !errors.Is(err, e.err) {
					t.Errorf("got %v", err)
				}
				_, unsent := errors.AsType[*Unsent](err)
				if unsent != (stage == "connecting") {
					t.Errorf("%v is said not to have been sent: %v", err, unsent)
				}
				eventually(t, "the request's body is closed", func() bool { return stage != "sending" || body.closed.Load() })
				eventually(t, "the connection is closed", func() bool { return b.open.Load() == 0 })
			})
		}
	}
}

// Break closes what is kept as well, of one address only; more than Kept are not kept, and what is kept for too long neither.
func TestTransportKept(t *testing.T) {
	begun, goOn := make(chan bool), make(chan bool)
	serve := func(c *spoken) {
		for head := c.head(); head != ""; head = c.head() {
			if strings.Contains(head, "Wait:") {
				begun <- true
				<-goOn
			}
			io.WriteString(c, "HTTP/1.1 204 No\r\n\r\n")
		}
	}
	b, other := newBackend(t, serve), newBackend(t, serve)
	tr := newTransport(t, &Transport{Kept: 2, Idle: patience})
	var three sync.WaitGroup
	for range 3 {
		req := b.request("GET", nil)
		req.Header.Set("Wait", "yes")
		three.Go(func() { fetch(tr, req) })
		<-begun
	}
	close(goOn)
	three.Wait()
	eventually(t, "two are kept", func() bool { return b.open.Load() == 2 })
	fetch(tr, other.request("GET", nil))
	tr.Break(b.addr)
	eventually(t, "none is", func() bool { return b.open.Load() == 0 })
	fetch(tr, other.request("GET", nil))
	if other.conns() != 1 {
		t.Error("the other origin's connection was closed too")
	}
	short := newTransport(t, &Transport{Idle: 1})
	fetch(short, b.request("GET", nil))
	eventually(t, "it is closed", func() bool { return b.open.Load() == 0 })
}

// Many requests over few connections get each the answer that is theirs.
func TestTransportMany(t *testing.T) {
	const workers, requests = 20, 50
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if strings.HasSuffix(r.URL.Path, "7") {
			w.(http.Flusher).Flush() // in chunks
		}
		w.Header().Set("Path", r.URL.Path)
		w.Write(pattern(len(r.URL.Path) * 997))
		fmt.Fprintf(w, "%s %d", r.URL.Path, len(got))
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns atomic.Int64
	server := &http.Server{Handler: handler, ConnState: func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}}
	go server.Serve(ln)
	t.Cleanup(func() { server.Close() })
	tr := newTransport(t, &Transport{Idle: patience})
	var all sync.WaitGroup
	for i := range workers {
		all.Go(func() {
			for n := range requests {
				path := fmt.Sprintf("/%d/%d", i, n)
				method, size := []string{"GET", "HEAD", "POST", "PUT"}[n%4], 0
				var body io.Reader
				if n%4 >= 2 {
					size = n * 1009
					body = bytes.NewReader(pattern(size))
					if n%8 > 4 {
						body = io.MultiReader(body) // in chunks
					}
				}
				req, _ := http.NewRequest(method, "http://"+ln.Addr().String()+path, body)
				res, got, err := fetch(tr, req)
				want := string(pattern(len(path)*997)) + fmt.Sprintf("%s %d", path, size)
				if method == "HEAD" {
					want = ""
				}
				if err != nil || got != want || method == "HEAD" && res.Header.Get("Path") != path && !strings.HasSuffix(path, "7") {
					t.Errorf("%s %s: %d bytes, %v", method, path, len(got), err)
				}
			}
		})
	}
	all.Wait()
	if n := conns.Load(); n > workers {
		t.Errorf("%d connections for %d at a time", n, workers)
	}
}

package http1

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// origin is a server whose answers are raw bytes. It logs what it was asked.
type origin struct {
	*Origin
	t     *testing.T
	ln    net.Listener
	mu    sync.Mutex
	asked []string // heads of requests
	conns atomic.Int64
	open  atomic.Int64
}

// newOrigin starts an origin. Serve gets each connection with the first request's head.
func newOrigin(t *testing.T, serve func(o *origin, conn net.Conn, r *bufio.Reader, head string) bool) *origin {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &origin{Origin: &Origin{Address: netip.MustParseAddrPort(ln.Addr().String())}, t: t, ln: ln}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			o.conns.Add(1)
			o.open.Add(1)
			running.Go(func() {
				defer o.open.Add(-1)
				defer conn.Close()
				r := bufio.NewReader(conn)
				for {
					head, err := readHead(r)
					if err != nil {
						return
					}
					o.mu.Lock()
					o.asked = append(o.asked, head)
					o.mu.Unlock()
					if !serve(o, conn, r, head) {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { ln.Close(); running.Wait() })
	return o
}

func readHead(r *bufio.Reader) (string, error) {
	var head strings.Builder
	for {
		text, err := r.ReadString('\n')
		if head.WriteString(text); err != nil || text == "\r\n" {
			return head.String(), err
		}
	}
}

// raw is an origin that answers each request with the same bytes, and then closes the connection if close is true.
func raw(t *testing.T, answer string, close bool) *origin {
	return newOrigin(t, func(_ *origin, conn net.Conn, _ *bufio.Reader, _ string) bool {
		io.WriteString(conn, answer)
		return !close
	})
}

// nobody is an address on which nothing listens.
func nobody(t *testing.T) *Origin {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return &Origin{Address: netip.MustParseAddrPort(ln.Addr().String())}
}

// way relays a request to one origin after the other.
type way struct {
	to       []*Origin
	unwanted int // a status that is not passed on
	failures []error
	over     chan<- ending
}

// ending is what a relay's Over was told.
type ending struct {
	body     int64
	err      error
	failures []error
}

func (w *way) Origin(failure error, a *Answer) *Origin {
	if failure != nil {
		w.failures = append(w.failures, failure)
	}
	if len(w.to) == 0 {
		a.Body = []byte("nobody\n")
		a.Head = MakeHead(503, int64(len(a.Body)))
		return nil
	}
	o := w.to[0]
	w.to = w.to[1:]
	return o
}

func (w *way) Answered(out []byte, res *Response) ([]byte, bool) {
	out = fmt.Appendf(out, "HTTP/1.1 %d %s\r\n", res.Status, res.Reason)
	for _, f := range res.Fields {
		if fold(f.Name, "X") || fold(f.Name, "Date") {
			out = fmt.Appendf(out, "%s: %s\r\n", f.Name, f.Value)
		}
	}
	return out, res.Status != w.unwanted
}

func (w *way) Over(body int64, err error) { w.over <- ending{body, err, w.failures} }

// relays is a server that relays each request to these origins in turn.
func relays(t *testing.T, to ...*Origin) (*served, *Server, chan ending) {
	over := make(chan ending, 10_000)
	s := &Server{Loops: 1, Handler: func(r *Request, a *Answer) bool {
		a.Head = fmt.Appendf(a.Space, "%s %s HTTP/1.1\r\nHost: %s\r\n\r\n", r.Method, r.Target, r.Host())
		a.Relay = &way{to: to, unwanted: 599, over: over}
		return r.Relays
	}}
	return serve(t, "loop", s), s, over
}

// exchange asks for a path and returns all that comes until the connection's end, with the relay's ending.
func (v *served) exchange(text string) (string, error) {
	c := v.dial()
	c.send(text)
	c.Conn.(*net.TCPConn).CloseWrite()
	all, err := io.ReadAll(c.r)
	c.Close()
	return string(all), err
}

const ask = "GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n"

// What origins answer, and what a client gets of it; an empty one is that its connection ends in the middle.
func TestRelayAnswers(t *testing.T) {
	const date = "Date: then\r\n"
	cases := []struct {
		name, answer string
		close        bool
		want         string // what the client gets
		kept         bool   // the connection is used again
		err          error
	}{
		{"by length", "HTTP/1.1 200 OK\r\n" + date + "Content-Length: 5\r\nX: y\r\n\r\nhello", false,
			"HTTP/1.1 200 OK\r\n" + date + "X: y\r\nContent-Length: 5\r\n\r\nhello", true, nil},
		{"empty", "HTTP/1.1 200 OK\r\n" + date + "Content-Length: 0\r\n\r\n", false,
			"HTTP/1.1 200 OK\r\n" + date + "Content-Length: 0\r\n\r\n", true, nil},
		{"chunked", "HTTP/1.1 200 OK\r\n" + date + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nT: u\r\n\r\n", false,
			"HTTP/1.1 200 OK\r\n" + date + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nT: u\r\n\r\n", true, nil},
		{"until the end", "HTTP/1.1 200 OK\r\n" + date + "\r\nhello", true,
			"HTTP/1.1 200 OK\r\n" + date + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", false, nil},
		{"old version", "HTTP/1.0 200 OK\r\n" + date + "\r\nhello", true,
			"HTTP/1.1 200 OK\r\n" + date + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", false, nil},
		{"says that it closes", "HTTP/1.1 200 OK\r\n" + date + "Connection: close\r\nContent-Length: 5\r\n\r\nhello", true,
			"HTTP/1.1 200 OK\r\n" + date + "Content-Length: 5\r\n\r\nhello", false, nil},
		{"nothing modified", "HTTP/1.1 304 Not Modified\r\n" + date + "Content-Length: 5\r\n\r\n", false,
			"HTTP/1.1 304 Not Modified\r\n" + date + "Content-Length: 5\r\n\r\n", true, nil},
		{"no content", "HTTP/1.1 204 No Content\r\n" + date + "\r\n", false, "HTTP/1.1 204 No Content\r\n" + date + "\r\n", true, nil},
		{"no content, with a length", "HTTP/1.1 204 No Content\r\n" + date + "Content-Length: 5\r\n\r\n", false, "HTTP/1.1 204 No Content\r\n" + date + "\r\n", true, nil},
		{"no content, in chunks", "HTTP/1.1 204 No Content\r\n" + date + "Transfer-Encoding: chunked\r\n\r\n", false, "HTTP/1.1 204 No Content\r\n" + date + "\r\n", true, nil},
		{"nothing modified, in chunks", "HTTP/1.1 304 Not Modified\r\n" + date + "Transfer-Encoding: chunked\r\n\r\n", false, "HTTP/1.1 304 Not Modified\r\n" + date + "\r\n", true, nil},
		{"interim answers", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX: z\r\n\r\nHTTP/1.1 200 OK\r\n" + date + "Content-Length: 1\r\n\r\n!", false,
			"HTTP/1.1 200 OK\r\n" + date + "Content-Length: 1\r\n\r\n!", true, nil},
		{"more than its length", "HTTP/1.1 200 OK\r\n" + date + "Content-Length: 5\r\n\r\nhello!", false,
			"HTTP/1.1 200 OK\r\n" + date + "Content-Length: 5\r\n\r\nhello", false, nil},
		{"more than its chunks", "HTTP/1.1 200 OK\r\n" + date + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n", false,
			"HTTP/1.1 200 OK\r\n" + date + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false, nil},
		{"a body behind no content", "HTTP/1.1 204 No Content\r\n" + date + "\r\nhello", false, "HTTP/1.1 204 No Content\r\n" + date + "\r\n", false, nil},
		{"less than its length", "HTTP/1.1 200 OK\r\n" + date + "Content-Length: 5\r\n\r\nhell", true, "", false, io.ErrUnexpectedEOF},
		{"chunks without an end", "HTTP/1.1 200 OK\r\n" + date + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", true, "", false, io.ErrUnexpectedEOF},
		{"closes without an answer", "", true, "nobody", false, io.ErrUnexpectedEOF},
		{"half a head", "HTTP/1.1 200 OK\r\nContent-Le", true, "nobody", false, io.ErrUnexpectedEOF},
		{"no HTTP", "SSH-2.0-OpenSSH_9.2\r\n", false, "nobody", false, badStatusLine},
		{"HTTP/0.9", "<html>hello</html>\r\n", false, "nobody", false, badStatusLine},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", false, "nobody", false, twoLengths},
		{"length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false, "nobody", false, bothLengths},
		{"folded", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n", false, "nobody", false, folded},
		{"LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", false, "nobody", false, badValue},
		{"NUL", "HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n", false, "nobody", false, badValue},
		{"space before the colon", "HTTP/1.1 200 OK\r\nX : a\r\n\r\n", false, "nobody", false, badName},
		{"bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n", false, "nobody", false, badChunk},
		{"endless head", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 1<<20), false, "nobody", false, longHead},
		{"changes the protocol", "HTTP/1.1 101 Switching Protocols\r\n\r\n", false, "nobody", false, ErrUnasked},
		{"endless interim answers", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 100), false, "nobody", false, ErrUnasked},
		{"unwanted", "HTTP/1.1 599 No\r\nContent-Length: 0\r\n\r\n", false, "nobody", false, ErrUnwanted},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			o := raw(t, c.answer, c.close)
			v, _, over := relays(t, o.Origin)
			for range 2 {
				got, err := v.exchange(ask)
				switch end := <-over; {
				case c.want == "nobody":
					if !strings.HasSuffix(got, "nobody\n") || len(end.failures) != 1 || !same(end.failures[0], c.err) {
						t.Fatalf("the client got %q, the failures are %q", got, end.failures)
					}
				case c.err != nil:
					if !same(end.err, c.err) || strings.HasSuffix(got, "0\r\n\r\n") {
						t.Fatalf("the client got %q, the failure is %v", got, end.err)
					}
				case got != c.want || err != nil || end.err != nil || len(end.failures) > 0:
					t.Fatalf("the client got %q, %v, %+v, and not %q", got, err, end, c.want)
				}
			}
			if got := o.conns.Load(); c.kept != (got == 1) {
				t.Errorf("two requests took %d connections", got)
			}
			for _, head := range o.asked {
				if head != ask {
					t.Errorf("the origin was asked %q", head)
				}
			}
		})
	}
}

// same compares errors, refusals by their reason.
func same(got, want error) bool {
	if r, ok := errors.AsType[*Refusal](got); ok {
		return r.Reason == want.Error()
	}
	return errors.Is(got, want)
}

// An answer comes byte by byte.
func TestRelayByteByByte(t *testing.T) {
	const answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nDate: then\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n"
	o := newOrigin(t, func(_ *origin, conn net.Conn, _ *bufio.Reader, _ string) bool {
		for i := range answer {
			io.WriteString(conn, answer[i:i+1])
		}
		return true
	})
	v, _, _ := relays(t, o.Origin)
	if got, _ := v.exchange(ask); !strings.HasSuffix(got, "chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n") {
		t.Errorf("got %q", got)
	}
}

// HEAD has the length of a body that does not come.
func TestRelayHead(t *testing.T) {
	o := raw(t, "HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: 500\r\n\r\n", false)
	v, _, _ := relays(t, o.Origin)
	for range 2 {
		if got, _ := v.exchange("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"); got != "HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: 500\r\n\r\n" {
			t.Errorf("got %q", got)
		}
	}
	if o.conns.Load() != 1 {
		t.Error("the connection was not used again")
	}
}

// A request goes from origins that fail to the one that answers, and at the end is answered here.
func TestRelayElsewhere(t *testing.T) {
	closes, good := raw(t, "", true), raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false)
	silent := newOrigin(t, func(_ *origin, _ net.Conn, r *bufio.Reader, _ string) bool { r.ReadByte(); return false })
	silent.Answer = 50 * time.Millisecond
	v, _, over := relays(t, nobody(t), closes.Origin, silent.Origin, good.Origin)
	c := v.dial()
	for range 3 {
		c.send(ask)
		if _, body := c.response("GET"); body != "ok" {
			t.Fatalf("got %q", body)
		}
		end := <-over
		if len(end.failures) != 3 || !errors.Is(end.failures[2], ErrNoAnswer) || !errors.Is(end.failures[1], io.ErrUnexpectedEOF) {
			t.Errorf("failures are %v", end.failures)
		}
	}
	v, _, over = relays(t, nobody(t), closes.Origin)
	c = v.dial()
	c.send(ask + ask + "GET /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	for range 3 {
		if resp, body := c.response("GET"); resp.StatusCode != 503 || body != "nobody\n" {
			t.Errorf("got %s, %q", resp.Status, body)
		}
		if end := <-over; len(end.failures) != 2 {
			t.Errorf("failures are %v", end.failures)
		}
	}
	c.closed()
}

// A connection that its origin closed while it waited is no failure: the request goes over another one.
func TestRelayStale(t *testing.T) {
	o := newOrigin(t, func(_ *origin, conn net.Conn, r *bufio.Reader, head string) bool {
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		readHead(r)
		return false // the second request is read, and the connection closed
	})
	v, _, over := relays(t, o.Origin)
	c := v.dial()
	for range 5 {
		c.send(ask)
		c.response("GET")
		if end := <-over; len(end.failures) > 0 || end.err != nil {
			t.Errorf("failed: %v, %v", end.failures, end.err)
		}
	}
	if n := o.conns.Load(); n != 5 {
		t.Errorf("%d connections", n)
	}
}

// What an origin sends while nobody asked ends the connection, and reaches no client.
func TestRelayUnasked(t *testing.T) {
	more := make(chan bool)
	o := newOrigin(t, func(_ *origin, conn net.Conn, _ *bufio.Reader, _ string) bool {
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
		<-more
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
		return true
	})
	v, _, _ := relays(t, o.Origin)
	for range 3 {
		c := v.dial()
		c.send(ask)
		if _, body := c.response("GET"); body != "good" {
			t.Fatalf("got %q", body)
		}
		more <- true
		v.until("the connection is closed", func() bool { return o.open.Load() == 0 })
	}
	close(more)
}

// A client that reads slowly stops its origin, and gets everything all the same.
func TestRelaySlowClient(t *testing.T) {
	const size = 24 << 20
	var sent atomic.Int64
	o := newOrigin(t, func(_ *origin, conn net.Conn, _ *bufio.Reader, _ string) bool {
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
		piece := pattern(1 << 16)
		for range size / len(piece) {
			conn.Write(piece)
			sent.Add(int64(len(piece)))
		}
		return true
	})
	v, _, over := relays(t, o.Origin)
	c := v.dial()
	c.send(ask + ask)
	last := int64(-1)
	v.until("the origin stands still", func() bool {
		was := last
		last = sent.Load()
		time.Sleep(50 * time.Millisecond)
		return was == last && last > 0
	})
	if last > size*3/4 {
		t.Errorf("%d bytes were taken from the origin for a client that reads nothing", last)
	}
	for range 2 {
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || len(body) != size || string(body[size-16:]) != "0123456789abcde\n" {
			t.Fatalf("%d bytes, %v", len(body), err)
		}
		if end := <-over; end.body != size || end.err != nil {
			t.Errorf("%+v", end)
		}
	}
}

// When a client goes away, so does the connection with its origin, at any point.
func TestRelayClientGoes(t *testing.T) {
	for _, begin := range []string{"", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"} {
		asked := make(chan bool, 1)
		o := newOrigin(t, func(_ *origin, conn net.Conn, r *bufio.Reader, _ string) bool {
			io.WriteString(conn, begin)
			asked <- true
			r.ReadByte()
			return false
		})
		v, _, over := relays(t, o.Origin)
		c := v.dial()
		c.send(ask)
		<-asked
		c.Conn.(*net.TCPConn).SetLinger(0)
		c.Close()
		if end := <-over; !errors.Is(end.err, ErrClient) {
			t.Errorf("after %q: %v", begin, end.err)
		}
		v.until("the origin's connection is closed", func() bool { return o.open.Load() == 0 })
	}
}

// An origin that is given up loses its connections at once; what nobody has seen an answer to goes elsewhere.
func TestBreak(t *testing.T) {
	asked := make(chan bool, 2)
	first := newOrigin(t, func(_ *origin, conn net.Conn, r *bufio.Reader, head string) bool {
		if strings.HasPrefix(head, "GET /begun ") {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
		}
		asked <- true
		r.ReadByte()
		return false
	})
	second := raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false)
	v, s, over := relays(t, first.Origin, second.Origin)
	begun, waiting := v.dial(), v.dial()
	begun.send("GET /begun HTTP/1.1\r\nHost: a\r\n\r\n")
	waiting.send(ask)
	<-asked
	<-asked
	if _, err := begun.r.Peek(1); err != nil { // its head is through
		t.Fatal(err)
	}
	s.Break(first.Origin)
	if _, body := waiting.response("GET"); body != "ok" {
		t.Errorf("got %q", body)
	}
	if _, err := http.ReadResponse(begun.r, nil); err != nil {
		t.Error(err)
	}
	for range 2 {
		if end := <-over; !errors.Is(end.err, ErrBroken) && (len(end.failures) != 1 || !errors.Is(end.failures[0], ErrBroken)) {
			t.Errorf("%+v", end)
		}
	}
	v.until("the connections are closed", func() bool { return first.open.Load() == 0 })
}

// A body that stops is given up, and a connection that waits is closed in time.
func TestRelayTooSlow(t *testing.T) {
	o := newOrigin(t, func(_ *origin, conn net.Conn, r *bufio.Reader, head string) bool {
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"[:len("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")])
		r.ReadByte()
		return false
	})
	o.Stall = 20 * time.Millisecond
	v, _, over := relays(t, o.Origin)
	v.exchange(ask)
	if end := <-over; !errors.Is(end.err, ErrStalled) || end.body != 2 {
		t.Errorf("%+v", end)
	}
	kept := raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false)
	kept.Idle = 20 * time.Millisecond
	v, _, _ = relays(t, kept.Origin)
	c := v.dial()
	c.send(ask)
	c.response("GET")
	v.until("the connection is closed", func() bool { return kept.open.Load() == 0 })
}

// Many clients, some of which send several requests at once, get each the answers that are theirs.
func TestRelayMany(t *testing.T) {
	const clients, rounds = 50, 40
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "7") {
			w.(http.Flusher).Flush() // in chunks
		}
		w.Write(pattern(len(r.URL.Path) * 997))
		io.WriteString(w, r.URL.Path)
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	go server.Serve(ln)
	t.Cleanup(func() { server.Close() })
	o := &Origin{Address: netip.MustParseAddrPort(ln.Addr().String())}
	v, _, _ := relays(t, o)
	var all sync.WaitGroup
	for i := range clients {
		c := v.dial()
		all.Go(func() {
			for n := range rounds {
				var text strings.Builder
				several := 1 + n%3
				for k := range several {
					fmt.Fprintf(&text, "GET /%d/%d/%d HTTP/1.1\r\nHost: a\r\n\r\n", i, n, k*7)
				}
				io.WriteString(c, text.String())
				for k := range several {
					resp, err := http.ReadResponse(c.r, nil)
					if err != nil {
						t.Errorf("client %d: %v", i, err)
						return
					}
					body, err := io.ReadAll(resp.Body)
					if want := fmt.Sprintf("/%d/%d/%d", i, n, k*7); err != nil || !strings.HasSuffix(string(body), "\n"+want) && !strings.HasSuffix(string(body), want) {
						t.Errorf("client %d got %v, %d bytes, for %s", i, err, len(body), want)
						return
					}
				}
			}
			c.Close()
		})
	}
	all.Wait()
}

// Serve ends once the answers under way are over.
func TestRelayGraceful(t *testing.T) {
	asked, goOn := make(chan bool), make(chan bool)
	o := newOrigin(t, func(_ *origin, conn net.Conn, _ *bufio.Reader, _ string) bool {
		asked <- true
		<-goOn
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		return true
	})
	v, _, _ := relays(t, o.Origin)
	c := v.dial()
	c.send(ask)
	<-asked
	v.end()
	v.until("no more connections are taken", func() bool {
		conn, err := net.Dial("tcp", v.addr)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	goOn <- true
	if _, body := c.response("GET"); body != "ok" {
		t.Errorf("got %q", body)
	}
	c.closed()
	v.stop()
}

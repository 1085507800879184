package front

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bramble/http1"
)

// patience is how long a test waits for what must happen.
const patience = time.Minute

var quiet = slog.New(slog.DiscardHandler)

func nothing(*http1.Origin) {}

// web is a front under test.
type web struct {
	t    *testing.T
	s    *Server
	addr string
}

// serve starts a front. At the end of the test everything that it started must have ended.
func serve(t *testing.T, spec Spec) *web {
	t.Helper()
	return serveWith(t, &Server{Spec: spec})
}

func serveWith(t *testing.T, s *Server) *web {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Loops, s.Log = 1, quiet
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, l) }()
	w := &web{t: t, s: s, addr: l.Addr().String()}
	w.until("the front is there", func() bool { return s.now.Load() != nil })
	t.Cleanup(func() {
		stop()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("Run does not end")
		}
	})
	return w
}

// pool is a spec of one pool without checks.
func pool(members ...Member) Spec {
	return Spec{Pools: []Pool{{Balance: ByRequests, Check: Check{Interval: -1}, Members: members}}}
}

func (w *web) until(what string, ok func() bool) {
	w.t.Helper()
	eventually(w.t, what, ok)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for begun := time.Now(); !ok(); time.Sleep(time.Millisecond) {
		if time.Since(begun) > patience {
			t.Fatalf("not so after %s: %s", patience, what)
		}
	}
}

// dial is a raw connection with the front.
func (w *web) dial() (net.Conn, *bufio.Reader) {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn, bufio.NewReader(conn)
}

// ask sends raw bytes and reads one answer.
func (w *web) ask(raw string) (*http.Response, string) {
	w.t.Helper()
	conn, r := w.dial()
	defer conn.Close()
	go io.WriteString(conn, raw)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		w.t.Fatalf("%.100q: %v", raw, err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatalf("%.100q: %v", raw, err)
	}
	return res, string(body)
}

// backend is a server that logs every byte that it gets, and understands them by its own name.
type backend struct {
	Member
	ln     net.Listener
	answer string // "" is 200 with its name
	conns  atomic.Int64

	mu  sync.Mutex
	raw bytes.Buffer
}

// newBackend starts a backend. Handle, where there is one, answers in its place; false ends the connection.
func newBackend(t *testing.T, name string, handle func(conn net.Conn, r *bufio.Reader, head string) bool) *backend {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{ln: l, Member: Member{Name: name, Address: netip.MustParseAddrPort(l.Addr().String())}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			b.conns.Add(1)
			running.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(t.Context(), func() { conn.Close() })()
				b.converse(conn, handle)
			})
		}
	})
	t.Cleanup(func() { l.Close(); running.Wait() })
	return b
}

func (b *backend) converse(conn net.Conn, handle func(net.Conn, *bufio.Reader, string) bool) {
	r := bufio.NewReader(io.TeeReader(conn, b))
	for {
		var head strings.Builder
		for !strings.HasSuffix(head.String(), "\r\n\r\n") {
			line, err := r.ReadString('\n')
			if head.WriteString(line); err != nil {
				return
			}
		}
		if handle != nil {
			if !handle(conn, r, head.String()) {
				return
			}
			continue
		}
		req, err := http.ReadRequest(bufio.NewReader(io.MultiReader(strings.NewReader(head.String()), r)))
		if err != nil {
			return
		}
		body, _ := io.ReadAll(req.Body)
		answer := b.answer
		if answer == "" {
			text := b.Name + " " + string(body)
			answer = string(http1.MakeHead(200, int64(len(text))))
			if req.ContentLength != 0 {
				answer += "Connection: close\r\n"
			}
			answer += "\r\n" + text
		}
		io.WriteString(conn, answer)
		if req.ContentLength != 0 { // its reader may have taken more than was its own
			return
		}
	}
}

// Write logs what came.
func (b *backend) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.raw.Write(p)
}

// heard is what came since the last call.
func (b *backend) heard() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.raw.Reset()
	return b.raw.String()
}

// gone is a member at whose address nothing listens.
func gone(t *testing.T, name string) Member {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return Member{Name: name, Address: netip.MustParseAddrPort(l.Addr().String())}
}

package http1

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen.
const patience = time.Minute

// engines are the ways to serve: each test runs with those it names.
var engines = map[string]func(*testing.T, net.Listener) net.Listener{
	"loop":       func(_ *testing.T, ln net.Listener) net.Listener { return ln },
	"goroutines": func(_ *testing.T, ln net.Listener) net.Listener { return struct{ net.Listener }{ln} },
	"tls":        func(t *testing.T, ln net.Listener) net.Listener { return tls.NewListener(ln, tlsConfig(t)) },
}

func tlsConfig(t *testing.T) *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"a"}, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}, NextProtos: []string{"h2", "http/1.1"}}
}

// served is a server under test.
type served struct {
	t      *testing.T
	engine string
	addr   string
	end    context.CancelFunc
	ended  chan error
	done   atomic.Int64 // answers that were done with
	asked  atomic.Int64 // requests that net/http's handler saw
}

// each runs a test with every engine.
func each(t *testing.T, test func(t *testing.T, engine string)) {
	for name := range engines {
		t.Run(name, func(t *testing.T) { test(t, name) })
	}
}

// serve starts a server. When the test ends, so must all its goroutines and descriptors.
func serve(t *testing.T, engine string, s *Server, before ...func(*served)) *served {
	t.Helper()
	if warm, err := net.Listen("tcp", "127.0.0.1:0"); err == nil { // the runtime's poller stays once it is there
		warm.Close()
	}
	goroutines, files := runtime.NumGoroutine(), descriptors()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	v := &served{t: t, engine: engine, addr: ln.Addr().String(), end: end, ended: make(chan error, 1)}
	for _, f := range before {
		f(v)
	}
	if s.Handler == nil {
		s.Handler = v.answer
	}
	if s.Fallback == nil {
		s.Fallback = http.HandlerFunc(v.echo)
	}
	go func() { v.ended <- s.Serve(ctx, engines[engine](t, ln)) }()
	t.Cleanup(func() {
		v.stop()
		v.until("all goroutines have ended", func() bool { return runtime.NumGoroutine() <= goroutines })
		v.until("all descriptors are closed", func() bool { return descriptors() <= files })
	})
	return v
}

func descriptors() int {
	all, _ := os.ReadDir("/proc/self/fd") // empty elsewhere
	return len(all)
}

// stop ends the server and waits for it.
func (v *served) stop() {
	v.t.Helper()
	v.end()
	select {
	case err, first := <-v.ended:
		if first && err != nil {
			v.t.Errorf("Serve: %v", err)
		}
		if first {
			close(v.ended)
		}
	case <-time.After(patience):
		v.t.Fatal("Serve does not end")
	}
}

func (v *served) until(what string, ok func() bool) {
	v.t.Helper()
	for begun := time.Now(); !ok(); time.Sleep(time.Millisecond) {
		if time.Since(begun) > patience {
			buf := make([]byte, 1<<16)
			v.t.Fatalf("not so after %s: %s\n%s", patience, what, buf[:runtime.Stack(buf, true)])
		}
	}
}

// answer answers /N with N bytes, / with "ok", and leaves all else.
func (v *served) answer(r *Request, a *Answer) bool {
	var n int
	switch path := string(r.Path); {
	case path == "/":
		a.Body = []byte("ok")
	case len(path) > 1 && all(r.Path[1:], inDigit):
		fmt.Sscan(path[1:], &n)
		a.Body = pattern(n)
	default:
		return false
	}
	a.Head = MakeHead(200, int64(len(a.Body)), "X-Path", string(r.Path))
	a.Done = func() { v.done.Add(1) }
	return true
}

func pattern(n int) []byte { return bytes.Repeat([]byte("0123456789abcde\n"), n/16+1)[:n] }

// echo answers with what was sent.
func (v *served) echo(w http.ResponseWriter, r *http.Request) {
	v.asked.Add(1)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(400)
		return
	}
	fmt.Fprintf(w, "%s %s %s", r.Method, r.RequestURI, body)
}

// client is a raw connection.
type client struct {
	net.Conn
	v *served
	r *bufio.Reader
}

func (v *served) dial() *client {
	v.t.Helper()
	conn, err := net.Dial("tcp", v.addr)
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { conn.Close() })
	if v.engine == "tls" {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	conn.SetDeadline(time.Now().Add(patience))
	return v.on(conn)
}

// on is a client of a connection that is there.
func (v *served) on(conn net.Conn) *client { return &client{conn, v, bufio.NewReader(conn)} }

func (c *client) send(text string) {
	c.v.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.v.t.Fatal(err)
	}
}

// response reads one answer whole.
func (c *client) response(method string) (*http.Response, string) {
	c.v.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.v.t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.v.t.Fatal(err)
	}
	return resp, string(body)
}

// closed waits until the server has closed.
func (c *client) closed() {
	c.v.t.Helper()
	if n, err := io.Copy(io.Discard, c.r); errors.Is(err, os.ErrDeadlineExceeded) || n > 0 {
		c.v.t.Fatalf("%d more bytes instead of the end, %v", n, err)
	}
}

// Every refused case gets its status and the end of the connection; every accepted one gets an answer.
func TestServeCases(t *testing.T) {
	each(t, func(t *testing.T, engine string) {
		v := serve(t, engine, &Server{})
		for _, c := range rawCases {
			if engine == "tls" && len(c.Raw) > 10_000 {
				continue
			}
			conn := v.dial()
			go io.WriteString(conn, c.Raw)
			resp, err := http.ReadResponse(conn.r, nil)
			if err != nil {
				t.Fatalf("%s: %v", c.Name, err)
			}
			inBody := strings.Contains(c.Raw, "ing: chunked\r\n\r\n") && resp.StatusCode == 400 // where net/http answers
			switch {
			case c.Status == 0 && resp.StatusCode != 200 && resp.StatusCode != 100:
				t.Errorf("%s: got %s", c.Name, resp.Status)
			case c.Status != 0 && resp.StatusCode != c.Status && !inBody:
				t.Errorf("%s: got %s, want %d", c.Name, resp.Status, c.Status)
			case c.Status != 0:
				io.Copy(io.Discard, resp.Body)
				conn.closed()
			}
			conn.Close()
		}
	})
}

func TestAnswer(t *testing.T) {
	each(t, func(t *testing.T, engine string) {
		v := serve(t, engine, &Server{})
		c := v.dial()
		for _, n := range []int{0, 1, 4096, 4097, 16384, 100_000, 5_000_000} {
			c.send(line(fmt.Sprintf("GET /%d HTTP/1.1", n)))
			resp, body := c.response("GET")
			date, err := http.ParseTime(resp.Header.Get("Date"))
			if body != string(pattern(n)) || err != nil || time.Since(date).Abs() > patience || resp.Close {
				t.Errorf("%d: %d bytes, %v", n, len(body), resp.Header)
			}
			c.send(line(fmt.Sprintf("HEAD /%d HTTP/1.1", n)))
			if resp, body := c.response("HEAD"); body != "" || resp.ContentLength != int64(n) {
				t.Errorf("HEAD %d: %d, %q", n, resp.ContentLength, body)
			}
		}
		c.send(with("Connection: close"))
		if resp, body := c.response("GET"); body != "ok" || !resp.Close {
			t.Errorf("%q, %v", body, resp.Header)
		}
		c.closed()
		if v.until("every answer is done with", func() bool { return v.done.Load() == 15 }); v.asked.Load() != 0 {
			t.Error("net/http was asked")
		}
	})
}

func TestByteByByte(t *testing.T) {
	each(t, func(t *testing.T, engine string) {
		c := serve(t, engine, &Server{}).dial()
		for range 2 {
			for _, b := range []byte("\r\n" + with("X: y")) {
				c.send(string(b))
			}
			if _, body := c.response("GET"); body != "ok" {
				t.Errorf("got %q", body)
			}
		}
	})
}

// Answers come in the order of requests, through both hands.
func TestPipelining(t *testing.T) {
	each(t, func(t *testing.T, engine string) {
		c := serve(t, engine, &Server{}).dial()
		var all strings.Builder
		for i := range 300 {
			all.WriteString(line(fmt.Sprintf("GET /%d HTTP/1.1", i*50)))
		}
		all.WriteString("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
		all.WriteString("\r\n" + chunked("5\r\nworld\r\n0\r\n\r\n"))
		all.WriteString(line("GET /b HTTP/1.1"))
		go c.send(all.String())
		for i := range 300 {
			if resp, body := c.response("GET"); body != string(pattern(i*50)) || resp.Header.Get("X-Path") != fmt.Sprintf("/%d", i*50) {
				t.Fatalf("%d: %d bytes, %v", i, len(body), resp.Header)
			}
		}
		for _, want := range []string{"POST /a hello", "POST / world", "GET /b "} {
			if _, body := c.response("POST"); body != want {
				t.Errorf("got %q, want %q", body, want)
			}
		}
	})
}

// A client that asks for much and reads late gets all of it.
func TestSlowReader(t *testing.T) {
	each(t, func(t *testing.T, engine string) {
		v := serve(t, engine, &Server{})
		c := v.dial()
		const n, size = 40, 1 << 20
		go c.send(strings.Repeat(line(fmt.Sprintf("GET /%d HTTP/1.1", size)), n) + length(" 5"))
		v.until("an answer waits", func() bool { return v.done.Load() > 0 })
		want := string(pattern(size))
		for i := range n {
			if _, body := c.response("GET"); body != want {
				t.Fatalf("%d: %d bytes", i, len(body))
			}
		}
		if _, body := c.response("POST"); body != "POST / hello" {
			t.Errorf("got %q", body)
		}
	})
}

func TestTooSlow(t *testing.T) {
	each(t, func(t *testing.T, engine string) {
		v := serve(t, engine, &Server{Limits: Limits{ReadHead: 300 * time.Millisecond, Idle: time.Hour}})
		c := v.dial()
		c.send("GET / HTTP/1.1\r\nHost:")
		if resp, _ := c.response("GET"); resp.StatusCode != 408 {
			t.Errorf("got %s", resp.Status)
		}
		c.closed()
		c = v.dial()
		c.send(with())
		c.response("GET")
		c.send("G")
		if resp, _ := c.response("GET"); resp.StatusCode != 408 {
			t.Errorf("got %s", resp.Status)
		}
		c.closed()
		if engine != "tls" {
			v.dial().closed() // says nothing
		}
	})
}

func TestIdle(t *testing.T) {
	each(t, func(t *testing.T, engine string) {
		c := serve(t, engine, &Server{Limits: Limits{ReadHead: time.Hour, Idle: 100 * time.Millisecond}}).dial()
		c.send(with())
		c.response("GET")
		c.closed()
		c.send("too late")
	})
}

// A client that takes nothing is given up.
func TestTakesNothing(t *testing.T) {
	each(t, func(t *testing.T, engine string) {
		v := serve(t, engine, &Server{Limits: Limits{Write: 200 * time.Millisecond}})
		c := v.dial()
		c.send(line("GET /50000000 HTTP/1.1"))
		v.until("the answer is given up", func() bool { return v.done.Load() == 1 })
		if n, err := io.Copy(io.Discard, c.r); n >= 50_000_000 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}

// Nor does net/http wait for ever, for a body or for a reader.
func TestFallbackTooSlow(t *testing.T) {
	each(t, func(t *testing.T, engine string) {
		failed := make(chan error, 1)
		s := &Server{Limits: Limits{Write: 200 * time.Millisecond}}
		v := serve(t, engine, s, func(v *served) {
			s.Fallback = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == "POST" {
					v.echo(w, r)
					return
				}
				_, err := w.Write(pattern(50_000_000))
				failed <- err
			})
		})
		for _, begun := range []string{"Content-Length: 5\r\n\r\nhe", "Transfer-Encoding: chunked\r\n\r\n5\r\nhe"} {
			c := v.dial()
			c.send("POST / HTTP/1.1\r\nHost: a\r\n" + begun)
			if resp, _ := c.response("POST"); resp.StatusCode != 400 {
				t.Errorf("got %s", resp.Status)
			}
			c.closed()
		}
		c := v.dial()
		c.send(line("GET /large HTTP/1.1"))
		if err := <-failed; err == nil {
			t.Error("the answer was written")
		}
	})
}

func TestHalfClosed(t *testing.T) {
	for _, engine := range []string{"loop", "goroutines"} {
		t.Run(engine, func(t *testing.T) {
			v := serve(t, engine, &Server{})
			for _, n := range []int{10, 5_000_000} {
				c := v.dial()
				c.send(line(fmt.Sprintf("GET /%d HTTP/1.1", n)))
				c.Conn.(*net.TCPConn).CloseWrite()
				if _, body := c.response("GET"); body != string(pattern(n)) {
					t.Errorf("%d: %d bytes", n, len(body))
				}
				c.closed()
			}
			c := v.dial()
			c.send(line("GET /5000000 HTTP/1.1"))
			c.r.Peek(1) // the answer is under way, and more than fits
			c.send(with())
			c.Conn.(*net.TCPConn).CloseWrite()
			c.response("GET")
			if _, body := c.response("GET"); body != "ok" {
				t.Errorf("got %q", body)
			}
			c.closed()
			c = v.dial()
			c.send("GET / HTTP/1.1\r\nHo")
			c.Conn.(*net.TCPConn).CloseWrite()
			c.closed()
		})
	}
}

func TestGone(t *testing.T) {
	for _, engine := range []string{"loop", "goroutines"} {
		t.Run(engine, func(t *testing.T) {
			v := serve(t, engine, &Server{Limits: Limits{Conns: 1}})
			for i := range 3 { // of which each needs the place of the one before
				c := v.dial()
				c.send(line("GET /50000000 HTTP/1.1"))
				io.ReadFull(c.r, make([]byte, 1000))
				c.Conn.(*net.TCPConn).SetLinger(0)
				c.Close()
				v.until("the answer is given up", func() bool { return v.done.Load() == int64(i+1) })
			}
		})
	}
}

// serveFile starts a server that answers /OFFSET/SIZE with a part of a file.
func serveFile(t *testing.T, engine string, file *os.File) *served {
	s := &Server{}
	return serve(t, engine, s, func(v *served) {
		s.Handler = func(r *Request, a *Answer) bool {
			fmt.Sscanf(string(r.Path), "/%d/%d", &a.Offset, &a.Size)
			a.File, a.Head, a.Done = file, MakeHead(200, a.Size), func() { v.done.Add(1) }
			return true
		}
	})
}

func writeFile(t *testing.T, size int) *os.File {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, pattern(size), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

func TestFile(t *testing.T) {
	each(t, func(t *testing.T, engine string) {
		const size = 20 << 20
		file, whole := writeFile(t, size), pattern(size)
		v := serveFile(t, engine, file)
		parts := [][2]int{{0, size}, {0, 0}, {5, 10}, {size - 1, 1}, {12345, 5 << 20}}
		c := v.dial()
		for _, p := range parts {
			c.send(line(fmt.Sprintf("GET /%d/%d HTTP/1.1", p[0], p[1])))
		}
		c.send(line("HEAD /0/1000 HTTP/1.1"))
		for _, p := range parts {
			if _, body := c.response("GET"); body != string(whole[p[0]:p[0]+p[1]]) {
				t.Errorf("%v: %d bytes", p, len(body))
			}
		}
		if resp, body := c.response("HEAD"); body != "" || resp.ContentLength != 1000 {
			t.Errorf("HEAD: %d, %q", resp.ContentLength, body)
		}
		v.until("every answer is done with", func() bool { return v.done.Load() == int64(len(parts)+1) })
	})
}

// A file may be opened late, is closed after its answer, and is asked for once; what cannot be opened ends the connection.
func TestOpen(t *testing.T) {
	each(t, func(t *testing.T, engine string) {
		file, opened := writeFile(t, 100_000), make(chan *os.File, 8)
		s := &Server{}
		v := serve(t, engine, s, func(v *served) {
			s.Handler = func(r *Request, a *Answer) bool {
				a.Space = append(a.Space, MakeHead(200, 100_000)...)
				a.Head, a.Size, a.Done = a.Space, 100_000, func() { v.done.Add(1) }
				a.Open = func() (*os.File, error) {
					file, err := os.Open(file.Name() + string(r.Path[1:]))
					opened <- file // nil for what is gone
					return file, err
				}
				return true
			}
		})
		c := v.dial()
		for range 3 {
			c.send(line("GET / HTTP/1.1") + line("HEAD / HTTP/1.1"))
			if _, body := c.response("GET"); body != string(pattern(100_000)) {
				t.Errorf("%d bytes", len(body))
			}
			c.response("HEAD")
		}
		c.send(line("GET /gone HTTP/1.1"))
		c.closed()
		v.until("every answer is done with", func() bool { return v.done.Load() == 7 })
		if n := len(opened); n != 4 {
			t.Errorf("opened %d times", n)
		}
		for range 3 {
			file := <-opened
			v.until("the file is closed", func() bool { _, err := file.Stat(); return errors.Is(err, os.ErrClosed) })
		}
	})
}

// The handler knows who asks, also where IPv4 comes in through IPv6.
func TestRemote(t *testing.T) {
	each(t, func(t *testing.T, engine string) {
		asked := make(chan netip.AddrPort, 1)
		v := serve(t, engine, &Server{Handler: func(r *Request, a *Answer) bool {
			asked <- r.Remote
			a.Head = MakeHead(200, 0)
			return true
		}})
		for range 2 {
			c := v.dial()
			c.send(with())
			c.response("GET")
			if got := <-asked; got.String() != c.LocalAddr().String() || !got.Addr().Is4() {
				t.Errorf("%v instead of %v", got, c.LocalAddr())
			}
		}
	})
	if at := addressOf(&net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.1"), Port: 5}); at.String() != "192.0.2.1:5" {
		t.Errorf("got %v", at)
	}
}

// What the server did can be read: as many bytes as came, each request once, each refusal with its reason.
func TestCounts(t *testing.T) {
	each(t, func(t *testing.T, engine string) {
		file := writeFile(t, 100_000)
		s := &Server{}
		v := serve(t, engine, s, func(v *served) {
			s.Handler = func(r *Request, a *Answer) bool {
				if string(r.Path) == "/file" {
					a.Head, a.File, a.Size = MakeHead(200, 100_000), file, 100_000
					return true
				}
				return v.answer(r, a)
			}
		})
		c := v.dial()
		came := &counting{Reader: c.Conn}
		c.r = bufio.NewReader(came)
		for _, path := range []string{"/", "/10", "/20000", "/file", "/3000000"} {
			c.send(line("GET " + path + " HTTP/1.1"))
			c.response("GET")
		}
		c.send(line("GET / HTTP/9.9"))
		c.response("GET")
		c.closed()
		refused := came.n
		c = v.dial()
		came = &counting{Reader: c.Conn}
		c.r = bufio.NewReader(came)
		for range 2 {
			c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
			c.response("POST")
		}
		c.Close()
		v.until("all connections are over", func() bool { return s.Counts().Open == 0 })
		got := s.Counts()
		want := Counts{Conns: 2, Requests: 7, Lean: 5, Bytes: refused + came.n, Refusals: map[Refusal]int64{*otherVersion: 1}}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v\n%+v", got, want)
		}
	})
}

type counting struct {
	io.Reader
	n int64
}

func (c *counting) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n += int64(n)
	return n, err
}

// A panic in a handler ends its connection, is logged, and nothing else.
func TestPanic(t *testing.T) {
	each(t, func(t *testing.T, engine string) {
		file := writeFile(t, 10)
		var logged bytes.Buffer
		s := &Server{Log: slog.New(slog.NewTextHandler(&logged, nil))}
		v := serve(t, engine, s, func(v *served) {
			s.Handler = func(r *Request, a *Answer) bool {
				a.Head, a.Done = MakeHead(200, 0), func() { v.done.Add(1) }
				switch string(r.Path) {
				case "/now":
					panic("at once")
				case "/abort":
					panic(http.ErrAbortHandler)
				case "/done":
					a.Done = func() { v.done.Add(1); panic("at the end") }
				case "/open":
					a.Head, a.Size, a.Open = MakeHead(200, 10), 10, func() (*os.File, error) { panic("while opening " + file.Name()) }
				}
				return true
			}
		})
		other := v.dial()
		for path, status := range map[string]int{"/now": 500, "/abort": 500, "/done": 200, "/open": 0} {
			c := v.dial()
			c.send(line("GET " + path + " HTTP/1.1"))
			if status > 0 {
				if resp, _ := c.response("GET"); resp.StatusCode != status {
					t.Errorf("%s: %s", path, resp.Status)
				}
			}
			if status != 200 {
				c.closed()
			}
			other.send(with())
			other.response("GET")
		}
		v.until("every answer is done with", func() bool { return v.done.Load() == 6 })
		v.stop()
		for _, text := range []string{"at once", "at the end", "while opening"} {
			if !strings.Contains(logged.String(), text) {
				t.Errorf("%q is not in the log: %s", text, logged.String())
			}
		}
		if strings.Contains(logged.String(), "abort") {
			t.Error("an abort on purpose is in the log")
		}
	})
}

// A file that becomes shorter while it is sent breaks the connection, and nothing else.
func TestShrinkingFile(t *testing.T) {
	each(t, func(t *testing.T, engine string) {
		const size = 64 << 20
		file := writeFile(t, size)
		v := serveFile(t, engine, file)
		c := v.dial()
		c.send(line(fmt.Sprintf("GET /0/%d HTTP/1.1", size)))
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := file.Truncate(1000); err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, resp.Body); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d bytes, %v", n, err)
		}
		c = v.dial()
		c.send(line("GET /0/1000 HTTP/1.1"))
		if _, body := c.response("GET"); body != string(pattern(1000)) {
			t.Errorf("%d bytes", len(body))
		}
	})
}

func TestThousands(t *testing.T) {
	for _, engine := range []string{"loop", "goroutines"} {
		t.Run(engine, func(t *testing.T) {
			v := serve(t, engine, &Server{Limits: Limits{ReadHead: time.Hour, Idle: time.Hour}})
			all := make([]*client, 2000)
			for i := range all {
				all[i] = v.dial()
				all[i].send(with())
			}
			for range 2 {
				for _, c := range all {
					if _, body := c.response("GET"); body != "ok" {
						t.Fatalf("got %q", body)
					}
					c.send(with())
				}
			}
			v.stop()
			for _, c := range all {
				c.Close()
			}
		})
	}
}

func TestMostConnections(t *testing.T) {
	each(t, func(t *testing.T, engine string) {
		v := serve(t, engine, &Server{Limits: Limits{Conns: 2}})
		first, second, third := v.dial(), v.dial(), v.dial()
		first.send(with())
		first.response("GET")
		second.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n") // net/http's count as well
		second.response("POST")
		got := make(chan string, 1)
		go func() { third.send(with()); _, body := third.response("GET"); got <- body }()
		select {
		case <-got:
			t.Error("a third connection was served")
		case <-time.After(50 * time.Millisecond):
		}
		second.Close()
		if body := <-got; body != "ok" {
			t.Errorf("got %q", body)
		}
	})
}

// What net/http would let pass on a connection that it has is refused there too, and reaches no handler.
// One address has so many connections and no more, and others come in again as those end.
func TestMostOfOneAddress(t *testing.T) {
	each(t, func(t *testing.T, engine string) {
		s := &Server{Limits: Limits{Address: 3}}
		v := serve(t, engine, s)
		var in []*client
		for range 2 {
			c := v.dial()
			c.send(with())
			c.response("GET")
			in = append(in, c)
		}
		c := v.dial()
		c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n") // net/http has it from now on
		c.response("POST")
		in = append(in, c)
		if engine != "tls" {
			out := v.dial()
			out.closed()
		}
		for _, c := range in {
			c.Close()
			v.until("the connection has ended", func() bool { return s.Counts().Open < 3 })
			again := v.dial()
			again.send(with("Connection: close"))
			again.response("GET")
			again.Close()
		}
	})
}

func TestScreen(t *testing.T) {
	each(t, func(t *testing.T, engine string) {
		v := serve(t, engine, &Server{})
		post := "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
		for _, bad := range []string{
			"GET /x HTTP/1.1\nHost: a\n\n", coding("Content-Length: 5", "Transfer-Encoding: chunked"),
			with("X: a", " b"), line("GET http://a/ HTTP/1.1"), with("Content-Length: 5", "Content-Length: 5") + "hello",
		} {
			for _, together := range []bool{true, false} {
				c := v.dial()
				before := v.asked.Load()
				if together {
					c.send(post + bad)
				} else {
					c.send(post)
				}
				if _, body := c.response("POST"); body != "POST / hi" {
					t.Errorf("got %q", body)
				}
				if !together {
					c.send(bad)
				}
				if resp, _ := c.response("GET"); resp.StatusCode != 400 || v.asked.Load() != before+1 {
					t.Errorf("%q: %s", bad, resp.Status)
				}
				c.closed()
			}
		}
	})
}

// After a handler has taken a connection over, anything passes; before, nothing but HTTP does.
func TestUpgrade(t *testing.T) {
	each(t, func(t *testing.T, engine string) {
		v := serve(t, engine, &Server{Limits: Limits{Grace: 50 * time.Millisecond}, Fallback: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/up" {
				return
			}
			conn, rw, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
			io.Copy(conn, rw)
		})})
		c := v.dial()
		c.send("GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		if resp, err := http.ReadResponse(c.r, nil); err != nil || resp.StatusCode != 101 {
			t.Fatalf("%v, %v", resp, err)
		}
		for _, text := range []string{"\x00\x01\x02", "hello\n", strings.Repeat("x", 100_000)} {
			go c.send(text)
			got := make([]byte, len(text))
			if _, err := io.ReadFull(c.r, got); err != nil || string(got) != text {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		}
		other := v.dial()
		other.send("GET /no HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n\x00\x01\x02")
		other.response("GET")
		if resp, _ := other.response("GET"); resp.StatusCode != 400 {
			t.Errorf("got %s", resp.Status)
		}
		v.stop() // though nobody else would end the connection
	})
}

// A server that retires takes nobody new, and who is connected, idle or not, has one more answer.
func TestRetire(t *testing.T) {
	each(t, func(t *testing.T, engine string) {
		s := &Server{Fallback: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "posted") })}
		v := serve(t, engine, s)
		idle, posting := v.dial(), v.dial()
		idle.send(with())
		idle.response("GET")
		post := "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
		posting.send(post)
		posting.response("POST")
		s.Retire()
		eventually(t, "nobody new is let in", func() bool {
			conn, err := net.Dial("tcp", v.addr)
			if err == nil {
				conn.Close()
			}
			return err != nil
		})
		idle.send(with())
		if resp, body := idle.response("GET"); body != "ok" || !resp.Close {
			t.Errorf("who was idle got %q, %v", body, resp.Header)
		}
		idle.closed()
		posting.send(post)
		if resp, body := posting.response("POST"); body != "posted" || !resp.Close {
			t.Errorf("who posts got %q, %v", body, resp.Header)
		}
		posting.closed()
		select { // by itself
		case err := <-v.ended:
			if close(v.ended); err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("Serve goes on without connections")
		}
	})
}

// At the end idle connections are closed, answers under way finish, and heads that have begun get theirs.
func TestGraceful(t *testing.T) {
	each(t, func(t *testing.T, engine string) {
		inside, leave := make(chan bool), make(chan bool)
		v := serve(t, engine, &Server{Limits: Limits{Grace: time.Hour}, Fallback: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(inside)
			<-leave
			io.WriteString(w, "finished")
		})})
		idle, partial, large, slow := v.dial(), v.dial(), v.dial(), v.dial()
		idle.send(with())
		idle.response("GET")
		partial.send(with() + "GET / HTTP/1.1\r\n")
		partial.response("GET")
		large.send(line("GET /50000000 HTTP/1.1"))
		large.r.Peek(1000)
		slow.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
		<-inside
		v.end()
		idle.closed()
		if resp, body := large.response("GET"); len(body) != 50_000_000 {
			t.Errorf("%d bytes, %v", len(body), resp.Header)
		}
		partial.send("Host: a\r\n\r\n")
		if resp, body := partial.response("GET"); body != "ok" || !resp.Close {
			t.Errorf("got %q", body)
		}
		partial.closed()
		large.Close()
		partial.Close()
		close(leave)
		if _, body := slow.response("POST"); body != "finished" {
			t.Errorf("got %q", body)
		}
		if conn, err := net.Dial("tcp", v.addr); err == nil {
			conn.Close()
			t.Error("still listening")
		}
		v.stop()
	})
}

// When grace is over, nothing holds the end up: not a client that does not read, nor a handler that waits.
func TestGraceOver(t *testing.T) {
	each(t, func(t *testing.T, engine string) {
		inside := make(chan bool)
		v := serve(t, engine, &Server{Limits: Limits{Grace: 50 * time.Millisecond}, Fallback: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(inside)
			<-r.Context().Done()
		})})
		large, slow := v.dial(), v.dial()
		large.send(line("GET /50000000 HTTP/1.1"))
		large.r.Peek(1000)
		slow.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
		<-inside
		v.stop()
	})
}

// A listener that fails ends Serve with its error.
func TestListenerFails(t *testing.T) {
	s := &Server{}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	failing := failingListener{ln}
	if err := s.Serve(t.Context(), failing); !errors.Is(err, syscall.EPERM) {
		t.Errorf("got %v", err)
	}
}

type failingListener struct{ net.Listener }

func (failingListener) Accept() (net.Conn, error) { return nil, syscall.EPERM }

func TestHTTP2(t *testing.T) {
	v := serve(t, "tls", &Server{Limits: Limits{Conns: 1}})
	for range 2 { // of which the second needs the place of the first
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
		resp, err := (&http.Client{Transport: transport, Timeout: patience}).Get("https://" + v.addr + "/a")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.ProtoMajor != 2 || string(body) != "GET /a " {
			t.Errorf("%s %q, %v", resp.Proto, body, err)
		}
		transport.CloseIdleConnections()
	}
}

// Handlers hear of TLS.
func TestTLSState(t *testing.T) {
	seen := make(chan bool, 1)
	v := serve(t, "tls", &Server{Fallback: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r.TLS != nil && r.TLS.HandshakeComplete })})
	c := v.dial()
	c.send(line("GET /a HTTP/1.1"))
	c.response("GET")
	if !<-seen {
		t.Error("TLS is not known")
	}
}

package http1

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// proxied is net/http's proxy in front of a backend.
func proxied(t *testing.T, tr *Transport, b *backend) *httptest.Server {
	p := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: b.addr})
			r.Out.Trailer = r.In.Trailer
		},
		Transport: tr, ErrorLog: log.New(io.Discard, "", 0),
	}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	return server
}

// A connection that changes its protocol carries anything, from its first byte to the end of each direction.
func TestTransportUpgrade(t *testing.T) {
	b := newBackend(t, func(c *spoken) {
		if head := c.head(); !strings.Contains(head, "Connection: Upgrade\r\n") || !strings.Contains(head, "Upgrade: websocket\r\n") {
			t.Errorf("got %q", head)
		}
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\n\x00first")
		io.Copy(c, c.r)
		io.WriteString(c, "last")
	})
	tr := newTransport(t, &Transport{})
	server := proxied(t, tr, b)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 101 {
		t.Fatalf("got %v, %v", res, err)
	}
	expect := func(want string) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
	}
	expect("\x00first")
	for _, text := range []string{"\x01\x02", "GET / HTTP/1.1\r\n\r\n", strings.Repeat("x", 1<<20)} {
		go io.WriteString(conn, text)
		expect(text)
	}
	conn.(*net.TCPConn).CloseWrite()
	expect("last")
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("got %v", err)
	}
	eventually(t, "the connection is closed", func() bool { return b.open.Load() == 0 })
}

// A change that was not asked for, or to something else, is an error.
func TestTransportUpgradeRefused(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n", "HTTP/1.1 101 Yes\r\n\r\n",
		"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\n\r\n", "HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\n\r\n",
	} {
		b := says(t, answer, false)
		tr := newTransport(t, &Transport{})
		req := b.request("GET", nil)
		req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}
		if _, err := tr.RoundTrip(req); !errors.Is(err, ErrUnasked) {
			t.Errorf("%q: %v", answer, err)
		}
	}
	b := says(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", false)
	tr := newTransport(t, &Transport{})
	req := b.request("GET", nil)
	req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}
	if res, got, err := fetch(tr, req); err != nil || res.StatusCode != 200 || got != "no" {
		t.Errorf("got %v, %q, %v", res, got, err)
	}
}

// Through net/http's proxy an event is there before the next one is sent.
func TestTransportEvents(t *testing.T) {
	next := make(chan bool)
	b := newBackend(t, func(c *spoken) {
		c.head()
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
		for n := 0; <-next; n++ {
			fmt.Fprintf(c, "9\r\ndata: %d\n\n\r\n", n)
		}
		io.WriteString(c, "0\r\n\r\n")
		c.head()
	})
	tr := newTransport(t, &Transport{})
	server := proxied(t, tr, b)
	res, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for n := range 3 {
		next <- true
		got := make([]byte, 9)
		if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != fmt.Sprintf("data: %d\n\n", n) {
			t.Errorf("got %q, %v", got, err)
		}
	}
	close(next)
	if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
		t.Errorf("got %q, %v", rest, err)
	}
	server.Close()
}

// Bodies, trailers and hints pass net/http's proxy in both directions.
func TestTransportProxy(t *testing.T) {
	var got atomic.Value
	b := newBackend(t, func(c *spoken) {
		for {
			req, err := http.ReadRequest(c.r)
			if err != nil {
				return
			}
			io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
			body, err := io.ReadAll(req.Body)
			got.Store(fmt.Sprint(req.Method, " ", len(body), " ", err, " ", req.Trailer))
			io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nTrailer: T\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nT: u\r\n\r\n")
		}
	})
	tr := newTransport(t, &Transport{})
	server := proxied(t, tr, b)
	for range 3 {
		req, _ := http.NewRequest("POST", server.URL, io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<20))))
		req.Trailer = http.Header{"Sum": {"1"}}
		req.Header.Set("Expect", "100-continue")
		res, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if string(body) != "ok" || err != nil || res.Trailer.Get("T") != "u" {
			t.Errorf("got %q, %v, %v", body, err, res.Trailer)
		}
		if want := "POST 1048576 <nil> map[Sum:[1]]"; got.Load() != want {
			t.Errorf("the origin got %s", got.Load())
		}
	}
	if b.conns() != 1 {
		t.Errorf("%d connections", b.conns())
	}
	server.Close()
}

// An answer that ends too early is not whole for the client either.
func TestTransportProxyCut(t *testing.T) {
	b := says(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", true)
	tr := newTransport(t, &Transport{})
	server := proxied(t, tr, b)
	res, err := server.Client().Get(server.URL)
	if err == nil {
		_, err = io.ReadAll(res.Body)
		res.Body.Close()
	}
	if err == nil {
		t.Error("the answer looks whole")
	}
	server.Close()
}

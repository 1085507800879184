package front

import (
	"bufio"
	"context"
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

	"bramble/http1"
	"bramble/http1/http1test"
)

// Nothing that is refused reaches a member, and of what is accepted a member gets one request that is not ambiguous.
func TestCases(t *testing.T) {
	b := newBackend(t, "b", nil)
	w := serve(t, pool(b.Member))
	for _, c := range http1test.Cases {
		if strings.HasPrefix(c.Raw, "OPTIONS *") {
			continue // which is about the front itself
		}
		conn, r := w.dial()
		go io.WriteString(conn, c.Raw)
		for {
			method, _, _ := strings.Cut(c.Raw, " ")
			res, err := http.ReadResponse(r, &http.Request{Method: method})
			if err != nil {
				t.Fatalf("%s: %v", c.Name, err)
			}
			io.Copy(io.Discard, res.Body)
			if res.StatusCode == 100 {
				continue
			}
			if c.Status == 0 != (res.StatusCode == 200) {
				t.Errorf("%s: got %s, want %d", c.Name, res.Status, c.Status)
			}
			break
		}
		conn.Close()
		heard := b.heard()
		chunks := strings.Contains(c.Raw, "ing: chunked\r\n\r\n")
		if c.Status != 0 && heard != "" && !chunks { // a body goes on as it comes, until it is wrong
			t.Errorf("%s: a member got %q", c.Name, heard)
		}
		if c.Status == 0 {
			unambiguous(t, c.Name, heard)
		}
	}
}

// unambiguous checks that bytes are one request.
func unambiguous(t *testing.T, name, raw string) {
	t.Helper()
	var r http1.Request
	n, err := r.Parse([]byte(raw), http1.Limits{Head: 1 << 20, Target: 1 << 20, Fields: 200})
	if err != nil || n == 0 {
		t.Errorf("%s: a member got %q, %v", name, raw, err)
		return
	}
	switch rest := raw[n:]; r.Body() {
	case http1.NoBody:
		if rest != "" {
			t.Errorf("%s: a member got %q behind a request", name, rest)
		}
	case http1.ByLength:
		if int64(len(rest)) != r.Length {
			t.Errorf("%s: a member got %d bytes of body, which should be %d", name, len(rest), r.Length)
		}
	default:
		var c http1.Chunks
		for b := []byte(rest); !c.Done() || len(b) > 0; {
			_, n, err := c.Next(b)
			if err != nil || n == 0 {
				t.Errorf("%s: a member got the body %q, %v", name, rest, err)
				return
			}
			b = b[n:]
		}
	}
}

// What a member gets of a request's head, on both ways through the front.
func TestRequestHead(t *testing.T) {
	b := newBackend(t, "b", nil)
	spec := pool(b.Member)
	w := serve(t, spec)
	spec.Trusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	trusting := serve(t, spec)
	const own = "X-Forwarded-For: 127.0.0.1\nX-Forwarded-Proto: http\nX-Forwarded-Host: a.example:80\n"
	cases := []struct{ name, fields, want string }{
		{"plain", "Accept: x\nCookie: a=b\n", "Accept: x\nCookie: a=b\n" + own},
		{"twice", "Accept: x\nAccept: y\n", "Accept: x\nAccept: y\n" + own},
		{"between neighbours", "Connection: keep-alive, X-Mine\nX-Mine: 1\nKeep-Alive: 5\nProxy-Connection: a\nTE: gzip\nProxy-Authorization: b\nX-Other: 2\n",
			"X-Other: 2\n" + own},
		{"what strangers say", "X-Forwarded-For: 6.6.6.6\nX_Forwarded_For: 7.7.7.7\nX-Real-Ip: 8.8.8.8\nForwarded: for=9.9.9.9\nX-Forwarded-Proto: https\nX-Forwarded-Host: evil\nX-Forwarded-Port: 1\nProxy: http://evil\n", own},
	}
	for _, method := range []string{"GET", "POST"} {
		for _, c := range cases {
			raw := method + " /p?q=1;r=2 HTTP/1.1\r\nHost: a.example:80\r\n" + strings.ReplaceAll(c.fields, "\n", "\r\n")
			if method == "POST" {
				raw += "Content-Length: 0\r\n"
			}
			for _, front := range []*web{w, trusting} {
				want := c.want
				if front == trusting && c.name == "what strangers say" {
					want = "X-Forwarded-For: 6.6.6.6, 127.0.0.1\nX-Forwarded-Proto: https\nX-Forwarded-Host: evil\n"
				}
				front.ask(raw + "\r\n")
				got, ok := strings.CutPrefix(b.heard(), method+" /p?q=1;r=2 HTTP/1.1\r\nHost: a.example:80\r\n")
				if !ok || !sameFields(got, want) {
					t.Errorf("%s, %s: got %q, want %q", method, c.name, got, want)
				}
			}
		}
	}
}

// sameFields compares fields whatever their order is, but for those that go with any request that has a body.
func sameFields(raw, want string) bool {
	left := map[string]int{}
	for _, line := range strings.Split(strings.TrimSpace(raw), "\r\n") {
		if !strings.HasPrefix(line, "Content-Length:") && !strings.HasPrefix(line, "User-Agent: Go-http") && !strings.HasPrefix(line, "Accept-Encoding: gzip") {
			left[strings.ToLower(line)]++
		}
	}
	for _, line := range strings.Split(strings.TrimSpace(want), "\n") {
		left[strings.ToLower(line)]--
	}
	for _, n := range left {
		if n != 0 {
			return false
		}
	}
	return true
}

// What a visitor gets of an answer's head, on both ways.
func TestAnswerHead(t *testing.T) {
	b := newBackend(t, "b", nil)
	b.answer = "HTTP/1.1 404 Gone Fishing\r\nDate: then\r\nServer: s\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nConnection: X-Mine\r\nX-Mine: 1\r\n" +
		"Keep-Alive: timeout=5\r\nProxy-Authenticate: x\r\nContent-Length: 2\r\n\r\nhi"
	w := serve(t, pool(b.Member))
	for _, raw := range []string{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"} {
		res, body := w.ask(raw)
		if res.StatusCode != 404 || body != "hi" || fmt.Sprint(res.Header) != "map[Content-Length:[2] Date:[then] Server:[s] Set-Cookie:[a=b c=d]]" {
			t.Errorf("%.4s: got %s %v %q", raw, res.Status, res.Header, body)
		}
	}
}

const (
	get  = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
)

// A request that a member did not answer goes to another one, unless the member may have acted on it.
func TestElsewhere(t *testing.T) {
	closes := newBackend(t, "closes", func(_ net.Conn, r *bufio.Reader, _ string) bool { return false })
	for _, c := range []struct {
		raw  string
		bad  Member
		want int
	}{
		{get, closes.Member, 200},
		{"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", closes.Member, 200},
		{"GET / HTTP/1.0\r\n\r\n", closes.Member, 200},
		{get, gone(t, "gone"), 200},
		{post, gone(t, "gone"), 200},
		{post, closes.Member, 502},
		{"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", closes.Member, 502},
	} {
		good := newBackend(t, "good", nil)
		good.Duty = Standby
		bad := c.bad
		bad.Route = "bad"
		spec := pool(bad, good.Member)
		spec.Pools[0].Members[1].Duty = Regular
		spec.Pools[0].Sticky = "R"
		w := serve(t, spec)
		conn, r := w.dial()
		io.WriteString(conn, strings.Replace(c.raw, "\r\n\r\n", "\r\nCookie: R=bad\r\n\r\n", 1))
		res, err := http.ReadResponse(r, &http.Request{Method: strings.Fields(c.raw)[0]})
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != c.want {
			t.Errorf("%.20q with a member that is %s: got %s, want %d", c.raw, bad.Name, res.Status, c.want)
		}
		if c.want == 502 && good.heard() != "" {
			t.Errorf("%.20q was repeated", c.raw)
		}
	}
}

// Members that stand by are asked when nobody else can be, and a page says when nobody is there at all.
func TestStandbyAndNobody(t *testing.T) {
	standby := newBackend(t, "standby", nil)
	standby.Duty = Standby
	w := serve(t, pool(gone(t, "x"), gone(t, "y"), standby.Member))
	for _, raw := range []string{get, post, get} {
		if res, body := w.ask(raw); res.StatusCode != 200 || !strings.HasPrefix(body, "standby") {
			t.Errorf("got %s %q", res.Status, body)
		}
	}
	w = serve(t, pool(gone(t, "x"), gone(t, "y")))
	for _, raw := range []string{get, post, get, post} {
		if res, body := w.ask(raw); res.StatusCode != 503 || !strings.Contains(body, "Nobody is at home") || res.Header.Get("Retry-After") == "" {
			t.Errorf("got %s %v %q", res.Status, res.Header, body)
		}
	}
}

// Statuses that count as failures are not passed on while there is somebody else.
func TestFailOn(t *testing.T) {
	bad, good := newBackend(t, "bad", nil), newBackend(t, "good", nil)
	bad.answer = "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
	spec := pool(bad.Member, good.Member)
	spec.Pools[0].FailOn = []int{500}
	w := serve(t, spec)
	for range 2 {
		if res, _ := w.ask(get); res.StatusCode != 200 {
			t.Errorf("got %s", res.Status)
		}
	}
	w.until("the bad one is out", func() bool { // by what is asked through net/http alone
		res, _ := w.ask("GET / HTTP/1.0\r\n\r\n")
		s := w.s.Standing()[0].Members[0]
		return res.StatusCode == 200 && s.Health.Down && s.Failures > 0
	})
	spec.Pools[0].Members = spec.Pools[0].Members[:1]
	w = serve(t, spec)
	if res, _ := w.ask(get); res.StatusCode != 502 {
		t.Errorf("with nobody else: %s", res.Status)
	}
}

// A visitor stays with a member by cookie; a new one is told whom.
func TestSticky(t *testing.T) {
	a, b := newBackend(t, "a", nil), newBackend(t, "b", nil)
	a.Route, b.Route = "ra", "rb"
	spec := pool(a.Member, b.Member)
	spec.Pools[0].Sticky = "ROUTE"
	w := serve(t, spec)
	for _, raw := range []string{get, post} {
		seen := map[string]bool{}
		for range 8 {
			res, body := w.ask(raw)
			name, _, _ := strings.Cut(body, " ")
			seen[name] = true
			if c := res.Header.Get("Set-Cookie"); c != "ROUTE=r"+name+"; Path=/; HttpOnly; SameSite=Lax" {
				t.Errorf("the cookie is %q, the member %s", c, name)
			}
			for _, with := range []string{"\r\nCookie: x=y; ROUTE=r" + name, "\r\nCookie: ROUTE=session17.r" + name} {
				res, body = w.ask(strings.Replace(raw, "\r\n\r\n", with+"\r\n\r\n", 1))
				if !strings.HasPrefix(body, name) || res.Header.Get("Set-Cookie") != "" {
					t.Errorf("with %q: got %q, cookie %q", with, body, res.Header.Get("Set-Cookie"))
				}
			}
		}
		if len(seen) != 2 {
			t.Errorf("all new visitors went to %v", seen)
		}
	}
	for _, raw := range []string{get, post} { // a session of the members' own is left alone
		res, _ := w.ask(strings.Replace(raw, "\r\n\r\n", "\r\nCookie: ROUTE=session17\r\n\r\n", 1))
		if c := res.Header.Get("Set-Cookie"); c != "" {
			t.Errorf("a session of a member's was overwritten by %q", c)
		}
	}
	for _, b := range []*backend{a, b} {
		b.answer = "HTTP/1.1 200 OK\r\nSet-Cookie: ROUTE=session18.x\r\nContent-Length: 0\r\n\r\n"
	}
	for _, raw := range []string{get, post} {
		res, _ := w.ask(raw)
		if c := res.Header["Set-Cookie"]; len(c) != 1 {
			t.Errorf("a session of a member's is set together with %q", c)
		}
	}
	a.answer, b.answer = "", ""
	for _, target := range []string{"/?ROUTE=rb", "/x;ROUTE=17.rb", "/x;a=b;ROUTE=rb?c"} {
		for range 3 {
			if _, body := w.ask(strings.Replace(get, " / ", " "+target+" ", 1)); !strings.HasPrefix(body, "b") {
				t.Errorf("%s: got %q", target, body)
			}
		}
	}
}

// Hosts and paths have pools of their own.
func TestRoutes(t *testing.T) {
	shop, api, rest := newBackend(t, "shop", nil), newBackend(t, "api", nil), newBackend(t, "rest", nil)
	one := func(host, path string, b *backend) Pool {
		p := pool(b.Member).Pools[0]
		p.Host, p.Path = host, path
		return p
	}
	w := serve(t, Spec{Pools: []Pool{one("shop.example", "", shop), one("shop.example", "/api/", api), one("", "/rest", rest)}})
	for _, c := range []struct{ host, path, want string }{
		{"shop.example", "/", "shop"}, {"SHOP.example:8080", "/x", "shop"}, {"shop.example.", "/apix", "shop"},
		{"shop.example", "/api", "api"}, {"shop.example", "/api/x?y", "api"}, {"shop.example", "/api;v=1", "api"},
		{"other.example", "/rest/x", "rest"}, {"other.example", "/", ""}, {"[::1]:80", "/rest", "rest"},
	} {
		for _, method := range []string{"GET", "POST"} {
			res, body := w.ask(method + " " + c.path + " HTTP/1.1\r\nHost: " + c.host + "\r\n" + map[string]string{"POST": "Content-Length: 0\r\n"}[method] + "\r\n")
			if c.want == "" {
				if res.StatusCode != 404 {
					t.Errorf("%s%s: got %s", c.host, c.path, res.Status)
				}
			} else if !strings.HasPrefix(body, c.want+" ") {
				t.Errorf("%s%s: got %q, want %s", c.host, c.path, body, c.want)
			}
		}
	}
}

// An upgrade, as WebSocket begins with, makes the connection one between the visitor and the member.
func TestUpgrade(t *testing.T) {
	b := newBackend(t, "b", func(conn net.Conn, r *bufio.Reader, head string) bool {
		if !strings.Contains(head, "Upgrade: websocket\r\n") {
			t.Errorf("the member got %q", head)
		}
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst\n")
		line, _ := r.ReadString('\n')
		io.WriteString(conn, "you said "+line)
		return false
	})
	w := serve(t, pool(b.Member))
	conn, r := w.dial()
	io.WriteString(conn, "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 101 {
		t.Fatal(res, err)
	}
	io.WriteString(conn, "GET /evil HTTP/1.1\n")
	all, _ := io.ReadAll(r)
	if string(all) != "first\nyou said GET /evil HTTP/1.1\n" {
		t.Errorf("got %q", all)
	}
	conn.Close()
	w.until("it is counted as over", func() bool { return w.s.Standing()[0].Members[0].Busy == 0 })
}

// HTTP/2 without TLS is not let through by an upgrade.
func TestH2C(t *testing.T) {
	b := newBackend(t, "b", nil)
	w := serve(t, pool(b.Member))
	w.ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n")
	if heard := strings.ToLower(b.heard()); heard == "" || strings.Contains(heard, "h2c") || strings.Contains(heard, "http2-settings") {
		t.Errorf("the member got %q", heard)
	}
}

// Events reach the visitor as the member sends them, on both ways.
func TestEvents(t *testing.T) {
	next := make(chan bool)
	b := newBackend(t, "b", func(conn net.Conn, r *bufio.Reader, head string) bool {
		io.CopyN(io.Discard, r, int64(5*strings.Count(head, "Content-Length: 5")))
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
		for i := range 3 {
			fmt.Fprintf(conn, "data: %d\n\n", i)
			<-next
		}
		return false
	})
	w := serve(t, pool(b.Member))
	for _, raw := range []string{get, post} {
		conn, r := w.dial()
		io.WriteString(conn, raw)
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		events := bufio.NewReader(res.Body)
		for i := range 3 {
			line, err := events.ReadString('\n')
			events.ReadString('\n')
			if want := fmt.Sprintf("data: %d\n", i); line != want || err != nil {
				t.Errorf("got %q, %v", line, err)
			}
			next <- true
		}
		if _, err := events.ReadByte(); err != io.EOF {
			t.Errorf("the end is %v", err)
		}
	}
}

// An upload goes on as it comes.
func TestUpload(t *testing.T) {
	got := make(chan string)
	b := newBackend(t, "b", func(conn net.Conn, r *bufio.Reader, head string) bool {
		for _, size := range []int{5, 1 << 20} {
			piece := make([]byte, size)
			io.ReadFull(r, piece)
			got <- string(piece)
		}
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		return false
	})
	w := serve(t, pool(b.Member))
	conn, r := w.dial()
	large := strings.Repeat("x", 1<<20)
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\nhello", 5+len(large))
	if piece := <-got; piece != "hello" { // before the rest was sent
		t.Errorf("got %q", piece)
	}
	go io.WriteString(conn, large)
	if piece := <-got; piece != large {
		t.Errorf("got %d bytes", len(piece))
	}
	if res, err := http.ReadResponse(r, nil); err != nil || res.StatusCode != 200 {
		t.Error(res, err)
	}
}

// An answer that comes before the request is whole goes to the visitor at once, who may be waiting for it.
func TestEarlyAnswer(t *testing.T) {
	b := newBackend(t, "b", func(conn net.Conn, r *bufio.Reader, _ string) bool {
		io.WriteString(conn, "HTTP/1.1 413 No\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge")
		io.Copy(io.Discard, r)
		return false
	})
	w := serveWith(t, &Server{Spec: pool(b.Member), Limits: http1.Limits{Write: time.Hour}}) // so that nothing but the answer ends it
	conn, r := w.dial()
	io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nhello")
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(res.Body); res.StatusCode != 413 || string(body) != "large" || err != nil {
		t.Errorf("got %s %q, %v", res.Status, body, err)
	}
	conn.Close()
}

// Behind such an answer the visitor's connection ends, and is not read by two at once while the rest of the request comes.
func TestEarlyAnswersEnd(t *testing.T) {
	b := newBackend(t, "b", func(conn net.Conn, r *bufio.Reader, head string) bool {
		io.WriteString(conn, "HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n")
		io.Copy(io.Discard, r)
		return false
	})
	w := serve(t, pool(b.Member))
	for _, body := range []string{"Content-Length: 1000\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"} {
		conn, r := w.dial()
		io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\n"+body)
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != 405 || !res.Close {
			t.Errorf("%q: %s, and the connection ends: %t", body, res.Status, res.Close)
		}
		conn.Close()
	}
	whole := newBackend(t, "whole", nil)
	w.s.Set(pool(whole.Member))
	for _, body := range []string{"Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"} {
		if res, got := w.ask("POST / HTTP/1.1\r\nHost: a\r\n" + body); res.StatusCode != 200 || res.Close || got != "whole hello" {
			t.Errorf("%q: %s, %q, and the connection ends: %t", body, res.Status, got, res.Close)
		}
	}
}

// A member that takes connections and does not answer its check is taken out, and its requests go elsewhere.
func TestCheck(t *testing.T) {
	well := make(chan bool, 1)
	silent := newBackend(t, "silent", func(conn net.Conn, r *bufio.Reader, head string) bool {
		if strings.HasPrefix(head, "GET /check ") {
			select {
			case <-well:
				io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
				well <- true
			default:
				r.ReadByte()
			}
			return false
		}
		r.ReadByte()
		return false
	})
	good := newBackend(t, "good", nil)
	spec := pool(silent.Member, good.Member)
	spec.Pools[0].Check = Check{Path: "/check", Interval: time.Millisecond, Timeout: 50 * time.Millisecond, Rise: 3}
	w := serve(t, spec)
	for range 4 {
		if res, body := w.ask(get); res.StatusCode != 200 || !strings.HasPrefix(body, "good") {
			t.Errorf("got %s %q", res.Status, body)
		}
	}
	w.until("the silent one is down", func() bool {
		s := w.s.Standing()[0].Members[0]
		return s.Health.Down && s.Health.Why != "" && s.Share == 0
	})
	well <- true
	w.until("it is back", func() bool { s := w.s.Standing()[0].Members[0]; return !s.Health.Down && s.Share == 0.5 })
}

// What is stopped loses what is under way; what is drained keeps it.
func TestModes(t *testing.T) {
	asked, goOn := make(chan bool, 4), make(chan bool)
	slow := newBackend(t, "slow", func(conn net.Conn, r *bufio.Reader, head string) bool {
		asked <- true
		select {
		case <-goOn:
		case <-t.Context().Done():
		}
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow")
		return true
	})
	good := newBackend(t, "good", nil)
	good.Duty = Standby
	spec := pool(slow.Member, good.Member)
	w := serve(t, spec)
	set := func(mode Mode) {
		p := spec.Pools[0]
		p.Members = append([]Member{}, p.Members...)
		p.Members[0].Mode = mode
		w.s.now.Load().groups[0].set(p)
	}
	conn, r := w.dial()
	io.WriteString(conn, get)
	<-asked
	set(Draining)
	if _, body := w.ask(get); !strings.HasPrefix(body, "good") {
		t.Errorf("a new visitor got %q", body)
	}
	goOn <- true
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(res.Body); string(body) != "slow" {
		t.Errorf("what was under way got %q", body)
	}
	set(Enabled)
	io.WriteString(conn, get)
	<-asked
	set(Stopped)
	if res, err = http.ReadResponse(r, nil); err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(res.Body); !strings.HasPrefix(string(body), "good") {
		t.Errorf("what was under way got %q", body)
	}
}

// Members come and go under load, and nobody notices.
func TestSetUnderLoad(t *testing.T) {
	var all []Member
	for i := range 4 {
		all = append(all, newBackend(t, fmt.Sprint("b", i), nil).Member)
	}
	spec := pool(all...)
	w := serve(t, spec)
	done := make(chan int)
	for range 8 {
		go func() {
			n := 0
			defer func() { done <- n }()
			conn, r := w.dial()
			for ; n < 300; n++ {
				io.WriteString(conn, get)
				res, err := http.ReadResponse(r, nil)
				if err != nil || res.StatusCode != 200 {
					t.Error(res, err)
					return
				}
				io.Copy(io.Discard, res.Body)
			}
		}()
	}
	running := 8
	for i := 0; running > 0; i++ {
		p := spec.Pools[0]
		p.Members = append(append([]Member{}, all[:i%4]...), all[i%4+1:]...)
		w.s.now.Load().groups[0].set(p)
		select {
		case <-done:
			running--
		case <-time.After(time.Millisecond):
		}
	}
}

// Trailers go through in both directions.
func TestTrailers(t *testing.T) {
	b := newBackend(t, "b", func(conn net.Conn, r *bufio.Reader, _ string) bool {
		req, err := http.ReadRequest(bufio.NewReader(io.MultiReader(strings.NewReader("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n"), r)))
		if err != nil {
			t.Error(err)
			return false
		}
		io.Copy(io.Discard, req.Body)
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n0\r\nSum: %s!\r\n\r\n", req.Trailer.Get("Sum"))
		return false
	})
	w := serve(t, pool(b.Member))
	res, _ := w.ask("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n5\r\nhello\r\n0\r\nSum: 17\r\n\r\n")
	if got := res.Trailer.Get("Sum"); got != "17!" {
		t.Errorf("the trailer is %q", got)
	}
}

// A check that is late while bytes come from the member says that a link is full, and not that the member is ill; three in a row say
// that it is.
func TestLateChecks(t *testing.T) {
	var checks atomic.Int64
	b := newBackend(t, "b", func(conn net.Conn, r *bufio.Reader, head string) bool {
		if strings.HasPrefix(head, "GET /check") {
			checks.Add(1)
			io.Copy(io.Discard, r)
			return false
		}
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
		for {
			if _, err := conn.Write(make([]byte, 1000)); err != nil {
				return false
			}
			time.Sleep(time.Millisecond)
		}
	})
	spec := pool(b.Member)
	spec.Pools[0].Check = Check{Path: "/check", Interval: 20 * time.Millisecond, Timeout: 500 * time.Millisecond}
	w := serve(t, spec)
	conn, r := w.dial()
	io.WriteString(conn, get)
	if _, err := r.Peek(100); err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, r)
	w.until("the member is down", func() bool { return w.s.Standing()[0].Members[0].Health.Down })
	if n := checks.Load(); n <= mostSlow {
		t.Errorf("it is down after %d checks", n)
	}
}

// A path goes to whom it leads to, however it is written.
func TestWindingPaths(t *testing.T) {
	all, admin := newBackend(t, "all", nil), newBackend(t, "admin", nil)
	spec := pool(all.Member)
	spec.Pools = append(spec.Pools, Pool{Path: "/admin", Check: Check{Interval: -1}, Members: []Member{admin.Member}})
	w := serve(t, spec)
	for path, want := range map[string]string{
		"/": "all", "/admin": "admin", "/a/../admin/x": "admin", "/admin/../x": "all", "/admin/./x": "admin", "/admin/%2e%2E/x": "all", "/./admin": "admin",
		"/../../admin": "admin", "/a/.../../admin": "all", "/admin/..": "all", "/.admin/../admin/.well-known": "admin", "/%61/../admin": "admin", "/admin%2f../x": "all", "/admin/.%2e.": "admin",
	} {
		for _, request := range []string{"GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n", "POST " + path + " HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"} {
			if _, body := w.ask(request); !strings.HasPrefix(body, want) {
				t.Errorf("%.40q was answered by %q, want %s", request, body, want)
			}
		}
	}
	all.heard()
	w.ask("GET /admin/../x HTTP/1.1\r\nHost: a\r\n\r\n")
	if got := all.heard(); !strings.HasPrefix(got, "GET /admin/../x HTTP/1.1") {
		t.Errorf("the member got %.40q, which is not how it was written", got)
	}
}

// What a name stands for is looked up again; while nobody knows it, it stands for what it did.
func TestFollow(t *testing.T) {
	a, b := newBackend(t, "a", nil), newBackend(t, "b", nil)
	w := serve(t, pool(a.Member))
	ctx, stop := context.WithCancel(t.Context())
	asked, next := make(chan bool), make(chan error)
	var over sync.WaitGroup
	over.Go(func() {
		w.s.Follow(ctx, time.Millisecond, func(ctx context.Context) (Spec, error) {
			select {
			case asked <- true:
			case <-ctx.Done():
				return Spec{}, ctx.Err()
			}
			return pool(b.Member), <-next
		})
	})
	defer func() { stop(); over.Wait() }()
	<-asked
	next <- errors.New("nobody knows")
	<-asked
	if _, body := w.ask(get); !strings.HasPrefix(body, "a") {
		t.Errorf("got %q", body)
	}
	next <- nil
	w.until("the other one is asked", func() bool { _, body := w.ask(get); return strings.HasPrefix(body, "b") })
}

// One address has so many requests in a second, and others none the fewer; what is too much is told so.
func TestRate(t *testing.T) {
	now := time.Unix(1000, 0)
	l := limits{now: func() time.Time { return now }, spent: map[netip.Addr]*bucket{}}
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	ask := func(from netip.Addr, n int) (got int) {
		for range n {
			if l.allow(Rate{2, 3}, from) {
				got++
			}
		}
		return got
	}
	if n := ask(a, 10); n != 3 {
		t.Errorf("at once %d were allowed", n)
	}
	if n := ask(b, 10); n != 3 {
		t.Errorf("another had %d", n)
	}
	now = now.Add(time.Second)
	if n := ask(a, 10); n != 2 {
		t.Errorf("a second later %d were allowed", n)
	}
	if x, y := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::ffff:1"); ask(x, 10)+ask(y, 10) != 3 {
		t.Error("a network of IPv6 has several shares")
	}
	now = now.Add(time.Hour)
	ask(a, 1)
	if len(l.spent) != 1 {
		t.Errorf("%d addresses are remembered", len(l.spent))
	}
}

// What is noted of requests, on both ways, of what the front answers itself too.
func TestAccessLog(t *testing.T) {
	b := newBackend(t, "b", nil)
	for _, asJSON := range []bool{false, true} {
		out := &backend{}
		w := serveWith(t, &Server{Spec: pool(gone(t, "x"), b.Member), Access: &AccessLog{To: out, JSON: asJSON}})
		w.s.now.Load().groups[0].turn.Store(1) // the next turn is x's
		w.ask("GET /a?b HTTP/1.1\r\nHost: h\r\nReferer: r\r\nUser-Agent: \"u\"\r\n\r\n")
		w.ask(post)
		var text string
		w.until("two lines", func() bool { text += out.heard(); return strings.Count(text, "\n") == 2 })
		want := []string{`127.0.0.1 - - [`, `"GET /a?b HTTP/1.1" 200 2 "r" "\x22u\x22"`, `"POST / HTTP/1.1" 200 7 "-" "-"`}
		if asJSON {
			want = []string{`"method":"GET","target":"/a?b","version":"HTTP/1.1","status":200,"bytes":2,"referer":"r","agent":"\"u\"","host":"h","member":"b","tried":1,"took":`, `"method":"POST","target":"/","version":"HTTP/1.1","status":200,"bytes":7,"host":"a","member":"b",`}
		}
		for _, part := range want {
			if !strings.Contains(text, part) {
				t.Errorf("%s is not in\n%s", part, text)
			}
		}
	}
}

// Whoever comes without TLS is sent to where it is.
func TestSecure(t *testing.T) {
	b := newBackend(t, "b", nil)
	for _, c := range []struct {
		port             int
		host, path, want string
	}{
		{443, "a.example", "/x?y", "https://a.example/x?y"}, {443, "a.example:80", "/", "https://a.example/"},
		{8443, "a.example:8080", "/", "https://a.example:8443/"}, {8443, "[::1]:80", "/", "https://[::1]:8443/"}, {443, "[::1]", "/", "https://[::1]/"},
	} {
		w := serveWith(t, &Server{Spec: Spec{Pools: pool(b.Member).Pools, Secure: c.port}})
		for _, method := range []string{"GET", "POST"} {
			res, _ := w.ask(method + " " + c.path + " HTTP/1.1\r\nHost: " + c.host + "\r\nContent-Length: 0\r\n\r\n")
			if res.StatusCode != 308 || res.Header.Get("Location") != c.want {
				t.Errorf("%s: got %s to %q, want %q", c.host, res.Status, res.Header.Get("Location"), c.want)
			}
		}
	}
	if b.heard() != "" {
		t.Error("a member was asked")
	}
}

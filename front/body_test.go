package front

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"bramble/http1"
)

// upTo is a pool whose requests have bodies of so many bytes at most.
func upTo(most int64, members ...Member) Spec {
	s := pool(members...)
	s.Pools[0].MaxBody = most
	return s
}

// Bodies of as many bytes as a pool takes pass. Of a larger one whose length is said the member sees nothing, and the visitor need not
// send it; each is counted and noted.
func TestMaxBody(t *testing.T) {
	b := newBackend(t, "b", nil)
	out := &backend{}
	w := serveWith(t, &Server{Spec: upTo(5, b.Member), Access: &AccessLog{To: out}})
	for _, body := range []string{"Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"} {
		if res, got := w.ask("POST / HTTP/1.1\r\nHost: a\r\n" + body); res.StatusCode != 200 || got != "b hello" {
			t.Errorf("%q: %s, %q", body, res.Status, got)
		}
	}
	b.heard()
	for _, fields := range []string{"Content-Length: 6\r\n", "Content-Length: 100000000000\r\nExpect: 100-continue\r\n"} {
		conn, r := w.dial()
		io.WriteString(conn, "POST /large HTTP/1.1\r\nHost: a\r\n"+fields+"\r\n") // and nothing of the body
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if text, _ := io.ReadAll(res.Body); res.StatusCode != 413 || !res.Close || string(text) != texts[413] {
			t.Errorf("%q: %s, %q, close %t", fields, res.Status, text, res.Close)
		}
		conn.Close()
	}
	if got := b.heard(); got != "" {
		t.Errorf("the member got %q", got)
	}
	if n := w.s.Counts().Refused[413]; n != 2 {
		t.Errorf("%d are counted", n)
	}
	var noted string
	w.until("both are noted", func() bool { noted += out.heard(); return strings.Count(noted, `"POST /large HTTP/1.1" 413 `) == 2 })
	w.s.Set(upTo(0, b.Member))
	if res, got := w.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nhello!"); res.StatusCode != 200 || got != "b hello!" {
		t.Errorf("without a limit: %s, %q", res.Status, got)
	}
}

// A body that says no length is broken off where it is too large: the member never sees its end, which is no failure of the member's.
func TestMaxBodyGrows(t *testing.T) {
	ended := make(chan error, 1)
	b := newBackend(t, "b", func(conn net.Conn, r *bufio.Reader, _ string) bool {
		_, err := io.Copy(io.Discard, r)
		ended <- err
		return false
	})
	w := serveWith(t, &Server{Spec: upTo(5, b.Member), Limits: http1.Limits{Write: time.Hour}})
	for i := range 2 * requestsFall {
		conn, r := w.dial()
		io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
		w.until("the member has what is not too much", func() bool { return strings.HasSuffix(b.heard(), "5\r\nhello\r\n") })
		io.WriteString(conn, []string{"1\r\n!", "1\r\n!\r\n0\r\n\r\n"}[min(i, 1)]) // the first one does not even go on
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if text, _ := io.ReadAll(res.Body); res.StatusCode != 413 || string(text) != texts[413] {
			t.Errorf("got %s, %q", res.Status, text)
		}
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("the visitor's connection goes on: %v", err)
		}
		<-ended
		if got := b.heard(); got != "" {
			t.Errorf("the member got %q as well", got)
		}
	}
	if m := w.s.Standing()[0].Members[0]; m.Failures != 0 || m.Health.Down || m.Busy != 0 {
		t.Errorf("the member is blamed: %+v", m)
	}
	if n := w.s.Counts().Refused[413]; n != 2*requestsFall {
		t.Errorf("%d are counted", n)
	}
}

// Over HTTP/2, and with members that speak it, limits are the same. A stream whose answer has begun is broken off.
func TestMaxBodySecond(t *testing.T) {
	first := newBackend(t, "first", nil)
	grpc, _ := speaker(t, "grpc")
	cert, key, roots := selfSigned(t, "a.example")
	certs, err := LoadCertificates([]string{cert}, []string{key}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	spec := upTo(8, first.Member)
	spec.Pools = append(spec.Pools, upTo(8, grpc).Pools...)
	spec.Pools[1].Path = "/grpc"
	w := serveBoth(t, &Server{Spec: spec}, certs, listen(t), listen(t))
	client := visitorFrom(t, "127.0.0.1", w.secure, "HTTP/2.0", &tls.Config{ServerName: "a.example", RootCAs: roots})
	send := func(path string, length int64, body io.Reader) (*http.Response, error) {
		r, err := http.NewRequestWithContext(t.Context(), "POST", "https://a.example"+path, body)
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = length
		return client.Do(r)
	}
	for i, c := range []struct {
		path   string
		length int64
	}{{"/", 9}, {"/", -1}, {"/grpc", 9}} {
		res, err := send(c.path, c.length, strings.NewReader("too much\n"))
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.StatusCode != 413 || res.ProtoMajor != 2 {
			t.Errorf("%+v: %s %s", c, res.Proto, res.Status)
		}
		if n := w.s.Counts().Refused[413]; n != int64(i+1) {
			t.Errorf("%+v: %d are counted", c, n)
		}
	}
	out, in := io.Pipe()
	res, err := send("/grpc", -1, out)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	fmt.Fprintln(in, "one")
	if line, err := lines.ReadString('\n'); err != nil || !strings.HasSuffix(line, " one\n") {
		t.Fatalf("got %q, %v", line, err)
	}
	go fmt.Fprintln(in, "two, three")
	if rest, err := io.ReadAll(lines); err == nil || res.Trailer.Get("Grpc-Status") != "" {
		t.Errorf("it ended with %q, trailer %v", rest, res.Trailer)
	}
	in.Close()
	w.until("all is counted", func() bool { return w.s.Counts().Refused[413] == 4 })
	for _, p := range w.s.Standing() {
		if m := p.Members[0]; m.Failures != 0 || m.Health.Down {
			t.Errorf("%s is blamed: %+v", m.Name, m)
		}
	}
}

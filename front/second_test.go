package front

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

// speaker is a member that speaks HTTP/2 without TLS, and answers as a server of gRPC does: each line as it comes, and how it went behind
// the last.
func speaker(t *testing.T, name string) (m Member, kill func()) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Protocols: &http.Protocols{}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			return
		}
		w.Header().Set("Trailer", "Grpc-Status")
		w.Header().Set("Content-Type", "application/grpc")
		w.WriteHeader(http.StatusOK)
		http.NewResponseController(w).Flush()
		for lines := bufio.NewScanner(r.Body); lines.Scan(); {
			io.WriteString(w, name+" "+r.Proto+" "+r.Header.Get("Te")+" "+r.Header.Get("X-Forwarded-Proto")+" "+lines.Text()+"\n")
			http.NewResponseController(w).Flush()
		}
		w.Header().Set("Grpc-Status", "0")
	})}
	s.Protocols.SetUnencryptedHTTP2(true)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() { s.Close(); <-ended })
	return Member{Name: name, Address: netip.MustParseAddrPort(l.Addr().String()), Second: true}, func() { s.Close() }
}

// Members that speak HTTP/2 are asked in it, in both directions at once, with what is behind a body; one that dies is left at once.
func TestSecond(t *testing.T) {
	a, killA := speaker(t, "a")
	b, _ := speaker(t, "b")
	b.Duty = Standby
	cert, key, roots := selfSigned(t, "a.example")
	spec := pool(a, b)
	spec.Pools[0].Check = Check{Path: "/health"}
	certs, err := LoadCertificates([]string{cert}, []string{key}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	w := serveBoth(t, &Server{Spec: spec}, certs, listen(t), listen(t))
	w.until("both are up", func() bool {
		all := w.s.Standing()[0].Members
		return !all[0].Health.Since.IsZero() && !all[1].Health.Since.IsZero()
	})
	client := visitorFrom(t, "127.0.0.1", w.secure, "HTTP/2.0", &tls.Config{ServerName: "a.example", RootCAs: roots})
	talk := func() (say func(string) string, end func() *http.Response) {
		out, in := io.Pipe()
		r, err := http.NewRequestWithContext(t.Context(), "POST", "https://a.example/service/Method", out)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Te", "trailers")
		r.Header.Set("Content-Type", "application/grpc")
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(res.Body)
		return func(text string) string {
				io.WriteString(in, text+"\n")
				line, err := lines.ReadString('\n')
				if err != nil {
					return err.Error()
				}
				return strings.TrimSpace(line)
			}, func() *http.Response {
				in.Close()
				io.Copy(io.Discard, lines)
				res.Body.Close()
				return res
			}
	}
	say, end := talk()
	for _, text := range []string{"one", "two"} {
		if got := say(text); got != "a HTTP/2.0 trailers https "+text {
			t.Errorf("got %q", got)
		}
	}
	if res := end(); res.ProtoMajor != 2 || res.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("it ended with %v", res.Trailer)
	}
	if res, body := w.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nhi\n"); res.StatusCode != 200 || body != "a HTTP/2.0  http hi\n" {
		t.Errorf("a visitor in HTTP/1 got %s, %q", res.Status, body)
	}
	if res, _ := w.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n"); res.StatusCode != 200 {
		t.Errorf("a visitor without a body got %s", res.Status)
	}
	say, end = talk()
	say("three")
	killA()
	w.until("it is down", func() bool { return w.s.Standing()[0].Members[0].Health.Down })
	end()
	say, end = talk()
	if got := say("four"); got != "b HTTP/2.0 trailers https four" {
		t.Errorf("after that: %q", got)
	}
	end()
}

func TestParseSecond(t *testing.T) {
	b, err := ParseBackend("h2c://10.0.0.1:50051,weight=2")
	if err != nil || !b.Member.Second || b.Server != "10.0.0.1:50051" || b.String() != "h2c://10.0.0.1:50051,weight=2" {
		t.Errorf("got %+v, %v", b, err)
	}
}

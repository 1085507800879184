package static

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Through net/http, over HTTP/1.1 and HTTP/2, answers are the same.
func TestSameThroughNetHTTP(t *testing.T) {
	eachBudget(t, func(t *testing.T, with func(*Options)) {
		s := live(t, tree{
			"index.html": "home", "a.txt": text, "a.txt.gz": gzipped(text), "dir/index.html": "dir", "a b.txt": "space", "404.html": "lost", "empty.txt": "",
			"_redirects": "/old /new?x 302\n/gone/* /404.html 404", "_headers": "/*\n  X-Frame-Options: DENY\n  Link: </a>; rel=x, </b>; rel=y",
		}, with)
		plain, secure := httptest.NewServer(s), httptest.NewUnstartedServer(s)
		secure.EnableHTTP2 = true
		secure.StartTLS()
		defer plain.Close()
		defer secure.Close()
		for _, c := range []string{
			"GET /", "HEAD /", "GET /a.txt", "GET /a.txt\nAccept-Encoding: gzip", "HEAD /a.txt\nAccept-Encoding: gzip", "GET /a.txt\nRange: bytes=5-9", "GET /a.txt\nRange: bytes=0-1,5-6", "GET /a.txt\nRange: bytes=99999-", "GET /a.txt\nIf-None-Match: *", "GET /a.txt\nIf-Match: \"x\"",
			"GET /dir", "GET /dir?x=y", "GET /dir/", "GET /a%20b.txt", "GET /old", "GET /old?y", "GET /gone/x", "GET /lost", "GET /empty.txt", "GET /%2fa.txt", "GET //a.txt", "GET //dir", "POST /", "OPTIONS /", "GET /\nCookie: x=1; bramble-release=r1", "GET /a.txt\nIf-Modified-Since: " + someDate,
		} {
			lines := strings.Split(c, "\n")
			want := ask(t, s, lines[0], lines[1:]...)
			canonical := map[string]string{}
			for name, value := range want.header {
				canonical[http.CanonicalHeaderKey(name)] = value
			}
			if want.header = canonical; lines[0][:4] == "HEAD" {
				want.body = ""
			}
			for name, server := range map[string]*httptest.Server{"HTTP/1.1": plain, "HTTP/2": secure} {
				if got := through(t, server, lines); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("%s over %s:\n%d %v\n%d %v", c, name, got.status, got.header, want.status, want.header)
				}
			}
		}
	})
}

func through(t *testing.T, server *httptest.Server, lines []string) got {
	method, path, _ := strings.Cut(lines[0], " ")
	req, err := http.NewRequest(method, server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true, DisableCompression: true}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%v: %v", lines, err)
	}
	if server.TLS != nil && resp.ProtoMajor != 2 {
		t.Fatalf("got %s", resp.Proto)
	}
	g := got{status: resp.StatusCode, header: map[string]string{}, body: string(body)}
	for name, values := range resp.Header {
		if name != "Date" {
			g.header[name] = strings.Join(values, " and ")
		}
	}
	return g
}

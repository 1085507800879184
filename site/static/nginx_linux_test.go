package static

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const nginxSettings = `daemon off; master_process off; worker_processes 1; pid %[1]s/pid; error_log %[1]s/error.log;
events {}
http { access_log off; gzip_static on; default_type application/octet-stream; types { text/plain txt; text/html html; }
client_body_temp_path %[1]s/t1; proxy_temp_path %[1]s/t2; fastcgi_temp_path %[1]s/t3; uwsgi_temp_path %[1]s/t4; scgi_temp_path %[1]s/t5;
server { listen %[2]s; root %[1]s/www; error_page 404 /404.html; } }`

// startNginx serves a tree with Debian's nginx.
func startNginx(t *testing.T, tr tree) (addr string) {
	program, err := exec.LookPath("nginx")
	if err != nil {
		t.Skip("there is no nginx here")
	}
	dir := t.TempDir()
	os.Chmod(dir, 0o755)
	for p, content := range tr {
		at := filepath.Join(dir, "www", p)
		os.MkdirAll(filepath.Dir(at), 0o755)
		if err := os.WriteFile(at, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		os.Chtimes(at, someTime, someTime)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = ln.Addr().String()
	ln.Close()
	if err := os.WriteFile(filepath.Join(dir, "conf"), fmt.Appendf(nil, nginxSettings, dir, addr), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-p", dir, "-c", filepath.Join(dir, "conf"), "-e", filepath.Join(dir, "error.log"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { cmd.Process.Kill(); <-ended })
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return addr
		}
		select {
		case err := <-ended:
			ended <- err
			t.Skipf("nginx does not run here: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// converse sends a raw request and reads the answer.
func converse(t *testing.T, addr, raw string) (*http.Response, string) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, raw)
	method, _, _ := strings.Cut(raw, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	return resp, string(body)
}

// What nginx answers to ordinary requests is what we answer. Where not, it is written here why.
func TestBesideNginx(t *testing.T) {
	tr := tree{"index.html": "home", "a.txt": text, "a.txt.gz": gzipped(text), "dir/index.html": "dir", "empty.txt": "", "a b.txt": "space", "404.html": "lost", "b.bin": "0123456789"}
	theirs, ours := startNginx(t, tr), serveHTTP(t, live(t, tr))
	tagOf := func(addr, path string) string {
		resp, _ := converse(t, addr, "GET "+path+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		return resp.Header.Get("ETag")
	}
	for _, c := range []struct {
		request string
		differs string // status of ours, and why
	}{
		{"GET /", ""}, {"HEAD /", ""}, {"GET /a.txt", ""}, {"HEAD /a.txt", ""}, {"GET /dir/", ""}, {"GET /dir", ""}, {"GET /dir?x=y", ""}, {"GET /gone", ""}, {"HEAD /gone", ""}, {"GET /empty.txt", ""}, {"GET /a%20b.txt", ""}, {"GET /%61.txt", ""}, {"GET /index.html", ""},
		{"POST /a.txt", ""}, {"DELETE /a.txt", ""},
		{"GET /b.bin\nRange: bytes=0-0", ""}, {"GET /b.bin\nRange: bytes=2-4", ""}, {"GET /b.bin\nRange: bytes=5-", ""}, {"GET /b.bin\nRange: bytes=-3", ""}, {"GET /b.bin\nRange: bytes=-30", ""}, {"GET /b.bin\nRange: bytes=8-100", ""}, {"GET /b.bin\nRange: bytes=10-", ""}, {"GET /b.bin\nRange: bytes=10-20", ""},
		{"GET /b.bin\nRange: lines=1-2", ""}, {"GET /empty.txt\nRange: bytes=-1", "416: there is nothing to give a part of"}, {"GET /b.bin\nRange: bytes=0-0,0-9", ""}, {"GET /b.bin\nRange: bytes=-0", ""},
		{"GET /b.bin\nRange: bytes=4-2", "200: RFC 9110, 14.1.1 calls such a range invalid, and an invalid one is ignored"}, {"GET /b.bin\nRange: bytes=a-b", "200: as above"}, {"GET /b.bin\nRange: bytes=", ""},
		{"HEAD /b.bin\nRange: bytes=0-0", "200: Range is defined for GET only (RFC 9110, 14.2)"},
		{"GET /b.bin\nIf-None-Match: TAG", ""}, {"GET /b.bin\nIf-None-Match: W/TAG", ""}, {"GET /b.bin\nIf-None-Match: *", ""}, {"GET /b.bin\nIf-None-Match: \"x\", TAG", ""}, {"GET /b.bin\nIf-None-Match: \"x\"", ""},
		{"GET /b.bin\nIf-Modified-Since: " + someDate, ""}, {"GET /b.bin\nIf-Modified-Since: Sat, 03 Jan 2026 03:04:05 GMT", ""}, {"GET /b.bin\nIf-Modified-Since: Thu, 01 Jan 2026 03:04:05 GMT", ""}, {"GET /b.bin\nIf-Modified-Since: nonsense", ""},
		{"GET /b.bin\nIf-None-Match: \"x\"\nIf-Modified-Since: " + someDate, ""}, {"GET /b.bin\nIf-Match: TAG", ""}, {"GET /b.bin\nIf-Match: \"x\"", ""}, {"GET /b.bin\nIf-Match: *", ""},
		{"GET /b.bin\nIf-Unmodified-Since: " + someDate, ""}, {"GET /b.bin\nIf-Unmodified-Since: Thu, 01 Jan 2026 03:04:05 GMT", ""},
		{"GET /b.bin\nRange: bytes=0-0\nIf-Range: TAG", ""}, {"GET /b.bin\nRange: bytes=0-0\nIf-Range: \"x\"", ""}, {"GET /b.bin\nRange: bytes=0-0\nIf-Range: " + someDate, ""}, {"GET /b.bin\nRange: bytes=0-0\nIf-Range: Thu, 01 Jan 2026 03:04:05 GMT", ""},
		{"GET /b.bin\nRange: bytes=0-0\nIf-None-Match: TAG", ""},
		{"GET /a.txt\nAccept-Encoding: gzip", ""}, {"GET /a.txt\nAccept-Encoding: gzip;q=0", ""}, {"GET /a.txt\nAccept-Encoding: br, gzip;q=0.5", ""}, {"GET /a.txt\nAccept-Encoding: deflate", ""}, {"HEAD /a.txt\nAccept-Encoding: gzip", ""}, {"GET /a.txt\nAccept-Encoding: *", "200: * is any coding (RFC 9110, 12.5.3); nginx takes it for none"},
		{"GET /%2e%2e/x", ""}, {"GET //a.txt", "404: no file has an empty name in its path"}, {"GET /dir/../a.txt", "400: browsers resolve .. before they ask"}, {"GET /%2fa.txt", "400: an escaped slash is no slash"},
	} {
		lines := strings.Split(c.request, "\n")
		raw := func(addr string) string {
			_, path, _ := strings.Cut(lines[0], " ")
			text := lines[0] + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + strings.Join(append(lines[1:], "", ""), "\r\n")
			if strings.Contains(text, "TAG") {
				text = strings.ReplaceAll(text, "TAG", tagOf(addr, path))
			}
			return text
		}
		want, wantBody := converse(t, theirs, raw(theirs))
		got, gotBody := converse(t, ours, raw(ours))
		if c.differs != "" {
			if fmt.Sprint(got.StatusCode) != c.differs[:3] {
				t.Errorf("%q: %s; nginx: %s; expected %s", c.request, got.Status, want.Status, c.differs)
			}
			if got.StatusCode == want.StatusCode && gotBody == wantBody {
				t.Errorf("%q: nginx answers %s as well", c.request, want.Status)
			}
			continue
		}
		if got.StatusCode != want.StatusCode || want.StatusCode < 300 && gotBody != wantBody || want.StatusCode == 404 && gotBody != wantBody {
			t.Errorf("%q: %s %.40q; nginx: %s %.40q", c.request, got.Status, gotBody, want.Status, wantBody)
		}
		for _, name := range []string{"Content-Range", "Content-Encoding", "Last-Modified"} {
			if want.StatusCode < 400 && want.StatusCode != 304 && want.StatusCode != 301 && got.Header.Get(name) != want.Header.Get(name) {
				t.Errorf("%q: %s is %q; nginx: %q", c.request, name, got.Header.Get(name), want.Header.Get(name))
			}
		}
		if want.StatusCode < 300 && got.ContentLength != want.ContentLength {
			t.Errorf("%q: %d bytes; nginx: %d", c.request, got.ContentLength, want.ContentLength)
		}
		if want.StatusCode == 301 {
			_, path, _ := strings.Cut(strings.TrimPrefix(want.Header.Get("Location"), "http://"), "/")
			if got.Header.Get("Location") != "/"+path {
				t.Errorf("%q: leads to %q; nginx: %q", c.request, got.Header.Get("Location"), want.Header.Get("Location"))
			}
		}
	}
}

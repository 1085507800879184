package static

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bramble/http1"
)

// numbered is a release whose page names it and its assets, which name it as well; some bodies come from the store.
func numbered(t testing.TB, src source, n int) *Release {
	name := fmt.Sprintf("r%d", n)
	hash := fmt.Sprintf("a%07d", n)
	m := tree{
		"index.html":           name + " /app." + hash + ".js /style.css /large.bin",
		"app." + hash + ".js":  name + " app",
		"style.css":            name + " style",
		"large.bin":            name + strings.Repeat(" large", 2000),
		"dir/" + name + ".css": name,
	}.manifest(t, src)
	r, err := Compile(t.Context(), src, m, Options{ID: name, Budget: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// serveHTTP serves on loopback with the project's server until the test ends.
func serveHTTP(t testing.TB, s *Server) (addr string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- (&http1.Server{Handler: s.Lean, Fallback: s}).Serve(ctx, ln)
	}()
	t.Cleanup(func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// browser reads a page and then what it names; everything must be of one release.
func browser(addr string, plain bool) (requests int, err error) {
	jar, _ := cookiejar.New(nil)
	c := &http.Client{Jar: jar, Transport: &http.Transport{DisableCompression: plain}}
	defer c.CloseIdleConnections()
	get := func(method, path string) (string, error) {
		var body io.Reader
		if method == http.MethodPost {
			body = strings.NewReader("x") // by which the connection goes to net/http
		}
		req, err := http.NewRequest(method, "http://"+addr+path, body)
		if err != nil {
			return "", err
		}
		resp, err := c.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		requests++
		if err == nil && resp.StatusCode != 200 && method != http.MethodPost {
			err = fmt.Errorf("%s: %s", path, resp.Status)
		}
		return string(text), err
	}
	if plain {
		if _, err := get(http.MethodPost, "/"); err != nil {
			return requests, err
		}
	}
	page, err := get(http.MethodGet, "/")
	if err != nil {
		return requests, err
	}
	words := strings.Fields(page)
	for _, asset := range words[1:] {
		text, err := get(http.MethodGet, asset)
		if err != nil {
			return requests, fmt.Errorf("of %s: %w", words[0], err)
		}
		if got := strings.Fields(text); len(got) == 0 || got[0] != words[0] {
			return requests, fmt.Errorf("the page of %s got %s with %.20q", words[0], asset, text)
		}
	}
	return requests, nil
}

// Releases come and go under load, through both ways to serve: no request fails, and no page gets an asset of another. A
// release is let go once nobody reads a page that could be of it.
func TestSwapUnderLoad(t *testing.T) {
	const swaps, browsers, perSwap = 50, 6, 40
	src := newSource(t)
	s := &Server{}
	s.Commit(numbered(t, src, 0))
	addr := serveHTTP(t, s)
	var requests, committed atomic.Int64
	var over atomic.Bool
	var begun [browsers]atomic.Int64 // the release that was live when each began its page
	var wg sync.WaitGroup
	for i := range browsers {
		wg.Go(func() {
			for !over.Load() && !t.Failed() {
				begun[i].Store(committed.Load())
				n, err := browser(addr, i%2 == 0)
				if requests.Add(int64(n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	held := []*Release{s.Live()}
	for n := 1; n <= swaps && !t.Failed(); n++ {
		r := numbered(t, src, n)
		s.Stage(r)
		s.Commit(r)
		committed.Store(int64(n))
		for before := requests.Load(); requests.Load() < before+perSwap && !t.Failed(); {
			time.Sleep(time.Millisecond)
		}
		oldest := int64(n)
		for i := range begun {
			oldest = min(oldest, begun[i].Load())
		}
		held = append(held, r)
		over := len(held) - int(int64(n)-oldest) - 1
		s.Keep(held[over : len(held)-1])
		for _, gone := range held[:over] {
			gone.Close()
		}
		held = held[over:]
	}
	over.Store(true)
	wg.Wait()
	t.Logf("%d requests, %d swaps", requests.Load(), swaps)
}

package site

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bramble/artefact"
)

// release n of the site under load: every page names it, and so does each asset that a page names.
func numbered(n int) []string {
	page := fmt.Sprintf("<!doctype html>release %d <link href=/style.css><script src=/app.%08x.js></script>", n, 0xabcdef00+n)
	return []string{"index.html", page, "about.html", page, "style.css", fmt.Sprintf("/* release %d */", n),
		fmt.Sprintf("app.%08x.js", 0xabcdef00+n), fmt.Sprintf("// release %d", n)}
}

var (
	names1 = regexp.MustCompile(`release (\d+)`)
	script = regexp.MustCompile(`/app\.[0-9a-f]+\.js`)
)

// visitor reads a page and its assets as a browser does, again and again after a pause, from a node; until ctx ends.
func visitor(ctx context.Context, address string, pause time.Duration, visits *atomic.Int64) error {
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	get := func(path string) (string, error) {
		u := url.URL{Scheme: "http", Host: address, Path: path}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return "", err
		}
		resp, err := client.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", path, resp.Status)
		}
		return string(data), err
	}
	for ; ctx.Err() == nil; time.Sleep(pause) {
		page, err := get([]string{"/", "/about"}[visits.Add(1)%2])
		if err != nil {
			return unlessOver(ctx, err)
		}
		for _, asset := range []string{script.FindString(page), "/style.css"} {
			text, err := get(asset)
			if err != nil {
				return unlessOver(ctx, err)
			}
			if names1.FindString(text) != names1.FindString(page) {
				return fmt.Errorf("a page of %q has %s of %q", names1.FindString(page), asset, names1.FindString(text))
			}
		}
	}
	return nil
}

// unlessOver is the error of a request that nobody broke off.
func unlessOver(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func TestNoRequestFailsThroughPublicationsAndRollbacks(t *testing.T) {
	w := newWorld(t, "one", "two", "three")
	dir := folder(t, numbered(0)...)
	if _, err := w.publish(dir, Spec{}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var visits atomic.Int64
	var all sync.WaitGroup
	for _, b := range w.nodes {
		address := b.address("blog")
		for range 3 {
			all.Go(func() {
				if err := visitor(ctx, address, 0, &visits); err != nil {
					t.Errorf("a visitor of %s: %v", b.name, err)
					stop()
				}
			})
		}
	}
	for n := 1; n <= 6 && ctx.Err() == nil; n++ {
		before := visits.Load()
		next := folder(t, numbered(n)...)
		if _, err := w.publish(next, Spec{}); err != nil {
			t.Fatal(err)
		}
		if n%3 == 0 {
			if _, err := collect(w.client().Rollback(t.Context(), Rollback{Name: "blog"})); err != nil {
				t.Fatal(err)
			}
		}
		w.until("visited", func() bool { return visits.Load() > before+30 || ctx.Err() != nil })
	}
	stop()
	all.Wait()
	t.Logf("%d visits of three requests each", visits.Load())
}

// stages of a publication at which something is killed: when the first event of that kind was reported.
var stages = []Kind{Chosen, Uploading, Moving, Ready, Committed, Live}

func TestHeadIsKilledAtEachStage(t *testing.T) {
	for _, stage := range stages {
		t.Run(string(stage), func(t *testing.T) {
			w := newWorld(t, "one", "two", "three")
			if _, err := w.publish(folder(t, "index.html", "first"), Spec{}); err != nil {
				t.Fatal(err)
			}
			for ev, err := range w.client().Publish(t.Context(), Publish{Spec: Spec{Name: "blog"}}, Source(folder(t, "index.html", "second"))) {
				if err != nil || ev.Kind == stage {
					w.killHead()
					break
				}
			}
			w.killHead()
			for _, b := range w.nodes { // each serves a whole release, and those that are restarted do so without the head
				if body := pageOf(w, b); body != "first" && body != "second" {
					t.Errorf("%s serves %q", b.name, body)
				}
				b.kill()
			}
			w.startHead()
			for _, b := range w.nodes {
				b.start()
			}
			agreed(w, "first", "second")
			if _, err := w.publish(folder(t, "index.html", "third"), Spec{}); err != nil {
				t.Fatal(err)
			}
			w.serve("third", "one", "two", "three")
		})
	}
}

func pageOf(w *world, b *board) (body string) {
	w.until(b.name+" serves", func() bool {
		var status int
		status, body = b.get("blog", "/")
		return status == http.StatusOK
	})
	return body
}

// agreed waits until all nodes serve the same, which is one of these.
func agreed(w *world, bodies ...string) {
	w.t.Helper()
	w.until("do all serve the same", func() bool {
		seen := map[string]bool{}
		for _, b := range w.nodes {
			_, body := b.get("blog", "/")
			seen[body] = true
		}
		for _, body := range bodies {
			if len(seen) == 1 && seen[body] {
				return true
			}
		}
		return false
	})
	want := w.head.list()[0].Live
	for _, b := range w.nodes {
		w.until(b.name+" has what the head has decided", func() bool {
			b.node.mu.Lock()
			defer b.node.mu.Unlock()
			h := b.node.hosted["blog"]
			return h != nil && h.live != nil && h.live.ID == want
		})
	}
}

func TestNodeIsKilledAtEachStage(t *testing.T) {
	for _, stage := range stages {
		t.Run(string(stage), func(t *testing.T) {
			w := newWorld(t, "one", "two", "three")
			if _, err := w.publish(folder(t, "index.html", "first"), Spec{}); err != nil {
				t.Fatal(err)
			}
			killed := false
			for ev, err := range w.client().Publish(t.Context(), Publish{Spec: Spec{Name: "blog"}}, Source(folder(t, "index.html", "second"))) {
				if err != nil {
					break // the head may have given up, and nobody swapped
				}
				if ev.Kind == stage && !killed {
					killed = true
					w.nodes["two"].kill()
				}
			}
			w.nodes["two"].kill()
			w.nodes["two"].start()
			agreed(w, "first", "second")
			if _, err := w.publish(folder(t, "index.html", "third"), Spec{}); err != nil {
				t.Fatal(err)
			}
			w.serve("third", "one", "two", "three")
		})
	}
}

// TestClientGoesBeforeTheDecision has whoever publishes leave while nodes bring the release.
func TestClientGoesBeforeTheDecision(t *testing.T) {
	w := newWorld(t, "one", "two")
	if _, err := w.publish(folder(t, "index.html", "first"), Spec{}); err != nil {
		t.Fatal(err)
	}
	hold := make(chan struct{})
	w.nodes["two"].hold = hold
	for ev, err := range w.client().Publish(t.Context(), Publish{Spec: Spec{Name: "blog"}}, Source(folder(t, "index.html", "second"))) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Kind == Ready {
			break
		}
	}
	w.until("let go", func() bool { w.head.mu.Lock(); defer w.head.mu.Unlock(); return len(w.head.staging) == 0 })
	close(hold)
	w.serve("first", "one", "two")
	w.until("one forgets the release", func() bool {
		w.nodes["one"].node.mu.Lock()
		defer w.nodes["one"].node.mu.Unlock()
		return len(w.nodes["one"].node.hosted["blog"].staged) == 0
	})
	if site := w.head.list()[0]; len(site.Releases) != 1 {
		t.Errorf("%d releases are kept", len(site.Releases))
	}
}

// TestSlowNodeFollows has one node of two bring the release after it was committed with half of them.
func TestSlowNodeFollows(t *testing.T) {
	w := newWorld(t, "one", "two")
	if _, err := w.publish(folder(t, "index.html", "first"), Spec{}); err != nil {
		t.Fatal(err)
	}
	hold := make(chan struct{})
	w.nodes["two"].hold = hold
	events, err := w.publish(folder(t, "index.html", "second"), Spec{Quorum: 50})
	if err != nil {
		t.Fatal(err)
	}
	if last := events[len(events)-1]; strings.Join(last.Behind, " ") != "two" {
		t.Errorf("behind are %v", last.Behind)
	}
	w.serve("second", "one")
	w.serve("first", "two")
	close(hold)
	w.serve("second", "two")
}

// A release that is ready and waits for slower nodes is held on the disk, whatever the node does meanwhile; and what is served
// from memory is held again when it was not any more.
func TestWhatIsReadyIsHeld(t *testing.T) {
	w := newWorld(t, "one", "two")
	if _, err := w.publish(folder(t, "index.html", "first"), Spec{}); err != nil {
		t.Fatal(err)
	}
	hold := make(chan struct{})
	w.nodes["two"].hold = hold
	one := w.nodes["one"].node
	one.mu.Lock()
	h := one.hosted["blog"]
	one.mu.Unlock()
	held := func(when string, releases int) []string {
		t.Helper()
		h.settle(t.Context())
		pins, err := one.Store.Pins()
		if err != nil || len(pins) != releases {
			t.Errorf("%s, the node holds %q, %v", when, pins, err)
		}
		return pins
	}
	for ev, err := range w.client().Publish(t.Context(), Publish{Spec: Spec{Name: "blog"}}, Source(folder(t, "index.html", "second"))) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Kind == Ready && ev.Node == "one" {
			held("while another brings it", 2)
			close(hold)
		}
	}
	for _, pin := range held("once it is live", 2) {
		if err := one.Store.Unpin(pin); err != nil {
			t.Fatal(err)
		}
	}
	held("after it lost all", 1)
}

// TestTwoPublishAtOnce has the second be told so.
func TestTwoPublishAtOnce(t *testing.T) {
	w := newWorld(t, "one")
	hold := make(chan struct{})
	w.nodes["one"].hold = hold
	first := make(chan error, 1)
	dir := folder(t, "index.html", "first")
	go func() { _, err := w.publish(dir, Spec{}); first <- err }()
	w.until("the first is under way", func() bool {
		w.head.mu.Lock()
		defer w.head.mu.Unlock()
		return w.head.staging["blog"] != artefact.Ref("")
	})
	if _, err := w.publish(dir, Spec{}); err == nil || !strings.Contains(err.Error(), "somebody publishes") {
		t.Errorf("the second: %v", err)
	}
	close(hold)
	if err := <-first; err != nil {
		t.Error(err)
	}
	w.serve("first", "one")
}

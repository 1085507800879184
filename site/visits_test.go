package site

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bramble/accesslog"
	"bramble/artefact"
	"bramble/fault"
	"bramble/http1"
	"bramble/metric"
)

func TestLogs(t *testing.T) {
	w := newWorld(t, "one", "two")
	dir := folder(t, "index.html", "first")
	if _, err := w.publish(dir, Spec{}); err != nil {
		t.Fatal(err)
	}
	w.serve("first", "one", "two")
	if _, err := collectLog(w, accesslog.Request{Name: "blog", Lines: 10}); !fault.Is(err, fault.NotFound) {
		t.Errorf("a log that nobody keeps: %v", err)
	}

	// Who follows sees visits of both nodes, though none are kept.
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	seen := map[string]bool{}
	following := make(chan string)
	go func() {
		defer close(following)
		for l, err := range w.client().Log(ctx, accesslog.Request{Name: "blog", Follow: true}) {
			if err != nil {
				return
			}
			for line := range strings.Lines(string(l.Text)) {
				if v, err := http1.ParseVisit(strings.TrimSuffix(line, "\n")); err == nil && v.Target == "/nowhere" && v.Status == 404 {
					following <- l.Node
				}
			}
		}
	}()
	for len(seen) < 2 {
		for name := range w.nodes {
			w.nodes[name].get("blog", "/nowhere")
		}
		select {
		case name := <-following:
			seen[name] = true
		case <-time.After(50 * time.Millisecond):
		}
	}
	stop()
	for range following {
	}
	w.until("nobody follows", func() bool { return !w.nodes["one"].node.hosted["blog"].visits.wanted() })

	if _, err := w.publish(dir, Spec{Log: true}); err != nil {
		t.Fatal(err)
	}
	w.until("visits are kept", func() bool { return w.nodes["one"].node.hosted["blog"].visits.wanted() })
	for i := range 5 {
		w.nodes["one"].get("blog", fmt.Sprintf("/?%d", i))
	}
	req, _ := http.NewRequest("POST", "http://"+w.nodes["one"].address("blog")+"/old", nil)
	req.Header.Set("User-Agent", "through net/http")
	if resp, err := http.DefaultClient.Do(req); err == nil {
		resp.Body.Close()
	}
	lines, err := collectLog(w, accesslog.Request{Name: "blog", On: "one", Lines: 3})
	if err != nil || len(lines) != 3 || lines[0].Target != "/?3" || lines[0].Bytes != 5 || lines[2].Target != "/old" || lines[2].Agent != "through net/http" {
		t.Errorf("%+v, %v", lines, err)
	}
	w.nodes["two"].kill()
	if _, err := collectLog(w, accesslog.Request{Name: "blog", Lines: 3}); !fault.Is(err, fault.Unreachable) {
		t.Errorf("of a node that is down: %v", err)
	}
	if _, err := w.publish(dir, Spec{}); err != nil {
		t.Fatal(err)
	}
	if !w.nodes["one"].node.hosted["blog"].visits.wanted() {
		t.Error("a publication that does not speak of the log ends it")
	}
	if _, err := collect(w.client().Publish(t.Context(), Publish{Spec: Spec{Name: "blog"}, NoLog: true}, Source(dir))); err != nil {
		t.Fatal(err)
	}
	w.until("visits are not kept", func() bool { return !w.nodes["one"].node.hosted["blog"].visits.wanted() })

	set := &metric.Set{}
	w.nodes["one"].node.Show(set)
	var text strings.Builder
	set.Write(&text)
	for _, want := range []string{`bramble_site_requests_total{site="blog",status="404"} `, `bramble_site_requests_total{site="blog",status="200"} `,
		`bramble_site_body_bytes_total{site="blog"} `, "bramble_site_connections_total ", "bramble_site_sent_bytes_total "} {
		if !strings.Contains(text.String(), "\n"+want) || strings.Contains(text.String(), "\n"+want+"0\n") {
			t.Errorf("no %sin\n%s", want, text.String())
		}
	}
	if err := w.client().Remove(t.Context(), "blog"); err != nil {
		t.Fatal(err)
	}
	w.until("the log is removed", func() bool { _, err := os.Stat(w.nodes["one"].node.logFile("blog")); return os.IsNotExist(err) })
}

// collectLog reads a log; the first fault of a node is the error.
func collectLog(w *world, req accesslog.Request) (all []accesslog.Visit, err error) {
	for l, err := range w.client().Log(w.t.Context(), req) {
		if err == nil && l.Fault != nil {
			err = l.Fault
		}
		if err != nil {
			return all, err
		}
		for line := range strings.Lines(string(l.Text)) {
			v, err := http1.ParseVisit(strings.TrimSuffix(line, "\n"))
			if err != nil {
				return all, err
			}
			all = append(all, accesslog.Visit{Visit: v})
		}
	}
	return all, nil
}

func TestLogsAreBounded(t *testing.T) {
	v := &visits{}
	v.keep(true)
	for range 100_000 {
		v.note(netip.Addr{}, []byte("GET"), []byte("/"), "HTTP/1.1", 200, 1, nil, nil)
	}
	if len(v.lines) > accesslog.MostWaiting+1000 || v.lost == 0 {
		t.Errorf("%d bytes wait, %d lines are lost", len(v.lines), v.lost)
	}
}

// logged is a site on a node that keeps its log, and what the node says of it.
func logged(t *testing.T) (*hosted, *bytes.Buffer) {
	t.Helper()
	said := &bytes.Buffer{}
	store, err := artefact.OpenStore(t.TempDir(), artefact.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n := NewNode(&Node{Dir: t.TempDir(), Store: store, Log: slog.New(slog.NewTextHandler(said, nil))})
	h := newHosted(n, "blog")
	n.hosted["blog"] = h
	h.visits.keep(true)
	return h, said
}

func (v *visits) visit(times int) {
	for range times {
		v.note(netip.Addr{}, []byte("GET"), []byte("/"), "HTTP/1.1", 200, 1, nil, nil)
	}
}

// TestFollowersMissNothing is of readers, who get each line once, and hear of those that they were too slow for.
func TestFollowersMissNothing(t *testing.T) {
	h, _ := logged(t)
	h.visits.visit(1)
	_, early, stop, err := h.n.beginLog(h, accesslog.Request{Name: "blog", Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	h.visits.visit(1)
	last, late, stop, err := h.n.beginLog(h, accesslog.Request{Name: "blog", Lines: 10, Follow: true})
	if err != nil || accesslog.Count(last) != 2 {
		t.Fatalf("%q, %v", last, err)
	}
	defer stop()
	for range 100 {
		h.n.flushLogs()
	}
	h.visits.visit(1)
	h.n.flushLogs()
	for r, want := range map[*accesslog.Reader]int{early: 2, late: 1} {
		if lines, left := r.Take(); accesslog.Count(lines) != want || left != 0 {
			t.Errorf("%q, %d left out", lines, left)
		}
	}
	const all, each = 40_000, 1000
	for range all / each {
		h.visits.visit(each)
		h.n.flushLogs()
	}
	lines, left := late.Take()
	if got := accesslog.Count(lines); left == 0 || got+left != all || len(lines) > accesslog.MostWaiting+accesslog.MaxPiece {
		t.Errorf("%d lines, %d bytes, %d left out", got, len(lines), left)
	}
}

// TestLogWithoutRoom is of a log that cannot be written for a while.
func TestLogWithoutRoom(t *testing.T) {
	h, said := logged(t)
	path := h.n.logFile("blog")
	if err := os.MkdirAll(path, 0o700); err != nil { // nothing can be written to a folder
		t.Fatal(err)
	}
	for range 5 {
		h.visits.visit(2)
		h.n.flushLogs()
	}
	h.n.flushLogs()
	if n := strings.Count(said.String(), "not logged"); n != 1 || strings.Contains(said.String(), "again") || h.visits.lost != 10 {
		t.Errorf("%d lines lost, and it says\n%s", h.visits.lost, said)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("cut o"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.visits.visit(1)
	h.n.flushLogs()
	if data, _ := os.ReadFile(path); strings.Count(said.String(), "logged again") != 1 || accesslog.Count(data) != 2 || !bytes.HasPrefix(data, []byte("cut o\n")) {
		t.Errorf("%q, and it says\n%s", data, said)
	}
}

// TestLogsGo is of visitors' addresses, which do not stay on a disk where nobody wants them any more.
func TestLogsGo(t *testing.T) {
	h, _ := logged(t)
	path := h.n.logFile("blog")
	write := func() {
		t.Helper()
		for range 2 {
			if _, err := accesslog.Append(path, bytes.Repeat([]byte("x\n"), accesslog.MostKept/2)); err != nil {
				t.Fatal(err)
			}
		}
		h.visits.visit(1)
		h.n.flush(h)
	}
	there := func() (list []string) { list, _ = filepath.Glob(path + "*"); return list }
	write()
	if len(there()) != 2 {
		t.Fatal(there())
	}
	h.visits.visit(1)
	h.visits.keep(false)
	h.n.flushLogs()
	if len(there()) > 0 {
		t.Errorf("not kept any more, and there are %s", there())
	}
	h.visits.keep(true)
	h.n.writing.Lock()
	ended := make(chan bool)
	go func() { ended <- h.over() }()
	time.Sleep(20 * time.Millisecond)
	write()
	h.n.writing.Unlock()
	if !<-ended || len(there()) > 0 {
		t.Errorf("the site was removed, and there are %s", there())
	}
}

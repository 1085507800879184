package artefact_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "bramble/artefact"
	"bramble/fault"
	"bramble/trust"
)

var quietLog = slog.New(slog.DiscardHandler)

// large is a folder that is worth a chain: files of several sizes, in all about 12 MiB.
func large(t *testing.T) string {
	dir := t.TempDir()
	for i, n := range []int{9 << 20, 2 << 20, 300_000, 256 << 10, 70_000, 1, 0} {
		data := make([]byte, n)
		rand.Read(data)
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("file%d", i)), data, 0o644))
	}
	return dir
}

const largeBytes = 9<<20 + 2<<20 + 300_000 + 256<<10 + 70_000 + 1

// fromHead is how many bytes the nodes had from the head.
func (r *spread) fromHead() (n int) {
	for _, node := range r.nodes {
		node.via.mu.Lock()
		n += node.via.seen
		node.via.mu.Unlock()
	}
	return n
}

func (r *spread) chained(dir string) map[string]End {
	r.Helper()
	done, err := r.push(r.copier("ann", trust.Operator), Push{On: "n[1-5]", To: "got", Sources: []string{dir + "/."}})
	r.allOK(done, err)
	for _, n := range r.nodes {
		same(r.T, filepath.Join(n.home, "got"), dir)
	}
	pins(r.T, r)
	return done
}

// Through a chain the head gives everything once, and every node has it, and counts it as moved.
func TestChain(t *testing.T) {
	r := newSpread(t, "n1", "n2", "n3", "n4", "n5")
	for name, end := range r.chained(large(t)) {
		if end.Moved != largeBytes {
			t.Errorf("%s: %+v", name, end)
		}
	}
	if n := r.fromHead(); n < largeBytes || n > largeBytes*11/10 {
		t.Errorf("the head gave %d bytes of %d", n, largeBytes)
	}
}

// Of a new version only what has changed moves, also where the old one is damaged.
func TestChangedVersion(t *testing.T) {
	r := newSpread(t, "n1", "n2", "n3", "n4", "n5")
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	data := make([]byte, 12<<20)
	rand.Read(data)
	must(t, os.WriteFile(file, data, 0o644))
	r.chained(dir)
	damaged := filepath.Join(r.nodes["n3"].dir, "blobs", string(RefOf(data)[:2]), string(RefOf(data)))
	f, err := os.OpenFile(damaged, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("not what was there"), 9<<20)
	must(t, err)
	must(t, f.Close())
	before := r.fromHead()
	changed := slices.Concat(data[:2<<20], []byte("put in"), data[2<<20:5<<20], data[5<<20+100:])
	must(t, os.WriteFile(file, changed, 0o644))
	for name, end := range r.chained(dir) {
		most := int64(3 * 256 << 10)
		if name == "n3" {
			most += 256 << 10
		}
		if end.Moved == 0 || end.Moved > most {
			t.Errorf("%s: %d of %d bytes moved, want at most %d", name, end.Moved, len(changed), most)
		}
	}
	if n := r.fromHead() - before; n > 1<<20 {
		t.Errorf("the head gave %d bytes", n)
	}
}

// spoiled has a node answer others in another way.
func (r *spread) spoiled(name string, how func(http.Handler) http.Handler) {
	r.nodes[name].spoil.Store(&how)
}

func isBlob(req *http.Request) bool {
	return req.Method == http.MethodGet && !strings.HasSuffix(req.URL.Path, "/chunks")
}

// cutting is a writer that breaks the connection after so many bytes.
type cutting struct {
	http.ResponseWriter
	left int
}

func (c *cutting) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *cutting) Write(p []byte) (int, error) {
	if c.left -= len(p); c.left < 0 {
		panic(http.ErrAbortHandler)
	}
	return c.ResponseWriter.Write(p)
}

// When nodes of a chain break off, those behind them go on with the next before, or with the head.
func TestBrokenChain(t *testing.T) {
	for _, dead := range [][]string{{"n1"}, {"n3"}, {"n2", "n3", "n4"}, {"n1", "n2", "n3", "n4"}} {
		t.Run(strings.Join(dead, ","), func(t *testing.T) {
			r := newSpread(t, "n1", "n2", "n3", "n4", "n5")
			for _, name := range dead {
				r.spoiled(name, func(h http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
						if req.Method == http.MethodHead {
							panic(http.ErrAbortHandler)
						}
						h.ServeHTTP(&cutting{w, 1 << 20}, req)
					})
				})
			}
			r.chained(large(t))
		})
	}
}

// stopping is a writer that takes so many bytes and then stops until its request ends.
type stopping struct {
	http.ResponseWriter
	left int
	stop func()
}

func (s *stopping) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func (s *stopping) Write(p []byte) (int, error) {
	if s.left -= len(p); s.left < 0 {
		s.stop()
	}
	return s.ResponseWriter.Write(p)
}

// A node that answers nothing any more is left behind; those that only wait for it are not.
func TestSilentNode(t *testing.T) {
	r := newSpread(t, "n1", "n2", "n3", "n4", "n5")
	r.quiet.Store(int64(time.Second))
	over := make(chan struct{})
	defer close(over)
	r.spoiled("n2", func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			stop := func() {
				select {
				case <-over:
				case <-req.Context().Done():
				}
			}
			if req.Method == http.MethodHead {
				stop()
			}
			h.ServeHTTP(&stopping{w, 1 << 20, stop}, req)
		})
	})
	r.chained(large(t))
	if n := r.fromHead(); n > largeBytes*11/10 { // those behind n2 have the rest from n1
		t.Errorf("the head gave %d bytes of %d", n, largeBytes)
	}
}

// lying is a writer that changes a byte now and then.
type lying struct {
	http.ResponseWriter
	n int
}

func (l *lying) Unwrap() http.ResponseWriter { return l.ResponseWriter }

func (l *lying) Write(p []byte) (int, error) {
	p = bytes.Clone(p)
	if l.n += len(p); l.n > 500_000 && len(p) > 0 {
		p[0] ^= 1
	}
	return l.ResponseWriter.Write(p)
}

// What a node spoils on the way is thrown away by the next, and goes no further.
func TestLyingNode(t *testing.T) {
	r := newSpread(t, "n1", "n2", "n3", "n4", "n5")
	for _, name := range []string{"n1", "n3"} {
		r.spoiled(name, func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if isBlob(req) {
					w = &lying{ResponseWriter: w}
				}
				h.ServeHTTP(w, req)
			})
		})
	}
	r.chained(large(t))
}

// A head of an earlier version does not say how blobs are cut: all come from it.
func TestHeadThatCutsNothing(t *testing.T) {
	r := newSpread(t, "n1")
	data := make([]byte, 1<<20)
	rand.Read(data)
	ref, _, err := r.store.Put(t.Context(), bytes.NewReader(data), "")
	must(t, err)
	old := r.server.Config.Handler
	r.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.HasSuffix(req.URL.Path, "/chunks") {
			http.NotFound(w, req)
			return
		}
		old.ServeHTTP(w, req)
	})
	here := open(t, Options{})
	chain := &Chain{Head: r.client(), Log: quietLog}
	must(t, chain.Fetch(t.Context(), here, []Blob{{Ref: ref, Size: 1 << 20}}, nil))
	must(t, here.Verify(t.Context(), ref))
}

// What an earlier try has brought is used, but for a torn or damaged end.
func TestChainGoesOn(t *testing.T) {
	r := newSpread(t, "n1")
	data := make([]byte, 4<<20)
	rand.Read(data)
	ref, _, err := r.store.Put(t.Context(), bytes.NewReader(data), "")
	must(t, err)
	for name, begun := range map[string][]byte{
		"cut off": data[:3_000_000], "torn": append(bytes.Clone(data[:3_000_000]), make([]byte, 50_000)...), "all but the hash": append(bytes.Clone(data[:4<<20-1]), data[4<<20-1]^1),
		"too long": append(bytes.Clone(data), 1, 2, 3),
	} {
		here := open(t, Options{})
		p, err := here.Resume(t.Context(), ref)
		must(t, err)
		_, err = p.Append(t.Context(), bytes.NewReader(begun))
		must(t, err)
		must(t, p.Close())
		first := int64(-1)
		chain := &Chain{Head: r.client(), Log: quietLog}
		must(t, chain.Fetch(t.Context(), here, []Blob{{Ref: ref, Size: 4 << 20}}, func(done, _ int64) {
			if first < 0 && done > 0 {
				first = done
			}
		}))
		must(t, here.Verify(t.Context(), ref))
		if first < 3_000_000-256<<10 {
			t.Errorf("%s: it went on from %d", name, first)
		}
		if used := here.Used(); used < 4<<20 || used > 4<<20+16<<10 {
			t.Errorf("%s: %d bytes are counted", name, used)
		}
	}
}

// A node whose disk is full, from the beginning or in the middle, says so and nothing else; those behind it go on.
func TestFullNodeInAChain(t *testing.T) {
	var asked atomic.Int64
	filling := func(string) (int64, error) {
		if asked.Add(1) > 40 { // it is asked for each chunk
			return 0, nil
		}
		return 1 << 40, nil
	}
	r := newSpreadIn(t, map[string]Options{"n2": {Budget: 5 << 20}, "n4": {Floor: 1, Free: filling}}, "n1", "n2", "n3", "n4", "n5")
	dir := large(t)
	done, err := r.push(r.copier("ann", trust.Operator), Push{On: "n[1-5]", To: "got", Sources: []string{dir + "/."}})
	must(t, err)
	for name, end := range done {
		if full := end.Code == fault.Full; full != (name == "n2" || name == "n4") || !full && !end.OK() {
			t.Errorf("%s: %+v", name, end)
		}
	}
}

// Who gives up frees what he waited for.
func TestChainIsCancelled(t *testing.T) {
	r := newSpread(t, "n1", "n2", "n3", "n4", "n5")
	r.nodes["n1"].via.close(3 << 20)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-r.nodes["n1"].via.hit
		cancel()
	}()
	for _, err := range r.copier("ann", trust.Operator).Push(ctx, Push{On: "n[1-5]", To: "got", Sources: []string{large(t) + "/."}}) {
		if err != nil && ctx.Err() == nil {
			t.Fatal(err)
		}
	}
	r.nodes["n1"].via.open()
	pins(t, r)
}

// Those behind a node that hardly receives anything have the files all the same, from the one before it, and it has them last.
func TestSlowNodeIsPassed(t *testing.T) {
	r := newSpread(t, "n1", "n2", "n3", "n4", "n5")
	slow := r.nodes["n2"].near
	slow.close(1 << 20)
	var order []string
	dir := large(t)
	for ev, err := range r.copier("ann", trust.Operator).Push(t.Context(), Push{On: "n[1-5]", To: "got", Sources: []string{dir + "/."}}) {
		must(t, err)
		if ev.Kind != Ended {
			continue
		}
		if order = append(order, ev.Node); !ev.End.OK() {
			t.Errorf("%s: %+v", ev.Node, ev.End)
		}
		if len(order) == 4 {
			slow.open()
		}
	}
	if len(order) != 5 || order[4] != "n2" {
		t.Errorf("they ended in the order %v", order)
	}
	same(t, filepath.Join(r.nodes["n2"].home, "got"), dir)
	if n := r.fromHead(); n > largeBytes*11/10 {
		t.Errorf("the head gave %d bytes of %d", n, largeBytes)
	}
}

// A node that comes while files spread has them too; one that does not is told of at the end.
func TestNodeComesWhileFilesSpread(t *testing.T) {
	r := newSpread(t, "n1", "n2", "n3", "n4", "n5")
	r.away.Store("n5", true)
	slow := r.nodes["n4"].near
	slow.close(1 << 20)
	dir := large(t)
	done := map[string]End{}
	for ev, err := range r.copier("ann", trust.Operator).Push(t.Context(), Push{On: "n[1-5],asleep", To: "got", Sources: []string{dir + "/."}}) {
		must(t, err)
		if ev.Kind == Moving && ev.Node == "n4" {
			r.away.Delete("n5")
		}
		if ev.Kind == Ended {
			if done[ev.Node] = *ev.End; ev.Node == "n5" {
				slow.open()
			}
		}
	}
	for _, name := range []string{"n1", "n2", "n3", "n4", "n5"} {
		if end := done[name]; !end.OK() || end.Moved != largeBytes {
			t.Errorf("%s: %+v", name, end)
		}
	}
	if end := done["asleep"]; !end.Lost || len(done) != 6 {
		t.Errorf("%d nodes ended, and asleep so: %+v", len(done), end)
	}
}

// What a limit allows moves, and no more.
func TestLimit(t *testing.T) {
	r := newSpread(t, "n1", "n2", "n3")
	data := make([]byte, 1<<20)
	rand.Read(data)
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, data, 0o644))
	begun := time.Now()
	r.allOK(r.push(r.copier("ann", trust.Operator), Push{On: "n[1-3]", To: "got", Sources: []string{file}, Limit: 4 << 20}))
	least := 2 * time.Second * (1<<20 - 256<<10) / (4 << 20) // to the head and from there on; the first mouthful may come at once
	if took := time.Since(begun); took < least {
		t.Errorf("%d bytes came in %s, where %s is the least", len(data), took, least)
	}
}

// Nodes that need a tree without anybody's plan, as a job's do, have it from those that asked before.
func TestIntroduced(t *testing.T) {
	r := newSpread(t, "n1", "n2", "n3", "n4")
	own := r.server.Config.Handler
	r.server.Config.Handler = Introduce(own, func(req *http.Request) string {
		if name := req.Header.Get("Test-Node"); name != "" {
			return r.nodes[name].peer.Listener.Addr().String()
		}
		return ""
	})
	tree, err := Scan(t.Context(), []string{large(t)})
	must(t, err)
	defer tree.Close()
	ref, err := tree.Import(t.Context(), r.store)
	must(t, err)
	for name, n := range r.nodes {
		n.via.mu.Lock()
		next := n.via.RoundTripper
		n.via.RoundTripper = roundTripper(func(req *http.Request) (*http.Response, error) {
			req.Header.Set("Test-Node", name)
			return next.RoundTrip(req)
		})
		n.via.mu.Unlock()
	}
	before := r.fromHead()
	var all sync.WaitGroup
	for _, node := range r.halves {
		all.Go(func() {
			_, release, err := node.FetchHeld(t.Context(), "job-7", ref)
			if err != nil {
				t.Error(err)
				return
			}
			release()
		})
	}
	all.Wait()
	if n := r.fromHead() - before; n > largeBytes*11/10 {
		t.Errorf("the head gave %d bytes of %d", n, largeBytes)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

package site

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"bramble/accesslog"
	"bramble/artefact"
	"bramble/fault"
)

func TestPublishAndRollBack(t *testing.T) {
	w := newWorld(t, "one", "two", "three")
	dir := folder(t, "index.html", "first", "css/a.css", "body{}")
	if _, err := w.publish(dir, Spec{}); err != nil {
		t.Fatal(err)
	}
	w.serve("first", "one", "two", "three")
	write(t, dir, "index.html", "second")
	events, err := w.publish(dir, Spec{})
	if err != nil {
		t.Fatal(err)
	}
	w.serve("second", "one", "two", "three")
	last := events[len(events)-1]
	if last.Kind != Finished || len(last.Site.Releases) != 2 || last.Moved != int64(len("second")) {
		t.Errorf("the last event is %+v", last)
	}
	var changes []Change
	for c, err := range w.client().Diff(t.Context(), "blog", "", "") {
		if err != nil {
			t.Fatal(err)
		}
		changes = append(changes, c)
	}
	if !slices.Equal(changes, []Change{{"index.html", "changed", 6}}) {
		t.Errorf("the releases differ in %v", changes)
	}
	if _, err := collect(w.client().Rollback(t.Context(), Rollback{Name: "blog"})); err != nil {
		t.Fatal(err)
	}
	w.serve("first", "one", "two", "three")
	if _, err := collect(w.client().Rollback(t.Context(), Rollback{Name: "blog"})); !fault.Is(err, fault.NotFound) {
		t.Errorf("behind the first release there is: %v", err)
	}
	for st, err := range w.client().Status(t.Context(), "blog") {
		if err != nil || st.State != Serving || st.Release != last.Site.Releases[1].ID || st.Address == "" {
			t.Errorf("status: %+v %v", st, err)
		}
	}
	if err := w.client().Remove(t.Context(), "blog"); err != nil {
		t.Fatal(err)
	}
	for _, b := range w.nodes {
		w.until("nothing is served on "+b.name, func() bool { return b.address("blog") == "" })
		w.until("nothing is pinned on "+b.name, func() bool { pins, _ := b.node.Store.Pins(); return len(pins) == 0 })
	}
	if pins, _ := w.store.Pins(); len(pins) > 0 {
		t.Errorf("the head still holds %v", pins)
	}
}

func TestAwayNodesCatchUp(t *testing.T) {
	w := newWorld(t, "one", "two")
	if _, err := w.publish(folder(t, "index.html", "first"), Spec{}); err != nil {
		t.Fatal(err)
	}
	w.nodes["two"].kill()
	if _, err := w.publish(folder(t, "index.html", "second"), Spec{}); err != nil {
		t.Fatal(err)
	}
	w.serve("second", "one")
	w.nodes["two"].start()
	w.serve("second", "two")
}

func TestNodesServeWithoutHead(t *testing.T) {
	w := newWorld(t, "one")
	if _, err := w.publish(folder(t, "index.html", "first"), Spec{}); err != nil {
		t.Fatal(err)
	}
	before := w.nodes["one"].address("blog")
	w.nodes["one"].kill()
	w.killHead()
	w.nodes["one"].start()
	w.serve("first", "one")
	if after := w.nodes["one"].address("blog"); after != before {
		t.Errorf("it was served at %s and is at %s", before, after)
	}
}

func TestNodesThatAreNotSelectedLetGo(t *testing.T) {
	w := newWorld(t, "one", "two")
	dir := folder(t, "index.html", "first")
	if _, err := w.publish(dir, Spec{}); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "index.html", "second")
	if _, err := w.publish(dir, Spec{On: "one"}); err != nil {
		t.Fatal(err)
	}
	w.serve("second", "one")
	w.until("two serves nothing", func() bool { return w.nodes["two"].address("blog") == "" })
}

// A node that was named and is removed from the cluster takes nothing away from the others.
func TestOthersServeWithoutARemovedNode(t *testing.T) {
	w := newWorld(t, "one", "two", "three")
	dir := folder(t, "index.html", "first")
	if _, err := w.publish(dir, Spec{On: "one,two", Log: true}); err != nil {
		t.Fatal(err)
	}
	w.nodes["two"].kill()
	w.mu.Lock()
	delete(w.nodes, "two")
	w.mu.Unlock()
	if _, all, err := w.head.Where("blog"); err != nil || len(all) != 1 || all[0].Node != "one" || all[0].State != Serving {
		t.Errorf("it is served by %+v, %v", all, err)
	}
	for st, err := range w.client().Status(t.Context(), "blog") {
		if err != nil || st.Node != "one" {
			t.Errorf("status: %+v %v", st, err)
		}
	}
	for l, err := range w.client().Log(t.Context(), accesslog.Request{Name: "blog", Lines: 1}) {
		if err != nil || l.Node != "one" {
			t.Errorf("its log: %+v %v", l, err)
		}
	}
	if one := w.head.wantsOf("one", w.head.selected()); len(one.Sites) != 1 {
		t.Errorf("the other one is wanted to serve %+v", one.Sites)
	}
	write(t, dir, "index.html", "second")
	if _, err := w.publish(dir, Spec{}); err != nil {
		t.Fatal(err)
	}
	w.serve("second", "one")
	if _, err := collect(w.client().Rollback(t.Context(), Rollback{Name: "blog"})); err != nil {
		t.Fatal(err)
	}
	w.serve("first", "one")
	if _, err := w.publish(dir, Spec{On: "one,two"}); !fault.Is(err, fault.NotFound) {
		t.Errorf("named anew: %v", err)
	}
	if _, err := w.publish(dir, Spec{On: "three"}); err != nil {
		t.Fatal(err)
	}
	w.nodes["three"].kill()
	w.mu.Lock()
	delete(w.nodes, "three")
	w.mu.Unlock()
	if _, err := w.publish(dir, Spec{}); !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "no node is that now") {
		t.Errorf("for nobody: %v", err)
	}
}

func TestStrangeReleasesAreNotServed(t *testing.T) {
	w := newWorld(t, "one")
	if _, err := w.publish(folder(t, "index.html", "first"), Spec{}); err != nil {
		t.Fatal(err)
	}
	w.head.Sign = func(string, []byte) ([]byte, error) { return []byte("forged"), nil }
	if _, err := w.publish(folder(t, "index.html", "second"), Spec{}); !fault.Is(err, fault.Partial) {
		t.Errorf("a forged release: %v", err)
	}
	w.serve("first", "one")
}

func TestDamagedBlobsAreFetchedAgain(t *testing.T) {
	w := newWorld(t, "one")
	dir := folder(t, "index.html", "first", "big.bin", "a large file")
	if _, err := w.publish(dir, Spec{}); err != nil {
		t.Fatal(err)
	}
	ref := artefact.RefOf([]byte("a large file"))
	w.nodes["one"].kill()
	damage(t, w.dir+"/one/store/blobs/"+string(ref[:2])+"/"+string(ref))
	w.nodes["one"].start()
	w.serve("first", "one")
	if _, body := w.nodes["one"].get("blog", "/big.bin"); body != "a large file" {
		t.Errorf("a file that was damaged on disk is served as %q", body)
	}
}

// A list of many files, of which one has changed, does not move whole.
func TestLongListsMoveInPart(t *testing.T) {
	w := newWorld(t, "one")
	files := []string{"index.html", "first"}
	for i := range 2500 {
		files = append(files, fmt.Sprintf("pictures/number-%04d.jpg", i), fmt.Sprint(i))
	}
	dir := folder(t, files...)
	if _, err := w.publish(dir, Spec{}); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "index.html", "second")
	events, err := w.publish(dir, Spec{})
	if err != nil {
		t.Fatal(err)
	}
	w.serve("second", "one")
	list := events[len(events)-1].Site.Live
	info, err := w.store.Stat(list)
	if err != nil {
		t.Fatal(err)
	}
	sent, _ := w.sent.Load("/artefact/" + string(list))
	if n := sent.(*atomic.Int64).Load(); n > info.Size()/2 {
		t.Errorf("%d of the list's %d bytes were sent", n, info.Size())
	}
}

func damage(t *testing.T, path string) {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSitesSideBySide(t *testing.T) {
	w := newWorld(t, "one", "two")
	publish := func(name string, spec Spec) error {
		spec.Name = name
		_, err := collect(w.client().Publish(t.Context(), Publish{Spec: spec}, Source(folder(t, "index.html", name))))
		return err
	}
	for name, spec := range map[string]Spec{"first": {On: "one"}, "second": {On: "two"}, "third": {Hosts: []string{"third.example"}}} {
		if err := publish(name, spec); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if err := publish("fourth", Spec{On: "two"}); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "second") {
		t.Errorf("a second site for all hosts of a node: %v", err)
	}
	for host, want := range map[string]string{"": "first", "THIRD.example:80": "third", "third.example.": "third", "other.example": "first"} {
		req, err := http.NewRequest(http.MethodGet, "http://"+w.nodes["one"].address("third"), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(body) != want {
			t.Errorf("%q gets %q", host, body)
		}
	}
}

package site

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"bramble/artefact"
	"bramble/fault"
)

// smallDisk puts a file system of so many bytes where a part of the world keeps its files.
func (w *world) smallDisk(name, size string) (dir string) {
	w.t.Helper()
	if os.Geteuid() != 0 {
		w.t.Skip("mounting a small disk needs root")
	}
	dir = filepath.Join(w.dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := syscall.Mount("bramble-test", dir, "tmpfs", 0, "size="+size+",mode=0700"); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			w.t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// noise is a file that cannot be compressed.
func noise(n int) string {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(data)
	return string(data)
}

// A node whose disk fills up while a release comes says so; the live one stays or the quorum goes on, and room is all that it takes.
func TestNodesDiskFull(t *testing.T) {
	w := newWorld(t, "one")
	disk := w.smallDisk("two", "2m")
	w.nodes["two"] = &board{w: w, name: "two"}
	w.nodes["two"].start()
	dir := folder(t, "index.html", "first")
	if _, err := w.publish(dir, Spec{}); err != nil {
		t.Fatal(err)
	}
	w.serve("first", "one", "two")

	write(t, dir, "index.html", "second", "film.bin", noise(3<<20))
	events, err := w.publish(dir, Spec{})
	if !fault.Is(err, fault.Partial) || !strings.Contains(err.Error(), "blog stays as it was") || fault.Of(err).Try == "" {
		t.Errorf("a publication that fills a disk: %v", err)
	}
	refused := func(events []Event) {
		t.Helper()
		for _, ev := range events {
			if ev.Kind == Failed && ev.Node == "two" && ev.Code == fault.Full && ev.Try != "" {
				return
			}
		}
		t.Errorf("nobody says that the disk of two is full: %+v", events)
	}
	refused(events)
	w.serve("first", "one", "two")

	write(t, dir, "index.html", "again")
	failed := make(chan struct{})
	w.nodes["one"].bring = func(artefact.Way, artefact.Progress) error { <-failed; return nil } // or it might be ready before two fails
	events = nil
	for ev, err := range w.client().Publish(t.Context(), Publish{Spec: Spec{Name: "blog", Quorum: 50}}, Source(dir)) {
		if err != nil {
			t.Errorf("with a quorum that is content with one node: %v", err)
		}
		if events = append(events, ev); ev.Kind == Failed {
			close(failed)
		}
	}
	refused(events)
	w.nodes["one"].bring = nil
	w.serve("again", "one")
	w.serve("first", "two")
	w.until("the head knows why two is behind", func() bool {
		for st := range w.client().Status(t.Context(), "blog") {
			if st.Node == "two" && st.State == Broken && strings.Contains(st.Error, "space") {
				return true
			}
		}
		return false
	})

	if err := syscall.Mount("bramble-test", disk, "tmpfs", syscall.MS_REMOUNT, "size=16m"); err != nil {
		t.Fatal(err)
	}
	w.serve("again", "two") // it tries again by itself
	write(t, dir, "index.html", "third")
	if _, err := w.publish(dir, Spec{Quorum: 100}); err != nil {
		t.Errorf("with room: %v", err)
	}
	w.serve("third", "one", "two")
}

// A head whose disk fills up refuses a release before any node hears of it.
func TestHeadsDiskFull(t *testing.T) {
	w := newWorld(t, "one")
	dir := folder(t, "index.html", "first")
	if _, err := w.publish(dir, Spec{}); err != nil {
		t.Fatal(err)
	}
	w.killHead()
	w.nodes["one"].kill()
	was := filepath.Join(w.dir, "head")
	if err := os.Rename(was, was+".was"); err != nil {
		t.Fatal(err)
	}
	disk := w.smallDisk("head", "2m")
	if err := os.CopyFS(disk, os.DirFS(was+".was")); err != nil {
		t.Fatal(err)
	}
	w.startHead()
	w.nodes["one"].start()
	w.serve("first", "one")
	write(t, dir, "index.html", "second", "film.bin", noise(3<<20))
	_, err := w.publish(dir, Spec{})
	if !fault.Is(err, fault.Full) || !strings.HasPrefix(err.Error(), "the head has no room for it: ") || !strings.Contains(fault.Of(err).Try, "head") {
		t.Errorf("a publication that fills the head's disk: %v, try: %s", err, fault.Of(err).Try)
	}
	w.serve("first", "one")
	if err := syscall.Mount("bramble-test", disk, "tmpfs", syscall.MS_REMOUNT, "size=16m"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.publish(dir, Spec{}); err != nil {
		t.Errorf("with room: %v", err)
	}
	w.serve("second", "one")
}

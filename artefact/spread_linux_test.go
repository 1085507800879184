package artefact_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	. "bramble/artefact"
	"bramble/fault"
	"bramble/trust"
)

var oddTree = map[string]string{
	"plain.txt": "hello\n", "empty": "", "nothing/": "", "deep/er/still": "x", "link": "-> plain.txt", "dangling": "-> ../../nowhere",
	" space ": "1", "line\nbreak": "2", "-rf": "3", "quote'\"$(x)`": "4", "überall/ñ": "5", "*": "6", "\x1b[31m": "7", "run.sh": "#!/bin/sh\n",
	"secret": "8", "closed/in": "9",
}

// plantOdd makes a tree with everything that may be in one.
func plantOdd(t *testing.T) string {
	dir := t.TempDir()
	plant(t, dir, oddTree)
	for name, mode := range map[string]fs.FileMode{"run.sh": 0o755, "secret": 0o600, "closed": 0o750, "-rf": 0o444} {
		must(t, os.Chmod(filepath.Join(dir, name), mode))
	}
	return dir
}

func same(t *testing.T, got, want string) {
	t.Helper()
	if a, b := show(t, got), show(t, want); !slices.Equal(a, b) {
		t.Errorf("%s has\n%s\nwant\n%s", got, strings.Join(a, "\n"), strings.Join(b, "\n"))
	}
}

func TestPushAndPull(t *testing.T) {
	r := newSpread(t, "n1", "n2", "n3")
	c := r.copier("ann", trust.Operator)
	dir := plantOdd(t)
	done, err := r.push(c, Push{On: "n[1-3]", To: "got", Sources: []string{dir + "/."}})
	r.allOK(done, err)
	for name, n := range r.nodes {
		same(t, filepath.Join(n.home, "got"), dir)
		if end := done[name]; end.Files != len(oddTree)-1 || end.Bytes == 0 || end.Moved != end.Bytes {
			t.Errorf("%s: %+v", name, end)
		}
		must(t, os.WriteFile(filepath.Join(n.home, "got/plain.txt"), []byte("of "+name), 0o640))
		must(t, os.Remove(filepath.Join(n.home, "got/link")))
	}
	pins(t, r)
	again, err := r.push(c, Push{On: "n1,n2", To: "got/", Sources: []string{dir + "/."}})
	r.allOK(again, err)
	same(t, filepath.Join(r.nodes["n1"].home, "got"), dir)
	if again["n1"].Moved != 0 {
		t.Errorf("the second time %d bytes moved", again["n1"].Moved)
	}
	here := t.TempDir()
	r.allOK(r.pull(c, Pull{On: "n[1-3]", Paths: []string{"got"}, Dir: here}))
	for name, n := range r.nodes {
		same(t, filepath.Join(here, name, "got"), filepath.Join(n.home, "got"))
	}
	if list, _ := os.ReadDir(here); len(list) != 3 {
		t.Errorf("something is left over: %v", list)
	}
	pins(t, r)
}

// pins checks that nobody holds what was copied.
func pins(t *testing.T, r *spread) {
	t.Helper()
	stores := []*Store{r.store}
	for _, n := range r.nodes {
		stores = append(stores, n.store)
	}
	for _, s := range stores {
		for names, err := s.Pins(); len(names) > 0 || err != nil; names, err = s.Pins() { // the head lets go when it hears that we have
			if err != nil || t.Context().Err() != nil {
				t.Fatal(err)
			}
			runtime.Gosched()
		}
	}
}

func TestPushTo(t *testing.T) {
	r := newSpread(t, "n1")
	c := r.copier("ann", trust.Operator)
	home := r.nodes["n1"].home
	plant(t, home, map[string]string{"dir/": "", "old": "old", "in/the/way/": ""})
	for _, dir := range []string{"dir", "old", "in", "in/the", "in/the/way"} {
		must(t, os.Chown(filepath.Join(home, dir), ownerOf(t, home), -1))
	}
	src := t.TempDir()
	plant(t, src, map[string]string{"a": "A", "b": "B", "tree/x": "X", "way": "W"})
	for _, q := range []struct {
		to      string
		sources []string
		lands   string // "" when refused with the code
		code    fault.Code
	}{
		{"dir", []string{"a"}, "dir/a", ""},
		{"fresh", []string{"a"}, "fresh", ""},
		{"fresh/er/", []string{"a"}, "", fault.Failed}, // fresh is a file now
		{"new/er/", []string{"a"}, "new/er/a", ""},
		{"old", []string{"a"}, "old", ""},
		{"many", []string{"a", "b"}, "many/b", ""},
		{"old", []string{"a", "b"}, "", fault.Misused},
		{"tree2", []string{"tree"}, "tree2/x", ""},
		{"dir", []string{"tree"}, "dir/tree/x", ""},
		{"in/the", []string{"way"}, "", fault.Conflict},
		{home + "/abs", []string{"a"}, "abs", ""},
		{"~/tilde", []string{"a"}, "tilde", ""},
		{".", []string{"b"}, "b", ""},
	} {
		var sources []string
		for _, s := range q.sources {
			sources = append(sources, filepath.Join(src, s))
		}
		done, err := r.push(c, Push{On: "n1", To: q.to, Sources: sources})
		if err != nil || done["n1"].Code != q.code {
			t.Errorf("%v to %s: %+v, %v", q.sources, q.to, done["n1"], err)
		} else if _, err := os.Stat(filepath.Join(home, q.lands)); q.code == "" && err != nil {
			t.Errorf("%v to %s: %v", q.sources, q.to, err)
		}
	}
}

func ownerOf(t *testing.T, path string) int {
	info, err := os.Stat(path)
	must(t, err)
	return int(uidOf(info))
}

func TestRefused(t *testing.T) {
	r := newSpread(t, "n1")
	file := filepath.Join(t.TempDir(), "f")
	must(t, os.WriteFile(file, []byte("x"), 0o600))
	for _, q := range []struct {
		name string
		role trust.Role
		req  Push
		code fault.Code
	}{
		{"viewer", trust.Viewer, Push{On: "n1", To: "x", Sources: []string{file}}, fault.Denied},
		{"operator as root", trust.Operator, Push{On: "n1", To: "x", Sources: []string{file}, As: "root"}, fault.Denied},
		{"as somebody", trust.Admin, Push{On: "n1", To: "x", Sources: []string{file}, As: "bob"}, fault.Misused},
		{"nobody there", trust.Operator, Push{On: "n9", To: "x", Sources: []string{file}}, fault.NotFound},
		{"no file", trust.Operator, Push{On: "n1", To: "x", Sources: []string{file + "9"}}, fault.NotFound},
		{"nothing", trust.Operator, Push{On: "n1", To: "x"}, fault.Misused},
		{"nowhere", trust.Operator, Push{On: "n1", Sources: []string{file}}, fault.Misused},
	} {
		if done, err := r.push(r.copier("ann", q.role), q.req); !fault.Is(err, q.code) {
			t.Errorf("%s: %v, %v", q.name, done, err)
		}
	}
	c := r.copier("ann", trust.Operator)
	for _, q := range []struct {
		name string
		req  Pull
		code fault.Code
	}{
		{"no path", Pull{On: "n1"}, fault.Misused},
		{"empty path", Pull{On: "n1", Paths: []string{""}}, fault.Misused},
		{"as root", Pull{On: "n1", Paths: []string{"x"}, As: "root"}, fault.Denied},
		{"nobody there", Pull{On: "n9", Paths: []string{"x"}}, fault.NotFound},
	} {
		q.req.Dir = t.TempDir()
		if done, err := r.pull(c, q.req); !fault.Is(err, q.code) {
			t.Errorf("%s: %v, %v", q.name, done, err)
		}
		if list, _ := os.ReadDir(q.req.Dir); len(list) > 0 {
			t.Errorf("%s: left %v", q.name, list)
		}
	}
	if _, err := os.Stat(filepath.Join(r.nodes["n1"].home, "x")); err == nil {
		t.Error("something was written")
	}
}

func TestPullPaths(t *testing.T) {
	r := newSpread(t, "n1", "n2")
	c := r.copier("ann", trust.Operator)
	plant(t, r.nodes["n1"].home, map[string]string{"log/a.log": "a", "log/b.log": "b", "log/c": "c", "[x]": "brackets", "other/a.log": "2"})
	plant(t, r.nodes["n2"].home, map[string]string{"log/z.log": "z"})
	for _, q := range []struct {
		paths []string
		on    string
		want  string // files here, or the code of n1
	}{
		{[]string{"log/*.log"}, "all&!asleep", "n1/a.log n1/b.log n2/z.log"},
		{[]string{"log"}, "n1", "n1/log/a.log n1/log/b.log n1/log/c"},
		{[]string{"log/."}, "n2", "n2/z.log"},
		{[]string{"[x]"}, "n1", "n1/[x]"},
		{[]string{"log/c", r.nodes["n1"].home + "/log/a.log"}, "n1", "n1/a.log n1/c"},
		{[]string{"log/a.log", "other/a.log"}, "n1", "misused"},
		{[]string{"log/*.txt"}, "n1", "not-found"},
		{[]string{"log/[", "log/c"}, "n1", "misused"},
	} {
		dir := t.TempDir()
		done, err := r.pull(c, Pull{On: q.on, Paths: q.paths, Dir: dir})
		var found []string
		filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				rel, _ := filepath.Rel(dir, path)
				found = append(found, rel)
			}
			return err
		})
		got := strings.Join(found, " ")
		if got == "" {
			got = string(done["n1"].Code)
		}
		if err != nil || got != q.want {
			t.Errorf("%v: %q, want %q; %+v, %v", q.paths, got, q.want, done, err)
		}
	}
	done, err := r.pull(c, Pull{On: "all", Paths: []string{"log/a.log"}, Dir: t.TempDir()})
	n1, n2, asleep := done["n1"], done["n2"], done["asleep"]
	if err != nil || !n1.OK() || n2.Code != fault.NotFound || !strings.Contains(n2.Error, "log/a.log") || !asleep.Lost {
		t.Errorf("where not all have it: %+v, %v", done, err)
	}
}

func TestManyFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("short: it takes seconds; make test runs it")
	}
	r := newSpread(t, "n1", "n2")
	dir := t.TempDir()
	for i := range 2000 {
		plant(t, dir, map[string]string{fmt.Sprintf("%02d/%d", i%50, i): fmt.Sprint("number ", i)})
	}
	c := r.copier("ann", trust.Operator)
	done, err := r.push(c, Push{On: "n[1-2]", To: "many", Sources: []string{dir + "/."}})
	r.allOK(done, err)
	if done["n1"].Files != 2000 {
		t.Errorf("%+v", done["n1"])
	}
	same(t, filepath.Join(r.nodes["n2"].home, "many"), dir)
	here := t.TempDir()
	r.allOK(r.pull(c, Pull{On: "n2", Paths: []string{"many/."}, Dir: here}))
	same(t, filepath.Join(here, "n2"), dir)
}

func TestLargeFile(t *testing.T) {
	if testing.Short() {
		t.Skip("short: it takes seconds; make test runs it")
	}
	r := newSpread(t, "n1")
	path := filepath.Join(t.TempDir(), "big")
	f, err := os.Create(path)
	must(t, err)
	for i := range 200 {
		_, err := f.Write(noise(uint64(i), 1<<20))
		must(t, err)
	}
	must(t, f.Close())
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r.allOK(r.push(r.copier("ann", trust.Operator), Push{On: "n1", To: "big", Sources: []string{path}}))
	runtime.ReadMemStats(&after)
	if grown := int64(after.Sys) - int64(before.Sys); grown > 64<<20 {
		t.Errorf("%d MB of memory for a file of 200 MB", grown>>20)
	}
	a, err := os.ReadFile(path)
	must(t, err)
	b, err := os.ReadFile(filepath.Join(r.nodes["n1"].home, "big"))
	if err != nil || RefOf(a) != RefOf(b) {
		t.Errorf("another file arrived, %v", err)
	}
}

func TestNodeVanishes(t *testing.T) {
	r := newSpread(t, "n1", "n2", "n3")
	n2 := r.nodes["n2"]
	file := filepath.Join(t.TempDir(), "f")
	must(t, os.WriteFile(file, noise(1, 1<<20), 0o644)) // which the head gives to each by itself
	n2.via.close(300_000)
	gone := false
	found, err := ends(t, func(yield func(Event, error) bool) {
		left := 2
		for ev, err := range r.copier("ann", trust.Operator).Push(t.Context(), Push{On: "all", To: "f", Sources: []string{file}}) {
			if ev.Kind == Ended && (ev.Node == "n1" || ev.Node == "n3") {
				left--
			}
			if left == 0 && !gone {
				gone = true
				<-n2.via.hit
				n2.conn.Close()
			}
			if !yield(ev, err) {
				return
			}
		}
	})
	if end := found["n2"]; err != nil || !found["n1"].OK() || !found["n3"].OK() || end.OK() || !end.Lost {
		t.Errorf("%+v, %v", found, err)
	}
	if end := found["asleep"]; !end.Lost || end.Error != "down" {
		t.Errorf("%+v", end)
	}
}

func TestPushGoesOn(t *testing.T) {
	r := newSpread(t, "n1")
	n1 := r.nodes["n1"]
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "f"), noise(2, 8<<20), 0o644))
	c := r.copier("ann", trust.Operator)
	n1.via.close(5 << 20)
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		<-n1.via.hit
		stop()
	}()
	var last error
	for _, err := range c.Push(ctx, Push{On: "n1", To: "got", Sources: []string{dir}}) {
		last = err
	}
	if last == nil {
		t.Fatal("an interrupted push ended well")
	}
	pins(t, r) // the node has stopped
	n1.via.open()
	if list := show(t, n1.home); len(list) != 0 {
		t.Errorf("half a push: %v", list)
	}
	done, err := r.push(c, Push{On: "n1", To: "got", Sources: []string{dir}})
	r.allOK(done, err)
	if moved := done["n1"].Moved; moved <= 0 || moved > 4<<20 {
		t.Errorf("%d bytes moved the second time", moved)
	}
	same(t, filepath.Join(n1.home, "got"), dir)
}

func TestPullGoesOn(t *testing.T) {
	r := newSpread(t, "n1")
	plant(t, r.nodes["n1"].home, map[string]string{"f": string(noise(3, 8<<20))})
	c, via := r.copier("ann", trust.Operator), &gate{RoundTripper: r.server.Client().Transport}
	c.Blobs.HTTP.Transport = via
	here, cache := t.TempDir(), filepath.Join(t.TempDir(), "cache")
	req := Pull{On: "n1", Paths: []string{"f"}, Dir: here, Cache: cache}
	via.close(5 << 20)
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		<-via.hit
		stop()
	}()
	var last error
	for _, err := range c.Pull(ctx, req) {
		last = err
	}
	via.open()
	if list := show(t, here); last == nil || len(list) != 0 {
		t.Errorf("half a pull: %v, %v", last, list)
	}
	first := int64(-1)
	r.allOK(ends(t, func(yield func(Event, error) bool) {
		for ev, err := range c.Pull(t.Context(), req) {
			if ev.Kind == Moving && ev.Step == Receiving && ev.Done > 0 && first < 0 {
				first = ev.Done
			}
			if !yield(ev, err) {
				return
			}
		}
	}))
	if first < 4<<20 {
		t.Errorf("the second pull began at %d", first)
	}
	if _, err := os.Stat(cache); err == nil {
		t.Error("the cache stayed")
	}
}

func TestFullNode(t *testing.T) {
	r := newSpreadIn(t, map[string]Options{"n2": {Budget: 1 << 20}}, "n1", "n2")
	file := filepath.Join(t.TempDir(), "f")
	must(t, os.WriteFile(file, noise(4, 2<<20), 0o644))
	done, err := r.push(r.copier("ann", trust.Operator), Push{On: "n[1-2]", To: "f", Sources: []string{file}})
	if n1, n2 := done["n1"], done["n2"]; err != nil || !n1.OK() || n2.Code != fault.Full || n2.Error == "" || n2.Lost {
		t.Errorf("%+v, %v", done, err)
	}
}

func TestFileChangesMeanwhile(t *testing.T) {
	r := newSpread(t, "n1")
	file := filepath.Join(t.TempDir(), "f")
	must(t, os.WriteFile(file, []byte("before"), 0o644))
	r.chosen = func() { os.WriteFile(file, []byte("after!"), 0o644); os.Chtimes(file, epoch, epoch) }
	_, err := r.push(r.copier("ann", trust.Operator), Push{On: "n1", To: "f", Sources: []string{file}})
	if !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "f changed") {
		t.Errorf("%v", err)
	}
}

func TestDamagedBlobOfNode(t *testing.T) {
	r := newSpread(t, "n1")
	file := filepath.Join(t.TempDir(), "f")
	must(t, os.WriteFile(file, []byte("hello\n"), 0o644))
	c := r.copier("ann", trust.Operator)
	req := Push{On: "n1", To: "f", Sources: []string{file}}
	r.allOK(r.push(c, req))
	n1 := r.nodes["n1"]
	must(t, os.Remove(filepath.Join(n1.home, "f")))
	must(t, os.WriteFile(blobPath(n1.dir, hello), []byte("jello\n"), 0o600))
	done, err := r.push(c, req)
	if end := done["n1"]; err != nil || end.OK() || !strings.Contains(end.Error, "damaged") {
		t.Errorf("%+v, %v", done, err)
	}
	if list := show(t, n1.home); len(list) != 0 {
		t.Errorf("a damaged file was laid out: %v", list)
	}
	r.allOK(r.push(c, req))
	if data, err := os.ReadFile(filepath.Join(n1.home, "f")); string(data) != "hello\n" {
		t.Errorf("%q, %v", data, err)
	}
}

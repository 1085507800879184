package artefact_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	. "bramble/artefact"
	"bramble/fault"
)

// plant makes files: a name that ends in a slash is a folder, content that starts with "-> " a link.
func plant(t testing.TB, root string, tree map[string]string) {
	t.Helper()
	for name, content := range tree {
		path := filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if to, ok := strings.CutPrefix(content, "-> "); ok {
			must(t, os.Symlink(to, path))
		} else if strings.HasSuffix(name, "/") {
			must(t, os.MkdirAll(path, 0o755))
		} else {
			must(t, os.WriteFile(path, []byte(content), 0o644))
		}
	}
}

// show lists what is below root: mode, path, content.
func show(t testing.TB, root string) []string {
	t.Helper()
	var list []string
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		what := ""
		switch info.Mode().Type() {
		case 0:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what = string(RefOf(data))
		case fs.ModeSymlink:
			what, err = os.Readlink(path)
		}
		rel, _ := filepath.Rel(root, path)
		list = append(list, fmt.Sprintf("%v %q %s", info.Mode(), rel, what))
		return err
	}))
	return list
}

func scan(t testing.TB, sources ...string) *Tree {
	t.Helper()
	tree, err := Scan(t.Context(), sources)
	must(t, err)
	t.Cleanup(func() { tree.Close() })
	return tree
}

func paths(m Manifest) (list []string) {
	for _, e := range m.Entries {
		list = append(list, e.Path)
	}
	return list
}

// imported scans sources into a store.
func imported(t testing.TB, sources ...string) (*Store, Manifest) {
	t.Helper()
	s, tree := open(t, Options{}), scan(t, sources...)
	_, err := tree.Import(t.Context(), s)
	must(t, err)
	return s, tree.Manifest
}

func TestRoundTrip(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	plant(t, from, map[string]string{
		"dir/plain": "text", "dir/with space": "a", "dir/new\nline": "b", "dir/grüße/日本": "c", "dir/-rf": "d", `dir/back\slash`: "e",
		"dir/empty": "", "dir/same": "text", "dir/hollow/": "", "dir/link": "-> plain", "dir/out": "-> /nowhere/at all", "dir/up": "-> ../..",
		"dir/...": "f", "dir/.hidden": "g", "dir/a": "h", "dir/a-b": "i", "dir/A/b": "j", "dir/\x1b[31mred": "k",
	})
	for name, mode := range map[string]fs.FileMode{"plain": 0o755, "empty": 0o400, "a": 0, "hollow": 0o500, "A": 0o770, "grüße": 0o711} {
		if mode == 0 && os.Getuid() != 0 {
			continue // only root reads what nobody may read
		}
		must(t, os.Chmod(filepath.Join(from, "dir", name), mode))
	}
	s, m := imported(t, filepath.Join(from, "dir"))
	must(t, Place(t.Context(), s, m, filepath.Join(to, "x", "y"), PlaceOptions{}))
	if got, want := show(t, filepath.Join(to, "x", "y")), show(t, from); !slices.Equal(got, want) {
		t.Errorf("placed:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	must(t, Place(t.Context(), s, m, to, PlaceOptions{As: "new name"}))
	if got, want := show(t, filepath.Join(to, "new name")), show(t, filepath.Join(from, "dir")); !slices.Equal(got, want) {
		t.Errorf("placed under a new name:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestScanNames(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"a/x": "1", "b/x": "2", "b/y/z": "3", "c/x": "1", "to-x": "-> a/x", "to-b": "-> b", "void": "-> gone"})
	at := func(name string) string { return dir + "/" + name }
	for _, c := range []struct {
		sources []string
		want    string
		code    fault.Code
	}{
		{[]string{"a/x"}, "[x]", ""},
		{[]string{"b"}, "[b b/x b/y b/y/z]", ""},
		{[]string{"b/"}, "[b b/x b/y b/y/z]", ""},
		{[]string{"b/."}, "[x y y/z]", ""},
		{[]string{"b/y/.."}, "[x y y/z]", ""},
		{[]string{"a/x", "b"}, "[b b/x b/y b/y/z x]", ""},
		{[]string{"a/x", "a/x"}, "[x]", ""},
		{[]string{"a/x", "b/x"}, "", fault.Misused},
		{[]string{"a/.", "b/."}, "", fault.Misused},
		{[]string{"to-x"}, "[to-x]", ""},
		{[]string{"to-b"}, "[to-b to-b/x to-b/y to-b/y/z]", ""},
		{[]string{"void"}, "", fault.NotFound},
		{[]string{"gone"}, "", fault.NotFound},
	} {
		var sources []string
		for _, s := range c.sources {
			sources = append(sources, at(s))
		}
		tree, err := Scan(t.Context(), sources)
		if c.code != "" {
			if !fault.Is(err, c.code) {
				t.Errorf("%v: %v", c.sources, err)
			}
			continue
		}
		if err != nil || fmt.Sprint(paths(tree.Manifest)) != c.want {
			t.Errorf("%v: %v, %v; want %s", c.sources, paths(tree.Manifest), err, c.want)
		}
		tree.Close()
	}
	if m := scan(t, at("to-x")).Manifest; m.Entries[0].FileMode() != 0o644 {
		t.Errorf("a link named as a source is followed: %v", m)
	}
}

// One tree takes in another, unless both have something of one name.
func TestTreeAdd(t *testing.T) {
	a, b, to := t.TempDir(), t.TempDir(), t.TempDir()
	plant(t, a, map[string]string{"m": "1", "z": "same"})
	plant(t, b, map[string]string{"n": "2", "a": "same"})
	one := scan(t, a+"/m", a+"/z")
	must(t, one.Add(scan(t, b+"/n", b+"/a")))
	s := open(t, Options{})
	_, err := one.Import(t.Context(), s)
	must(t, err)
	must(t, Place(t.Context(), s, one.Manifest, to, PlaceOptions{}))
	for name, want := range map[string]string{"m": "1", "n": "2", "z": "same", "a": "same"} {
		if got, err := os.ReadFile(filepath.Join(to, name)); string(got) != want {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
	if err := one.Add(scan(t, a+"/m")); !fault.Is(err, fault.Misused) {
		t.Errorf("two files named m: %v", err)
	}
}

func TestScanRoot(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{
		"secret": "s", "task/out/a.txt": "a", "task/out/b.txt": "b", "task/log": "l",
		"task/escape": "-> ../secret", "task/folder": "-> ..", "task/inner": "-> out",
	})
	root, err := os.OpenRoot(filepath.Join(dir, "task"))
	must(t, err)
	defer root.Close()
	for _, c := range []struct {
		paths []string
		want  string
	}{
		{[]string{"out/a.txt", "log"}, "[log out out/a.txt]"},
		{[]string{"out", "out/a.txt"}, "[out out/a.txt out/b.txt]"},
		{[]string{"."}, "[escape folder inner log out out/a.txt out/b.txt]"},
		{[]string{"escape"}, "[escape]"},
		{nil, "[]"},
	} {
		tree, err := ScanRoot(t.Context(), root, c.paths)
		if err != nil || fmt.Sprint(paths(tree.Manifest)) != c.want {
			t.Errorf("%v: %+v, %v; want %s", c.paths, tree, err, c.want)
		}
		for _, e := range tree.Manifest.Entries {
			if e.Ref == RefOf([]byte("s")) {
				t.Errorf("%v: the secret got out as %s", c.paths, e.Path)
			}
		}
	}
	for _, p := range []string{"../secret", "/etc/passwd", "folder/secret", "inner/a.txt", "", "a\x00"} {
		if tree, err := ScanRoot(t.Context(), root, []string{p}); err == nil {
			t.Errorf("%q: %v", p, paths(tree.Manifest))
		}
	}
}

func TestScanSkips(t *testing.T) {
	dir, err := os.MkdirTemp("", "skips") // a socket's path must be short
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	plant(t, dir, map[string]string{"d/file": "x"})
	l, err := net.Listen("unix", filepath.Join(dir, "d", "socket"))
	must(t, err)
	defer l.Close()
	must(t, syscall.Mkfifo(filepath.Join(dir, "d", "pipe"), 0o600))
	want := "[{d/pipe a pipe} {d/socket a socket}]"
	if runtime.GOOS == "linux" {
		must(t, os.WriteFile(filepath.Join(dir, "d", "latin\xe9"), nil, 0o600))
		want = "[{d/latin\xe9 a name that is not UTF-8} {d/pipe a pipe} {d/socket a socket}]"
	}
	tree := scan(t, filepath.Join(dir, "d"))
	slices.SortFunc(tree.Skipped, func(a, b Skipped) int { return strings.Compare(a.Path, b.Path) })
	if fmt.Sprint(tree.Skipped) != want {
		t.Errorf("skipped %v", tree.Skipped)
	}
	if fmt.Sprint(paths(tree.Manifest)) != "[d d/file]" {
		t.Errorf("kept %v", paths(tree.Manifest))
	}
}

func TestFileChangesAfterScan(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	must(t, os.WriteFile(path, []byte("hello\n"), 0o644))
	tree := scan(t, path)
	f, _, err := tree.Open(hello)
	must(t, err)
	f.Close()
	must(t, os.WriteFile(path, []byte("hello, hello\n"), 0o644))
	if _, _, err := tree.Open(hello); !fault.Is(err, fault.Conflict) {
		t.Errorf("changed after the scan: %v", err)
	}
	must(t, os.Remove(path))
	must(t, syscall.Mkfifo(path, 0o600)) // which would block
	if _, _, err := tree.Open(hello); !fault.Is(err, fault.Conflict) {
		t.Errorf("a pipe took its place: %v", err)
	}
	if _, err := tree.Import(t.Context(), open(t, Options{})); !fault.Is(err, fault.Conflict) {
		t.Errorf("import: %v", err)
	}
}

func TestPlaceOverwrites(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	plant(t, from, map[string]string{"d/same": "same", "d/new": "new", "d/other": "mine", "d/link": "-> new"})
	must(t, os.Chmod(from+"/d/same", 0o755))
	s, m := imported(t, from+"/d")
	plant(t, to, map[string]string{"d/same": "same", "d/other": "theirs", "d/link": "-> old", "d/alone": "stays"})
	must(t, os.Chmod(to+"/d", 0o700))
	before := show(t, to)

	err := Place(t.Context(), s, m, to, PlaceOptions{})
	if !fault.Is(err, fault.Conflict) || !slices.Equal(show(t, to), before) {
		t.Errorf("%v; now:\n%s", err, strings.Join(show(t, to), "\n"))
	}
	kept, err := os.Stat(to + "/d/same")
	must(t, err)
	must(t, Place(t.Context(), s, m, to, PlaceOptions{Overwrite: true}))
	now, err := os.Stat(to + "/d/same")
	must(t, err)
	if !os.SameFile(kept, now) || now.Mode() != 0o755 {
		t.Errorf("the equal file was replaced, or did not get its mode: %v", now.Mode())
	}
	want := append(show(t, from), fmt.Sprintf("-rw-r--r-- %q %s", "d/alone", RefOf([]byte("stays"))))
	want[0] = `drwx------ "d" ` // a folder that was there keeps its mode
	slices.Sort(want)
	got := show(t, to)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("placed:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	must(t, Place(t.Context(), s, m, to, PlaceOptions{})) // all there: nothing to do
	if f, _, err := s.Open(RefOf([]byte("mine"))); err == nil {
		a, _ := f.Stat()
		b, _ := os.Stat(to + "/d/other")
		if os.SameFile(a, b) {
			t.Error("the placed file is the store's own")
		}
		f.Close()
	}

	for name, tree := range map[string]map[string]string{
		"file where a folder goes": {"d": "x"},
		"folder where a file goes": {"d/new/": ""},
		"link where a folder goes": {"d": "-> /tmp"},
	} {
		to := t.TempDir()
		plant(t, to, tree)
		before := show(t, to)
		if err := Place(t.Context(), s, m, to, PlaceOptions{Overwrite: true}); !fault.Is(err, fault.Conflict) || !slices.Equal(show(t, to), before) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPlaceNeverFollowsLinks(t *testing.T) {
	outer := t.TempDir()
	plant(t, outer, map[string]string{"victim/passwd": "root", "victim/sub/": ""})
	s := open(t, Options{})
	put(t, s, "hello\n")
	before := show(t, outer+"/victim")
	for name, c := range map[string]struct {
		there map[string]string
		m     []Entry
	}{
		"folder is a link":         {map[string]string{"d": "-> " + outer + "/victim"}, []Entry{dir("d"), file("d/passwd")}},
		"folder is a short link":   {map[string]string{"d": "-> ../victim"}, []Entry{dir("d"), file("d/passwd")}},
		"file is a link":           {map[string]string{"passwd": "-> ../victim/passwd"}, []Entry{file("passwd")}},
		"file is a dangling link":  {map[string]string{"new": "-> ../victim/new"}, []Entry{file("new")}},
		"link is a link":           {map[string]string{"l": "-> ../victim/passwd"}, []Entry{link("l", "elsewhere")}},
		"link, then through it":    {nil, []Entry{link("d", "../victim"), file("d/passwd")}},
		"folder below a link":      {map[string]string{"a/b": "-> ../../victim"}, []Entry{dir("a"), dir("a/b"), dir("a/b/sub"), file("a/b/sub/x")}},
		"link out, beside a file":  {nil, []Entry{link("d", "../victim"), file("e")}},
		"link to the store's file": {map[string]string{"f": "-> ../victim/passwd"}, []Entry{dir("f")}},
	} {
		to := filepath.Join(outer, "to")
		must(t, os.Mkdir(to, 0o755))
		plant(t, to, c.there)
		err := Place(t.Context(), s, Manifest{Entries: c.m}, to, PlaceOptions{Overwrite: true, Special: true})
		if got := show(t, outer+"/victim"); !slices.Equal(got, before) {
			t.Errorf("%s: %v; the victim has\n%s", name, err, strings.Join(got, "\n"))
		}
		must(t, os.RemoveAll(to))
	}
	if _, err := os.Stat(outer + "/victim/passwd"); err != nil {
		t.Fatal(err)
	}
}

func TestPlaceModesAndOwner(t *testing.T) {
	s := open(t, Options{})
	put(t, s, "hello\n")
	f, d := file("d/f"), dir("d")
	f.Mode = uint32(fs.ModeSetuid | fs.ModeSetgid | 0o755)
	d.Mode = uint32(fs.ModeDir | fs.ModeSticky | 0o777)
	m := Manifest{Entries: []Entry{d, f, link("d/l", "f")}}
	to := t.TempDir()
	must(t, Place(t.Context(), s, m, to+"/a", PlaceOptions{}))
	must(t, Place(t.Context(), s, m, to+"/b", PlaceOptions{Special: true}))
	for path, want := range map[string]fs.FileMode{
		"a/d": fs.ModeDir | 0o777, "a/d/f": 0o755,
		"b/d": fs.ModeDir | fs.ModeSticky | 0o777, "b/d/f": fs.ModeSetuid | fs.ModeSetgid | 0o755,
	} {
		if info, err := os.Stat(filepath.Join(to, path)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
	owner := &Owner{os.Getuid(), os.Getgid()}
	if os.Getuid() == 0 {
		owner = &Owner{12345, 54321}
	}
	must(t, Place(t.Context(), s, m, to+"/c", PlaceOptions{Owner: owner, Special: true}))
	for _, path := range []string{"c", "c/d", "c/d/f", "c/d/l"} {
		info, err := os.Lstat(filepath.Join(to, path))
		must(t, err)
		if st := info.Sys().(*syscall.Stat_t); int(st.Uid) != owner.UID || int(st.Gid) != owner.GID {
			t.Errorf("%s belongs to %d:%d", path, st.Uid, st.Gid)
		}
	}
	if info, _ := os.Stat(to + "/c/d/f"); info.Mode()&fs.ModeSetuid == 0 {
		t.Errorf("the new owner cost the file its mode: %v", info.Mode())
	}
}

func TestPlaceWithoutItsBlobs(t *testing.T) {
	storeDir, to := t.TempDir(), t.TempDir()
	s := openIn(t, storeDir, Options{})
	m := Manifest{Entries: []Entry{dir("d"), file("d/f")}}
	if err := Place(t.Context(), s, m, to, PlaceOptions{}); !fault.Is(err, fault.NotFound) || len(show(t, to)) != 0 {
		t.Errorf("%v, %v", err, show(t, to))
	}
	ref := put(t, s, "hello\n")
	wrong := m
	wrong.Entries = slices.Clone(m.Entries)
	wrong.Entries[1].Size = 5
	if err := Place(t.Context(), s, wrong, to, PlaceOptions{}); !fault.Is(err, fault.Misused) || len(show(t, to+"/d")) != 0 {
		t.Errorf("wrong size: %v, %v", err, show(t, to))
	}
	must(t, os.WriteFile(blobPath(storeDir, ref), []byte("hellO\n"), 0o600))
	if err := Place(t.Context(), s, m, to, PlaceOptions{}); !errors.Is(err, ErrCorrupt) || len(show(t, to+"/d")) != 0 {
		t.Errorf("damaged: %v, %v", err, show(t, to))
	}
	put(t, s, "hello\n")
	must(t, Place(t.Context(), s, m, to, PlaceOptions{}))
}

func TestScanLimits(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "top", strings.Repeat("d/", MaxDepth)), 0o755))
	if _, err := Scan(t.Context(), []string{filepath.Join(dir, "top")}); !fault.Is(err, fault.Misused) {
		t.Errorf("too deep: %v", err)
	}
}

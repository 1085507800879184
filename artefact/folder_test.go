package artefact

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bramble/fault"
)

func TestIgnore(t *testing.T) {
	g, err := ParseIgnore("# a comment\r\n*.log\n!keep.log\n/top\nbuild/\ndocs/*.tmp\na/**/z\n")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		"x.log": true, "deep/x.log": true, "keep.log": false, "top": true, "deep/top": false, "build": false, "build/": true,
		"deep/build/": true, "docs/x.tmp": true, "docs/deep/x.tmp": false, "a/z": true, "a/b/c/z": true, "a/b": false, "x": false,
	} {
		if got, _ := g.Match(strings.TrimSuffix(path, "/"), strings.HasSuffix(path, "/")); got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	if _, err := ParseIgnore("ok\n[a\n"); err == nil {
		t.Error("a pattern that is none was taken")
	}
}

// files writes "path" or "path=content" into a new folder.
func files(t *testing.T, list ...string) string {
	t.Helper()
	dir := t.TempDir()
	add(t, dir, list...)
	return dir
}

func add(t *testing.T, dir string, list ...string) {
	t.Helper()
	for _, item := range list {
		name, text, _ := strings.Cut(item, "=")
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

func paths(m Manifest) string {
	var list []string
	for _, e := range m.Entries {
		list = append(list, e.Path)
	}
	return strings.Join(list, " ")
}

func TestScanFolder(t *testing.T) {
	dir := files(t, ".brambleignore=*.big\n", "a=1", "sub/b=2", "sub/c.big=3", ".git/config", "sub/__pycache__/x.pyc")
	tree, err := ScanFolder(t.Context(), dir, Limit{})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	if got := paths(tree.Manifest); got != ".brambleignore a sub sub/b" {
		t.Error(got)
	}
	for _, limit := range []Limit{{Files: 2}, {Bytes: 3}} {
		if _, err := ScanFolder(t.Context(), dir, limit); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%+v: %v", limit, err)
		}
	}
	if tree, err := ScanFolder(t.Context(), dir, Limit{Files: 3, Bytes: 9}); err != nil {
		t.Error(err)
	} else {
		tree.Close()
	}
}

// An ignore file in a folder counts for what is in that folder, before one further up.
func TestIgnoreFilesInFolders(t *testing.T) {
	dir := files(t, ".brambleignore=*.log\nsub/x\n", "a.log", "sub/.brambleignore=!keep.log\n/top\n", "sub/keep.log", "sub/b.log", "sub/top", "sub/deep/top", "sub/x", "top")
	hidden := filepath.Join(dir, "cluster")
	if err := errors.Join(os.Mkdir(hidden, 0o755), Settle(hidden)); err != nil {
		t.Fatal(err)
	}
	add(t, hidden, "client=secret", "head/ca.key=secret")
	tree, err := ScanFolder(t.Context(), dir, Limit{})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	if got := paths(tree.Manifest); got != ".brambleignore cluster sub sub/.brambleignore sub/deep sub/deep/top sub/keep.log top" {
		t.Error(got)
	}
	add(t, dir, "ann.bramble=secret", "used/x=1")
	if err := Settle(filepath.Join(dir, "used")); err != nil {
		t.Fatal(err)
	}
	tree, err = ScanFolder(t.Context(), dir, Limit{})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	if got := paths(tree.Manifest); !strings.HasSuffix(got, " top used used/x") || strings.Contains(got, "ann") {
		t.Error(got)
	}
	if len(tree.Skipped) != 1 || tree.Skipped[0].Path != "ann.bramble" {
		t.Error(tree.Skipped)
	}
}

// What is removed while a folder is read is left out and told.
func TestRemovedWhileRead(t *testing.T) {
	dir := files(t, "a=1", "b=2", "c=3", "d/e=4", "stays=5")
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	s := &scan{leave: func(name string, _ fs.FileMode) (string, bool) {
		if name != "stays" {
			for _, other := range []string{"a", "b", "c", "d"} {
				os.RemoveAll(filepath.Join(dir, other))
			}
		}
		return "", false
	}}
	if err := s.add(t.Context(), root, ".", ""); err != nil {
		t.Fatal(err)
	}
	tree, err := s.finish(t.Context(), &Tree{})
	if err != nil {
		t.Fatal(err)
	}
	if got := paths(tree.Manifest); strings.TrimPrefix(got, "d ") != "stays" || len(tree.Skipped) < 3 {
		t.Errorf("%q is there, %v is not", got, tree.Skipped)
	}
	os.Remove(filepath.Join(dir, "stays"))
	if _, _, err := tree.Open(tree.Manifest.Entries[len(tree.Manifest.Entries)-1].Ref); !fault.Is(err, fault.Conflict) {
		t.Errorf("one that is gone when it is to be sent: %v", err)
	}
}

func TestScanChanges(t *testing.T) {
	dir := files(t, "same=1", "edited=2", "d/gone=3", "d/same=4")
	before, err := ScanFolder(t.Context(), dir, Limit{})
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	os.Remove(filepath.Join(dir, "d/gone"))
	os.Mkdir(filepath.Join(dir, "empty"), 0o755)
	add(t, dir, "same=1", "edited=two", "d/new=5", "d/deep/new.csv=6")
	for globs, want := range map[string]string{
		"": "d d/deep d/deep/new.csv d/new edited empty", "edited": "edited", "d/deep/*.csv": "d d/deep d/deep/new.csv", "d": "d d/deep d/deep/new.csv d/new", "nothing": "",
	} {
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		tree, err := ScanChanges(t.Context(), root, before.Manifest, strings.Fields(globs), Limit{})
		if err != nil {
			t.Fatal(err)
		}
		if got := paths(tree.Manifest); got != want {
			t.Errorf("%q: %q, want %q", globs, got, want)
		}
		if err := Validate(tree.Manifest); err != nil {
			t.Error(err)
		}
	}
}

// TestMergeInto has tasks change a folder and looks at what becomes of it here.
func TestMergeInto(t *testing.T) {
	store, err := OpenStore(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	tree := func(list ...string) Manifest {
		t.Helper()
		scanned, err := ScanFolder(t.Context(), files(t, list...), Limit{})
		if err != nil {
			t.Fatal(err)
		}
		defer scanned.Close()
		if _, err := scanned.Import(t.Context(), store); err != nil {
			t.Fatal(err)
		}
		return scanned.Manifest
	}
	base := tree("in=1", "mine=1", "log=1")
	dir := files(t, "in=1", "mine=I was here", "log=1")
	changes := []Change{
		{"7.1", "node1", tree("in=2", "mine=3", "log=one", "out/1=a", "both=x")},
		{"7.2", "node2", tree("log=two", "out/2=b", "both=x")},
	}
	for range 2 { // the second time changes nothing
		m, err := MergeInto(t.Context(), store, base, changes, dir)
		if err != nil {
			t.Fatal(err)
		}
		want := "both=x in=2 log.7.1=one log.7.2=two log=1 mine.7.1=3 mine=I was here out/1=a out/2=b"
		if got := content(t, dir); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
		var told []string
		for _, c := range m.Conflicts {
			told = append(told, fmt.Sprint(c.Path, " ", c.Change.Node, " ", c.Here))
		}
		if got := strings.Join(told, ", "); got != "log node1 false, log node2 false, mine node1 true" {
			t.Error(got)
		}
	}
}

// TestMergeRefusesHooks is what a node that means harm sends.
func TestMergeRefusesHooks(t *testing.T) {
	ref := RefOf(nil)
	m := Manifest{Entries: []Entry{{Path: ".git", Mode: uint32(fs.ModeDir | 0o755)}, {Path: ".git/hook", Mode: 0o755, Ref: ref}, {Path: "ok", Mode: 0o644, Ref: ref}}}
	merged, err := Merge(Manifest{}, []Change{{"7", "node1", m}}, func(string) (Entry, bool) { return Entry{}, false })
	if err != nil || paths(merged.Write) != "ok" {
		t.Errorf("%q %v", paths(merged.Write), err)
	}
	m.Entries = []Entry{{Path: "../up", Mode: 0o644, Ref: ref}}
	if _, err := Merge(Manifest{}, []Change{{"7", "node1", m}}, nil); err == nil {
		t.Error("a path out of the folder was taken")
	}
}

func content(t *testing.T, dir string) string {
	t.Helper()
	var list []string
	filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			text, _ := os.ReadFile(p)
			rel, _ := filepath.Rel(dir, p)
			list = append(list, rel+"="+string(text))
		}
		return err
	})
	slices.Sort(list)
	return strings.Join(list, " ")
}

package artefact_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "bramble/artefact"
	"bramble/fault"
)

var (
	empty = RefOf(nil)
	hello = RefOf([]byte("hello\n"))
)

func file(path string) Entry { return Entry{Path: path, Mode: 0o644, Size: 6, Ref: hello} }
func dir(path string) Entry  { return Entry{Path: path, Mode: uint32(fs.ModeDir | 0o755)} }
func link(path, to string) Entry {
	return Entry{Path: path, Mode: uint32(fs.ModeSymlink | 0o777), Link: to}
}

func TestValidate(t *testing.T) {
	long := strings.Repeat("x", 256)
	deep := strings.TrimSuffix(strings.Repeat("d/", MaxDepth+1), "/")
	with := func(e Entry, edit func(*Entry)) []Entry { edit(&e); return []Entry{e} }
	for name, list := range map[string][]Entry{
		"absolute":           {file("/etc/passwd")},
		"up":                 {file("../x")},
		"up inside":          {dir("a"), file("a/../../x")},
		"dots alone":         {dir("..")},
		"dot":                {dir(".")},
		"nameless":           {file("")},
		"unclean":            {dir("a"), file("a//b")},
		"slash at the end":   {dir("a/")},
		"NUL":                {file("a\x00b")},
		"not UTF-8":          {file("a\xff")},
		"long name":          {file(long)},
		"long path":          {file(strings.Repeat("x/", 2100) + "x")},
		"deep":               {dir(deep)},
		"twice":              {file("a"), file("a")},
		"out of order":       {file("b"), file("a")},
		"below a file":       {file("a"), file("a/b")},
		"below a link":       {link("a", "/etc"), file("a/passwd")},
		"below nothing":      {file("a/b")},
		"device":             with(file("a"), func(e *Entry) { e.Mode |= uint32(fs.ModeDevice) }),
		"pipe":               with(file("a"), func(e *Entry) { e.Mode |= uint32(fs.ModeNamedPipe) }),
		"folder and link":    with(dir("a"), func(e *Entry) { e.Mode |= uint32(fs.ModeSymlink) }),
		"no ref":             with(file("a"), func(e *Entry) { e.Ref = "" }),
		"ref as a path":      with(file("a"), func(e *Entry) { e.Ref = Ref("../" + hello[3:]) }),
		"upper-case ref":     with(file("a"), func(e *Entry) { e.Ref = Ref(strings.ToUpper(string(hello))) }),
		"negative size":      with(file("a"), func(e *Entry) { e.Size = -1 }),
		"folder of content":  with(dir("a"), func(e *Entry) { e.Ref = hello }),
		"link without end":   {link("a", "")},
		"link with NUL":      {link("a", "b\x00")},
		"link too long":      {link("a", strings.Repeat("x", MaxPath+1))},
		"file with a target": with(file("a"), func(e *Entry) { e.Link = "b" }),
		"two sizes":          append([]Entry{file("a")}, with(file("b"), func(e *Entry) { e.Size = 7 })...),
		"too large": append(with(file("a"), func(e *Entry) { e.Size = math.MaxInt64 }),
			with(file("b"), func(e *Entry) { e.Size = 1; e.Ref = empty })...),
		"too many": make([]Entry, MaxEntries+1),
	} {
		if err := Validate(Manifest{Entries: list}); !fault.Is(err, fault.Misused) {
			t.Errorf("%s: %v", name, err)
		}
		if err := Place(t.Context(), open(t, Options{}), Manifest{Entries: list}, t.TempDir(), PlaceOptions{}); !fault.Is(err, fault.Misused) {
			t.Errorf("%s, placed: %v", name, err)
		}
	}
	good := []Entry{dir("a"), file("a b"), link("a-b", "/nowhere"), file("a/\n"), file("a/é"), file("…")}
	if err := Validate(Manifest{Entries: good}); err != nil {
		t.Errorf("good: %v", err)
	}
	if err := Validate(Manifest{}); err != nil {
		t.Errorf("empty: %v", err)
	}
}

func TestManifestIsCanonical(t *testing.T) {
	a, err := Manifest{Entries: []Entry{file("b"), file("a<&>")}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	b, err := Manifest{Entries: []Entry{file("a<&>"), file("b")}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`{"entries":[{"path":"a<&>","mode":420,"size":6,"ref":"%s"},{"path":"b","mode":420,"size":6,"ref":"%s"}]}`, hello, hello)
	if string(a) != want || string(b) != want {
		t.Errorf("encoded:\n%s\n%s\nwant\n%s", a, b, want)
	}
	if data, err := (Manifest{}).Encode(); string(data) != `{"entries":[]}` || err != nil {
		t.Errorf("the empty tree: %s, %v", data, err)
	}
}

func TestManifestsInStore(t *testing.T) {
	s := open(t, Options{})
	m := Manifest{Entries: []Entry{dir("d"), file("d/x")}}
	ref, err := s.PutManifest(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.GetManifest(t.Context(), ref)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(m) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, data := range []string{"", "null garbage", `{"entries":[{"path":"../x"}]}`, `{"entries":[]} {}`} {
		ref, _, err := s.Put(t.Context(), strings.NewReader(data), "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.GetManifest(t.Context(), ref); !fault.Is(err, fault.Misused) {
			t.Errorf("%q: %v", data, err)
		}
	}
}

// FuzzManifest: what passes Validate has one encoded form and stays inside the folder it is placed in.
func FuzzManifest(f *testing.F) {
	for _, m := range []Manifest{
		{},
		{Entries: []Entry{dir("a"), {Path: "a/b", Mode: uint32(fs.ModeSetuid | 0o755), Ref: empty}, link("c", "../..")}},
		{Entries: []Entry{link("a", ".."), {Path: "b", Mode: 0, Ref: empty}}},
	} {
		data, err := m.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"entries":[{"path":"../up","mode":420,"ref":"` + string(empty) + `"}]}`))
	f.Add([]byte(`{"entries":[{"path":"a","mode":134218239,"link":".."},{"path":"a/up","mode":420,"ref":"` + string(empty) + `"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := DecodeManifest(data)
		if err != nil {
			return
		}
		once, err := m.Encode()
		if err != nil {
			t.Fatalf("valid, but cannot be encoded: %v", err)
		}
		again, err := DecodeManifest(once)
		if err != nil {
			t.Fatalf("encoded, but cannot be decoded: %v", err)
		}
		if twice, _ := again.Encode(); !bytes.Equal(once, twice) {
			t.Fatalf("two forms:\n%s\n%s", once, twice)
		}
		if len(m.Entries) > 20 {
			return
		}
		outer := t.TempDir()
		s := open(t, Options{})
		put(t, s, "")
		if err := Place(t.Context(), s, m, filepath.Join(outer, "in", "side"), PlaceOptions{NoSync: true}); err != nil {
			return
		}
		for _, dir := range []string{outer, filepath.Join(outer, "in")} {
			if list, _ := os.ReadDir(dir); len(list) != 1 {
				t.Fatalf("something was written beside the folder: %v", list)
			}
		}
	})
}

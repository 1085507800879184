package artefact

import (
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"bramble/fault"
	"bramble/trust"
)

func TestResolve(t *testing.T) {
	for _, q := range []struct {
		home, path, want string
		code             fault.Code
	}{
		{"/home/ann", "a", "/home/ann/a", ""},
		{"/home/ann/", "a/", "/home/ann/a/", ""},
		{"/home/ann", ".", "/home/ann/.", ""},
		{"/home/ann", "~", "/home/ann/.", ""},
		{"/home/ann", "~/x", "/home/ann/./x", ""},
		{"/home/ann", "~bob", "/home/ann/~bob", ""},
		{"/home/ann", "/abs/", "/abs/", ""},
		{"", "/abs", "/abs", ""},
		{"", "a", "", fault.Misused},
		{"relative", "a", "", fault.Misused},
		{"/", "a", "/a", ""},
		{"/home/ann", "", "", fault.Misused},
		{"/home/ann", "a\x00b", "", fault.Misused},
	} {
		got, err := resolve(q.home, q.path)
		if got != q.want || q.code == "" && err != nil || q.code != "" && !fault.Is(err, q.code) {
			t.Errorf("resolve(%q, %q) = %q, %v", q.home, q.path, got, err)
		}
	}
}

func TestCheckAs(t *testing.T) {
	for _, q := range []struct {
		as   string
		role trust.Role
		code fault.Code
	}{
		{"", trust.Operator, ""}, {"", trust.Admin, ""}, {"root", trust.Admin, ""},
		{"root", trust.Operator, fault.Denied}, {"root", trust.Viewer, fault.Denied}, {"bob", trust.Admin, fault.Misused}, {"0", trust.Admin, fault.Misused},
	} {
		if err := checkAs(q.as, q.role); q.code == "" && err != nil || q.code != "" && !fault.Is(err, q.code) {
			t.Errorf("%s as %q: %v", q.role, q.as, err)
		}
	}
}

func TestSumOf(t *testing.T) {
	x, dir, link := RefOf([]byte("x")), uint32(os.ModeDir|0o755), uint32(os.ModeSymlink|0o777)
	m := Manifest{Entries: []Entry{{Path: "d", Mode: dir}, {Path: "d/a", Size: 3, Ref: x}, {Path: "d/b", Size: 3, Ref: x}, {Path: "l", Mode: link, Link: "d"}}}
	if end := sumOf(m); end.Files != 3 || end.Bytes != 6 {
		t.Errorf("%+v", end)
	}
	if refs := refsOf(m); len(refs) != 1 || refs[0] != x {
		t.Errorf("%v", refs)
	}
}

func TestSkippedFrames(t *testing.T) {
	all := []Skipped{{strings.Repeat("ü", 3000), "a pipe"}}
	for range 20 {
		all = append(all, Skipped{"p", "a socket"})
	}
	n := 0
	for part := range skippedFrames(all) {
		size := 0
		for _, s := range part {
			size += len(s.Path)
			if !utf8.ValidString(s.Path) {
				t.Errorf("%q", s.Path)
			}
		}
		if n += len(part); size > 8<<10 {
			t.Errorf("a part of %d bytes", size)
		}
	}
	if n != len(all) {
		t.Errorf("%d of %d", n, len(all))
	}
}

func TestClip(t *testing.T) {
	for text, want := range map[string]string{"/srv": "/srv", "a\nb\x1b[2J": "a b [2J", strings.Repeat("x", 100): strings.Repeat("x", 79) + "…"} {
		if got := clip(text); got != want {
			t.Errorf("clip(%q) = %q", text, got)
		}
	}
}

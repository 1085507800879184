package artefact

import (
	"io/fs"
	"testing"
	"time"

	"bramble/fault"
)

func TestLand(t *testing.T) {
	for _, c := range []struct {
		name    string
		sources []string
		to      string
		found   Found
		want    Landing
		code    fault.Code
	}{
		{"file gets a name", []string{"a"}, "/srv/b", Nothing, Landing{"/srv", "b"}, ""},
		{"file replaces a file", []string{"a"}, "/srv/b", File, Landing{"/srv", "b"}, ""},
		{"file into a folder", []string{"a"}, "/srv/b", Folder, Landing{"/srv/b", ""}, ""},
		{"slash makes a folder", []string{"a"}, "/srv/b/", Nothing, Landing{"/srv/b", ""}, ""},
		{"slash on a folder", []string{"a"}, "/srv/b/", Folder, Landing{"/srv/b", ""}, ""},
		{"slash on a file", []string{"a"}, "/srv/b/", File, Landing{}, fault.Misused},
		{"several into a new folder", []string{"a", "b"}, "/srv/c", Nothing, Landing{"/srv/c", ""}, ""},
		{"several into a folder", []string{"a", "b"}, "/srv/c", Folder, Landing{"/srv/c", ""}, ""},
		{"several onto a file", []string{"a", "b"}, "/srv/c", File, Landing{}, fault.Misused},
		{"folder's slash does not matter", []string{"dir/"}, "/srv/b", Nothing, Landing{"/srv", "b"}, ""},
		{"folder's content", []string{"dir/."}, "/srv/b", Nothing, Landing{"/srv/b", ""}, ""},
		{"here", []string{"."}, "/srv/b", Nothing, Landing{"/srv/b", ""}, ""},
		{"above", []string{".."}, "/srv/b", Nothing, Landing{"/srv/b", ""}, ""},
		{"name that starts with dots", []string{"..."}, "/srv/b", Nothing, Landing{"/srv", "b"}, ""},
		{"relative", []string{"a"}, "b", Nothing, Landing{".", "b"}, ""},
		{"into here", []string{"a"}, ".", Folder, Landing{".", ""}, ""},
		{"root", []string{"a"}, "/", Folder, Landing{"/", ""}, ""},
		{"in the root", []string{"a"}, "/b", Nothing, Landing{"/", "b"}, ""},
		{"unclean", []string{"a"}, "/srv//x/../b", Nothing, Landing{"/srv", "b"}, ""},
		{"dots at the end", []string{"a"}, "/srv/new/..", Nothing, Landing{"/srv", ""}, ""},
		{"nothing", nil, "/srv", Folder, Landing{}, fault.Misused},
		{"nowhere", []string{"a"}, "", Nothing, Landing{}, fault.Misused},
		{"NUL", []string{"a"}, "/srv/\x00", Nothing, Landing{}, fault.Misused},
	} {
		got, err := Land(c.sources, c.to, c.found)
		if got != c.want || fault.Of(err) == nil != (c.code == "") || err != nil && fault.Of(err).Code != c.code {
			t.Errorf("%s: Land(%q, %q, %d) = %+v, %v; want %+v, %q", c.name, c.sources, c.to, c.found, got, err, c.want, c.code)
		}
	}
}

func TestRenamed(t *testing.T) {
	tree := func(paths ...string) (m Manifest) {
		for _, p := range paths {
			m.Entries = append(m.Entries, Entry{Path: p})
		}
		return m
	}
	m, err := tree("a", "a/b", "a/b/c").Renamed("x y")
	if err != nil || m.Entries[0].Path != "x y" || m.Entries[2].Path != "x y/b/c" {
		t.Errorf("renamed: %v, %v", m, err)
	}
	for _, c := range []struct {
		m    Manifest
		name string
	}{
		{tree(), "x"}, {tree("a", "b"), "x"}, {tree("a", "ab"), "x"},
		{tree("a"), ""}, {tree("a"), ".."}, {tree("a"), "x/y"}, {tree("a"), "/x"}, {tree("a"), "x\x00"},
	} {
		if m, err := c.m.Renamed(c.name); !fault.Is(err, fault.Misused) {
			t.Errorf("%v renamed %q: %v, %v", c.m, c.name, m, err)
		}
	}
}

func TestSettle(t *testing.T) {
	const file, dir, link, pipe = fs.FileMode(0), fs.ModeDir, fs.ModeSymlink, fs.ModeNamedPipe
	for _, c := range []struct {
		want, have      fs.FileMode
		same, overwrite bool
		action          action
	}{
		{file, absent, false, false, write},
		{dir, absent, false, false, write},
		{link, absent, false, false, write},
		{dir, dir, false, false, leave},
		{dir, dir, false, true, leave},
		{file, file, true, false, leave},
		{file, file, true, true, leave},
		{file, file, false, false, taken},
		{file, file, false, true, write},
		{link, link, true, false, leave},
		{link, link, false, false, taken},
		{link, link, false, true, write},
		{file, link, false, false, taken},
		{file, link, false, true, write},
		{link, file, false, true, write},
		{file, link, true, false, taken}, // a link to the same content is another thing
		{dir, file, false, true, clash},
		{dir, link, false, true, clash},
		{file, dir, false, true, clash},
		{link, dir, false, true, clash},
		{file, pipe, false, true, clash},
	} {
		if got := settle(c.want, c.have, c.same, c.overwrite); got != c.action {
			t.Errorf("settle(%v, %v, %v, %v) = %v, want %v", c.want, c.have, c.same, c.overwrite, got, c.action)
		}
	}
}

func TestPatience(t *testing.T) {
	p := patience{tries: 3, lies: 2, wait: 3 * time.Second, pause: time.Second}
	type step struct {
		o     outcome
		moved bool
		asked time.Duration
		pause time.Duration
		again bool
	}
	for name, steps := range map[string][]step{
		"done":           {{o: done}},
		"no use":         {{o: final}},
		"gone":           {{broken, false, 0, time.Second, true}, {broken, false, 0, 2 * time.Second, true}, {broken, false, 0, 4 * time.Second, false}},
		"moves on":       {{broken, false, 0, time.Second, true}, {broken, true, 0, time.Second, true}, {broken, true, 0, time.Second, true}, {broken, true, 0, time.Second, true}},
		"behind":         {{behind, false, 0, time.Second, true}, {behind, false, 0, 2 * time.Second, true}, {behind, false, 0, 4 * time.Second, false}},
		"lies":           {{lied, false, 0, time.Second, true}, {lied, false, 0, time.Second, false}},
		"lies that move": {{lied, true, 0, time.Second, true}, {lied, true, 0, time.Second, false}},
		"busy":           {{busy, false, 2 * time.Second, 2 * time.Second, true}, {busy, false, 2 * time.Second, 2 * time.Second, false}},
	} {
		e := effort{}
		for i, s := range steps {
			var pause time.Duration
			var again bool
			e, pause, again = p.next(e, s.o, s.moved, s.asked, 0.5)
			if pause != s.pause || again != s.again {
				t.Errorf("%s, step %d: pause %v, again %v; want %v, %v", name, i, pause, again, s.pause, s.again)
			}
		}
	}
	for _, dice := range []float64{0, 0.99} {
		if _, pause, _ := (patience{tries: 99, lies: 1, wait: 1, pause: time.Second}).next(effort{idle: 70}, broken, false, 0, dice); pause < maxPause/2 || pause > maxPause*3/2 {
			t.Errorf("pause after 70 tries, dice %v: %v", dice, pause)
		}
	}
}

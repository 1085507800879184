package site

import (
	"slices"
	"strings"
	"testing"

	"bramble/artefact"
	"bramble/fault"
)

func TestDecide(t *testing.T) {
	for _, c := range []struct {
		name string
		tally
		want verdict
	}{
		{"nobody yet", tally{quorum: 100, nodes: 3}, wait},
		{"two of three", tally{quorum: 100, nodes: 3, ready: 2}, wait},
		{"all", tally{quorum: 100, nodes: 3, ready: 3}, commit},
		{"one failed", tally{quorum: 100, nodes: 3, ready: 2, failed: 1}, giveUp},
		{"one failed early", tally{quorum: 100, nodes: 3, failed: 1}, giveUp},
		{"one failed, and nine tenths are enough", tally{quorum: 90, nodes: 10, ready: 9, failed: 1}, commit},
		{"two failed of ten", tally{quorum: 90, nodes: 10, failed: 2}, giveUp},
		{"a quorum is rounded up", tally{quorum: 50, nodes: 3, ready: 1}, wait},
		{"the others were lost and follow", tally{quorum: 100, nodes: 3, ready: 1, missing: 2}, commit},
		{"all were lost", tally{quorum: 100, nodes: 3, missing: 3}, giveUp},
		{"one percent is one node", tally{quorum: 1, nodes: 3}, wait},
	} {
		if got := decide(c.tally); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func id(c string) artefact.Ref { return artefact.Ref(strings.Repeat(c, 64)) }

func TestCommitted(t *testing.T) {
	var s Site
	for _, c := range []string{"1", "2", "3", "4", "5", "6"} {
		s = committed(s, Release{ID: id(c)})
	}
	if s.Live != id("6") || len(s.Releases) != Kept || s.Releases[0].ID != id("6") || s.Seq != 6 {
		t.Fatalf("after six releases: %+v", s)
	}
	back, err := target(s, "")
	if err != nil || back.ID != id("5") {
		t.Fatalf("the one before: %v %v", back.ID, err)
	}
	s = committed(s, back)
	if s.Live != id("5") || s.Releases[0].ID != id("6") || s.Seq != 7 {
		t.Errorf("after a rollback: %+v", s)
	}
	if again, _ := target(s, ""); again.ID != id("4") {
		t.Errorf("a second rollback goes to %v", again.ID)
	}
	if forth, err := target(s, "66"); err != nil || forth.ID != id("6") {
		t.Errorf("forward again: %v %v", forth.ID, err)
	}
	for _, to := range []string{"1", "zz"} {
		if _, err := target(s, to); !fault.Is(err, fault.NotFound) {
			t.Errorf("to %s: %v", to, err)
		}
	}
}

func TestMerge(t *testing.T) {
	first, err := merge(Site{}, Publish{Spec: Spec{Name: "blog", Hosts: []string{"a.example"}, User: "ann"}})
	if err != nil || first.On != "all" || first.Quorum != 100 {
		t.Fatalf("a new site: %+v %v", first, err)
	}
	next, err := merge(first, Publish{Spec: Spec{Name: "blog", On: "web", User: "bob"}})
	if err != nil || next.On != "web" || !slices.Equal(next.Hosts, first.Hosts) || next.User != "bob" {
		t.Errorf("a second publication: %+v %v", next, err)
	}
	for name, spec := range map[string]Spec{
		"a digit first":          {Name: "9blog"},
		"a path":                 {Name: "../blog"},
		"a capital":              {Name: "Blog"},
		"a word of selections":   {Name: "all"},
		"a quorum beyond all":    {Name: "blog", Quorum: 101},
		"a port that is none":    {Name: "blog", Listen: "8080"},
		"port 0":                 {Name: "blog", Listen: ":0"},
		"a host with a capital":  {Name: "blog", Hosts: []string{"A.example"}},
		"a host with a port":     {Name: "blog", Hosts: []string{"a.example:80"}},
		"a command by itself":    {Name: "blog", Exec: "true"},
		"a folder from here":     {Name: "blog", Folder: "www"},
		"a folder and a port":    {Name: "blog", Folder: "/www", Listen: ":80"},
		"a folder with a NUL":    {Name: "blog", Folder: "/www\x00"},
		"a host name with a NUL": {Name: "blog", Hosts: []string{"a\x00b"}},
	} {
		if _, err := merge(Site{}, Publish{Spec: spec}); !fault.Is(err, fault.Misused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestClash(t *testing.T) {
	all := []Site{{Spec: Spec{Name: "blog"}}, {Spec: Spec{Name: "shop", Listen: ":81", Hosts: []string{"shop.example"}}}, {Spec: Spec{Name: "old", Listen: ":82"}, Removed: true}}
	for _, c := range []struct {
		spec  Spec
		clash bool
	}{
		{Spec{Name: "blog"}, false}, // itself
		{Spec{Name: "new"}, true},
		{Spec{Name: "new", Hosts: []string{"new.example"}}, false},
		{Spec{Name: "new", Listen: ":81"}, false},
		{Spec{Name: "new", Listen: ":81", Hosts: []string{"a.example", "shop.example"}}, true},
		{Spec{Name: "new", Listen: ":82"}, false},
		{Spec{Name: "new", Folder: "/srv"}, false},
	} {
		if err := clash(Site{Spec: c.spec}, all); (err != nil) != c.clash {
			t.Errorf("%+v: %v", c.spec, err)
		}
	}
}

func TestSatisfied(t *testing.T) {
	s := committed(Site{Spec: Spec{Name: "blog"}}, Release{ID: id("1")})
	w, ok := want(s)
	if !ok {
		t.Fatal("a live site is wanted")
	}
	all := wants{Sites: []wanted{w}}
	for name, c := range map[string]struct {
		w  wants
		r  report
		is bool
	}{
		"it says so":        {all, report{Sites: map[string]hosting{"blog": {Seq: 1, Release: id("1")}}}, true},
		"another release":   {all, report{Sites: map[string]hosting{"blog": {Seq: 1, Release: id("2")}}}, false},
		"an older order":    {all, report{Sites: map[string]hosting{"blog": {Seq: 0, Release: id("1")}}}, false},
		"it has none":       {all, report{}, false},
		"it has one more":   {all, report{Sites: map[string]hosting{"blog": {Seq: 1, Release: id("1")}, "old": {}}}, false},
		"nothing is wanted": {wants{}, report{}, true},
	} {
		if satisfied(c.w, c.r) != c.is {
			t.Errorf("%s: %v", name, !c.is)
		}
	}
	if _, ok := want(Site{Spec: s.Spec, Live: s.Live, Releases: s.Releases, Removed: true}); ok {
		t.Error("a site that was removed is wanted")
	}
}

func TestDiff(t *testing.T) {
	file := func(p, c string) artefact.Entry { return artefact.Entry{Path: p, Mode: 0o644, Ref: id(c), Size: 1} }
	a := artefact.Manifest{Entries: []artefact.Entry{file("a", "1"), file("b", "2"), file("c", "3")}}
	b := artefact.Manifest{Entries: []artefact.Entry{file("a", "1"), file("b", "4"), file("d", "3")}}
	want := []Change{{"b", "changed", 1}, {"c", "removed", 1}, {"d", "added", 1}}
	if got := diff(a, b); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := diff(a, a); len(got) > 0 {
		t.Errorf("nothing differs, but %v", got)
	}
}

func TestSplit(t *testing.T) {
	files := artefact.Manifest{Entries: []artefact.Entry{{Path: "css", Mode: 1<<31 | 0o755}, {Path: "css/a.css", Mode: 0o644, Ref: id("1"), Size: 1}, {Path: "index.html", Mode: 0o644, Ref: id("2"), Size: 2}}}
	m := join(files, nil)
	if err := artefact.Validate(m); err != nil {
		t.Fatal(err)
	}
	back, variants, err := split(m)
	if err != nil || len(variants) > 0 || !slices.Equal(back.Entries, files.Entries) {
		t.Errorf("%+v %v %v", back, variants, err)
	}
	for name, m := range map[string]artefact.Manifest{
		"nothing":         {},
		"no files":        {Entries: []artefact.Entry{{Path: "files", Mode: 1<<31 | 0o755}}},
		"a stray file":    {Entries: []artefact.Entry{{Path: "index.html", Mode: 0o644, Ref: id("1")}}},
		"a stray folder":  {Entries: []artefact.Entry{{Path: "x", Mode: 1<<31 | 0o755}, {Path: "x/a", Mode: 0o644, Ref: id("1")}}},
		"files is a link": {Entries: []artefact.Entry{{Path: "files", Mode: 1<<27 | 0o777, Link: "/etc"}}},
	} {
		if _, _, err := split(m); !fault.Is(err, fault.Misused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

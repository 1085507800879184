package artefact

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"bramble/fleet"
)

func holdersNamed(names ...string) (ring []Holder) {
	for _, n := range names {
		ring = append(ring, Holder{Node: n})
	}
	return ring
}

func someBlobs(n int) (blobs []Blob) {
	for i := range n {
		blobs = append(blobs, Blob{RefOf([]byte(fmt.Sprint("blob", i))), int64(i)})
	}
	return blobs
}

// The order of wanting is part of what nodes of all versions agree on.
func TestKeepersStayTheSame(t *testing.T) {
	ring := holdersNamed("node1", "node2", "node3", "node4", "node5")
	got := [][]string{}
	for _, b := range someBlobs(4) {
		got = append(got, keepers(b.Ref, ring, 2))
	}
	want := [][]string{{"node5", "node3"}, {"node4", "node2"}, {"node5", "node3"}, {"node1", "node2"}}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("keepers are %q, and were %q", got, want)
	}
}

// A node that goes takes only its own copies with it, and all keep about the same.
func TestKeepersMoveLittle(t *testing.T) {
	all := holdersNamed("a", "b", "c", "d", "e")
	left := slices.Delete(slices.Clone(all), 2, 3)
	count := map[string]int{}
	for _, b := range someBlobs(5000) {
		before, after := keepers(b.Ref, all, 2), keepers(b.Ref, left, 2)
		for _, node := range before {
			count[node]++
			if node != "c" && !slices.Contains(after, node) {
				t.Fatalf("%s loses %s because c has gone: %v, then %v", node, b.Ref.short(), before, after)
			}
		}
		if len(after) != 2 || after[0] == after[1] {
			t.Fatalf("two copies on %v", after)
		}
	}
	for node, n := range count {
		if n < 1800 || n > 2200 {
			t.Errorf("%s keeps %d of 10000 copies, of which each should keep about 2000", node, n)
		}
	}
}

// Copies stand apart: on other power and another switch where that can be had.
func TestKeepersStandApart(t *testing.T) {
	ring := []Holder{{"a1", "a", "x"}, {"a2", "a", "x"}, {"a3", "a", "x"}, {"b1", "b", "x"}, {"c1", "a", "y"}, {"d1", "b", "y"}}
	for _, b := range someBlobs(300) {
		two := keepers(b.Ref, ring, 2)
		at := func(i int) Holder {
			return ring[slices.IndexFunc(ring, func(h Holder) bool { return h.Node == two[i] })]
		}
		if at(0).Power == at(1).Power || at(0).Switch == at(1).Switch {
			t.Errorf("copies on %v share power or switch", two)
		}
		if used := keepers(b.Ref, ring[:3], 2); len(used) != 2 {
			t.Errorf("where all are alike, copies are on %v", used)
		}
	}
}

// A ring without those that keep nothing keeps everything where it was.
func TestUsed(t *testing.T) {
	ring := []Holder{{"a", "1", ""}, {"b", "1", ""}, {"c", "2", ""}, {"d", "2", "s"}, {"e", "3", ""}}
	for i := range 200 {
		blobs := someBlobs(i + 1)[i:]
		small := used(blobs, ring, 2)
		if len(small) != 2 || !maps.EqualFunc(shares(blobs, ring, 2), shares(blobs, small, 2), slices.Equal) {
			t.Fatalf("%v keep what %v keep of %v", shares(blobs, small, 2), shares(blobs, ring, 2), blobs)
		}
	}
}

func TestRingOf(t *testing.T) {
	node := func(name string, state fleet.State, edit ...func(*fleet.Node)) fleet.Node {
		n := fleet.Node{Name: name, State: state, Peer: name + ":7654", Roles: []string{fleet.RoleWorker}, Labels: map[string]string{"power": "p-" + name}}
		for _, e := range edit {
			e(&n)
		}
		return n
	}
	head := func(n *fleet.Node) { n.Roles = []string{fleet.RoleHead, fleet.RoleWorker} }
	drained := func(n *fleet.Node) { n.Drained = "why" }
	sparse := func(n *fleet.Node) { n.Peer = "" }
	for name, c := range map[string]struct {
		nodes  []fleet.Node
		was    []Holder
		lost   map[string]bool
		copies int
		want   []string
	}{
		"all":                  {[]fleet.Node{node("b", fleet.Up), node("a", fleet.Up)}, nil, nil, 2, []string{"a", "b"}},
		"the head stays":       {[]fleet.Node{node("h", fleet.Up, head), node("a", fleet.Up), node("b", fleet.Up)}, nil, nil, 2, []string{"a", "b"}},
		"the head, if too few": {[]fleet.Node{node("h", fleet.Up, head), node("a", fleet.Up)}, nil, nil, 2, []string{"a", "h"}},
		"drained":              {[]fleet.Node{node("a", fleet.Up, drained), node("b", fleet.Up)}, holdersNamed("a"), nil, 1, []string{"b"}},
		"drained, too few":     {[]fleet.Node{node("a", fleet.Up, drained), node("b", fleet.Up), node("c", fleet.Up, drained)}, holdersNamed("a", "b"), nil, 2, []string{"a", "b"}},
		"no store":             {[]fleet.Node{node("a", fleet.Up, sparse), node("b", fleet.Up)}, nil, nil, 1, []string{"b"}},
		"down is not new":      {[]fleet.Node{node("a", fleet.Down), node("b", fleet.Suspect), node("c", fleet.Up)}, nil, nil, 1, []string{"c"}},
		"down has patience":    {[]fleet.Node{node("a", fleet.Down), node("b", fleet.Suspect), node("c", fleet.Up)}, holdersNamed("a", "b"), nil, 1, []string{"a", "b", "c"}},
		"down for too long":    {[]fleet.Node{node("a", fleet.Down), node("c", fleet.Up)}, holdersNamed("a"), map[string]bool{"a": true}, 1, []string{"c"}},
	} {
		ring := ringOf(c.nodes, c.was, c.lost, c.copies)
		if got := nodesOf(ring); !slices.Equal(got, c.want) {
			t.Errorf("%s: the ring is %v, want %v", name, got, c.want)
		}
		for _, h := range ring {
			if h.Power != "p-"+h.Node {
				t.Errorf("%s: %+v has not the power of its label", name, h)
			}
		}
	}
}

func TestMoveOf(t *testing.T) {
	blobs := someBlobs(60)
	three, two := holdersNamed("a", "b", "c"), holdersNamed("a", "b")
	all := func(string) bool { return true }
	m := moveOf(blobs, three, two, 2, all)
	if !slices.Equal(m.keep, []string{"a", "b"}) || len(m.waiting) > 0 || !slices.Equal(m.trim, []string{"c"}) {
		t.Errorf("when c goes: %+v", m)
	}
	m = moveOf(blobs, two, three, 2, all)
	if !slices.Equal(m.keep, []string{"a", "b", "c"}) || !slices.Equal(m.trim, []string{"a", "b"}) {
		t.Errorf("when c comes: %+v", m)
	}
	m = moveOf(blobs, three, two, 2, func(n string) bool { return n != "b" })
	if !slices.Equal(m.keep, []string{"a"}) || !slices.Equal(m.waiting, []string{"b"}) {
		t.Errorf("when c goes and b, which should have more, is away: %+v", m)
	}
	m = moveOf(blobs, three, three, 2, func(n string) bool { return n != "b" })
	if !slices.Equal(m.keep, []string{"a", "c"}) || len(m.waiting)+len(m.trim) > 0 {
		t.Errorf("when b is away for a moment: %+v", m)
	}
}

func TestStandingOf(t *testing.T) {
	blobs := someBlobs(1)
	d := Durable{Name: "n", Ref: RefOf([]byte("list")), Copies: 2, Ring: holdersNamed("a", "b")}
	for _, c := range []struct {
		without    string // nodes that are not there, by their letters
		thin, lost int
		alone      string
	}{{"", 0, 0, ""}, {"a", 1, 0, "b"}, {"ab", 1, 1, ""}} {
		alone := ""
		s := standingOf(d, blobs, func(node string, _ Ref) bool { return !slices.Contains([]rune(c.without), rune(node[0])) },
			func(node string, b Blob) { alone += node })
		if s.Thin != c.thin || s.Lost != c.lost || alone != c.alone || s.Least != 2-len(c.without) {
			t.Errorf("without %q: %+v, alone on %q", c.without, s, alone)
		}
	}
	s := standingOf(d, blobs, func(_ string, ref Ref) bool { return ref != d.Ref }, func(string, Blob) {})
	if s.Lost != 1 {
		t.Errorf("with the list lost: %+v", s)
	}
}

func TestScrubDue(t *testing.T) {
	for _, c := range []struct {
		elapsed, period int
		total, want     int64
	}{{0, 100, 1000, 0}, {50, 100, 1000, 500}, {300, 100, 1000, 1000}, {50, 0, 1000, 0}} {
		if got := scrubDue(secs(c.elapsed), secs(c.period), c.total); got != c.want {
			t.Errorf("after %d of %d s of %d bytes, %d are due, want %d", c.elapsed, c.period, c.total, got, c.want)
		}
	}
}

func secs(n int) time.Duration { return time.Duration(n) * time.Second }

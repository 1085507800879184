package artefact

import (
	"fmt"
	"slices"
	"testing"
)

// Whoever asks is told of those that asked before, also when it asks again, and never of one that came later.
func TestAsked(t *testing.T) {
	a := &asked{by: map[Ref][]string{}}
	ref := RefOf([]byte("tree"))
	for _, c := range []struct {
		peer string
		want []string
	}{{"", nil}, {"a", nil}, {"b", []string{"a"}}, {"", []string{"b", "a"}}, {"c", []string{"b", "a"}}, {"a", nil}, {"d", []string{"c", "b", "a"}}, {"e", []string{"d", "c", "b"}}, {"c", []string{"b", "a"}}} {
		if got := a.next(ref, c.peer); !slices.Equal(got, c.want) {
			t.Errorf("%q is told of %q, want %q", c.peer, got, c.want)
		}
	}
	if got := a.next(RefOf([]byte("another")), "b"); got != nil {
		t.Errorf("of another tree it is told of %q", got)
	}
	for i := range 2 * knownNodes {
		a.next(ref, fmt.Sprint(i))
	}
	for i := range 2 * knownTrees {
		a.next(RefOf(fmt.Append(nil, i)), "a")
		a.next(RefOf(fmt.Append(nil, -i)), "")
	}
	if n := len(a.by[ref]); n > 0 || len(a.by) > knownTrees || len(a.order) > knownTrees {
		t.Errorf("%d nodes of the first tree and %d trees are remembered", n, len(a.by))
	}
	b := &asked{by: map[Ref][]string{}}
	for i := range 2 * knownNodes {
		b.next(ref, fmt.Sprint(i))
	}
	if got := b.next(ref, "new"); len(b.by[ref]) != knownNodes || !slices.Equal(got, []string{"511", "510", "509"}) {
		t.Errorf("%d nodes are remembered, and a new one is told of %q", len(b.by[ref]), got)
	}
}

package sorts

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

type pair struct{ key, was int }

func byKey(a, b pair) int { return cmp.Compare(a.key, b.key) }

func pairs(n int) []pair {
	list := make([]pair, n)
	for i := range list {
		list[i] = pair{rand.IntN(n), i}
	}
	return list
}

func TestSorts(t *testing.T) {
	for n := range 300 {
		list := pairs(n)
		want := slices.SortedStableFunc(slices.Values(list), byKey)
		stable := slices.Clone(list)
		Stable(stable, byKey)
		if !slices.Equal(stable, want) {
			t.Fatalf("Stable of %v is %v", list, stable)
		}
		By(list, func(a, b pair) int { return cmp.Or(byKey(a, b), a.was-b.was) })
		if !slices.Equal(list, want) {
			t.Fatalf("By gives %v, not %v", list, want)
		}
	}
}

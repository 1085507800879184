package job

import (
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"bramble/fault"
)

func TestParseArray(t *testing.T) {
	for _, c := range []struct {
		text, want string
		n, cap     int
		first      []int
	}{
		{"", "0", 1, 0, []int{0}},
		{"0", "0", 1, 0, []int{0}},
		{"1-10", "1-10", 10, 0, []int{1, 2, 3}},
		{"1-10:2,50,60-70%5", "1-9:2,50,60-70%5", 17, 5, []int{1, 3, 5, 7, 9, 50, 60}},
		{"7,3,5", "3,5,7", 3, 0, []int{3, 5, 7}},
		{"5,5,5-5:9", "5", 1, 0, []int{5}},
		{"1-5,3-8", "1-8", 8, 0, []int{1, 2, 3}},
		{"1-5,6-8", "1-8", 8, 0, []int{1}},
		{"1-9:2,2-10:2", "1-10", 10, 0, []int{1, 2, 3}},
		{"0-12:2,0-12:3", "0,2-4,6,8-10,12", 9, 0, []int{0, 2, 3, 4, 6}},
		{"0-100:2,4-50:4", "0-100:2", 51, 0, []int{0, 2, 4}},
		{"1,3-9:2", "1-9:2", 5, 0, []int{1, 3}},
		{"0-9:3%1", "0-9:3%1", 4, 1, []int{0, 3, 6, 9}},
		{"2147483647", "2147483647", 1, 0, []int{2147483647}},
		{"2147483640-2147483647:5", "2147483640-2147483645:5", 2, 0, []int{2147483640, 2147483645}},
		{"1-10000000", "1-10000000", 10_000_000, 0, []int{1}},
		{"0-2147483647:1000", "0-2147483000:1000", 2147484, 0, []int{0, 1000}},
	} {
		a, err := ParseArray(c.text)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		if a.String() != c.want || a.Len() != c.n || a.Cap != c.cap {
			t.Errorf("%q reads as %q, %d elements, cap %d; want %q, %d, %d", c.text, a.String(), a.Len(), a.Cap, c.want, c.n, c.cap)
		}
		if n := count(a.All()); n != c.n {
			t.Errorf("%q: yields %d indices, want %d", c.text, n, c.n)
		}
		for i, want := range c.first {
			if got := a.At(i); got != want {
				t.Errorf("%q: element %d is %d, want %d", c.text, i, got, want)
			}
		}
	}
}

func count(all iter.Seq[int]) (n int) {
	for range all {
		n++
	}
	return n
}

func TestParseArrayRefuses(t *testing.T) {
	for _, c := range []struct{ text, says string }{
		{",", `"" is not an index`},
		{"1,", `"" is not an index`},
		{"a", `"a" is not an index`},
		{"-1", `"-1" is not an index`},
		{"1-", `"" is not an index`},
		{"1-2-3", `"2-3" is not an index`},
		{"+1", `"+1" is not an index`},
		{"1 - 5", `"1 " is not an index`},
		{"2147483648", "not an index from 0 to 2147483647"},
		{"10-1", `"10-1" goes backwards`},
		{"1-10:0", "step that makes no sense"},
		{"1-10:", "step that makes no sense"},
		{"5:2", "step that makes no sense"},
		{"1-10%0", "%0 is not a number of tasks"},
		{"1-10%", "% is not a number of tasks"},
		{"1-10%5,20", "%5,20 is not a number of tasks"},
		{"0-10000000", "more than 10000000 elements"},
		{"0-2147483647", "more than 10000000 elements"},
		{"1-1000000000", "more than 10000000 elements"},
		{"1-6000000,1-6000000", "more than 10000000 elements"},
		{"0-999999:2,0-999999:3", "overlap in more than"},
		{strings.Repeat("9", 100_000), "…"},
	} {
		_, err := ParseArray(c.text)
		if !fault.Is(err, fault.Misused) || !strings.Contains(err.Error(), c.says) || fault.Of(err).Try == "" {
			t.Errorf("%.30q: got %v, want a misuse with a hint that says %q", c.text, err, c.says)
		}
		if err != nil && (len(err.Error()) > 300 || !strings.Contains(err.Error(), clip(c.text)[:min(len(c.text), 10)])) {
			t.Errorf("%.30q: the error is too long or doesn't say what was typed: %.400s", c.text, err)
		}
	}
}

func TestArrayIndices(t *testing.T) {
	a, err := ParseArray("1-9:2,50,60-70")
	if err != nil {
		t.Fatal(err)
	}
	var some Ranges
	for _, index := range []int{1, 5, 7, 9, 50, 60, 61, 62, 70} {
		position, ok := a.Position(index)
		if !ok {
			t.Fatalf("index %d has no position", index)
		}
		some.Add(position)
	}
	if got, want := a.Indices(&some), "1,5-9:2,50,60-62,70"; got != want {
		t.Errorf("indices are %q, want %q", got, want)
	}
	if got := a.Indices(&Ranges{}); got != "" {
		t.Errorf("no indices are %q", got)
	}
	for _, index := range []int{0, 2, 10, 51, 71} {
		if p, ok := a.Position(index); ok {
			t.Errorf("index %d has position %d", index, p)
		}
	}
}

func FuzzArray(f *testing.F) {
	for _, seed := range []string{"", "0", "1-10:2,50,60-70%5", "5,5", "1-9:2,2-10:2", "0-12:2,0-12:3", "1-", "%3", "1-4294967296"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseArray(text)
		if err != nil {
			if !fault.Is(err, fault.Misused) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		again, err := ParseArray(a.String())
		if err != nil || again.String() != a.String() || again.Len() != a.Len() || again.Cap != a.Cap {
			t.Fatalf("%q is written %q, which reads as %q (%v)", text, a.String(), again.String(), err)
		}
		position, last := 0, -1
		for index := range a.All() {
			if index <= last || index > MaxIndex {
				t.Fatalf("%q: index %d after %d", text, index, last)
			}
			if p, ok := a.Position(index); !ok || p != position || a.At(position) != index {
				t.Fatalf("%q: index %d is at %d (%v), want %d", text, index, p, ok, position)
			}
			if position, last = position+1, index; position == 1000 {
				return
			}
		}
		if position != a.Len() {
			t.Fatalf("%q: %d elements, want %d", text, position, a.Len())
		}
	})
}

// Ranges against a map, with random single numbers and spans.
func TestRangesAgainstMap(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var set Ranges
		model := map[int]bool{}
		for range 500 {
			first := rnd.IntN(200)
			last := first + rnd.IntN(12) - 1
			switch rnd.IntN(5) {
			case 0:
				x, ok := set.Pop()
				if ok != (len(model) > 0) {
					t.Fatalf("pop says %v of %d", ok, len(model))
				}
				for other := range model {
					if other < x {
						t.Fatalf("popped %d before %d", x, other)
					}
				}
				delete(model, x)
			case 1, 2:
				want := 0
				for x := first; x <= last; x++ {
					if !model[x] {
						model[x] = true
						want++
					}
				}
				if got := set.AddRange(first, last); got != want {
					t.Fatalf("added %d of %d-%d, want %d", got, first, last, want)
				}
			case 3:
				want := 0
				for x := first; x <= last; x++ {
					if model[x] {
						delete(model, x)
						want++
					}
				}
				if got := set.RemoveRange(first, last); got != want {
					t.Fatalf("removed %d of %d-%d, want %d", got, first, last, want)
				}
			case 4:
				if set.Contains(first) != model[first] {
					t.Fatalf("contains %d: %v", first, !model[first])
				}
			}
			same(t, &set, model)
		}
	}
}

func same(t *testing.T, set *Ranges, model map[int]bool) {
	t.Helper()
	if set.Len() != len(model) {
		t.Fatalf("%d numbers, want %d", set.Len(), len(model))
	}
	all := slices.Collect(set.All())
	if len(all) != len(model) || !slices.IsSorted(all) {
		t.Fatalf("yields %v", all)
	}
	for _, x := range all {
		if !model[x] {
			t.Fatalf("yields %d, which isn't in it", x)
		}
	}
	end := -2
	for first, last := range set.Runs() {
		if first <= end+1 || last < first {
			t.Fatalf("run %d-%d after %d", first, last, end)
		}
		end = last
	}
}

func TestRangesCopies(t *testing.T) {
	var a Ranges
	a.AddRange(1, 9)
	b := a.Clone()
	b.Remove(5)
	if a.Len() != 9 || b.Len() != 8 {
		t.Errorf("the copy is not independent: %d and %d", a.Len(), b.Len())
	}
	a.RemoveAll(&b)
	if a.Len() != 1 || !a.Contains(5) {
		t.Errorf("what is left is %d numbers", a.Len())
	}
}

package fleet_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"bramble/fault"
	"bramble/fleet"
)

func TestExpand(t *testing.T) {
	tests := []struct{ list, want string }{
		{"", ""},
		{"  ", ""},
		{"node1", "node1"},
		{"node[1-3]", "node1 node2 node3"},
		{"node[01-03,20]", "node01 node02 node03 node20"},
		{"node[08-11]", "node08 node09 node10 node11"},
		{"node[8-11]", "node8 node9 node10 node11"},
		{"node[98-101]", "node98 node99 node100 node101"},
		{"node[098-101]", "node098 node099 node100 node101"},
		{"node[01-3]", "node01 node02 node03"},
		{"node[0-0,00]", "node0 node00"},
		{"rack[1-2]n[01-02]", "rack1n01 rack1n02 rack2n01 rack2n02"},
		{"[1-2][3-4]", "13 14 23 24"},
		{"n[1-2]-eth0.lan", "n1-eth0.lan n2-eth0.lan"},
		{"b, a ,c[2,1]", "b a c2 c1"},
		{"a,a[1],a1,a", "a a1"},
		{"A_b.c-d", "A_b.c-d"},
		{"a[000000000000000000000000000001]", "a000000000000000000000000000001"},
		{"a[999999999999999998-999999999999999999]", "a999999999999999998 a999999999999999999"},
	}
	for _, test := range tests {
		got, err := fleet.Expand(test.list)
		if err != nil || strings.Join(got, " ") != test.want {
			t.Errorf("Expand(%q) = %q, %v; want %q", test.list, got, err, test.want)
		}
	}
}

func TestExpandRefuses(t *testing.T) {
	tests := []struct {
		list string
		at   int // the character that the error points at
		why  string
	}{
		{",", 1, "expected a name"},
		{"a,", 3, "the end"},
		{"a,,b", 3, "expected a name"},
		{"a b", 3, "a comma goes between names"},
		{"a;b", 2, `";"`},
		{"a/b", 2, "comma"},
		{"ä", 1, `"ä"`},
		{"a\x1b[2J", 2, `\x1b`},
		{"a[", 3, "expected a number"},
		{"a]", 2, `"]"`},
		{"a[]", 3, "expected a number"},
		{"a[1", 2, "never closed"},
		{"a[1,", 5, "expected a number"},
		{"a[1,]", 5, "expected a number"},
		{"a[1-]", 5, "ends the range"},
		{"a[-1]", 3, "expected a number"},
		{"a[x]", 3, "expected a number"},
		{"a[1x]", 4, "a comma or ]"},
		{"a[1[2]]", 4, "a comma or ]"},
		{"a[[1]]", 3, "expected a number"},
		{"x,a[3-1]", 5, "3-1 runs backwards"},
		{"a[10-2]", 3, "runs backwards"},
		{"a[1-03]", 3, "padded at its end only"},
		{"a[1-999999999]", 3, "more than 65536 names"},
		{"a[1-65537]", 3, "more than 65536 names"},
		{"a[1-256]b[0-256]", 1, "more than 65536 names"},
		{"a[1-65536],b", 12, "more than 65536 names"},
		{"a[1-9223372036854775807]", 3, "at most 18 digits"},
		{"a[1-99999999999999999999999]", 3, "at most 18 digits"},
		{strings.Repeat("a", 256), 1, "longer than 255"},
		{strings.Repeat("a[1]", 200), 1, "longer than 255"},
		{"a[" + strings.Repeat("1", 300) + "]", 1, "longer than 255"},
	}
	for _, test := range tests {
		got, err := fleet.Expand(test.list)
		if !fault.Is(err, fault.Misused) || fault.Of(err).Try == "" {
			t.Errorf("Expand(%q) = %d names, %v; want a misuse with a hint", test.list, len(got), err)
			continue
		}
		if place := fmt.Sprintf(", character %d: ", test.at); !strings.Contains(err.Error(), place) || !strings.Contains(err.Error(), test.why) {
			t.Errorf("Expand(%q): %v; want %q and %q in it", test.list, err, place, test.why)
		}
		if strings.ContainsAny(err.Error(), "\x1b\n") || len(err.Error()) > 300 {
			t.Errorf("Expand(%.20q): the error is not fit for a terminal: %q", test.list, err)
		}
	}
}

func TestExpandUpToTheLimit(t *testing.T) {
	names, err := fleet.Expand("a[1-256]b[1-256]")
	if err != nil || len(names) != fleet.MaxNames {
		t.Fatalf("got %d names, %v", len(names), err)
	}
	if got := fleet.Fold(names); got != "a[1-256]b[1-256]" {
		t.Errorf("folded again: %.80s", got)
	}
}

// Hostile lists may cost no more memory than the largest honest one, which is about 17 MB of names.
func TestExpandMemory(t *testing.T) {
	hostile := []string{
		strings.Repeat("a[1-65536],", 10_000),
		strings.Repeat("[1-65536]", 10_000),
		"[" + strings.Repeat("1-65536,", 10_000) + "1]",
		"a[1-256][1-256]" + strings.Repeat("[1]", 10_000),
		strings.Repeat("[", 1<<20),
		strings.Repeat("a", 1<<20) + "[1-65536]",
	}
	for _, list := range hostile {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := fleet.Expand(list); err == nil {
			t.Errorf("Expand(%.20q…) was accepted", list)
		}
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
			t.Errorf("Expand(%.20q…) took %d MB", list, used>>20)
		}
	}
}

func TestFold(t *testing.T) {
	tests := []struct{ names, want string }{
		{"", ""},
		{"head", "head"},
		{"head node1", "head,node1"},
		{"node2 node1 node10", "node[1-2,10]"},
		{"node1 node1 node1", "node1"},
		{"node01 node02 node03 node07", "node[01-03,07]"},
		{"node08 node09 node10 node11", "node[08-11]"},
		{"node8 node9 node10 node11", "node[8-11]"},
		{"node98 node99 node100", "node[98-100]"},
		{"node098 node099 node100 node101", "node[098-101]"},
		{"node1 node2 node01 node02", "node[01-02,1-2]"},
		{"b2 a2 b1 a1 head", "a[1-2],b[1-2],head"},
		{"node10 node9 gw node2", "gw,node[2,9-10]"},
		{"rack1n01 rack1n02 rack2n01 rack2n02", "rack[1-2]n[01-02]"},
		{"rack1n1 rack1n3 rack2n2 rack3n1 rack3n3", "rack[1,3]n[1,3],rack2n2"},
		{"rack1n1 rack1n2 rack2n1", "rack1n[1-2],rack2n1"},
		{"n1-eth0 n2-eth0 n3-eth0", "n[1-3]-eth0"},
		{"10.0.0.1 10.0.0.2 10.0.1.1 10.0.1.2", "10.0.[0-1].[1-2]"},
		{"1 2 3", "[1-3]"},
		{"a a1 a2", "a,a[1-2]"},
		{"a999999999999999999 a1000000000000000000", "a999999999999999999,a1000000000000000000"},
		{"a999999999999999998 a999999999999999999", "a[999999999999999998-999999999999999999]"},
		{"a1000000000000000000b1 a1000000000000000000b2", "a1000000000000000000b[1-2]"},
	}
	for _, test := range tests {
		names := strings.Fields(test.names)
		if got := fleet.Fold(names); got != test.want {
			t.Errorf("Fold(%s) = %s; want %s", test.names, got, test.want)
		}
		rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		if got := fleet.Fold(names); got != test.want {
			t.Errorf("Fold(%s) = %s; want %s", names, got, test.want)
		}
	}
}

func TestFoldKeepsItsArgument(t *testing.T) {
	names := []string{"b", "a2", "a1", "b"}
	fleet.Fold(names)
	if want := []string{"b", "a2", "a1", "b"}; !slices.Equal(names, want) {
		t.Errorf("the argument became %q", names)
	}
}

func TestFoldOfForeignNames(t *testing.T) {
	for _, name := range []string{"a[1", "a,b", "a\x00b", "日本1", "\xff1"} {
		if got := fleet.Fold([]string{name}); got != name {
			t.Errorf("Fold(%q) = %q", name, got)
		}
	}
	if got := fleet.Fold([]string{"a1b", "a\x00b", "a0b"}); got != "a\x00b,a[0-1]b" {
		t.Errorf("Fold mixed up shapes: %q", got)
	}
}

// Random subsets of a few racks: whatever boxes Fold finds, they hold these names and no others.
func TestFoldReadsBack(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2_000 {
		var names []string
		for range 1 + random.IntN(40) {
			names = append(names, fmt.Sprintf("r%dn%0*d-%d", random.IntN(4), 1+random.IntN(2), random.IntN(12), random.IntN(2)))
		}
		readsBack(t, names)
	}
}

func readsBack(t *testing.T, names []string) {
	t.Helper()
	folded := fleet.Fold(names)
	back, err := fleet.Expand(folded)
	if err != nil {
		t.Fatalf("Expand(Fold(%q)) = Expand(%q): %v", names, folded, err)
	}
	want := slices.Compact(slices.SortedFunc(slices.Values(names), fleet.NaturalCompare))
	if got := slices.SortedFunc(slices.Values(back), fleet.NaturalCompare); !slices.Equal(got, want) {
		t.Fatalf("Expand(Fold(%q)) = Expand(%q) = %q", want, folded, got)
	}
	if again := fleet.Fold(back); again != folded {
		t.Fatalf("Fold(%q) = %q, but of its own names %q", names, folded, again)
	}
}

func TestNaturalOrder(t *testing.T) {
	order := strings.Fields("-1 0 00a 0a 01 1 1a 001b 1b 9 10 A a a- a01 a1 a1b0 a01b1 a2 a02b a10 a99999999999999999999 a100000000000000000000 b")
	for i, a := range order {
		for j, b := range order {
			if got := fleet.NaturalLess(a, b); got != (i < j) {
				t.Errorf("NaturalLess(%q, %q) = %v", a, b, got)
			}
		}
	}
}

func FuzzHostlist(f *testing.F) {
	for _, seed := range []string{
		"", "node[01-16,20]", "rack[1-2]n[01-03]", "a,b,c", "a[1-999999999]", "a[[1]]", "a[3-1]", "a[1", "a]",
		"[1-2][1-2][1-2]", "node[8-11],node[08-11]", "a[0-18446744073709551616]", "1,01,001,[1-3]", "a[09-100]b",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, list string) {
		names, err := fleet.Expand(list)
		if err == nil {
			if len(names) > fleet.MaxNames {
				t.Fatalf("%d names", len(names))
			}
			readsBack(t, names)
		} else if !fault.Is(err, fault.Misused) {
			t.Fatalf("Expand(%q): %v is no misuse", list, err)
		}
		// Names that no hostlist can hold must not trip Fold or the order either.
		words := strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
		fleet.Fold(words)
		for _, a := range words[:min(len(words), 10)] {
			for _, b := range words[:min(len(words), 10)] {
				if (fleet.NaturalCompare(a, b) == 0) != (a == b) || fleet.NaturalLess(a, b) && fleet.NaturalLess(b, a) {
					t.Fatalf("no order between %q and %q", a, b)
				}
			}
		}
	})
}

func BenchmarkFold(b *testing.B) {
	names, err := fleet.Expand("rack[1-20]n[001-500]")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		fleet.Fold(names)
	}
}

func BenchmarkExpand(b *testing.B) {
	for b.Loop() {
		if _, err := fleet.Expand("rack[1-20]n[001-500]"); err != nil {
			b.Fatal(err)
		}
	}
}

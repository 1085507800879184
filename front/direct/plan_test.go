package direct

import (
	"fmt"
	"maps"
	"slices"
	"testing"
)

// named is a member of a name, with a weight and letters: d drains, x is down.
func named(name string, weight int, how string) Member {
	return Member{Name: name, Weight: weight, Draining: how == "d", Down: how == "x"}
}

func four() []Member {
	return []Member{named("a", 1, ""), named("b", 1, ""), named("c", 1, ""), named("d", 1, "")}
}

// names is an assignment by names, and how many slots each has.
func names(members []Member, slots [Slots]int) (by [Slots]string, many map[string]int) {
	many = map[string]int{}
	for i, at := range slots {
		if at >= 0 {
			by[i] = members[at].Name
		}
		many[by[i]]++
	}
	return by, many
}

func TestAssignByWeight(t *testing.T) {
	for name, test := range map[string]struct {
		members []Member
		want    map[string]int
	}{
		"nobody":            {nil, map[string]int{"": 1024}},
		"one":               {[]Member{named("a", 0, "")}, map[string]int{"a": 1024}},
		"four alike":        {four(), map[string]int{"a": 256, "b": 256, "c": 256, "d": 256}},
		"three":             {four()[:3], map[string]int{"a": 342, "b": 341, "c": 341}},
		"twice as much":     {[]Member{named("a", 2, ""), named("b", 1, ""), named("c", 1, "")}, map[string]int{"a": 512, "b": 256, "c": 256}},
		"hardly anything":   {[]Member{named("a", 100, ""), named("b", 100, ""), named("c", 1, "")}, map[string]int{"a": 509, "b": 509, "c": 6}},
		"one drains":        {[]Member{named("a", 1, "d"), named("b", 1, "")}, map[string]int{"b": 1024}},
		"one is down":       {[]Member{named("a", 1, ""), named("b", 1, "x")}, map[string]int{"a": 1024}},
		"all are down":      {[]Member{named("a", 1, "x"), named("b", 1, "x")}, map[string]int{"": 1024}},
		"the last one left": {[]Member{named("a", 1, "x"), named("b", 1, "d")}, map[string]int{"": 1024}},
	} {
		_, many := names(test.members, assign(test.members, [Slots]string{}))
		for n, want := range test.want {
			if got := many[n]; got < want-1 || got > want+1 {
				t.Errorf("%s: %s has %d slots, want %d", name, n, got, want)
			}
		}
		if len(many) != len(test.want) {
			t.Errorf("%s: %v", name, many)
		}
	}
}

func TestAssignGivesEachOfManyASlot(t *testing.T) {
	var members []Member
	for i := range MaxMembers {
		members = append(members, named(fmt.Sprint("m", i), 1+99*(i%2), ""))
	}
	_, many := names(members, assign(members, [Slots]string{}))
	if len(many) != MaxMembers || slices.Min(slices.Collect(maps.Values(many))) < 1 {
		t.Errorf("%d of %d members have slots", len(many), MaxMembers)
	}
}

// Nothing moves but what must: from those that have too much, to those that have too little.
func TestAssignMovesLittle(t *testing.T) {
	before, _ := names(four(), assign(four(), [Slots]string{}))
	for name, test := range map[string]struct {
		change func(m []Member) []Member
		moves  int
	}{
		"nothing changes":    {func(m []Member) []Member { return m }, 0},
		"in another order":   {func(m []Member) []Member { slices.Reverse(m); return m }, 0},
		"one goes":           {func(m []Member) []Member { return m[1:] }, 256},
		"one drains":         {func(m []Member) []Member { m[2].Draining = true; return m }, 256},
		"one comes":          {func(m []Member) []Member { return append(m, named("e", 1, "")) }, 205},
		"one has more to do": {func(m []Member) []Member { m[0].Weight = 2; return m }, 154},
	} {
		members := test.change(four())
		after, _ := names(members, assign(members, before))
		moved := 0
		for i := range after {
			if after[i] != before[i] {
				moved++
			}
		}
		if moved < test.moves-2 || moved > test.moves+2 {
			t.Errorf("%s: %d slots moved, want %d", name, moved, test.moves)
		}
	}
}

func TestTrial(t *testing.T) {
	answers := map[rune]Answer{'o': Open, 'r': Refused, 's': Silent}
	for _, test := range []struct {
		came string
		up   bool
	}{
		{"", false}, {"o", false}, {"oo", true}, {"oso", false}, {"osoo", true},
		{"oos", true}, {"ooss", true}, {"oosss", false}, {"oossoss", true}, {"oossosss", false},
		{"oor", false}, {"ooro", false}, {"ooroo", true}, {"rrr", false}, {"oosr", false},
	} {
		var now trial
		for _, c := range test.came {
			now = now.next(answers[c])
		}
		if now.up != test.up {
			t.Errorf("after %s it is up: %t", test.came, now.up)
		}
	}
}

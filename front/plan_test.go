package front

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"bramble/http1"
)

// A member's health after each of the signs that come, a second apart: u is up, d down, t down and to be tried by a request.
func TestHealth(t *testing.T) {
	checks, none := Check{Rise: 2}, Check{Interval: -1}
	cases := []struct {
		name  string
		check Check
		signs string // C, c: a check well or not; R, r: a request; x: nobody listens; .: nothing
		want  string
	}{
		{"nothing is heard", checks, "...", "uuu"},
		{"one check that fails takes it out, two bring it back", checks, "CcCC", "uddu"},
		{"checks in a row", checks, "cCcCCC", "dddduu"},
		{"three requests in a row take it out", checks, "rrRrrr", "uuuuud"},
		{"requests do not bring it back", checks, "cRRRCC", "dddddu"},
		{"nobody listens", checks, "x", "d"},
		{"two failures of checks wanted", Check{Fall: 2}, "ccCC", "uddu"},
		{"without checks a request tries after a second", none, "rrr.R", "uudtu"},
		{"pauses double", none, "x.x..x....R", "dtddtddddtu"},
		{"what is hardly back pauses longer", none, "x.Rx...R", "dtuddttu"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			now := time.Unix(1000, 0)
			var h Health
			got := ""
			for _, s := range c.signs {
				switch s {
				case 'C', 'R':
					h = h.Next(Sign{OK: true, Check: s == 'C'}, c.check, now)
				case 'c', 'r':
					h = h.Next(Sign{Check: s == 'c', Why: "it failed"}, c.check, now)
				case 'x':
					h = h.Next(Sign{Plain: true, Why: "it failed"}, c.check, now)
				}
				switch {
				case !h.Down:
					got += "u"
				case h.May(now):
					got += "t"
				default:
					got += "d"
				}
				if h.Down && h.Why == "" {
					t.Error("down without a reason")
				}
				now = now.Add(time.Second)
			}
			if got != c.want {
				t.Errorf("after %s: got %s, want %s", c.signs, got, c.want)
			}
		})
	}
}

// The pause between two tries never exceeds a minute.
func TestLongestPause(t *testing.T) {
	now := time.Unix(1000, 0)
	var h Health
	for range 20 {
		h = h.Next(Sign{Plain: true, Why: "x"}, Check{Interval: -1}, now)
		if pause := h.Until.Sub(now); pause > time.Minute || pause < time.Second {
			t.Fatalf("a pause of %s", pause)
		}
		now = h.Until
	}
	if h.Pause != time.Minute {
		t.Errorf("the last pause is %s", h.Pause)
	}
}

// Who may be asked, written as SET DUTY WELL for each member: r, p (spare) or s (standby); + or -.
func TestEligible(t *testing.T) {
	cases := []struct {
		all  []string
		want []int
	}{
		{nil, nil},
		{[]string{"0r+", "0r+"}, []int{0, 1}},
		{[]string{"0r-", "0r+"}, []int{1}},
		{[]string{"0r-", "0r-"}, nil},
		{[]string{"0r+", "0s+"}, []int{0}},
		{[]string{"0r-", "0s+"}, []int{1}},
		{[]string{"0r-", "0s-", "1r+"}, []int{2}},
		{[]string{"1r+", "0r+"}, []int{1}},
		{[]string{"1r+", "0r-"}, []int{0}},
		{[]string{"0r+", "0p+"}, []int{0}},
		{[]string{"0r-", "0r+", "0p+", "0p+"}, []int{1, 2}},
		{[]string{"0r-", "0r-", "0p+", "0p+", "0p+"}, []int{2, 3}},
		{[]string{"0r-", "0p-", "0p+", "0s+"}, []int{2}},
		{[]string{"0r-", "0p-", "0s+"}, []int{2}},
		{[]string{"2s+", "1s-"}, []int{0}},
	}
	for _, c := range cases {
		var all []candidate
		for _, text := range c.all {
			duty := map[byte]Duty{'r': Regular, 'p': Spare, 's': Standby}[text[1]]
			all = append(all, candidate{Set: int(text[0] - '0'), Duty: duty, May: text[2] == '+'})
		}
		if got := eligible(all); !slices.Equal(got, c.want) {
			t.Errorf("%v: got %v, want %v", c.all, got, c.want)
		}
	}
}

// A member that comes back gets a tenth of its weight at first, and all of it at the end.
func TestWeight(t *testing.T) {
	since := time.Unix(1000, 0)
	slow := 10 * time.Second
	for _, c := range []struct {
		m     Member
		h     Health
		after time.Duration
		want  float64
	}{
		{Member{}, Health{}, 0, 1},
		{Member{Weight: 4}, Health{Since: since}, 0, 4}, // it was never down
		{Member{Weight: 4}, Health{Since: since, Back: true}, 0, 0.4},
		{Member{Weight: 4}, Health{Since: since, Back: true}, 5 * time.Second, 2},
		{Member{Weight: 4}, Health{Since: since, Back: true}, time.Minute, 4},
	} {
		if got := weight(c.m, c.h, slow, since.Add(c.after)); got != c.want {
			t.Errorf("%+v after %s: got %v, want %v", c.h, c.after, got, c.want)
		}
	}
	if got := weight(Member{Weight: 4}, Health{Since: since, Back: true}, 0, since); got != 4 {
		t.Errorf("without a slow start: got %v", got)
	}
}

func TestLeast(t *testing.T) {
	all := []runner{{weight: 1, busy: 3}, {weight: 4, busy: 8}, {weight: 1, busy: 2}}
	busy := func(r runner) int64 { return r.busy }
	none := func(int) bool { return false }
	if got := least(all, none, 2, busy); got != 2 { // 3, 2 and 2: of those alike, whose turn it is
		t.Errorf("got %d", got)
	}
	if got := least(all, func(i int) bool { return i > 0 }, 0, busy); got != 0 {
		t.Errorf("got %d", got)
	}
	if got := least(all, func(int) bool { return true }, 0, busy); got != -1 {
		t.Errorf("got %d", got)
	}
	seen := map[int]bool{}
	for turn := range uint64(3) {
		seen[least([]runner{{weight: 1}, {weight: 1}, {weight: 1}}, none, turn, busy)] = true
	}
	if len(seen) != 3 {
		t.Errorf("those that are alike do not take turns: %v", seen)
	}
}

// rig is a group without connections, at a time that stands.
func rig(t *testing.T, p Pool) *group {
	p.Check.Interval = -1
	g := &group{ctx: t.Context(), log: quiet, drop: nothing, transport: &http1.Transport{}, second: newSecond(0), now: func() time.Time { return time.Unix(1000, 0) }}
	g.set(p)
	t.Cleanup(g.close)
	return g
}

func members(specs ...Member) []Member {
	for i := range specs {
		if specs[i].Name == "" {
			specs[i].Name = fmt.Sprint("m", i)
		}
	}
	return specs
}

// Each way to choose gives members what their weights say, and to none of them everything at once.
func TestBalance(t *testing.T) {
	for _, balance := range Balances {
		for _, weights := range [][]int{{1}, {1, 1, 1, 1}, {1, 2, 5}, {100, 1}} {
			t.Run(fmt.Sprint(balance, weights), func(t *testing.T) {
				var specs []Member
				sum := 0
				for _, w := range weights {
					specs = append(specs, Member{Weight: w})
					sum += w
				}
				g := rig(t, Pool{Balance: balance, Members: members(specs...)})
				const rounds = 20_000
				got := make([]int, len(weights))
				var under []*member
				for range rounds {
					m := g.choose(g.ring.Load(), nil, nil)
					got[slices.Index(g.members, m)]++
					m.begin()
					if under = append(under, m); len(under) > 20*sum { // as many are always under way
						under[0].end(1000, false)
						under = under[1:]
					}
				}
				for i, w := range weights {
					want := rounds * w / sum
					if d := got[i] - want; max(d, -d) > want/5+20 {
						t.Errorf("%v: got %v, of which member %d should have %d", weights, got, i, want)
					}
				}
			})
		}
	}
}

// Turns by weight are spread: of any few in a row nobody has many more than its share.
func TestTurnsAreSpread(t *testing.T) {
	g := rig(t, Pool{Balance: ByRequests, Members: members(Member{Weight: 3}, Member{Weight: 1})})
	var turns []int
	for range 4000 {
		turns = append(turns, slices.Index(g.members, g.choose(g.ring.Load(), nil, nil)))
	}
	for i := range turns[8:] {
		n := 0
		for _, at := range turns[i : i+8] {
			n += at
		}
		if n < 1 || n > 3 {
			t.Fatalf("turns %v give the second %d of 8", turns[i:i+8], n)
		}
	}
}

// The one of two that is less busy is chosen, so that a slow member gets less.
func TestTwoChoicesAvoidsTheBusy(t *testing.T) {
	g := rig(t, Pool{Members: members(Member{}, Member{}, Member{}, Member{})})
	g.members[0].busy.Store(1000)
	for range 1000 {
		if g.choose(g.ring.Load(), nil, nil) == g.members[0] {
			t.Fatal("the busiest was chosen")
		}
	}
}

// A member that is new to a choice by traffic does not get everything until it has caught up.
func TestTrafficNewcomer(t *testing.T) {
	p := Pool{Balance: ByTraffic, Members: members(Member{}, Member{})}
	g := rig(t, p)
	for _, m := range g.members {
		m.bytes.Store(1 << 40)
	}
	p.Members = members(Member{}, Member{}, Member{})
	p.Check.Interval = -1
	g.set(p)
	got := map[*member]int{}
	for range 300 {
		m := g.choose(g.ring.Load(), nil, nil)
		got[m]++
		m.bytes.Add(100)
	}
	if n := got[g.members[2]]; n < 90 || n > 110 {
		t.Errorf("of 300 the newcomer got %d", n)
	}
}

// Whoever was tried already is not chosen again; nor is who is drained, but by its cookie.
func TestChoose(t *testing.T) {
	for _, balance := range Balances {
		g := rig(t, Pool{Balance: balance, Sticky: "R", Members: members(
			Member{Route: "a"}, Member{Route: "b"}, Member{Route: "c", Mode: Draining}, Member{Route: "d", Mode: Disabled}, Member{Route: "e", Duty: Standby})})
		ask := func(route string, tried ...*member) *member {
			for range 50 {
				g.choose(g.ring.Load(), tried, []byte(route))
			}
			return g.choose(g.ring.Load(), tried, []byte(route))
		}
		m := g.members
		for _, c := range []struct {
			got, want *member
		}{
			{ask("a"), m[0]}, {ask("b"), m[1]}, {ask("c"), m[2]}, {ask("", m[0]), m[1]}, {ask("a", m[0]), m[1]},
			{ask("d", m[1]), m[0]}, {ask("nobody", m[0]), m[1]}, {ask("c", m[2], m[1]), m[0]}, {ask("", m[0], m[1]), nil},
		} {
			if c.got != c.want {
				t.Errorf("%s: got %v, want %v", balance, slices.Index(m, c.got), slices.Index(m, c.want))
			}
		}
		g.sign(m[0], Sign{Plain: true, Why: "gone"})
		g.sign(m[1], Sign{Plain: true, Why: "gone"})
		if ask("") != m[4] || ask("a") != m[4] {
			t.Errorf("%s: nobody stands by", balance)
		}
	}
}

// Without checks one request at a time tries a member that was down.
func TestTrial(t *testing.T) {
	g := rig(t, Pool{Members: members(Member{})})
	now := g.now()
	g.now = func() time.Time { return now }
	m := g.members[0]
	for range 3 {
		g.sign(m, Sign{Plain: true, Why: "gone"})
		g.tick()
		if g.choose(g.ring.Load(), nil, nil) != nil {
			t.Fatal("it is tried at once")
		}
		now = now.Add(time.Minute)
		g.tick()
		if g.choose(g.ring.Load(), nil, nil) != m {
			t.Fatal("it is not tried")
		}
		g.tick()
		if g.choose(g.ring.Load(), nil, nil) != nil {
			t.Fatal("two try it at once")
		}
	}
	m.begin()
	m.end(0, false) // whoever tried it went away before there was an answer
	if g.choose(g.ring.Load(), nil, nil) != m {
		t.Fatal("it is not tried any more")
	}
	g.sign(m, Sign{OK: true})
	for range 3 {
		if g.choose(g.ring.Load(), nil, nil) != m {
			t.Fatal("it is well, and not asked")
		}
	}
}

// What a change of a pool does not touch stays as it was.
func TestSet(t *testing.T) {
	p := Pool{Members: members(Member{}, Member{}, Member{})}
	g := rig(t, p)
	g.sign(g.members[1], Sign{Plain: true, Why: "gone"})
	before := slices.Clone(g.members)
	p.Members = []Member{p.Members[2], p.Members[1], {Name: "new"}}
	p.Check.Interval = -1
	g.set(p)
	if g.members[0] != before[2] || g.members[1] != before[1] || !g.members[1].health.Down {
		t.Error("members lost what was known of them")
	}
	if s := g.standings(); len(s) != 3 || s[0].Share != 0.5 || s[1].Share != 0 || s[2].Share != 0.5 {
		t.Errorf("standings are %+v", s)
	}
}

func TestParseBackend(t *testing.T) {
	for text, want := range map[string]Backend{
		"http://a:9001":  {Member: Member{Name: "a:9001"}, Server: "a:9001"},
		"http://a/":      {Member: Member{Name: "a:80"}, Server: "a:80"},
		"http://[::1]:8": {Member: Member{Name: "[::1]:8"}, Server: "[::1]:8"},
		"http://a,weight=2,route=b,standby,set=3,name=x,host=Shop.example.,path=/p": {
			Member: Member{Name: "x", Weight: 2, Route: "b", Duty: Standby, Set: 3}, Server: "a:80", Host: "shop.example", Path: "/p"},
		"http://a, spare": {Member: Member{Name: "a:80", Duty: Spare}, Server: "a:80"},
	} {
		if got, err := ParseBackend(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "a:9001", "https://a", "http://", "http://a/b", "http://u@a", "http://a?b", "http://a,weight=0", "http://a,weight=101",
		"http://a,weight", "http://a,set=-1", "http://a,route=a.b", "http://a,what=1", "http://a,path=b", "http://a,,", "http://a,name="} {
		if got, err := ParseBackend(text); err == nil {
			t.Errorf("%q: got %+v", text, got)
		}
	}
}

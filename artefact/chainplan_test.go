package artefact

import (
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"
)

// In the order of nodes those on one switch stand together, the fastest first, and who gives nothing to others is passed over.
func TestChainOrder(t *testing.T) {
	hops := func(text string) (all []hop) { // one letter each: a and b are switches; upper case is slow, - gives nothing to others
		for _, c := range text {
			h := hop{Peer: string(c), Switch: string(c | 0x20), Mbits: 1000}
			switch {
			case c == '-':
				h = hop{Switch: "a", Mbits: 1000}
			case c < 'a':
				h.Mbits = 10
			}
			all = append(all, h)
		}
		return all
	}
	for _, c := range []struct {
		nodes string
		head  int // Mbit/s
		bytes int64
		limit int64 // bytes a second
		want  []string
	}{
		{"aaaaa", 0, 64 << 20, 0, []string{"", "a", "aa", "aaa", "aaa"}},
		{"aaaaa", 1000, 64 << 20, 0, []string{"", "a", "aa", "aaa", "aaa"}},
		{"aa", 0, 64 << 20, 0, []string{"", ""}},
		{"aaaa", 0, 1 << 20, 0, []string{"", "", "", ""}},
		{"abab", 0, 64 << 20, 0, []string{"", "aa", "a", "baa"}},
		{"Aaa", 0, 64 << 20, 0, []string{"aa", "", "a"}},
		{"a-aa", 0, 64 << 20, 0, []string{"", "a", "a", "aa"}},
		{"aaaaaa", 2000, 64 << 20, 0, []string{"", "a", "aa", "", "a", "aa"}},
		{"aaa", 3000, 64 << 20, 0, []string{"", "", ""}},
		{"aaa", 3000, 64 << 20, 1 << 40, []string{"", "", ""}},
		{"aaaa", 100, 64 << 20, 6_250_000, []string{"", "a", "", "a"}},
		{strings.Repeat("a", 18), 10_000, 64 << 20, 0, nil},
		{"", 0, 64 << 20, 0, nil},
	} {
		plan := newChains(hops(c.nodes), c.head, c.bytes, c.limit)
		var got []string
		for _, st := range plan.stations {
			got = append(got, strings.Join(st.near, ""))
		}
		if len(c.nodes) > 6 { // only how many chains there are
			if len(plan.lines) != mostChains {
				t.Errorf("%q behind a head with %d Mbit/s: %d chains", c.nodes, c.head, len(plan.lines))
			}
		} else if !slices.Equal(got, c.want) {
			t.Errorf("%q with %d bytes behind a head with %d Mbit/s: %q, want %q", c.nodes, c.bytes, c.head, got, c.want)
		}
	}
}

// rig is a chain as it runs over links, in steps of 10 ms.
type rig struct {
	plan *chains
	up   map[string]float64 // bytes a second that a node can give; "" is the head
	down []float64          // and take
	have []float64
	near [][]string
	end  []time.Duration // when a node had everything
	told int             // changes
	dead map[string]bool
}

const (
	step    = 10 * time.Millisecond
	fastNet = 12.5e6
)

func newRig(nodes int, bytes int64) *rig {
	r := &rig{up: map[string]float64{"": fastNet}, dead: map[string]bool{}}
	var hops []hop
	for range nodes {
		hops = append(hops, hop{Peer: string(rune('a' + len(hops)))})
	}
	r.plan = newChains(hops, 0, bytes, 0)
	for i := range hops {
		r.add(hops[i].Peer, r.plan.stations[i].near)
	}
	return r
}

func (r *rig) add(name string, near []string) {
	r.up[name] = fastNet
	r.down, r.have, r.near, r.end = append(r.down, fastNet), append(r.have, 0), append(r.near, near), append(r.end, 0)
}

// source is the node that one turns to, or the head.
func (r *rig) source(i int) string {
	for _, name := range r.near[i] {
		if !r.dead[name] {
			return name
		}
	}
	return ""
}

// run goes on until all have everything, and returns when the last of those had it whom slow does not name.
func (r *rig) run(t *testing.T, slow string, at func(now time.Duration)) (last time.Duration) {
	for now := time.Duration(0); ; now += step {
		if now > 10*time.Minute {
			t.Fatal("it does not end")
		}
		if at != nil {
			at(now)
		}
		if r.step(now) {
			break
		}
		if now%(200*time.Millisecond) == 0 {
			for i := range r.have {
				r.plan.progress(i, int64(r.have[i]), time.Unix(0, 0).Add(now))
			}
		}
		if now%lookEvery == 0 {
			for _, c := range r.plan.turn(time.Unix(0, 0).Add(now)) {
				r.near[c.node] = c.near
				r.told++
			}
		}
	}
	for i, end := range r.end {
		if name := r.plan.stations[i].Peer; !strings.Contains(slow, name) && !r.dead[name] {
			last = max(last, end)
		}
	}
	return last
}

// step moves bytes, of which those who have files from the same node get the same share unless they take less; it reports
// whether all have everything.
func (r *rig) step(now time.Duration) (all bool) {
	all = true
	have := map[string]float64{"": float64(r.plan.bytes)}
	takers := map[string][]int{}
	for i, st := range r.plan.stations {
		if have[st.Peer] = r.have[i]; r.have[i] < float64(r.plan.bytes) && !r.dead[st.Peer] {
			takers[r.source(i)] = append(takers[r.source(i)], i)
			all = false
		}
	}
	for from, who := range takers {
		wants := func(i int) float64 { return max(0, min(r.down[i]*step.Seconds(), have[from]-r.have[i])) }
		slices.SortFunc(who, func(a, b int) int { return cmp.Compare(wants(a), wants(b)) })
		left := r.up[from] * step.Seconds()
		for k, i := range who {
			got := min(wants(i), left/float64(len(who)-k))
			left -= got
			if r.have[i] += got; r.have[i] >= float64(r.plan.bytes) {
				r.end[i] = now
			}
		}
	}
	return all
}

const fileBytes = 64 << 20

// A node at a tenth of the speed costs the others little, wherever it is, and so does one that stops altogether.
func TestSlowNode(t *testing.T) {
	usual := newRig(16, fileBytes).run(t, "", nil)
	for _, c := range []struct {
		slow string  // small letters are slow both ways, capital ones only to give
		rate float64 // times the usual
		most float64 // times as long for the others
	}{
		{"h", 0.1, 1.3}, {"b", 0.1, 1.3}, {"p", 0.1, 1.01}, {"o", 0.1, 1.3}, {"h", 0.3, 1.3}, {"dk", 0.1, 1.65}, {"gh", 0.1, 1.6}, {"a", 0.1, 1.3}, {"h", 0.0001, 1.3},
		{"H", 0.1, 2.6}, {"A", 0.1, 2.6}, {"Dk", 0.1, 2.8},
	} {
		r := newRig(16, fileBytes)
		for _, name := range c.slow {
			if r.up[string(name|0x20)] = fastNet * c.rate; name >= 'a' {
				r.down[name-'a'] = fastNet * c.rate
			}
		}
		if c.rate < 0.01 {
			r.down[c.slow[0]-'a'] = fastNet / 20 // or it never ends
		}
		got := r.run(t, c.slow, nil)
		if ratio := got.Seconds() / usual.Seconds(); ratio > c.most {
			t.Errorf("%q at %v of the speed: the others take %.2f times as long, want %.2f", c.slow, c.rate, ratio, c.most)
		}
		if most := 24 * len(c.slow); r.told > most {
			t.Errorf("%q at %v of the speed: nodes were told %d times to turn, want at most %d", c.slow, c.rate, r.told, most)
		}
	}
}

// Where nobody is slower than the one before it, nobody is moved; when it is the head that is slow, few are.
func TestNobodyIsMoved(t *testing.T) {
	r := newRig(16, fileBytes)
	r.run(t, "", nil)
	if r.told > 0 {
		t.Errorf("nodes were told %d times to turn", r.told)
	}
	r = newRig(16, fileBytes)
	r.up[""] = fastNet / 10
	usual := float64(fileBytes) / (fastNet / 10)
	if got := r.run(t, "", nil).Seconds(); got > 1.05*usual {
		t.Errorf("a slow head: it takes %.1f s, want %.1f", got, usual)
	}
	moved := 0
	for _, st := range r.plan.stations {
		if st.last {
			moved++
		}
	}
	if moved > mostTurns {
		t.Errorf("a slow head: %d nodes were moved", moved)
	}
}

// Who comes in the middle has everything when the others have, or soon after; who dies holds nobody up.
func TestComeAndGo(t *testing.T) {
	r := newRig(8, fileBytes)
	usual := newRig(9, fileBytes).run(t, "", nil)
	got := r.run(t, "", func(now time.Duration) {
		switch now {
		case 2 * time.Second:
			i, near := r.plan.join(hop{Peer: "z"})
			if i != 8 || !slices.Equal(near, []string{"h", "g", "f"}) {
				t.Errorf("node %d has files from %q", i, near)
			}
			r.add("z", near)
		case 3 * time.Second:
			r.dead["d"] = true
			r.plan.leave(3)
		}
	})
	if ratio := got.Seconds() / usual.Seconds(); ratio > 1.5 {
		t.Errorf("it takes %.2f times as long", ratio)
	}
	if from := r.near[5]; !slices.Equal(from, []string{"e", "c", "b"}) {
		t.Errorf("behind a node that has gone files come from %q", from)
	}
	star := newChains(make([]hop, 4), 0, 1000, 0)
	if i, near := star.join(hop{Peer: "z"}); i != 4 || near != nil || !star.star() {
		t.Errorf("in a star node %d has files from %q", i, near)
	}
}

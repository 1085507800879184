package vrrp

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// segment is a network of machines in fake time.
type segment struct {
	now      time.Time
	all      []*node
	occupant bool // another machine answers questions for the address
	claimed  string
	lose     func(from, to string) bool // an advertisement; nil: none
	changes  int                        // how often the address went to a machine
	nobody   time.Duration              // the longest that nobody had the address, once somebody had
	since    time.Time
}

type node struct {
	*machine
	name                  string
	dead, hung, cut, sick bool // cut: nothing comes through, and it does not see that
	unplugged             bool
	until                 time.Time // the kernel keeps the address
	ended                 order     // 0: it runs
}

const kernelFuzz = 300 * time.Millisecond // what a lease may last longer

func (n *node) has(now time.Time) bool { return now.Before(n.until) }

// mute reports whether nothing that a node says is heard, or the other way round.
func (n *node) mute() bool { return n.dead || n.cut || n.unplugged }

func newSegment(priorities ...uint8) *segment {
	s := &segment{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	for i, p := range priorities {
		s.add(string(rune('a'+i)), p)
	}
	return s
}

func (s *segment) add(name string, priority uint8) *node {
	n := &node{name: name, machine: newMachine(netip.AddrFrom4([4]byte{10, 0, 0, name[0]}), priority)}
	s.all = append(s.all, n)
	return n
}

func (s *segment) node(name string) *node {
	return s.all[slices.IndexFunc(s.all, func(n *node) bool { return n.name == name })]
}

// run lets time pass.
func (s *segment) run(d time.Duration) {
	for end := s.now.Add(d); s.now.Before(end); s.now = s.now.Add(10 * time.Millisecond) {
		for _, n := range s.all {
			if n.dead || n.hung || n.ended != 0 {
				continue
			}
			if at := n.next(); !at.IsZero() && !s.now.Before(at) || s.now.UnixMilli()%100 == 0 {
				s.obey(n, n.tick(s.now, !n.unplugged, !n.sick))
			}
		}
		switch {
		case len(s.holders()) > 0:
			s.since = s.now
		case !s.since.IsZero():
			s.nobody = max(s.nobody, s.now.Sub(s.since))
		}
	}
}

func (s *segment) obey(n *node, orders []order) {
	for _, o := range orders {
		switch o {
		case hold:
			if !n.has(s.now) {
				s.changes++
			}
			n.until = s.now.Add(lease + kernelFuzz)
		case drop:
			n.until = time.Time{}
		case advertise:
			s.tell(n, n.priority())
		case resign:
			s.tell(n, 0)
		case claim:
			if !n.mute() {
				s.claimed = n.name
			}
		case ask:
			if s.occupant {
				s.obey(n, n.contend(s.now, net.HardwareAddr{2, 0, 0, 0, 0, 9}))
			}
		case yield, done:
			n.ended = o
		}
	}
}

func (s *segment) tell(from *node, priority uint8) {
	for _, to := range s.all {
		if to == from || to.mute() || from.mute() || to.hung || to.ended != 0 || s.lose != nil && s.lose(from.name, to.name) {
			continue
		}
		s.obey(to, to.hear(s.now, from.Self, priority, interval))
	}
}

// replace has another process go on in the place of a node's, without a word to anybody.
func (s *segment) replace(name string) {
	n := s.node(name)
	n.machine = newMachine(n.Self, n.Priority)
	n.inherit(s.now)
}

// holders are the names of those that have the address now.
func (s *segment) holders() string {
	var names []string
	for _, n := range s.all {
		if n.has(s.now) {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, "")
}

func TestElection(t *testing.T) {
	const settled = 3 * time.Second
	for _, test := range []struct {
		name       string
		priorities []uint8
		first      string // who has it once all have begun
		do         func(s *segment)
		within     time.Duration // after which
		then       string        // who has it
		changes    int           // altogether, the first one too
		nobody     time.Duration // at most
	}{
		{"a front alone takes it", []uint8{100}, "a", func(s *segment) {}, 0, "a", 1, 0},
		{"the higher priority takes it", []uint8{100, 150}, "b", func(s *segment) {}, 0, "b", 1, 0},
		{"one dies", []uint8{100, 150}, "b", func(s *segment) { s.node("b").dead = true }, lease + kernelFuzz, "a", 2, 0},
		{"one ends", []uint8{100, 150}, "b", func(s *segment) { b := s.node("b"); s.obey(b, b.leave(s.now)) }, 250 * time.Millisecond, "a", 2, 0},
		{"its process is replaced again and again", []uint8{100, 150}, "b", func(s *segment) {
			for range 5 {
				s.replace("b")
				s.run(time.Second)
			}
		}, 0, "b", 1, 0},
		{"and the next one dies", []uint8{100, 150}, "b", func(s *segment) { s.replace("b"); s.node("b").dead = true }, lease + kernelFuzz, "a", 2, 0},
		{"and is weaker", []uint8{100, 150}, "b", func(s *segment) { s.node("b").Priority = 50; s.replace("b") }, preempting, "a", 2, 0},
		{"and is ill", []uint8{100, 150}, "b", func(s *segment) { s.replace("b"); s.node("b").sick = true }, 1800 * time.Millisecond, "a", 2, 0},
		{"the last one ends", []uint8{100}, "a", func(s *segment) { a := s.node("a"); s.obey(a, a.leave(s.now)) }, handing + 100*time.Millisecond, "", 1, time.Second},
		{"one hangs", []uint8{100, 150}, "b", func(s *segment) { s.node("b").hung = true }, lease + kernelFuzz, "a", 2, 0},
		{"one hung, and goes on: it waits before it takes it back", []uint8{100, 150}, "b", func(s *segment) {
			s.node("b").hung = true
			s.run(settled)
			s.node("b").hung = false
		}, preempting, "a", 2, 0},
		{"and then takes it back", []uint8{100, 150}, "b", func(s *segment) {
			s.node("b").hung = true
			s.run(settled)
			s.node("b").hung = false
		}, preempting + time.Second, "b", 3, 0},
		{"an equal does not take it back", []uint8{100, 100}, "a", func(s *segment) {
			s.node("a").hung = true
			s.run(settled)
			s.node("a").hung = false
		}, time.Minute, "b", 2, 0},
		{"a cable is pulled", []uint8{100, 100}, "a", func(s *segment) { s.node("a").unplugged = true }, 800 * time.Millisecond, "b", 2, 800 * time.Millisecond},
		{"and is put back", []uint8{100, 100}, "a", func(s *segment) {
			s.node("a").unplugged = true
			s.run(settled)
			s.node("a").unplugged = false
		}, time.Minute, "b", 2, 800 * time.Millisecond},
		{"something between them breaks", []uint8{100, 100}, "a", func(s *segment) { s.node("b").cut = true }, settled, "ab", 2, 0},
		{"and is repaired", []uint8{100, 100}, "a", func(s *segment) {
			s.node("b").cut = true
			s.run(settled)
			s.node("b").cut = false
		}, 250 * time.Millisecond, "b", 2, 0},
		{"nobody is behind one", []uint8{100, 150}, "b", func(s *segment) { s.node("b").sick = true }, 1800 * time.Millisecond, "a", 2, 0},
		{"nobody is behind any", []uint8{100, 150}, "b", func(s *segment) {
			s.node("b").sick = true
			s.run(200 * time.Millisecond)
			s.node("a").sick = true
		}, time.Minute, "b", 1, 0},
		{"somebody is missing for a moment", []uint8{100, 150}, "b", func(s *segment) {
			s.node("b").sick = true
			s.run(500 * time.Millisecond)
			s.node("b").sick = false
		}, time.Minute, "b", 1, 0},
		{"one that comes and goes is left alone", []uint8{100, 150}, "b", func(s *segment) {
			for range 5 {
				s.node("b").sick = true
				s.run(settled)
				s.node("b").sick = false
				s.run(settled)
			}
		}, 0, "a", 2, 0},
		{"one of higher priority joins: not at once", []uint8{100}, "a", func(s *segment) { s.add("b", 200) }, preempting, "a", 1, 0},
		{"but then", []uint8{100}, "a", func(s *segment) { s.add("b", 200) }, preempting + time.Second, "b", 2, 0},
		{"one dies of three equals", []uint8{100, 100, 100}, "a", func(s *segment) { s.node("a").dead = true }, lease + kernelFuzz, "b", 2, 0},
		{"two in a row are lost again and again", []uint8{100, 150}, "b", func(s *segment) {
			told := 0
			s.lose = func(from, to string) bool { told++; return told%3 != 0 }
		}, time.Minute, "b", 1, 0},
		{"an owner of another program", []uint8{100, 150}, "b", func(s *segment) {
			s.node("b").ended = done // in whose place somebody advertises every second
			for range 10 {
				s.obey(s.node("a"), s.node("a").hear(s.now, s.node("b").Self, 150, time.Second))
				s.run(time.Second)
			}
		}, 0, "", 1, time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSegment(test.priorities...)
			s.run(settled)
			if got := s.holders(); got != test.first {
				t.Fatalf("%q has it at first, not %q", got, test.first)
			}
			s.changes = min(s.changes, 1) // equals may begin together
			test.do(s)
			s.run(test.within)
			if got := s.holders(); got != test.then {
				t.Errorf("%q has it then, not %q", got, test.then)
			}
			if s.changes != test.changes || s.nobody > test.nobody {
				t.Errorf("it was taken %d times, not %d; nobody had it for %s", s.changes, test.changes, s.nobody)
			}
			if last := len(test.then); last == 1 && s.claimed != test.then {
				t.Errorf("neighbours were told last that %s has it", s.claimed)
			}
		})
	}
}

func TestOccupied(t *testing.T) {
	s := newSegment(100)
	s.occupant = true
	s.run(occupied + time.Second)
	if a := s.node("a"); a.ended != yield || a.has(s.now) || a.by == nil {
		t.Errorf("what another machine has is taken, or nothing is said")
	}
	s = newSegment(100)
	s.occupant = true
	s.run(2 * time.Second) // as one answers that has died a moment ago
	s.occupant = false
	s.run(time.Second)
	if s.holders() != "a" {
		t.Error("what nobody has any more is not taken")
	}
	s = newSegment(100)
	s.run(time.Second)
	s.occupant = true
	a := s.node("a")
	if orders := a.contend(s.now, nil); fmt.Sprint(orders) != fmt.Sprint([]order{claim}) {
		t.Errorf("a front that has it answers another one's claim by %v", orders)
	}
	if orders := a.contend(s.now.Add(defending/2), nil); orders != nil {
		t.Error("and answers each one, for ever")
	}
}

// One that has it tells neighbours again when it has outdone another one, whom they may have heard.
func TestOutdone(t *testing.T) {
	s := newSegment(100)
	s.run(time.Minute)
	a := s.node("a")
	if orders := a.hear(s.now, a.Self.Next(), 99, interval); fmt.Sprint(orders) != fmt.Sprint([]order{advertise, claim}) {
		t.Errorf("a weaker one is answered by %v", orders)
	}
	if orders := a.hear(s.now, a.Self.Next(), 0, interval); fmt.Sprint(orders) != fmt.Sprint([]order{advertise}) {
		t.Errorf("one that ends is answered by %v", orders)
	}
}

// Whoever had it and died may still answer for it: that holds up nobody who heard him.
func TestOccupiedByOneWhoShares(t *testing.T) {
	s := newSegment(100)
	s.run(100 * time.Millisecond)
	a := s.node("a")
	s.obey(a, a.hear(s.now, a.Self.Next(), 100, interval))
	s.run(600 * time.Millisecond)
	a.contend(s.now, net.HardwareAddr{2, 0, 0, 0, 0, 9})
	s.run(200 * time.Millisecond)
	if s.holders() != "a" {
		t.Error("it is not taken")
	}
}

// Claims are repeated: often at first, then for ever.
func TestClaims(t *testing.T) {
	s := newSegment(100)
	s.run(time.Second)
	a := s.node("a")
	count := func(d time.Duration) (n int) {
		for end := s.now.Add(d); s.now.Before(end); s.now = s.now.Add(10 * time.Millisecond) {
			n += len(slices.DeleteFunc(a.tick(s.now, true, true), func(o order) bool { return o != claim }))
		}
		return n
	}
	if n := count(2 * time.Second); n < 15 || n > 25 {
		t.Errorf("%d claims in the first seconds", n)
	}
	count(10 * time.Second)
	if n := count(5 * time.Minute); n < 9 || n > 11 {
		t.Errorf("%d claims in five minutes", n)
	}
}

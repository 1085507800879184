package job

import (
	"math/bits"
	"slices"
	"strings"
	"time"
)

// node is a member machine as the scheduler sees it.
type node struct {
	name    string
	at      int // its place in index.nodes
	link    link
	drained bool
	paused  time.Time // gets no work before; zero: it does
	downAt  time.Time
	moveAt  time.Time      // when the first of its attempts outlasts its job's patience; zero: nothing to move
	slots   Slots          // what it holds, attempts that no longer count included
	level   int            // its place in index.levels; -1 when it takes no work
	told    bool           // it has said what it holds since the head started
	offers  map[string]int // generic resources
	start   []Attempt      // placed on it in the present Step
	started int            // how many the last time
	after   uint64         // the record that start waits for
}

// link is how a node is connected.
type link int

const (
	linkUp link = iota
	linkSuspect
	linkDown
)

// Selection is which nodes a job may use: those of its partition that its --on selects.
type Selection struct {
	Partition string `json:"partition,omitempty"`
	On        string `json:"on,omitempty"`
}

func (s *Spec) selection() Selection { return Selection{s.Partition, s.On} }

// selection is the nodes that a Selection matches.
type selection struct {
	Selection
	names []string
	set   bitset
	jobs  int // open jobs that use it
}

// index finds nodes by their room, most first and ties by name, with a few word
// operations: bit i of a set is the i-th node by name.
type index struct {
	nodes  []*node
	stale  bool     // nodes came, went or changed size: everything below is to be made anew
	most   int      // the largest node's cores
	zero   int      // the level of nodes without room; those below have work that waits
	levels []bitset // levels[zero+r] is the nodes with room r that take work
	count  []int    // of nodes in each level
	open   int      // nodes in all levels
	room   int      // cores that are free in all levels
	behind bitset   // nodes on which work waits
	held   bitset   // scratch of place
}

type bitset []uint64

func (b bitset) set(i int)   { b[i/64] |= 1 << (i % 64) }
func (b bitset) clear(i int) { b[i/64] &^= 1 << (i % 64) }

func (b bitset) any() bool {
	for _, word := range b {
		if word != 0 {
			return true
		}
	}
	return false
}

// addNode is the node of that name, made when there is none.
func (s *State) addNode(name string) *node {
	n := s.nodes[name]
	if n == nil {
		n = &node{name: name, level: -1, link: linkDown}
		s.nodes[name] = n
		i, _ := slices.BinarySearchFunc(s.index.nodes, name, byName)
		s.index.nodes = slices.Insert(s.index.nodes, i, n)
		s.index.stale = true
	}
	return n
}

// drain says whether a node is to get no new work.
func (s *State) drain(n *node, drained bool) {
	if n.drained == drained {
		return
	}
	if n.drained = drained; drained {
		s.draining++
	} else {
		s.draining--
	}
	s.look = time.Time{}
	s.index.put(n)
}

// dropNode forgets a node.
func (s *State) dropNode(n *node) {
	s.drain(n, false)
	delete(s.nodes, n.name)
	i, _ := slices.BinarySearchFunc(s.index.nodes, n.name, byName)
	s.index.nodes = slices.Delete(s.index.nodes, i, i+1)
	s.index.stale = true
}

func byName(n *node, name string) int { return strings.Compare(n.name, name) }

// reindex makes the index anew when it is stale.
func (s *State) reindex() {
	x := &s.index
	if !x.stale {
		return
	}
	x.stale, x.most, x.open, x.room = false, 0, 0, 0
	for i, n := range x.nodes {
		n.at, n.level = i, -1
		x.most = max(x.most, n.slots.Cores)
	}
	words := (len(x.nodes) + 63) / 64
	x.zero = maxAhead * x.most
	x.levels, x.count = make([]bitset, x.zero+x.most+1), make([]int, x.zero+x.most+1)
	for i := range x.levels {
		x.levels[i] = make(bitset, words)
	}
	x.behind, x.held = make(bitset, words), make(bitset, words)
	for _, n := range x.nodes {
		x.put(n)
	}
	for _, sel := range s.selections {
		s.resolve(sel)
	}
}

// resolve finds a selection's nodes in the index; names it doesn't know are left for when they come.
func (s *State) resolve(sel *selection) {
	if s.index.stale {
		return
	}
	sel.set = make(bitset, (len(s.index.nodes)+63)/64)
	for _, name := range sel.names {
		if n := s.nodes[name]; n != nil {
			sel.set.set(n.at)
		}
	}
}

// put files a node under its present room. Call it after each change to the node.
func (x *index) put(n *node) {
	if x.stale {
		return
	}
	if n.level >= 0 {
		x.levels[n.level].clear(n.at)
		x.count[n.level]--
		x.open--
		x.room -= max(0, n.level-x.zero)
		n.level = -1
	}
	if x.behind.clear(n.at); len(n.slots.waiting) > 0 && n.link == linkUp {
		x.behind.set(n.at)
	}
	room := n.slots.Room()
	if !n.takes() || room <= -maxAhead*n.slots.Cores {
		return
	}
	n.level = x.zero + room
	x.levels[n.level].set(n.at)
	x.count[n.level]++
	x.open++
	x.room += max(0, room)
}

// pick is the node with the most room among those selected and not held back that ok
// accepts, or nil. It looks no further down than the lowest room given.
func (x *index) pick(sel *selection, lowest int, ok func(*node) bool) *node {
	for level := len(x.levels) - 1; level >= max(0, x.zero+lowest); level-- {
		if x.count[level] == 0 {
			continue
		}
		for w, word := range x.levels[level] {
			for word &= sel.set[w] &^ x.held[w]; word != 0; word &= word - 1 {
				if n := x.nodes[w*64+bits.TrailingZeros64(word)]; ok(n) {
					return n
				}
			}
		}
	}
	return nil
}

// pickHeld is the same among those that are held back.
func (x *index) pickHeld(sel *selection, lowest int, ok func(*node) bool) *node {
	for w, word := range x.held {
		for word &= sel.set[w]; word != 0; word &= word - 1 {
			if n := x.nodes[w*64+bits.TrailingZeros64(word)]; n.level >= x.zero+lowest && ok(n) {
				return n
			}
		}
	}
	return nil
}

func (x *index) isHeld(n *node) bool { return x.held[n.at/64]&(1<<(n.at%64)) != 0 }

// takes reports whether a node takes work.
func (n *node) takes() bool { return n.link == linkUp && !n.drained && n.paused.IsZero() }

// keep holds back, for the rest of this placing, the nodes that count tasks would get next, of those that ok accepts.
func (x *index) keep(sel *selection, count int, ok func(*node) bool) {
	for level := len(x.levels) - 1; level >= 0 && count > 0; level-- {
		if x.count[level] == 0 {
			continue
		}
		for w, word := range x.levels[level] {
			for word &= sel.set[w] &^ x.held[w]; word != 0 && count > 0; word &= word - 1 {
				if n := x.nodes[w*64+bits.TrailingZeros64(word)]; ok(n) {
					x.held.set(n.at)
					count--
				}
			}
		}
	}
}

package artefact

import (
	"encoding/binary"
	"encoding/hex"
	"hash/fnv"
	"maps"
	"slices"
	"strings"

	"bramble/fleet"
	"bramble/sorts"
)

// Holder is a node that keeps copies, as far as it matters which.
type Holder struct {
	Node   string `json:"node"`
	Power  string `json:"power,omitempty"`  // what its label "power" says
	Switch string `json:"switch,omitempty"` // and its label "switch"
}

// MaxCopies is how many copies of an artefact may be asked for.
const MaxCopies = 8

// weight is how much a node is wanted for a blob. Everybody finds the same, and a node that comes or goes changes
// nothing between two others (rendezvous hashing, Thaler and Ravishankar, 1998).
func weight(ref Ref, node string) uint64 {
	var head [8]byte
	hex.Decode(head[:], []byte(ref[:16]))
	name := fnv.New64a()
	name.Write([]byte(node))
	return mixed(binary.BigEndian.Uint64(head[:]) ^ mixed(name.Sum64()))
}

// mixed is the finalizer of splitmix64 (Steele and others, 2014).
func mixed(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// keepers are the nodes of a ring that keep a blob: each time the one that is farthest from those before, in power and
// switch, and of such the one that is wanted most.
func keepers(ref Ref, ring []Holder, copies int) []string {
	var chosen []Holder
	for range min(copies, len(ring)) {
		best, far, most := -1, 0, uint64(0)
		for i, h := range ring {
			if slices.ContainsFunc(chosen, func(c Holder) bool { return c.Node == h.Node }) {
				continue
			}
			d, w := apart(h, chosen), weight(ref, h.Node)
			if best < 0 || d > far || d == far && w > most {
				best, far, most = i, d, w
			}
		}
		chosen = append(chosen, ring[best])
	}
	names := make([]string, len(chosen))
	for i, h := range chosen {
		names[i] = h.Node
	}
	return names
}

// apart is in how many of power and switch a node differs from all others.
func apart(h Holder, others []Holder) int {
	n := 0
	if !slices.ContainsFunc(others, func(o Holder) bool { return o.Power == h.Power }) {
		n++
	}
	if !slices.ContainsFunc(others, func(o Holder) bool { return o.Switch == h.Switch }) {
		n++
	}
	return n
}

// shares are the blobs that each node of a ring keeps; who keeps none is not in it.
func shares(blobs []Blob, ring []Holder, copies int) map[string][]Blob {
	all := map[string][]Blob{}
	for _, b := range blobs {
		for _, node := range keepers(b.Ref, ring, copies) {
			all[node] = append(all[node], b)
		}
	}
	return all
}

// ringOf is who may keep copies: those of the nodes that give files to others and are not drained, up or, where they
// keep some already, not given up yet. The head's machine is taken only where there are too few others: it has the
// names, and files that are on their way. Of drained nodes, those that keep some stay where others are too few still.
func ringOf(nodes []fleet.Node, was []Holder, lost map[string]bool, copies int) []Holder {
	var ring, heads, drained []Holder
	for _, n := range nodes {
		has := slices.ContainsFunc(was, func(h Holder) bool { return h.Node == n.Name })
		if n.Peer == "" || lost[n.Name] || n.State != fleet.Up && !has {
			continue
		}
		h := Holder{Node: n.Name, Power: n.Labels["power"], Switch: n.Labels["switch"]}
		switch {
		case n.Drained != "" && has:
			drained = append(drained, h)
		case n.Drained != "":
		case slices.Contains(n.Roles, fleet.RoleHead):
			heads = append(heads, h)
		default:
			ring = append(ring, h)
		}
	}
	for _, more := range [][]Holder{heads, drained} {
		if len(ring) < copies {
			ring = append(ring, more...)
		}
	}
	sorts.By(ring, func(a, b Holder) int { return strings.Compare(a.Node, b.Node) })
	return ring
}

// used is the part of a ring that keeps something: without the rest, everything is kept where it was.
func used(blobs []Blob, ring []Holder, copies int) []Holder {
	share := shares(blobs, ring, copies)
	return slices.DeleteFunc(slices.Clone(ring), func(h Holder) bool { return len(share[h.Node]) == 0 })
}

// within reports whether all of a share is in another.
func within(share, other []Blob) bool {
	has := make(map[Ref]bool, len(other))
	for _, b := range other {
		has[b.Ref] = true
	}
	return !slices.ContainsFunc(share, func(b Blob) bool { return !has[b.Ref] })
}

// move is what has to be done so that a ring keeps what another has kept.
type move struct {
	keep    []string // who has to bring or look at something
	waiting []string // who has to, and is not there
	trim    []string // who keeps less then, or nothing
}

// moveOf decides it; there says who is connected. Who is not need not be asked for what it keeps already.
func moveOf(blobs []Blob, was, ring []Holder, copies int, there func(string) bool) move {
	var m move
	old, now := shares(blobs, was, copies), shares(blobs, ring, copies)
	for _, node := range slices.Sorted(maps.Keys(now)) {
		switch {
		case there(node):
			m.keep = append(m.keep, node)
		case !within(now[node], old[node]):
			m.waiting = append(m.waiting, node)
		}
	}
	for _, node := range slices.Sorted(maps.Keys(old)) {
		if !within(old[node], now[node]) {
			m.trim = append(m.trim, node)
		}
	}
	return m
}

// Standing is how safe a durable artefact is.
type Standing struct {
	Name   string `json:"name"`
	Owner  string `json:"owner"`
	Copies int    `json:"copies"` // wanted
	Blobs  int    `json:"blobs"`  // its files and its list of them
	Bytes  int64  `json:"bytes"`  // of one copy of each
	Least  int    `json:"least"`  // copies of the blob that has fewest
	Thin   int    `json:"thin"`   // blobs that have fewer copies than wanted
	Lost   int    `json:"lost"`   // blobs of which nobody who is there has a copy
}

// Risk is what would be lost with a node.
type Risk struct {
	Node  string   `json:"node"`
	Blobs int      `json:"blobs"` // of which it has the only copy
	Bytes int64    `json:"bytes"`
	Names []string `json:"names"` // that would be incomplete
}

// standingOf counts the copies that are there of a durable artefact's blobs. has says whether a node has its copy of one,
// alone is told a blob of which there is one copy only.
func standingOf(d Durable, blobs []Blob, has func(node string, ref Ref) bool, alone func(node string, b Blob)) Standing {
	s := Standing{Name: d.Name, Owner: d.Owner, Copies: d.Copies, Blobs: len(blobs), Least: d.Copies}
	if !slices.ContainsFunc(d.Ring, func(h Holder) bool { return has(h.Node, d.Ref) }) { // without the list nobody knows what the files were
		s.Lost, s.Thin, s.Least = s.Blobs, s.Blobs, 0
		return s
	}
	for _, b := range blobs {
		nodes := keepers(b.Ref, d.Ring, d.Copies)
		having := slices.DeleteFunc(slices.Clone(nodes), func(node string) bool { return !has(node, b.Ref) })
		s.Bytes += b.Size
		s.Least = min(s.Least, len(having))
		switch len(having) {
		case 0:
			s.Lost++
		case 1:
			alone(having[0], b)
		}
		if len(having) < d.Copies {
			s.Thin++
		}
	}
	return s
}

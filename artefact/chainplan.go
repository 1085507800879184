package artefact

import (
	"cmp"
	"slices"
	"time"
)

// hop is a node, as far as its place in a chain depends on it.
type hop struct {
	Peer   string // where its agent gives files to other nodes; "": it does not
	Switch string // what its label "switch" says
	Mbits  int    // of its link; 0: not known
}

// speed takes a link of which nothing is known for one of 100 Mbit/s, as most boards have it.
func (h hop) speed() int { return cmp.Or(h.Mbits, 100) }

const (
	// nearest is how many nodes before it a node of a chain knows: when as many die at the same time, it turns to the head.
	nearest = 3
	// starBytes is up to how many bytes in all the head gives to every node by itself, which then begins at once.
	starBytes = 4 << 20
	// mostChains is how many nodes the head gives large files to at the same time, however fast its link is.
	mostChains = 8
)

// What makes a node slow. It is moved once: who waits for it by mistake loses little, and goes on from where it was.
const (
	rateOver   = 500 * time.Millisecond // over which a rate is measured
	slowFactor = 2                      // so many times less than the node before it receives
	slowTurns  = 2                      // measurements in a row
	slowBytes  = 1 << 20                // that it is behind at least, and half a second's worth of what it could have
	mostTurns  = 2                      // nodes that are moved from the head of a chain before the head is taken for the slow one
)

// chains is whom each node has files from while they spread, in one or several chains that begin at the head, and how fast
// they come. A node that gives to the nodes behind it less than it could have is moved to the end of its chain.
type chains struct {
	stations []*station
	lines    [][]*station
	bytes    int64
	most     float64 // bytes a second that a node may have, 0: as many as its link carries
}

type station struct {
	hop
	chain int
	have  int64   // bytes
	rate  float64 // bytes a second, lately
	since time.Time
	from  int64 // bytes that it had then
	slow  int   // measurements in a row
	last  bool  // it was moved to the end
	first bool  // it was at the head of a chain when it was moved
	lost  int   // nodes that were moved and had files from it
	gone  bool
	near  []string // what it was told
}

// newChains puts nodes in an order: those on one switch follow each other, the fastest first, so that no slow one stands
// before a fast one. There are as many chains as the head's link carries, and a star where there is little to give or few
// to take it; limit is how many bytes a second a node may have, 0: as many as come.
func newChains(hops []hop, headMbits int, bytes, limit int64) *chains {
	r := &chains{bytes: bytes, most: float64(limit)}
	order := make([]*station, len(hops))
	for i, h := range hops {
		order[i] = &station{hop: h}
	}
	r.stations = slices.Clone(order)
	slices.SortStableFunc(order, func(a, b *station) int {
		return cmp.Or(cmp.Compare(a.Switch, b.Switch), cmp.Compare(b.speed(), a.speed()))
	})
	n := r.width(headMbits)
	for i := range n {
		part := order[i*len(order)/n : (i+1)*len(order)/n]
		for _, st := range part {
			st.chain = i
		}
		r.lines = append(r.lines, slices.Clone(part))
	}
	for _, st := range r.stations {
		st.near = r.nearOf(st)
	}
	return r
}

// width is how many chains there are.
func (r *chains) width(headMbits int) int {
	n := len(r.stations)
	if n < 3 || r.bytes <= starBytes/int64(n) {
		return n
	}
	speeds := make([]int, n)
	for i, st := range r.stations {
		speeds[i] = st.speed()
		if r.most > 0 {
			speeds[i] = min(speeds[i], max(1, int(r.most*8/1e6)))
		}
	}
	slices.Sort(speeds)
	return max(1, min(headMbits/speeds[n/2], mostChains, n))
}

// star reports whether every node has all from the head.
func (r *chains) star() bool { return len(r.lines) == len(r.stations) }

// before are the nodes that one may have files from, the nearest first. Of those that were moved each begins at another,
// which gives to nobody else.
func (r *chains) before(st *station) (all []*station) {
	line, moved := r.lines[st.chain], 0
	for k := slices.Index(line, st) - 1; k >= 0; k-- {
		switch other := line[k]; {
		case other.last:
			moved++
		case other.Peer != "" && !other.gone:
			all = append(all, other)
		}
	}
	if moved > 0 && len(all) > 0 {
		at := moved % len(all)
		all = slices.Concat(all[at:], all[:at])
	}
	return all
}

// nearOf is whom a node turns to before it turns to the head, the nearest first.
func (r *chains) nearOf(st *station) (near []string) {
	for _, other := range r.before(st) {
		if near = append(near, other.Peer); len(near) == nearest {
			break
		}
	}
	return near
}

// source is the node that a node has files from; nil: the head.
func (r *chains) source(st *station) *station {
	if all := r.before(st); len(all) > 0 {
		return all[0]
	}
	return nil
}

// progress takes in how much a node has.
func (r *chains) progress(i int, have int64, now time.Time) {
	st := r.stations[i]
	if st.have >= r.bytes {
		return
	}
	st.have = max(st.have, have)
	if st.since.IsZero() {
		st.since, st.from = now, have
	}
	took := now.Sub(st.since)
	if took < rateOver && (st.have < r.bytes || took == 0) {
		return
	}
	st.rate = float64(st.have-st.from) / took.Seconds()
	st.since, st.from = now, st.have
	if st.slow++; !r.isSlow(st) {
		st.slow = 0
	}
}

// isSlow reports whether a node has less than the one before it could give, or at the head of a chain less than its link carries.
func (r *chains) isSlow(st *station) bool {
	if st.have >= r.bytes || st.last {
		return false
	}
	source := r.source(st)
	if source == nil {
		could := float64(st.speed()) * 1e6 / 8
		if r.most > 0 {
			could = min(could, r.most)
		}
		return st.rate*slowFactor < could
	}
	behind := source.have - st.have
	return st.rate*slowFactor < source.rate && behind >= slowBytes && (source.have >= r.bytes || float64(behind) >= source.rate/2)
}

// leave takes in that a node has failed, or does not answer any more.
func (r *chains) leave(i int) { r.stations[i].gone = true }

// join takes a node in that has only now come, before the slow ones, and returns its number and whom it has files from.
func (r *chains) join(h hop) (i int, near []string) {
	st := &station{hop: h}
	if r.star() {
		st.chain = len(r.lines)
		r.lines = append(r.lines, []*station{st})
	} else {
		for c := range r.lines {
			if len(r.lines[c]) < len(r.lines[st.chain]) {
				st.chain = c
			}
		}
		chain := r.lines[st.chain]
		at := slices.IndexFunc(chain, func(s *station) bool { return s.last })
		if at < 0 {
			at = len(chain)
		}
		r.lines[st.chain] = slices.Insert(chain, at, st)
	}
	r.stations = append(r.stations, st)
	st.near = r.nearOf(st)
	return len(r.stations) - 1, st.near
}

// change is a node that shall have files from others than it was told before.
type change struct {
	node int
	near []string
}

// turn moves nodes that are slow, and returns who is to be told what.
func (r *chains) turn(now time.Time) (told []change) {
	for i, st := range r.stations {
		r.progress(i, st.have, now) // one that is stuck says nothing
	}
	for _, st := range r.stations {
		if st.slow < slowTurns {
			continue
		}
		if source := r.source(st); source != nil {
			if source.lost++; source.lost > mostTurns { // it is not they who are slow
				st = source
			}
		}
		if r.mayMove(st) {
			st.first, st.last = r.source(st) == nil, true
			line := r.lines[st.chain]
			at := slices.Index(line, st)
			r.lines[st.chain] = append(slices.Delete(line, at, at+1), st)
		}
	}
	for i, st := range r.stations {
		if near := r.nearOf(st); !slices.Equal(near, st.near) && st.have < r.bytes && !st.gone {
			st.near = near
			told = append(told, change{i, near})
		}
	}
	return told
}

// mayMove reports whether moving a node to the end may help: somebody waits for it, and if it is the first, not
// everybody who was first has been slow, which would be the head's doing.
func (r *chains) mayMove(st *station) bool {
	firsts, after := 0, 0
	for _, other := range r.lines[st.chain] {
		if other.first {
			firsts++
		} else if !other.last && other != st && other.have < r.bytes && !other.gone {
			after++
		}
	}
	return after > 0 && !st.last && (r.source(st) != nil || firsts < mostTurns)
}

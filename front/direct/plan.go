package direct

import (
	"cmp"
	"hash/fnv"
	"slices"
	"strconv"
)

// assign gives each slot to a member by its index, -1 where there is none to give it to. Each has as many slots as its
// weight says, to one; of what was before as much stays as can, and the rest is decided by names, so that two fronts that
// know nothing of each other agree.
func assign(members []Member, before [Slots]string) (slots [Slots]int) {
	left := quotas(members)
	index := map[string]int{}
	for i, m := range members {
		index[m.Name] = i
	}
	for i := range slots {
		slots[i] = -1
		if at, known := index[before[i]]; known && left[at] > 0 {
			slots[i] = at
			left[at]--
		}
	}
	for i := range slots {
		if slots[i] < 0 {
			if slots[i] = favourite(members, left, i); slots[i] >= 0 {
				left[slots[i]]--
			}
		}
	}
	return slots
}

// quotas is how many slots each member has: by largest remainders, and one at least.
func quotas(members []Member) []int {
	quota, rest := make([]int, len(members)), make([]int, len(members))
	var open []int
	sum := 0
	for i, m := range members {
		if !m.Down && !m.Draining {
			open = append(open, i)
			sum += weight(m)
		}
	}
	if len(open) == 0 {
		return quota
	}
	spare := Slots - len(open)
	left := spare
	for _, i := range open {
		share := weight(members[i]) * spare
		quota[i], rest[i] = 1+share/sum, share%sum
		left -= share / sum
	}
	slices.SortStableFunc(open, func(a, b int) int {
		return cmp.Or(cmp.Compare(rest[b], rest[a]), cmp.Compare(members[a].Name, members[b].Name))
	})
	for _, i := range open[:left] {
		quota[i]++
	}
	return quota
}

func weight(m Member) int { return max(m.Weight, 1) }

// favourite is the member with slots left that rendezvous hashing likes best for a slot.
func favourite(members []Member, left []int, slot int) int {
	best, most := -1, uint64(0)
	for i, m := range members {
		if left[i] == 0 {
			continue
		}
		if score := hash(m.Name, slot); best < 0 || score > most {
			best, most = i, score
		}
	}
	return best
}

// hash is FNV-1a with the finish of MurmurHash3, for names that differ little.
func hash(name string, slot int) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name + "/" + strconv.Itoa(slot)))
	x := h.Sum64()
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

const (
	downAfter = 3 // knocks without an answer
	upAfter   = 2 // that were answered
)

// Answer is what came of a knock at a member's door: a packet that asks for a connection with the service address.
type Answer string

const (
	Open    Answer = "open"    // its server takes connections
	Refused Answer = "refused" // it holds the address, and nobody listens there
	Silent  Answer = "silent"  // nothing came: the member is away, or does not hold the address
)

// trial is what is thought of a member by its answers. The zero value is down.
type trial struct {
	up   bool
	row  int // answers in a row that speak against what is thought
	last Answer
}

// next takes an answer in. A refusal leaves no doubt; silence may be a lost packet.
func (t trial) next(a Answer) trial {
	t.last = a
	if (a == Open) == t.up {
		t.row = 0
		return t
	}
	t.row++
	if a == Refused || !t.up && t.row >= upAfter || t.up && t.row >= downAfter {
		t.up, t.row = a == Open, 0
	}
	return t
}

package job

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// shape is what a task of a job takes, and for how long at the most. Jobs of one shape, selection
// and owner stand in one line.
type shape struct {
	cpus, nodes, ranks, perNode int
	memory, memoryPerCPU        int64
	gres                        string // as gresText writes it
	exclusive                   bool
	limit                       time.Duration // 0: none
}

func shapeOf(s *Spec) shape {
	return shape{
		cpus: s.CPUs, nodes: s.Nodes, ranks: s.Ranks, perNode: s.RanksPerNode, memory: s.Memory, memoryPerCPU: s.MemoryPerCPU,
		gres: gresText(s.Gres), exclusive: s.Exclusive, limit: s.Timeout,
	}
}

// Spread reports whether a task is an allocation: of several nodes or ranks, to which it is told what it has.
func (s *Spec) Spread() bool { return s.Nodes > 1 || s.Ranks > 1 }

// gresText writes generic resources in one way: "camera:1,gpu:2".
func gresText(gres map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(gres)) {
		parts = append(parts, fmt.Sprintf("%s:%d", name, gres[name]))
	}
	return strings.Join(parts, ",")
}

// need is what so many ranks of a job take of a node.
func (j *job) need(n *node, ranks int) Attempt {
	a := Attempt{CPUs: ranks * j.spec.CPUs}
	for name, count := range j.spec.Gres {
		if a.Gres == nil {
			a.Gres = map[string]Gres{}
		}
		a.Gres[name] = Gres{Take: count, Of: n.offers[name]}
	}
	if j.spec.Exclusive {
		a.CPUs = n.slots.Cores
	}
	a.Memory = j.spec.memoryOf(ranks * j.spec.CPUs)
	return a
}

// suits reports whether the node, when empty, could take one rank of the job.
func (j *job) suits(n *node) bool {
	for name, count := range j.spec.Gres {
		if n.offers[name] < count {
			return false
		}
	}
	return j.spec.CPUs <= n.slots.Cores && j.spec.memoryOf(j.spec.CPUs) <= n.slots.Memory
}

// fits reports whether what a is would start at once on the node.
func (n *node) fits(a Attempt) bool {
	return n.slots.fitsNow(a.CPUs, a.Memory) && n.slots.gresFree(a.Gres)
}

// ranksNow is how many ranks of a job would start at once on the node, at most so many.
func (j *job) ranksNow(n *node, most int) int {
	most = min(most, n.slots.Cores/j.spec.CPUs)
	for r := most; r > 0; r-- {
		if n.fits(j.need(n, r)) {
			return r
		}
	}
	return 0
}

// candidate is a node that could take so many ranks.
type candidate struct {
	node  *node
	ranks int
}

// choose spreads ranks over nodes: over exactly so many, as evenly as they can take them, or, for nodes
// 0, over as few as hold them. It returns nothing when the candidates cannot take them.
func choose(list []candidate, nodes, ranks int) []candidate {
	slices.SortStableFunc(list, func(a, b candidate) int { return b.ranks - a.ranks })
	room, count := 0, 0
	for count < len(list) && (count < nodes || nodes == 0 && room < ranks) {
		room += list[count].ranks
		count++
	}
	if room < ranks || count < nodes || ranks < count {
		return nil
	}
	chosen := slices.Clone(list[:count])
	slices.SortFunc(chosen, func(a, b candidate) int { return a.node.at - b.node.at })
	spread(chosen, ranks, nodes > 0)
	return chosen
}

// spread says how many ranks each of the chosen gets: evenly, or as many as each holds until none is left.
func spread(chosen []candidate, ranks int, evenly bool) {
	if !evenly {
		for i := range chosen {
			others := len(chosen) - i - 1 // each is to have one
			chosen[i].ranks = min(chosen[i].ranks, ranks-others)
			ranks -= chosen[i].ranks
		}
		return
	}
	room := make([]int, len(chosen))
	for i, c := range chosen {
		room[i], chosen[i].ranks = c.ranks, 0
	}
	for ranks > 0 {
		for i := range chosen {
			if ranks > 0 && chosen[i].ranks < room[i] {
				chosen[i].ranks++
				ranks--
			}
		}
	}
}

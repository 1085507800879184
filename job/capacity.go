package job

import (
	"fmt"
	"maps"
	"slices"

	"bramble/fault"
)

// Capacity is what one node can give to a task.
type Capacity struct {
	Name   string
	Cores  int
	Memory int64          // bytes
	Gres   map[string]int // generic resources, as its labels say
}

// Fits reports whether the nodes that a job may use, up or not, could run a task of it when
// empty. If not, the error (fault.Misused, or fault.NotFound when there are no nodes) says what
// the largest has.
func Fits(s Spec, nodes []Capacity) error {
	if len(nodes) == 0 {
		return fault.New(fault.NotFound, "no node takes this job%s", onText(s)).Hint("bramble nodes shows who is here; bramble join adds one")
	}
	equipped := slices.DeleteFunc(slices.Clone(nodes), func(n Capacity) bool { return !n.equippedFor(s.Gres) })
	if len(equipped) == 0 {
		return fault.New(fault.Misused, "no node%s has %s", onText(s), gresText(s.Gres)).Hint("%s", gresHint(s.Gres))
	}
	if s.Spread() {
		return fitsTogether(s, equipped)
	}
	need := s
	need.Memory = s.memoryOf(s.CPUs)
	return fitsOne(need, equipped)
}

// memoryOf is the memory, in bytes, that so many cores on one node come with.
func (s *Spec) memoryOf(cpus int) int64 {
	if s.MemoryPerCPU > 0 {
		return s.MemoryPerCPU * int64(cpus)
	}
	return s.Memory
}

func (n *Capacity) equippedFor(gres map[string]int) bool {
	for name, count := range gres {
		if n.Gres[name] < count {
			return false
		}
	}
	return true
}

func gresHint(gres map[string]int) string {
	for _, name := range slices.Sorted(maps.Keys(gres)) {
		return fmt.Sprintf("bramble nodes label NODE %s=%d, for a node that has it", name, gres[name])
	}
	return ""
}

// fitsTogether is Fits for a task over several nodes or ranks.
func fitsTogether(s Spec, nodes []Capacity) error {
	var list []candidate
	total, ranks := 0, max(1, s.Ranks)
	for _, n := range nodes {
		if r := n.ranks(&s); r > 0 {
			list = append(list, candidate{&node{name: n.Name}, r})
			total += r
		}
	}
	if choose(list, s.Nodes, ranks) != nil {
		return nil
	}
	each := fmt.Sprintf("ranks of %s", coresText(s.CPUs))
	if memory := s.memoryOf(s.CPUs); memory > 0 {
		each += " with " + bytesText(memory)
	}
	switch {
	case len(list) < s.Nodes:
		return fault.New(fault.Misused, "%d nodes%s were asked for, and %d could hold %s", s.Nodes, onText(s), len(list), each).Hint("--nodes %d", max(1, len(list)))
	case s.Nodes > 0:
		return fault.New(fault.Misused, "no %d nodes%s hold %d %s", s.Nodes, onText(s), ranks, each).Hint("more --nodes, or fewer --ranks")
	}
	return fault.New(fault.Misused, "the nodes%s hold %d %s together, not %d", onText(s), total, each, ranks).Hint("--ranks %d", max(1, total))
}

// ranks is how many ranks the node holds when it is empty.
func (n *Capacity) ranks(s *Spec) int {
	most := max(1, s.Ranks)
	if s.RanksPerNode > 0 {
		most = min(most, s.RanksPerNode)
	}
	for r := min(most, n.Cores/s.CPUs); r > 0; r-- {
		if s.memoryOf(r*s.CPUs) <= n.Memory {
			return r
		}
	}
	return 0
}

// fitsOne is Fits for a task on one node.
func fitsOne(s Spec, nodes []Capacity) error {
	most, big := nodes[0], nodes[0]
	for _, n := range nodes {
		if n.Cores >= s.CPUs && n.Memory >= s.Memory {
			return nil
		}
		if n.Cores > most.Cores {
			most = n
		}
		if n.Memory > big.Memory {
			big = n
		}
	}
	return fault.New(fault.Misused, "no node%s has %s", onText(s), lacks(s, most, big)).Hint("%s", askLess(s, most, big))
}

// lacks says what the nodes with the most cores and the most memory are short of.
func lacks(s Spec, most, big Capacity) string {
	cores := fmt.Sprintf("%d cores: the largest, %s, has %d", s.CPUs, most.Name, most.Cores)
	memory := fmt.Sprintf("%s of memory: the largest, %s, has %s", bytesText(s.Memory), big.Name, bytesText(big.Memory))
	switch {
	case most.Cores < s.CPUs && big.Memory < s.Memory:
		return cores + ", and none has " + memory
	case most.Cores < s.CPUs:
		return cores
	case big.Memory < s.Memory:
		return memory
	}
	return fmt.Sprintf("both %d cores and %s of memory: %s has %d and %s, %s has %d and %s", s.CPUs, bytesText(s.Memory),
		most.Name, most.Cores, bytesText(most.Memory), big.Name, big.Cores, bytesText(big.Memory))
}

// askLess is what would fit.
func askLess(s Spec, most, big Capacity) string {
	switch cores, memory := most.Cores < s.CPUs, big.Memory < s.Memory; {
	case cores && memory:
		return fmt.Sprintf("--cpus %d --mem %dM", big.Cores, big.Memory>>20)
	case cores:
		return fmt.Sprintf("--cpus %d", most.Cores)
	case memory:
		return fmt.Sprintf("--mem %dM", big.Memory>>20)
	}
	return fmt.Sprintf("--cpus %d --mem %dM", big.Cores, big.Memory>>20)
}

func coresText(n int) string {
	if n == 1 {
		return "1 core"
	}
	return fmt.Sprintf("%d cores", n)
}

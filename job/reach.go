package job

import (
	"slices"
	"sync"

	"bramble/fleet"
)

// reach remembers what selections mean until the fleet says that something changed, since a cluster may have
// thousands of nodes and be given hundreds of jobs a second.
type reach struct {
	mu    sync.Mutex
	known map[string]reached
	age   int // counts changes
}

// reached is what a selection means: workers, by name, and what each has.
type reached struct {
	workers  []fleet.Node
	names    []string
	capacity []Capacity
}

// with is what each has, generic resources included.
func (r reached) with(gres map[string]int) []Capacity {
	if len(gres) == 0 {
		return r.capacity
	}
	all := slices.Clone(r.capacity)
	for i, n := range r.workers {
		all[i].Gres = map[string]int{}
		for name := range gres {
			all[i].Gres[name] = offers(n, name)
		}
	}
	return all
}

// maxReaches is how many selections are remembered.
const maxReaches = 64

// forget is for when selections may mean something else.
func (r *reach) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known = nil
	r.age++
}

// of is what a selection means; find is asked when that is not known. The caller must not change it.
func (r *reach) of(on string, find func() ([]fleet.Node, error)) (reached, error) {
	r.mu.Lock()
	found, known := r.known[on]
	age := r.age
	r.mu.Unlock()
	if known {
		return found, nil
	}
	workers, err := find()
	if err != nil {
		return reached{}, err
	}
	found = reached{workers, make([]string, len(workers)), make([]Capacity, len(workers))}
	for i, n := range workers {
		found.names[i] = n.Name
		found.capacity[i] = Capacity{Name: n.Name, Cores: n.Cores, Memory: n.Memory}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.age == age {
		if r.known == nil || len(r.known) >= maxReaches {
			r.known = map[string]reached{}
		}
		r.known[on] = found
	}
	return found, nil
}

package job

import (
	"slices"
	"strconv"
	"sync"

	"bramble/fleet"
)

// fleetNews is what happened to nodes and the loop has not seen. It has a lock of its own and never
// waits, since the fleet may hold what the loop needs when it tells.
type fleetNews struct {
	news chan struct{}

	mu      sync.Mutex
	changes []change
}

// change is a node's new state, or, without one, that its record changed.
type change struct {
	node    string
	to      fleet.State
	drained bool
}

// FleetChanged takes in a change of a node's state; it does not block.
func (s *Service) FleetChanged(n fleet.Node, c fleet.Change) {
	if isWorker(n) {
		s.fleet.mu.Lock()
		s.fleet.changes = append(s.fleet.changes, change{n.Name, c.To, n.Drained != ""})
		s.fleet.mu.Unlock()
	}
	s.reach.forget()
	signal(s.fleet.news)
}

// RollChanged takes in that a node's labels or facts changed, or whether it is drained; it does not block.
func (s *Service) RollChanged(n fleet.Node) {
	if isWorker(n) {
		s.fleet.mu.Lock()
		s.fleet.changes = append(s.fleet.changes, change{node: n.Name, drained: n.Drained != ""})
		s.fleet.mu.Unlock()
	}
	s.reach.forget()
	signal(s.fleet.news)
}

func (s *Service) takeFleetNews() {
	s.fleet.mu.Lock()
	changes := s.fleet.changes
	s.fleet.changes = nil
	s.fleet.mu.Unlock()
	for _, c := range changes {
		if c.to != fleet.Gone && s.state.Drained(c.node) != c.drained {
			s.happen(drainEvent(c.node, c.drained))
		}
		switch c.to {
		case fleet.Up:
			s.courier(c.node).resync()
		case fleet.Suspect:
			s.happen(NodeSuspect{c.node})
		case fleet.Down:
			s.happen(NodeDown{c.node})
		case fleet.Gone:
			s.happen(NodeGone{c.node})
			s.dismiss(c.node)
		}
	}
	s.reselect = true
}

func drainEvent(node string, drained bool) Event {
	if drained {
		return Drained{node}
	}
	return Undrained{node}
}

// selections tells the state which nodes each selection in use means now.
func (s *Service) selections() {
	s.reselect = false
	inUse := s.state.Selections()
	if len(inUse) == 0 {
		return // thousands may be joining
	}
	workers := s.workers()
	for _, sel := range inUse {
		s.happen(Eligible{Selection: sel, Nodes: s.eligible(sel, workers)})
	}
	for _, name := range s.state.GresInUse() {
		s.happen(offered(name, workers))
	}
}

// eligible is the names of the workers of a partition that a selection means.
func (s *Service) eligible(sel Selection, workers []fleet.Node) []string {
	names := match(sel.On, workers)
	if sel.Partition == "" {
		return names
	}
	p, known := s.state.partitions[sel.Partition]
	if !known {
		return []string{}
	}
	in := match(p.On, workers)
	return slices.DeleteFunc(names, func(name string) bool { return !slices.Contains(in, name) })
}

// offered is how much of a generic resource each worker has: as much as its label of that name says.
func offered(name string, workers []fleet.Node) Offered {
	ev := Offered{Gres: name, Nodes: map[string]int{}}
	for _, n := range workers {
		if count := offers(n, name); count > 0 {
			ev.Nodes[n.Name] = count
		}
	}
	return ev
}

// offers is how much of a generic resource a node has: the number that its label of that name has for a value, or one.
func offers(n fleet.Node, name string) int {
	value, labelled := n.Labels[name]
	if !labelled {
		return 0
	}
	if count, err := strconv.Atoi(value); err == nil {
		return max(0, count)
	}
	return 1
}

func (s *Service) workers() []fleet.Node {
	return slices.DeleteFunc(s.Fleet.Nodes(), func(n fleet.Node) bool { return !isWorker(n) })
}

func isWorker(n fleet.Node) bool { return slices.Contains(n.Roles, fleet.RoleWorker) }

// match is the names of the workers that a selection means; none for one that cannot be read, which submit has refused.
func match(on string, workers []fleet.Node) []string {
	var sel fleet.Selector
	if on != "" {
		var err error
		if sel, err = fleet.ParseSelector(on); err != nil {
			return nil
		}
	}
	names := []string{}
	for _, n := range sel.Match(workers) {
		names = append(names, n.Name)
	}
	return names
}

package job

import "time"

// nodeUp takes a node's word for what it holds.
func (st *turn) nodeUp(ev NodeUp) {
	s := st.s
	n := s.addNode(ev.Name)
	n.link, n.paused, n.downAt, n.moveAt = linkUp, time.Time{}, time.Time{}, time.Time{}
	if n.slots.Cores != ev.Cores || n.slots.Memory != ev.Memory {
		n.slots.Cores, n.slots.Memory = ev.Cores, ev.Memory
		s.index.stale = true
	}
	n.told = true
	st.results(n, ev.Name, ev.Results)
	believed := n.held()
	n.hold(ev.Held)
	here := make(map[Key]bool, len(ev.Held))
	for _, h := range ev.Held {
		here[h.Key] = true
		st.confirm(n, h.Attempt, !h.Waiting)
	}
	for _, k := range believed {
		if !here[k] {
			st.move(n, k, whyMissing)
		}
	}
	s.index.put(n)
	delete(s.expect, ev.Name)
}

// hold makes the node's books say what the node says: an attempt that is to be killed takes its place until it has ended.
func (n *node) hold(list []Held) {
	n.slots.Reset()
	for _, h := range list {
		n.slots.Add(h.Attempt)
		if !h.Waiting {
			n.slots.Promote(h.Key)
		}
	}
	n.slots.Start()
}

// held is the attempts on a node.
func (n *node) held() []Key {
	list := n.slots.all()
	keys := make([]Key, len(list))
	for i, a := range list {
		keys[i] = a.Key
	}
	return keys
}

// offer says how much of a generic resource a node has.
func (n *node) offer(name string, count int) {
	switch {
	case count > 0 && n.offers == nil:
		n.offers = map[string]int{name: count}
	case count > 0:
		n.offers[name] = count
	default:
		delete(n.offers, name)
	}
}

func (st *turn) nodeGone(name string) {
	s := st.s
	n := s.nodes[name]
	if n == nil {
		return
	}
	for _, k := range n.held() {
		st.move(n, k, whyGone)
	}
	s.dropNode(n)
	delete(s.expect, name)
}

// watch notes when the first attempt on a down node outlasts its job's patience.
func (s *State) watch(n *node) {
	n.moveAt = time.Time{}
	for _, k := range n.held() {
		if j, _, ok := s.holder(n, k); ok {
			n.moveAt = earlier(n.moveAt, n.downAt.Add(j.spec.Patience))
		}
	}
	s.timers = earlier(s.timers, n.moveAt)
}

// outlast moves the attempts on a down node whose job's patience has run out.
func (st *turn) outlast(n *node) {
	for _, k := range n.held() {
		j, _, ok := st.s.holder(n, k)
		if ok && !n.downAt.Add(j.spec.Patience).After(st.now) {
			st.move(n, k, whyDown)
		}
	}
	st.s.watch(n)
}

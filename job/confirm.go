package job

// started notes what runs; an attempt that should not run is killed.
func (st *turn) started(ev Started) {
	s, n := st.s, st.s.nodes[ev.Node]
	if n == nil {
		return
	}
	for _, k := range ev.Keys {
		n.slots.Promote(k)
		a := Attempt{Key: k}
		if i := find(n.slots.running, k); i >= 0 {
			a = n.slots.running[i]
		}
		st.confirm(n, a, true)
	}
	s.index.put(n)
	if n.link == linkDown {
		s.watch(n)
	}
}

// confirm notes that a node holds an attempt, or has it killed when it should not.
func (st *turn) confirm(n *node, at Attempt, started bool) {
	s, k := st.s, at.Key
	j, task, ok := s.holder(n, k)
	if !ok && s.claim(n, at) {
		if !st.complete(at) {
			return
		}
		j, task, ok = s.holder(n, k)
	}
	if !ok {
		if !s.mayBeShare(at) {
			st.send(&st.kills, n.name, k, whySuperseded)
		}
		return
	}
	a := j.active[task]
	if a.node != n {
		return
	}
	if started {
		if a.recalled {
			s.recalling -= a.cpus
		}
		a.started, a.recalled = true, false
		j.active[task] = a
	}
	if j.isStopped(task) {
		st.send(&st.kills, n.name, k, whyCancelled)
	}
}

// complete enters what other nodes have of an allocation that its leader has claimed. It reports whether they may
// still have it: one that has told what it holds and does not have its share has lost it.
func (st *turn) complete(at Attempt) bool {
	s := st.s
	for i, share := range at.Shares {
		n := s.nodes[share.Node]
		if i == 0 || n == nil || n.slots.holds(at.Key) {
			continue
		}
		if n.told {
			st.move(n, at.Key, whyMissing)
			return false
		}
		n.slots.Add(Attempt{Key: at.Key, CPUs: share.CPUs, Memory: share.Memory, Member: true})
		n.slots.Promote(at.Key)
		s.index.put(n)
	}
	return true
}

// rejected takes back what a node will not start. A refusal out of turn earns it a pause.
func (st *turn) rejected(ev Rejected) {
	s, n := st.s, st.s.nodes[ev.Node]
	if n == nil {
		return
	}
	for _, k := range ev.Keys {
		n.slots.Remove(k)
		j, task, ok := s.holder(n, k)
		if ok && !j.isStopped(task) && !j.active[task].recalled {
			n.paused = st.now.Add(refusalPause)
			s.timers = earlier(s.timers, n.paused)
		}
		st.move(n, k, ev.Reason)
	}
	n.slots.Start()
	s.index.put(n)
}

package job

import "time"

// turn is one Step in the making.
type turn struct {
	s   *State
	now time.Time
	rec []byte // entries of this Step's record

	accepted                       ID
	final                          []Result
	whole                          []Result // the results that came, when all so far were final: spares the copy
	done                           []*job   // with tasks in fresh
	over                           []ID
	starts                         []*node
	limits                         []Limit
	forgets, kills, recalls, moves []parcel
}

// parcel is attempts on one node of which the same is to be said.
type parcel struct {
	node, why string
	keys      []Key
}

// seq is the number of the record that this Step writes.
func (st *turn) seq() uint64 { return st.s.seq + 1 }

// wake is when time should next be let pass, if that is news; always after a Tick.
func (st *turn) wake(ticked bool) (at time.Time) {
	s := st.s
	at = earlier(earlier(s.window, s.timers), st.recall())
	if at.Equal(s.wake) && !ticked {
		return time.Time{}
	}
	s.wake = at
	return at
}

// send says something of one more attempt.
func (st *turn) send(list *[]parcel, node string, k Key, why string) {
	if n := len(*list); n == 0 || (*list)[n-1].node != node || (*list)[n-1].why != why {
		*list = append(*list, parcel{node: node, why: why})
	}
	last := &(*list)[len(*list)-1]
	last.keys = append(last.keys, k)
}

// actions is what this Step asks for; its record comes first.
func (st *turn) actions(wake time.Time) []Action {
	s := st.s
	var list []Action
	if len(st.rec) > 0 {
		data := appendHeader(make([]byte, 0, len(st.rec)+24), st.seq(), st.now)
		s.seq++
		list = append(list, Record{Seq: s.seq, Data: append(data, st.rec...)})
	}
	if st.accepted > 0 {
		list = append(list, Accepted{ID: st.accepted, After: s.seq})
	}
	if st.whole != nil {
		st.final = st.whole
	}
	if len(st.final) > 0 {
		list = append(list, Final{st.final})
	}
	for _, p := range st.forgets {
		list = append(list, Forget{Node: p.node, Keys: p.keys, After: s.seq})
	}
	for _, p := range st.moves {
		list = append(list, Moved{Node: p.node, Keys: p.keys, Why: p.why})
	}
	for _, p := range st.kills {
		list = append(list, Kill{Node: p.node, Keys: p.keys, Why: p.why, After: s.seq})
	}
	for _, p := range st.recalls {
		list = append(list, Recall{Node: p.node, Keys: p.keys, After: s.seq})
	}
	for _, l := range st.limits {
		l.After = s.seq
		list = append(list, l)
	}
	for _, n := range st.starts {
		list = append(list, Start{Node: n.name, Attempts: n.start, After: n.after})
		n.start, n.started, n.after = nil, len(n.start), 0
	}
	for _, id := range st.over {
		list = append(list, JobEnded{ID: id, After: s.seq})
	}
	for _, id := range s.forgot {
		list = append(list, JobForgotten{ID: id})
	}
	s.forgot = nil
	if !wake.IsZero() {
		list = append(list, WakeAt{wake})
	}
	return list
}

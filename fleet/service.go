package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"bramble/bus"
	"bramble/event"
	"bramble/fault"
	"bramble/metric"
	"bramble/trust"
)

// Service is the head's half: it keeps the roll of members and watches over them.
type Service struct {
	Conn      *bus.Conn
	Watch     func(ctx context.Context, heard func(bus.Presence)) error // the bus server's
	Authority *trust.Authority
	Roll      trust.Store // one record a node, under node.NAME
	Events    *event.Log
	Metrics   *metric.Set
	Version   string
	Now       func() time.Time
	Log       *slog.Logger
	// OnChange is told every change of a node's state, in order; it must not block.
	OnChange func(Node, Change)
	// OnRoll is told a node whose labels or facts changed, or whether it is drained; it must not block.
	OnRoll func(Node)
	// Busy refuses what would pull a node away from under running work.
	Busy func(name string) error
	// BeatsMost is about how many heartbeats a second it takes; 0: 400.
	BeatsMost int

	joiners limiter
	ended   sync.WaitGroup

	mu      sync.Mutex
	members map[string]*entry
	order   []string        // their names in natural order, as of the last look
	gone    map[string]bool // names that were removed and not given out again: what they still say is late
	watches map[*watch]bool
	denied  map[string]bool // serials that the nodes have been told of
	pace    time.Duration   // how often nodes beat
}

// entry is a node and what the head noticed of it.
type entry struct {
	node   Node
	view   View
	shown  State      // as last told to OnChange
	saving sync.Mutex // held while the record is written, so that the later one stays
}

// known reports whether the node has ever said what it is; until then it is in no list.
func (m *entry) known() bool { return m.node.Version != "" }

// Run serves until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	if err := s.Open(ctx); err != nil {
		return err
	}
	s.register()
	if err := s.answer(ctx); err != nil {
		return err
	}
	defer s.ended.Wait()
	s.ended.Go(func() { s.tick(ctx) })
	return s.Watch(ctx, func(p bus.Presence) {
		if p.ID.Kind == trust.KindNode {
			s.presence(p)
		}
	})
}

// Open reads the roll, once; Run does it if nobody has. Before it, no node is known.
func (s *Service) Open(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.members != nil {
		return nil
	}
	s.members, s.gone, s.denied = map[string]*entry{}, map[string]bool{}, map[string]bool{}
	for _, serial := range s.Authority.Denied() {
		s.denied[serial] = true // each node is told at its hello
	}
	s.Authority.OnRevoke(func(trust.Identity) { s.deny() })
	records, err := s.Roll.List(ctx, "node.")
	if err != nil {
		return err
	}
	for key, data := range records {
		var n Node
		if err := json.Unmarshal(data, &n); err != nil {
			s.Log.Error("unreadable member record", "key", key, "error", err)
			continue
		}
		n.State = Suspect
		s.members[n.Name] = &entry{node: n, view: Returning(s.Now())}
	}
	return nil
}

func (s *Service) register() {
	s.Metrics.Collect("bramble_fleet_nodes", "Members by state.", "gauge", func(emit metric.Emit) {
		count := map[State]int{Up: 0, Suspect: 0, Down: 0}
		for _, n := range s.Nodes() {
			count[n.State]++
		}
		for _, state := range slices.Sorted(maps.Keys(count)) {
			emit(float64(count[state]), "state", string(state))
		}
	})
	gauge := func(name, help string, value func(Node) float64) {
		s.Metrics.Collect("bramble_fleet_node_"+name, help, "gauge", func(emit metric.Emit) {
			for _, n := range s.Nodes() {
				emit(value(n), "node", n.Name)
			}
		})
	}
	gauge("load", "One-minute load average.", func(n Node) float64 { return n.Sample.Load })
	gauge("memory_used_bytes", "Memory in use.", func(n Node) float64 { return float64(n.Sample.MemUsed) })
	gauge("temperature_celsius", "Hottest sensor; 0 without one.", func(n Node) float64 { return n.Sample.Temp })
	gauge("up", "1 when the node is up.", func(n Node) float64 {
		if n.State == Up {
			return 1
		}
		return 0
	})
}

// inOrder is the members' names in natural order, sorted anew only when members came or went; s.mu is held.
func (s *Service) inOrder() []string {
	same := len(s.order) == len(s.members)
	for i := 0; same && i < len(s.order); i++ {
		same = s.members[s.order[i]] != nil
	}
	if !same {
		s.order = slices.SortedFunc(maps.Keys(s.members), NaturalCompare)
	}
	return s.order
}

// known is all members that have said what they are, in natural order; s.mu is held.
func (s *Service) known() []*Node {
	nodes := make([]*Node, 0, len(s.members))
	for _, name := range s.inOrder() {
		if m := s.members[name]; m.known() {
			nodes = append(nodes, &m.node)
		}
	}
	return nodes
}

// Nodes returns all members in natural order.
func (s *Service) Nodes() []Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return values(s.known())
}

// Select returns the members that a selection means.
func (s *Service) Select(selection string) ([]Node, error) {
	return selected(s, selection, func(n *Node) Node { return *n })
}

// Standings is Select for who asks no more than that of a member.
func (s *Service) Standings(selection string) ([]Standing, error) {
	return selected(s, selection, func(n *Node) Standing { return Standing{n.Name, n.State} })
}

// selected is what is wanted of each member that a selection means.
func selected[T any](s *Service, selection string, want func(*Node) T) ([]T, error) {
	sel, err := ParseSelector(cmp.Or(selection, "all"))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	nodes, err := sel.find(s.known())
	if err != nil {
		return nil, err
	}
	list := make([]T, len(nodes))
	for i, n := range nodes {
		list[i] = want(n)
	}
	return list, nil
}

// Node returns one member; fault.NotFound when there is none of that name.
func (s *Service) Node(name string) (Node, error) {
	s.mu.Lock()
	if m := s.members[name]; m != nil && m.known() {
		defer s.mu.Unlock()
		return m.node, nil
	}
	s.mu.Unlock()
	return Node{}, unknownNode(name, s.Nodes())
}

func unknownNode(name string, nodes []Node) error {
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.Name
	}
	err := fault.New(fault.NotFound, "no node is called %q", name).Hint("bramble nodes")
	if near := Nearest(name, names); near != "" {
		err.Hint("%s, or bramble nodes for the list", near)
	}
	return err
}

// presence takes in a connection made or closed.
func (s *Service) presence(p bus.Presence) {
	kind := Disconnected
	if p.Connected {
		kind = Connected
	}
	s.observe(p.ID.Name, Event{Kind: kind, Conn: p.Conn}, func(n *Node) {
		if p.Connected && p.Remote != "" {
			n.Address = p.Remote
		}
	})
}

// observe applies what was noticed of a node, and change with it, and tells those who watch.
func (s *Service) observe(name string, ev Event, change func(*Node)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.members[name]
	if m == nil {
		if ev.Kind != Connected || s.gone[name] {
			return
		}
		m = &entry{node: Node{Name: name, Joined: s.Now().UTC(), Labels: map[string]string{}}}
		s.members[name] = m
	}
	now := s.Now()
	view, changes := Observe(m.view, ev, now)
	m.view = view
	if ev.Kind == Connected || ev.Kind == Beat {
		m.node.Seen, m.view.Pace = now.UTC(), s.pace
	}
	if change != nil {
		change(&m.node)
	}
	for _, c := range changes {
		m.node.State = c.To
		s.tell(m, c)
	}
	if m.node.State == Down && !m.known() {
		delete(s.members, name) // it connected and never said what it is
	}
	s.mark(name, ev.Kind == Beat && len(changes) == 0)
}

// tell passes a change on. A node that only connected is not up before it has said what it is.
func (s *Service) tell(m *entry, c Change) {
	if !m.known() || c.To == m.shown {
		return
	}
	c.From, m.shown = m.shown, c.To
	if c.To == Down || c.To == Up {
		s.Events.Record(event.Event{Kind: event.Change, Room: "fleet", Node: m.node.Name,
			Text: m.node.Name + " is " + string(c.To) + ": " + c.Why, Bad: c.To == Down})
	}
	if s.OnChange != nil {
		s.OnChange(m.node, c)
	}
}

// tick lets time pass for nodes that say nothing.
func (s *Service) tick(ctx context.Context) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.keepPace()
			for _, name := range s.due() {
				s.observe(name, Event{Kind: Tick}, nil)
			}
		}
	}
}

// keepPace has the nodes beat less often when they have become many, and more often when they have become few.
func (s *Service) keepPace() {
	s.mu.Lock()
	pace := Pace(len(s.members), cmp.Or(s.BeatsMost, 400))
	if pace == s.pace {
		s.mu.Unlock()
		return
	}
	s.pace = pace
	names := slices.Clone(s.inOrder())
	for _, m := range s.members {
		m.view.Pace = max(m.view.Pace, pace) // and no less before its next beat
	}
	s.mu.Unlock()
	for _, name := range names {
		s.Conn.Publish(bus.Node("fleet", name, "pace"), pace) // who misses it is told at its next hello
	}
}

func (s *Service) due() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Now()
	var names []string
	for name, m := range s.members {
		if next := Next(m.view); !next.IsZero() && !now.Before(next) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// save writes a node's record; s.mu is not held.
func (s *Service) save(ctx context.Context, n Node) error {
	data, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return s.Roll.Put(ctx, "node."+n.Name, data)
}

// update changes a member and saves it, unless nothing changed.
func (s *Service) update(ctx context.Context, name string, change func(*Node)) error {
	s.mu.Lock()
	m := s.members[name]
	s.mu.Unlock()
	if m == nil {
		return unknownNode(name, s.Nodes())
	}
	m.saving.Lock()
	defer m.saving.Unlock()
	s.mu.Lock()
	changed := m.node
	s.mu.Unlock()
	before := changed
	changed.Labels = maps.Clone(changed.Labels)
	change(&changed)
	if reflect.DeepEqual(before, changed) {
		return nil
	}
	if err := s.save(ctx, changed); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.members[name] == m {
		change(&m.node)
		s.mark(name, false)
		if s.OnRoll != nil {
			s.OnRoll(m.node)
		}
		return nil
	}
	return s.Roll.Delete(ctx, "node."+name) // removed meanwhile
}

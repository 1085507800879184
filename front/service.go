package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"bramble/bus"
	"bramble/event"
	"bramble/fault"
	"bramble/fleet"
	"bramble/trust"
)

// Service is the head's half: it knows what fronts there are, and who their members are at each moment.
type Service struct {
	Conn   *bus.Conn
	Books  Books
	Fleet  Fleet
	Source Source
	Page   string // of the dashboard, where members are looked after
	// Certify makes a certificate by the cluster's CA, and its key, for names and addresses.
	Certify func(names []string) (Pair, error)
	Events  *event.Log
	Now     func() time.Time
	Log     *slog.Logger

	soon time.Duration // until a CA that did not answer is asked again, at first; 0: soonest

	kick   chan struct{} // something about nodes or sites changed
	turn   sync.Mutex    // one change of fronts at a time
	making sync.Mutex    // one order at a time, so that the last one has what is known last

	mu      sync.Mutex
	fronts  map[string]Front
	issued  map[string]issued // certificates by the cluster's CA, by front
	orders  map[string]Order
	reports map[string]report   // by node
	looked  map[string]looked   // addresses of servers that have a name
	places  map[string][]Place  // where sites were served last, as it is in the books
	issuers map[string]*issuing // of certificates by ACME, by front
	anew    map[string]bool     // fronts whose certificates are to be asked for whatever became of that before
}

// Fleet knows the nodes.
type Fleet interface {
	Select(selection string) ([]fleet.Node, error)
	Nodes() []fleet.Node
}

// Books is where the head keeps fronts: a value is on its disk when Put returns.
type Books interface {
	Put(ctx context.Context, key string, value []byte) error
	Delete(ctx context.Context, key string) error
	List(ctx context.Context, prefix string) (map[string][]byte, error)
}

// looked is what a server's name stood for, and when.
type looked struct {
	at        time.Time
	addresses []netip.AddrPort
	err       error
}

const (
	remindEvery = 2 * time.Second
	lookEvery   = 30 * time.Second // at a server's name again
)

// Open reads the books.
func (s *Service) Open(ctx context.Context) error {
	s.kick = make(chan struct{}, 1)
	s.issued, s.orders, s.reports, s.looked = map[string]issued{}, map[string]Order{}, map[string]report{}, map[string]looked{}
	s.places, s.issuers, s.anew = map[string][]Place{}, map[string]*issuing{}, map[string]bool{}
	return s.load(ctx)
}

// Changed tells that nodes or sites are not what they were.
func (s *Service) Changed() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// Run serves until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	err := errors.Join(
		bus.Handle(ctx, s.Conn, "front.do.up", s.up),
		bus.Handle(ctx, s.Conn, "front.do.down", s.down),
		bus.Handle(ctx, s.Conn, "front.do.change", s.change),
		bus.Handle(ctx, s.Conn, "front.read.status", s.status),
		bus.HandleStream(ctx, s.Conn, "front.do.log", s.sendLog),
		bus.Handle(ctx, s.Conn, bus.From("front", "*", "report"), s.heard),
	)
	if err != nil {
		return err
	}
	tick := time.NewTicker(remindEvery)
	defer tick.Stop()
	defer s.stopIssuing()
	for {
		s.issue(ctx)
		s.refresh(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-s.kick:
		case <-tick.C:
			s.tellLoads()
		}
	}
}

// tellLoads tells nodes whose fronts choose by it how busy all nodes are.
func (s *Service) tellLoads() {
	byLoad := slices.DeleteFunc(s.list(), func(f Front) bool { return f.Common.Balance != Heartbeat })
	if len(byLoad) == 0 {
		return
	}
	loads := map[string]float64{}
	for _, n := range s.Fleet.Nodes() {
		loads[n.Name] = n.Sample.CPU
	}
	told := map[string]bool{}
	for _, f := range byLoad {
		for _, n := range s.carriers(f) {
			if told[n.Name] || n.State != fleet.Up {
				continue
			}
			told[n.Name] = true
			if err := s.Conn.Publish(bus.Node("front", n.Name, "loads"), loads); err != nil {
				s.Log.Debug("a node is not told how busy others are", "node", n.Name, "error", err)
			}
		}
	}
}

// heard takes in what a node says of its fronts.
func (s *Service) heard(_ context.Context, who bus.Caller, r report) (struct{}, error) {
	if who.Kind != trust.KindNode {
		return struct{}{}, fault.New(fault.Denied, "only nodes report on fronts")
	}
	s.mu.Lock()
	s.reports[who.Name] = r
	s.mu.Unlock()
	if r.Hello {
		s.Changed()
	}
	return struct{}{}, nil
}

// refresh finds out what each front should do now, and tells nodes that do something else.
func (s *Service) refresh(ctx context.Context) {
	for _, f := range s.list() {
		if err := s.compose(ctx, f); err != nil {
			s.Log.Warn("a front stays as it was", "front", f.Name, "error", err)
		}
	}
	selected := map[string]orders{}
	for _, f := range s.list() {
		s.mu.Lock()
		o, ok := s.orders[f.Name]
		s.mu.Unlock()
		for _, n := range s.carriers(f) {
			if ok {
				mine := selected[n.Name]
				mine.Fronts = append(mine.Fronts, o)
				selected[n.Name] = mine
			}
		}
		if o.Straight != nil {
			for _, m := range o.Straight.Members {
				mine := selected[m.Name]
				mine.Hold = o.Straight.Address.String()
				selected[m.Name] = mine
			}
		}
	}
	if len(selected) == 0 && !s.carried() {
		return // thousands may be joining
	}
	for _, n := range s.Fleet.Nodes() {
		s.mu.Lock()
		carried := s.reports[n.Name]
		s.mu.Unlock()
		if n.State != fleet.Down && !selected[n.Name].satisfied(carried) {
			if err := s.Conn.Publish(bus.Node("front", n.Name, "want"), selected[n.Name]); err != nil {
				s.Log.Warn("a node is not told of its fronts", "node", n.Name, "error", err)
			}
		}
	}
}

// carried reports whether any node does something for a front, as far as is known.
func (s *Service) carried() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.reports {
		if len(r.Fronts) > 0 || r.Hold != "" {
			return true
		}
	}
	return false
}

// carriers are the nodes that have a front's doors now.
func (s *Service) carriers(f Front) []fleet.Node {
	return fleet.Meant(f.On, s.Fleet.Nodes())
}

// satisfied reports whether a node knows of these orders and no others.
func (o orders) satisfied(r report) bool {
	for _, one := range o.Fronts {
		if r.Fronts[one.Name] != one.Rev {
			return false
		}
	}
	return len(r.Fronts) == len(o.Fronts) && r.Hold == o.Hold
}

// compose makes a front's order anew.
func (s *Service) compose(ctx context.Context, f Front) error {
	s.making.Lock()
	defer s.making.Unlock()
	served := map[string]Served{}
	for _, ref := range f.Sites {
		one, err := s.Source.Served(ref.Name)
		if err != nil && !fault.Is(err, fault.NotFound) { // one that was removed has no members
			return err
		}
		if one, err = s.remembered(ctx, ref.Name, one); err != nil {
			return err
		}
		served[ref.Name] = one
	}
	spec, err := compose(f, served, func(server string) ([]netip.AddrPort, error) { return s.look(ctx, server) })
	if err != nil {
		return err
	}
	if len(f.Manager) > 0 {
		spec.Manager = Manager{f.Manager, s.Page + "#front-" + f.Name}
	}
	if len(f.Doors.TLS) > 0 && len(f.Doors.Pairs) == 0 && f.Doors.ACME == nil {
		if f.Doors.Pairs, err = s.certified(ctx, f, spec); err != nil {
			return err
		}
	}
	var straight *Straight
	if f.Doors.Direct {
		var carriers []string
		for _, n := range s.carriers(f) {
			carriers = append(carriers, n.Name)
		}
		if straight, err = straighten(f, carriers, spec); err != nil {
			return err
		}
		spec = Spec{}
	}
	o := ordered(f, spec, straight)
	if f.Doors.ACME != nil {
		o.Doors.ACME = nil // what nodes need of it follows
		if o.Issued, o.Proofs, err = s.issuedFor(f); err != nil {
			return err
		}
		o = o.stamped()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.orders[f.Name] = o
	return nil
}

// look is lookUp with what was found before, for a while, and when nobody knows the name any more.
func (s *Service) look(ctx context.Context, server string) ([]netip.AddrPort, error) {
	s.mu.Lock()
	before, known := s.looked[server]
	s.mu.Unlock()
	now := s.Now()
	if known && now.Sub(before.at) < lookEvery {
		return before.addresses, before.err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	found := looked{at: now}
	if found.addresses, found.err = lookUp(ctx, server); found.err != nil && len(before.addresses) > 0 {
		found.addresses, found.err = before.addresses, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looked[server] = found
	return found.addresses, found.err
}

// up puts a front up, or has one that there is do something else. Changes of members that go on being some stay.
func (s *Service) up(ctx context.Context, who bus.Caller, f Front) (Status, error) {
	if err := f.Check(); err != nil {
		return Status{}, err
	}
	nodes, err := s.Fleet.Select(f.On)
	if err != nil {
		return Status{}, err
	}
	if f.Doors.Direct && len(nodes) > 1 {
		return Status{}, fault.New(fault.Misused, "with direct return one node lets visitors in, and %s are %d", f.On, len(nodes)).Hint("--on node1")
	}
	for _, ref := range f.Sites {
		if _, err := s.Source.Served(ref.Name); err != nil {
			return Status{}, err
		}
	}
	s.turn.Lock()
	defer s.turn.Unlock()
	s.mu.Lock()
	before, known := s.fronts[f.Name]
	many := len(s.fronts)
	s.mu.Unlock()
	if !known && many >= maxFronts {
		return Status{}, fault.New(fault.Full, "a cluster has at most %d fronts", maxFronts).Hint("bramble front down NAME")
	}
	if f.Changed = before.Changed; known && len(f.Doors.TLS) > 0 && len(f.Doors.Pairs) == 0 && f.Doors.ACME == nil {
		f.Doors.Pairs = before.Doors.Pairs
	}
	if err := s.compose(ctx, f); err != nil {
		return Status{}, err
	}
	if err := s.save(ctx, f); err != nil {
		return Status{}, err
	}
	s.mu.Lock()
	if f.Doors.ACME != nil {
		s.anew[f.Name] = true
	}
	s.mu.Unlock()
	s.record(who, "%s puts the front %s up on %s", who.Name, f.Name, f.On)
	s.Changed()
	return Status{Front: f.hidden(), Nodes: s.onNodes(f, nodes)}, nil
}

// which is what asks for a front; "" is the only one.
type which struct {
	Name string `json:"name"`
}

// down takes a front away.
func (s *Service) down(ctx context.Context, who bus.Caller, req which) (which, error) {
	s.turn.Lock()
	defer s.turn.Unlock()
	f, err := s.find(req.Name, "bramble front down NAME")
	if err != nil {
		return which{}, err
	}
	if err := s.Books.Delete(ctx, keyPrefix+f.Name); err != nil {
		return which{}, err
	}
	s.mu.Lock()
	delete(s.fronts, f.Name)
	delete(s.orders, f.Name)
	delete(s.issued, f.Name)
	s.mu.Unlock()
	s.record(who, "%s takes the front %s down", who.Name, f.Name)
	s.Changed()
	return which{f.Name}, nil
}

func (s *Service) record(who bus.Caller, format string, args ...any) {
	s.Events.Record(event.Event{Kind: event.Audit, Room: "front", User: who.Name, Text: fmt.Sprintf(format, args...)})
}

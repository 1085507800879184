package artefact

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"bramble/bus"
	"bramble/event"
	"bramble/fault"
	"bramble/fleet"
	"bramble/metric"
	"bramble/sorts"
	"bramble/trust"
)

// Stores is the head's half of what is kept: it knows the names of durable artefacts and which nodes keep them, sees to
// it that there are as many copies as were asked for, and asks nodes about their stores.
type Stores struct {
	Conn    *bus.Conn
	Store   *Store
	Self    string // the node on the head's own machine
	Books   trust.Store
	Nodes   func() []fleet.Node
	Select  func(selection string) ([]fleet.Node, error)
	Near    func(address string) *Client // where a node gives its files
	Events  *event.Log
	Metrics *metric.Set
	Spreads *Spreads
	Now     func() time.Time
	Log     *slog.Logger

	working handlers
	wake    chan struct{}
	saving  sync.Mutex // held while a record is written

	mu       sync.Mutex
	all      map[string]*record // by ID
	patience time.Duration
	down     map[string]time.Time // since when a node has been seen to be down
	refused  map[string]time.Time // until when a node is asked no more: its disk was full
	arrived  map[string]bool      // nodes of which it has to be looked what they hold
}

// record is a durable artefact, and what is known of how it stands.
type record struct {
	Durable
	settled string          // the ring, in words, with which all was well
	trim    map[string]bool // nodes that may keep more than their share
	after   time.Time       // not to be tried before
	tries   int
}

const (
	// Patience is how long a node may be away before what it keeps is copied to others.
	Patience = 10 * time.Minute
	// MinPatience leaves a node time to start anew.
	MinPatience = 5 * time.Second
	// bookKey begins the keys of durable artefacts in the head's book.
	bookKey     = "durable."
	patienceKey = "setting.patience"
)

// Open reads the book. What was coming when the head ended was acknowledged to nobody, and goes.
func (s *Stores) Open(ctx context.Context) error {
	s.wake = make(chan struct{}, 1)
	s.all, s.down, s.refused, s.arrived = map[string]*record{}, map[string]time.Time{}, map[string]time.Time{}, map[string]bool{}
	s.patience = Patience
	records, err := s.Books.List(ctx, bookKey)
	if err != nil {
		return err
	}
	for key, data := range records {
		r := &record{}
		if err := json.Unmarshal(data, &r.Durable); err != nil {
			s.Log.Error("unreadable record of a durable artefact", "key", key, "error", err)
			continue
		}
		r.trim = map[string]bool{}
		for _, h := range r.Ring {
			r.trim[h.Node] = true
		}
		if r.Stage == Coming {
			r.Stage = Going
		}
		s.all[r.ID] = r
	}
	s.supersede()
	if data, err := s.Books.Get(ctx, patienceKey); err == nil {
		json.Unmarshal(data, &s.patience)
	}
	for _, n := range s.Nodes() {
		s.arrived[n.Name] = true
	}
	return s.repin()
}

// supersede lets go of what has been put anew under the same name.
func (s *Stores) supersede() {
	latest := map[string]*record{}
	for _, r := range s.all {
		if r.Stage != Kept {
			continue
		}
		older, other := latest[r.Name], r
		if older == nil || r.At.After(older.At) {
			latest[r.Name], other = r, older
		}
		if other != nil {
			other.Stage = Going
		}
	}
}

// repin holds the lists of files, and nothing else of what is kept elsewhere, in the head's store.
func (s *Stores) repin() error {
	names, err := s.Store.Pins()
	for _, name := range names {
		id, ours := cutDurable(name)
		if !ours {
			continue
		}
		if r := s.all[id]; r != nil && r.Stage == Kept {
			err = errors.Join(err, s.Store.Repin(name, r.Ref))
		} else {
			err = errors.Join(err, s.Store.Unpin(name))
		}
	}
	return err
}

// Run serves until ctx ends. Open comes first.
func (s *Stores) Run(ctx context.Context) error {
	s.register()
	err := errors.Join(
		bus.HandleStream(ctx, s.Conn, "artefact.do.put", s.put),
		bus.Handle(ctx, s.Conn, "artefact.do.remove", s.remove),
		bus.HandleStream(ctx, s.Conn, "artefact.read.names", s.names),
		bus.HandleStream(ctx, s.Conn, "artefact.read.standing", s.standing),
		bus.HandleStream(ctx, s.Conn, "artefact.read.store", s.look),
		bus.HandleStream(ctx, s.Conn, "artefact.do.store", s.tend),
		bus.HandleStream(ctx, s.Conn, "artefact.admin.store", s.settle),
		s.Conn.Subscribe(ctx, bus.From("artefact", "*", "damaged"), s.hurt),
	)
	if err != nil {
		return err
	}
	err = s.mend(ctx)
	s.working.wait()
	return err
}

func (s *Stores) register() {
	s.Metrics.Collect("bramble_artefact_damaged_total", "Blobs of the head's store that were found damaged, moved away and counted.", "counter",
		func(emit metric.Emit) { emit(float64(s.Store.Settings().Damaged)) })
	s.Metrics.Collect("bramble_artefact_durable", "Durable artefacts by how they are.", "gauge", func(emit metric.Emit) {
		count := map[string]int{"kept": 0, "moving": 0, "going": 0}
		s.mu.Lock()
		for _, r := range s.all {
			switch {
			case r.Stage == Going:
				count["going"]++
			case r.settled == "":
				count["moving"]++
			default:
				count["kept"]++
			}
		}
		s.mu.Unlock()
		for _, state := range []string{"kept", "moving", "going"} {
			emit(float64(count[state]), "state", state)
		}
	})
}

// Changed has the nodes looked at soon: the state or the roll of one has changed. It does not block.
func (s *Stores) Changed(n fleet.Node) {
	if s.wake == nil {
		return
	}
	if n.State == fleet.Up {
		s.mu.Lock()
		s.arrived[n.Name] = true
		s.mu.Unlock()
	}
	s.nudge()
}

func (s *Stores) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// hurt hears that a node has lost a copy to damage.
func (s *Stores) hurt(m bus.Message) {
	s.Events.Record(event.Event{Kind: event.Change, Room: "artefact", Node: m.Caller.Name, Bad: true,
		Text: m.Caller.Name + " found a damaged copy of a durable file; it is brought anew from another node"})
	s.mu.Lock()
	s.arrived[m.Caller.Name] = true
	s.mu.Unlock()
	s.nudge()
}

// save writes a record as change leaves it; the record is what it was when that fails. fault.NotFound when it is gone.
func (s *Stores) save(ctx context.Context, id string, change func(*Durable)) (Durable, error) {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	r := s.all[id]
	s.mu.Unlock()
	if r == nil {
		return Durable{}, fault.New(fault.NotFound, "it has been removed meanwhile")
	}
	d := r.Durable
	change(&d)
	data, err := json.Marshal(d)
	if err != nil {
		return d, err
	}
	if err := s.Books.Put(ctx, bookKey+id, data); err != nil {
		return d, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Durable = d
	return d, nil
}

// find is what is under a name; fault.NotFound, with the nearest there is.
func (s *Stores) find(name string) (Durable, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, r := range s.all {
		if r.Stage != Kept {
			continue
		}
		if r.Name == name {
			return r.Durable, nil
		}
		names = append(names, r.Name)
	}
	err := fault.New(fault.NotFound, "nothing is kept as %s", clip(name)).Hint("bramble store ls")
	if near := fleet.Nearest(name, names); near != "" {
		err.Hint("%s, or bramble store ls for the list", near)
	}
	return Durable{}, err
}

// kept are the durable artefacts by name.
func (s *Stores) kept() []Durable {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Durable
	for _, r := range s.all {
		if r.Stage == Kept {
			all = append(all, r.Durable)
		}
	}
	sorts.By(all, func(a, b Durable) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// names tells what is kept; of private ones, to others, only that they are there.
func (s *Stores) names(ctx context.Context, who bus.Caller, name string, out *bus.Stream) error {
	list := s.kept()
	if name != "" {
		d, err := s.find(name)
		if err != nil {
			return err
		}
		list = []Durable{d}
	}
	for _, d := range list {
		if !d.readable(who.Name, who.Role) {
			d.Ref = ""
		}
		if err := out.SendJSON(d); err != nil {
			return err
		}
	}
	return nil
}

// readable reports whether a user may have what is kept.
func (d Durable) readable(user string, role trust.Role) bool {
	return role == trust.Admin || role.Includes(trust.Operator) && (!d.Private || d.Owner == user)
}

// remove ends a name. Nodes that are away let go of it when they come back.
func (s *Stores) remove(ctx context.Context, who bus.Caller, name string) (struct{}, error) {
	d, err := s.find(name)
	if err != nil {
		return struct{}{}, err
	}
	if d.Owner != who.Name && who.Role != trust.Admin {
		return struct{}{}, fault.New(fault.Denied, "%s is %s's, and only %[2]s or an admin may remove it", d.Name, d.Owner)
	}
	if _, err := s.save(ctx, d.ID, func(d *Durable) { d.Stage = Going }); err != nil {
		return struct{}{}, err
	}
	s.audit(who, fmt.Sprintf("%s removed %s from the store", who.Name, d.Name))
	s.nudge()
	return struct{}{}, nil
}

func (s *Stores) audit(who bus.Caller, text string) {
	s.Events.Record(event.Event{Kind: event.Audit, Room: "artefact", User: who.Name, Text: text})
}

package artefact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"bramble/bus"
	"bramble/event"
	"bramble/fault"
	"bramble/fleet"
)

const (
	// mendTick is how often it is looked whether a node has been away for too long.
	mendTick = time.Second
	// mendWidth is how many artefacts are moved at the same time.
	mendWidth = 4
)

// mend sees to it that there are as many copies as were asked for, where they should be, until ctx ends.
func (s *Stores) mend(ctx context.Context) error {
	tick := time.NewTicker(mendTick)
	defer tick.Stop()
	seen := ""
	for changed := true; ; {
		if picture := s.picture(); picture != seen {
			seen, changed = picture, true
		}
		s.lookAtArrived(ctx)
		s.moveAll(ctx, changed)
		s.dropAll(ctx)
		changed = false
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-s.wake:
			changed = true
		}
	}
}

// picture takes in who is down, and is another text when somebody has been for too long, or is there again.
func (s *Stores) picture() string {
	nodes := s.Nodes()
	s.mu.Lock()
	defer s.mu.Unlock()
	now, was := time.Now(), s.down
	s.down = map[string]time.Time{}
	var text strings.Builder
	for _, n := range nodes {
		if n.State == fleet.Down {
			since, known := was[n.Name]
			if !known {
				since = now
			}
			s.down[n.Name] = since
		}
		fmt.Fprintln(&text, n.Name, n.State, n.Drained != "", s.isLost(n.Name, now), n.Labels["power"], n.Labels["switch"])
	}
	return text.String()
}

// isLost reports whether a node has been away for longer than the patience; s.mu is held.
func (s *Stores) isLost(node string, now time.Time) bool {
	since, down := s.down[node]
	return down && now.Sub(since) >= s.patience
}

// lost are the nodes that keep nothing new, and of what they keep, whatever that is, copies are made elsewhere. was are those
// that keep some of it already: they need no room for that.
func (s *Stores) lost(was []Holder) map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, lost := time.Now(), map[string]bool{}
	for node := range s.down {
		lost[node] = s.isLost(node, now)
	}
	for node, until := range s.refused {
		switch {
		case now.After(until):
			delete(s.refused, node)
		case !slices.ContainsFunc(was, func(h Holder) bool { return h.Node == node }):
			lost[node] = true
		}
	}
	return lost
}

// there reports which nodes are connected.
func (s *Stores) there() func(string) bool {
	up := map[string]bool{}
	for _, n := range s.Nodes() {
		up[n.Name] = n.State == fleet.Up
	}
	return func(node string) bool { return up[node] }
}

// lookAtArrived asks nodes that have connected what they hold, and notes what is not as it should be.
func (s *Stores) lookAtArrived(ctx context.Context) {
	s.mu.Lock()
	arrived := s.arrived
	s.arrived = map[string]bool{}
	s.mu.Unlock()
	there := s.there()
	for node := range arrived {
		if !there(node) {
			continue
		}
		held, err := s.heldBy(ctx, node)
		if err != nil {
			s.Log.Debug("a node does not say what it holds", "node", node, "error", err)
			continue
		}
		s.compare(node, held)
	}
}

// compare holds what a node has against the book.
func (s *Stores) compare(node string, held map[string]heldPin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, r := range s.all {
		h, has := held[id]
		mine := slices.ContainsFunc(r.Ring, func(o Holder) bool { return o.Node == node })
		if mine && (!has || len(h.Missing) > 0) {
			r.settled, r.after = "", time.Time{}
		}
		if has && !mine {
			r.trim[node] = true
		}
	}
}

// heldBy asks a node what it keeps, by ID.
func (s *Stores) heldBy(ctx context.Context, node string) (map[string]heldPin, error) {
	in, err := s.Conn.Open(ctx, bus.Node("artefact", node, "held"), nil)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	held := map[string]heldPin{}
	for data, err := range in.Messages() {
		var h heldPin
		if err == nil {
			err = json.Unmarshal(data, &h)
		}
		if err != nil {
			return nil, err
		}
		held[h.ID] = h
	}
	return held, nil
}

// moveAll brings every artefact to where it should be. With changed, also those that wait to be tried again.
func (s *Stores) moveAll(ctx context.Context, changed bool) {
	now := time.Now()
	var due []string
	s.mu.Lock()
	for id, r := range s.all {
		if changed {
			r.after = time.Time{}
		}
		if r.Stage == Kept && (changed || r.settled == "" && now.After(r.after)) {
			due = append(due, id)
		}
	}
	s.mu.Unlock()
	slices.Sort(due)
	parallel(ctx, mendWidth, len(due), func(ctx context.Context, i int) error {
		if err := s.move(ctx, due[i]); err != nil && ctx.Err() == nil {
			s.later(due[i], err)
		}
		return nil
	})
}

// later has an artefact that could not be brought to where it should be tried again.
func (s *Stores) later(id string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.all[id]
	if r == nil {
		return
	}
	r.settled = ""
	r.after = time.Now().Add(min(5*time.Second<<min(r.tries, 10), 5*time.Minute))
	if r.tries++; r.tries == 1 {
		s.Log.Warn("a durable artefact is not where it should be yet", "name", r.Name, "error", err)
	}
}

// errWaiting says that a node which has to bring something is away, and not for long enough yet.
var errWaiting = errors.New("a node is away")

// move has the nodes of today's ring keep an artefact, writes that down, and lets others go of it.
func (s *Stores) move(ctx context.Context, id string) error {
	s.mu.Lock()
	r := s.all[id]
	if r == nil || r.Stage != Kept {
		s.mu.Unlock()
		return nil
	}
	d, settled, surplus := r.Durable, r.settled, len(r.trim) > 0
	s.mu.Unlock()
	ring, err := s.ring(d)
	if err != nil || len(ring) == 0 {
		return nil // nobody may keep it: it stays where it is
	}
	key := fmt.Sprint(ring)
	if settled == key && !surplus {
		return nil
	}
	blobs, err := s.blobsOf(ctx, d)
	if err != nil {
		return err
	}
	there := s.there()
	if settled != key {
		m := moveOf(blobs, d.Ring, ring, d.Copies, there)
		if err := s.bring(ctx, d, ring, m.keep); err != nil {
			return err
		}
		if len(m.waiting) > 0 {
			return fmt.Errorf("%w: %s", errWaiting, fleet.Fold(m.waiting))
		}
		if d, err = s.moved(ctx, d, used(blobs, ring, d.Copies), m.trim); err != nil {
			return err
		}
		s.mu.Lock()
		r.settled, r.tries = key, 0
		s.mu.Unlock()
	}
	away := slices.ContainsFunc(d.Ring, func(h Holder) bool { return !there(h.Node) })
	if away || len(ring) < d.Copies {
		return nil // what is too much elsewhere may be wanted yet
	}
	return s.trim(ctx, r, d)
}

// bring has nodes have their shares of what is kept; it is told where bytes have to move for that.
func (s *Stores) bring(ctx context.Context, d Durable, ring []Holder, names []string) (err error) {
	entry := s.Spreads.begin(SpreadMend, d.Name, "")
	defer func() { entry.end(err) }()
	entry.weigh(d.Bytes)
	tell := func(ev Event) error { entry.note(ev); return nil }
	for node, end := range s.order(ctx, d, ring, names, tell) {
		if !end.OK() {
			err = fmt.Errorf("%s: %s", node, end.Error)
		}
	}
	return err
}

// moved writes down who keeps an artefact now.
func (s *Stores) moved(ctx context.Context, d Durable, ring []Holder, less []string) (Durable, error) {
	if slices.Equal(d.Ring, ring) {
		return d, nil
	}
	was := d.Ring
	d, err := s.save(ctx, d.ID, func(d *Durable) { d.Ring = ring })
	if err != nil {
		return d, err
	}
	s.mu.Lock()
	for _, node := range less {
		s.all[d.ID].trim[node] = true
	}
	s.mu.Unlock()
	if a, b := fleet.Fold(nodesOf(was)), fleet.Fold(nodesOf(ring)); a != b {
		s.Events.Record(event.Event{Kind: event.Change, Room: "artefact", Text: fmt.Sprintf("%s is kept by %s now, and was by %s", d.Name, b, a)})
	}
	return d, nil
}

// trim has nodes let go of what is not in their share any more.
func (s *Stores) trim(ctx context.Context, r *record, d Durable) error {
	s.mu.Lock()
	var names []string
	for node := range r.trim {
		names = append(names, node)
	}
	s.mu.Unlock()
	there := s.there()
	for _, node := range names {
		if !there(node) {
			continue
		}
		var err error
		if slices.ContainsFunc(d.Ring, func(h Holder) bool { return h.Node == node }) {
			end := s.ask(ctx, node, keepTask{ID: d.ID, Ref: d.Ref, Copies: d.Copies, Ring: d.Ring, Have: d.Ring, Peers: s.peers(), Exact: true}, nil)
			if !end.OK() {
				err = fmt.Errorf("%s: %s", node, end.Error)
			}
		} else {
			err = s.Conn.Call(ctx, bus.Node("artefact", node, "drop"), dropTask{d.ID}, nil)
		}
		if err != nil {
			return err
		}
		s.mu.Lock()
		delete(r.trim, node)
		s.mu.Unlock()
	}
	return nil
}

// blobsOf are all blobs of an artefact; its list is had from a node where the head has lost it.
func (s *Stores) blobsOf(ctx context.Context, d Durable) ([]Blob, error) {
	m, err := s.Store.GetManifest(ctx, d.Ref)
	for _, h := range d.Ring {
		if err == nil {
			break
		}
		address := s.peers()[h.Node]
		if address == "" {
			continue
		}
		c := s.Near(address)
		c.Tries = 2
		if m, err = c.FetchList(ctx, s.Store, d.Ref); err == nil {
			err = s.Store.Pin(d.pin(), d.Ref)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the list of the files of %s: %w", d.Name, err)
	}
	size, _ := s.Store.stat(d.Ref)
	return d.blobs(m, size), nil
}

// dropAll has all nodes let go of what has been removed, and forgets it once they have.
func (s *Stores) dropAll(ctx context.Context) {
	now := time.Now()
	var going []*record
	s.mu.Lock()
	for _, r := range s.all {
		if r.Stage == Going && now.After(r.after) {
			going = append(going, r)
		}
	}
	s.mu.Unlock()
	if len(going) == 0 {
		return
	}
	nodes := s.Nodes()
	parallel(ctx, mendWidth, len(going), func(ctx context.Context, i int) error {
		r := going[i]
		left := false
		for _, n := range nodes {
			if n.Peer == "" {
				continue
			}
			if n.State != fleet.Up || s.Conn.Call(ctx, bus.Node("artefact", n.Name, "drop"), dropTask{r.ID}, nil) != nil {
				left = true
			}
		}
		if err := s.forget(ctx, r, left); err != nil {
			s.Log.Warn("a removed artefact is not forgotten", "name", r.Name, "error", err)
		}
		return nil
	})
}

// forget takes a record out of the book, unless a node may still hold something.
func (s *Stores) forget(ctx context.Context, r *record, left bool) error {
	err := s.Store.Unpin(r.pin())
	if !left && err == nil {
		s.saving.Lock()
		defer s.saving.Unlock()
		if err = s.Books.Delete(ctx, bookKey+r.ID); fault.Is(err, fault.NotFound) {
			err = nil
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if left || err != nil {
		r.after = time.Now().Add(time.Minute)
		return err
	}
	delete(s.all, r.ID)
	return nil
}

package artefact

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"bramble/bus"
	"bramble/fault"
	"bramble/fleet"
	"bramble/term"
	"bramble/trust"
)

func cutDurable(pin string) (id string, ok bool) { return strings.CutPrefix(pin, durablePrefix) }

// put waits until the caller names the tree that it has uploaded, has nodes keep it, and answers once all copies are on disks
// and the name is in the book.
func (s *Stores) put(ctx context.Context, who bus.Caller, req Put, out *bus.Stream) (err error) {
	leave, err := s.working.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	d, err := s.mayPut(who, req)
	if err != nil {
		return err
	}
	if err := out.SendJSON(PutEvent{Event: Event{Kind: Chosen}}); err != nil {
		return err
	}
	if data, err := out.Recv(); err != nil {
		return err
	} else if err := json.Unmarshal(data, &d.Ref); err != nil {
		return fault.New(fault.Misused, "unreadable name of a tree: %w", err)
	}
	if err := s.Store.PinManifest(ctx, d.pin(), d.Ref); err != nil {
		return err
	}
	entry := s.Spreads.begin(SpreadPut, d.Name, who.Name)
	defer func() { entry.end(err) }()
	blobs, err := s.describe(ctx, &d)
	if err == nil {
		err = s.enlist(ctx, d)
	}
	if err != nil {
		s.Store.Unpin(d.pin())
		return err
	}
	entry.weigh(d.Bytes)
	ring, err := s.copyAll(ctx, d, blobs, out, entry)
	if err == nil {
		d, err = s.commit(ctx, d, used(blobs, ring, d.Copies))
	}
	if err != nil {
		s.abandon(d)
		return err
	}
	s.audit(who, fmt.Sprintf("%s keeps %d copies of %s (%d files, %s) on %s", who.Name, d.Copies, d.Name, d.Files, term.Bytes(d.Bytes), fleet.Fold(nodesOf(d.Ring))))
	return out.SendJSON(PutEvent{Kept: &d})
}

// mayPut refuses what cannot be kept before anything is uploaded.
func (s *Stores) mayPut(who bus.Caller, req Put) (Durable, error) {
	d := Durable{Name: req.Name, Owner: who.Name, Private: req.Private, Copies: req.Copies, On: req.On, ID: newID()}
	if err := req.check(); err != nil {
		return d, err
	}
	if old, err := s.find(req.Name); err == nil && old.Owner != who.Name {
		if who.Role != trust.Admin {
			return d, fault.New(fault.Conflict, "%s is %s's already", old.Name, old.Owner).Hint("another name")
		}
		d.Owner = old.Owner
	}
	if n := len(s.kept()); n >= MaxDurables {
		return d, fault.New(fault.Full, "%d names are kept, and no more can be", n).Hint("bramble store rm NAME")
	}
	if d.On != "" {
		if _, err := s.Select(d.On); err != nil {
			return d, err
		}
	}
	_, err := s.ring(d)
	return d, err
}

func newID() string {
	var id [8]byte
	rand.Read(id[:])
	return hex.EncodeToString(id[:])
}

// ring is who may keep it now; fault.Conflict when those are too few.
func (s *Stores) ring(d Durable) ([]Holder, error) {
	ring := ringOf(fleet.Meant(d.On, s.Nodes()), d.Ring, s.lost(d.Ring), d.Copies)
	if len(ring) < d.Copies && len(d.Ring) == 0 {
		err := fault.New(fault.Conflict, "%d copies need as many nodes, and %d are up, not drained, and have room", d.Copies, len(ring))
		if len(ring) > 0 {
			return nil, err.Hint("--copies %d, or more nodes: bramble nodes", len(ring))
		}
		return nil, err.Hint("bramble nodes")
	}
	return ring, nil
}

// describe counts what the tree holds, which is in the head's store.
func (s *Stores) describe(ctx context.Context, d *Durable) ([]Blob, error) {
	m, err := s.Store.GetManifest(ctx, d.Ref)
	if err != nil {
		return nil, err
	}
	sum := sumOf(m)
	d.Files, d.Bytes = sum.Files, sum.Bytes
	size, _ := s.Store.stat(d.Ref)
	return d.blobs(m, size), nil
}

// enlist writes down what is coming, so that nodes let go of it if it never comes to be kept.
func (s *Stores) enlist(ctx context.Context, d Durable) error {
	d.Stage = Coming
	s.mu.Lock()
	s.all[d.ID] = &record{Durable: d, trim: map[string]bool{}}
	s.mu.Unlock()
	_, err := s.save(ctx, d.ID, func(*Durable) {})
	if err != nil {
		s.mu.Lock()
		delete(s.all, d.ID)
		s.mu.Unlock()
	}
	return err
}

// copyAll has nodes keep all copies; one that fails is left out, and the next of the order takes its place.
func (s *Stores) copyAll(ctx context.Context, d Durable, blobs []Blob, out *bus.Stream, entry *entry) ([]Holder, error) {
	say := make(chan struct{}, 1)
	tell := func(ev Event) error {
		say <- struct{}{}
		defer func() { <-say }()
		entry.note(ev)
		return out.SendJSON(PutEvent{Event: ev})
	}
	var whole map[string]bool // nodes that have all of their share
	failed := map[string]*End{}
	for {
		ring, err := s.ring(d)
		ring = slices.DeleteFunc(ring, func(h Holder) bool { return failed[h.Node] != nil })
		if err == nil && len(ring) < d.Copies {
			err = s.tooFew(d, failed)
		}
		if err != nil {
			return nil, err
		}
		share := shares(blobs, ring, d.Copies)
		want := slices.Sorted(maps.Keys(share))
		if err := tell(Event{Kind: Chosen, Names: want}); err != nil {
			return nil, err
		}
		if _, err := s.save(ctx, d.ID, func(d *Durable) { d.Ring = merge(d.Ring, ring, want) }); err != nil {
			return nil, err
		}
		ends := s.order(ctx, d, ring, want, tell)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		whole = map[string]bool{}
		for node, end := range ends {
			if whole[node] = end.OK(); !end.OK() {
				failed[node] = end
			}
		}
		if !slices.ContainsFunc(want, func(n string) bool { return !whole[n] }) {
			return ring, nil
		}
	}
}

// tooFew is why a put cannot go on.
func (s *Stores) tooFew(d Durable, failed map[string]*End) error {
	node := slices.Sorted(maps.Keys(failed))[0]
	end := failed[node]
	code := end.Code
	if code == "" {
		code = fault.Failed
	}
	return fault.New(code, "%d copies cannot be made: %s: %s", d.Copies, node, end.Error).
		Hint("fewer --copies, or make room: bramble store list --on %s", node)
}

// merge adds those of a ring that are named.
func merge(was, ring []Holder, names []string) []Holder {
	all := slices.Clone(was)
	for _, h := range ring {
		if slices.Contains(names, h.Node) && !slices.ContainsFunc(all, func(o Holder) bool { return o.Node == h.Node }) {
			all = append(all, h)
		}
	}
	return all
}

// order has nodes keep their shares of what is on its way or stands as was says, and returns how it went.
func (s *Stores) order(ctx context.Context, d Durable, ring []Holder, names []string, tell func(Event) error) map[string]*End {
	t := keepTask{ID: d.ID, Ref: d.Ref, Copies: d.Copies, Ring: ring, Have: d.Ring, Proof: len(d.Ring) == 0, Peers: s.peers()}
	var mu sync.Mutex
	ends := map[string]*End{}
	parallel(ctx, width, len(names), func(ctx context.Context, i int) error {
		end := s.ask(ctx, names[i], t, tell)
		mu.Lock()
		ends[names[i]] = end
		mu.Unlock()
		return nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for node, end := range ends {
		if end.Code == fault.Full {
			s.refused[node] = s.Now().Add(refuseFor)
		}
	}
	return ends
}

// refuseFor is how long a node is asked for nothing more whose disk was full.
const refuseFor = 10 * time.Minute

func (s *Stores) peers() map[string]string {
	peers := map[string]string{}
	for _, n := range s.Nodes() {
		if n.State != fleet.Down && n.Peer != "" {
			peers[n.Name] = n.Peer
		}
	}
	return peers
}

// ask has one node keep its share.
func (s *Stores) ask(ctx context.Context, node string, t keepTask, tell func(Event) error) *End {
	in, err := s.Conn.Open(ctx, bus.Node("artefact", node, "keep"), t)
	if err != nil {
		return silent(err)
	}
	defer in.Close()
	for {
		ev, err := nextEvent(in)
		if err != nil {
			return silent(err)
		}
		ev.Node = node
		if tell != nil {
			if err := tell(ev); err != nil {
				return failed(err)
			}
		}
		if ev.Kind == Ended {
			return ev.End
		}
	}
}

// commit makes a put one: from then on it is kept, and what was under its name goes.
func (s *Stores) commit(ctx context.Context, d Durable, ring []Holder) (Durable, error) {
	var old []string
	s.mu.Lock()
	for _, r := range s.all {
		if r.Name == d.Name && r.Stage == Kept {
			old = append(old, r.ID)
		}
	}
	s.mu.Unlock()
	spare := nodesOf(s.now(d.ID).Ring)
	d, err := s.save(ctx, d.ID, func(d *Durable) { d.Stage, d.Ring, d.At = Kept, ring, s.Now().UTC() })
	if err != nil {
		return d, err
	}
	s.mu.Lock()
	for _, node := range spare {
		s.all[d.ID].trim[node] = true
	}
	s.mu.Unlock()
	for _, id := range old {
		if _, err := s.save(ctx, id, func(d *Durable) { d.Stage = Going }); err != nil {
			s.Log.Error("what was under a name before does not go", "name", d.Name, "error", err) // the next start sees that it is older
		}
	}
	s.nudge()
	return d, s.Store.Repin(d.pin(), d.Ref)
}

func (s *Stores) now(id string) Durable {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.all[id]; r != nil {
		return r.Durable
	}
	return Durable{}
}

// abandon lets go of a put that did not become one.
func (s *Stores) abandon(d Durable) {
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	if _, err := s.save(ctx, d.ID, func(d *Durable) { d.Stage = Going }); err != nil {
		s.Log.Error("a put that failed is not cleaned up before the next start", "name", d.Name, "error", err)
	}
	s.Store.Unpin(d.pin())
	s.nudge()
}

func nodesOf(ring []Holder) []string {
	names := make([]string, len(ring))
	for i, h := range ring {
		names[i] = h.Node
	}
	return names
}

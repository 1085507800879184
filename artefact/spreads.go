package artefact

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"sync"
	"time"

	"bramble/bus"
	"bramble/fault"
)

// Spreads is the head's book of what is on its way to nodes, for everybody who asks. A nil one keeps nothing.
type Spreads struct {
	Now func() time.Time

	mu   sync.Mutex
	book book
}

// SpreadsRequest asks what is on its way, and what lately was.
type SpreadsRequest struct {
	Follow bool `json:"follow,omitempty"` // then each that changes, until the asker has enough
}

// begin writes down that somebody's files begin their way. Nobody is told of it before nodes are named or something moves.
func (s *Spreads) begin(kind SpreadKind, what, user string) *entry {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	spread := s.book.begin(kind, clip(what), user, s.Now())
	if spread == nil {
		return nil
	}
	return &entry{s, spread}
}

// hear takes in what a node reports of what another room has it bring.
func (s *Spreads) hear(m bus.Message) {
	var c coming
	if s == nil || m.Decode(&c) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.book.hear(m.Caller.Name, c, s.Now())
}

// list is what is on its way, the latest first, and then what was.
func (s *Spreads) list() []Spread {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.book.list(s.Now())
}

// entry is one spread in the book; nil: it is not written down.
type entry struct {
	in     *Spreads
	spread *Spread
}

// change changes a spread that has not ended.
func (e *entry) change(do func(s *Spread, now time.Time)) {
	if e == nil {
		return
	}
	e.in.mu.Lock()
	defer e.in.mu.Unlock()
	if e.spread.Ended.IsZero() {
		do(e.spread, e.in.Now())
	}
}

// note takes in what is reported of it.
func (e *entry) note(ev Event) { e.change(func(s *Spread, now time.Time) { s.note(ev, now) }) }

// weigh says how many bytes the tree has.
func (e *entry) weigh(bytes int64) { e.change(func(s *Spread, _ time.Time) { s.Bytes = bytes }) }

// end says that it is over, and why when it could not be done.
func (e *entry) end(err error) {
	problem := ""
	switch {
	case errors.Is(err, context.Canceled):
		problem = "broken off by who asked"
	case err != nil:
		problem = brief(fault.Of(err).Text)
	}
	e.change(func(s *Spread, now time.Time) { e.in.book.end(s, problem, now) })
}

// told is the stream to who asked for a spread, of which the book hears too.
type told struct {
	*bus.Stream
	entry *entry
}

func (t told) SendJSON(ev Event) error {
	t.entry.note(ev)
	return t.Stream.SendJSON(ev)
}

// spreadsEvery is how often a follower is told what has changed.
const spreadsEvery = 500 * time.Millisecond

// spreads tells what is on its way.
func (s *Service) spreads(ctx context.Context, _ bus.Caller, req SpreadsRequest, out *bus.Stream) error {
	tick := time.NewTicker(spreadsEvery)
	defer tick.Stop()
	sent := map[int64][]byte{}
	for {
		here := map[int64][]byte{}
		for _, spread := range s.Spreads.list() {
			data, err := json.Marshal(spread)
			if err != nil {
				return err
			}
			if here[spread.ID] = data; bytes.Equal(data, sent[spread.ID]) {
				continue
			}
			if err := out.Send(data); err != nil {
				return err
			}
		}
		if sent = here; !req.Follow {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Spreads yields what is on its way to nodes, the latest first, and then what lately was.
func (c Copier) Spreads(ctx context.Context, req SpreadsRequest) iter.Seq2[Spread, error] {
	return bus.Ask[Spread](ctx, c.Conn, "artefact.read.spreads", req)
}

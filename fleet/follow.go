package fleet

import (
	"context"
	"io"
	"iter"
	"time"

	"bramble/bus"
)

// watch is one who follows the members: the names it has not been told of yet.
type watch struct {
	dirty map[string]bool
	stir  chan struct{} // full when there is something in dirty
	wake  chan struct{} // full when it is more than how nodes are doing
}

// mark notes for every watch that a node has news; how it is doing can wait. s.mu is held.
func (s *Service) mark(name string, waits bool) {
	for w := range s.watches {
		w.dirty[name] = true
		signal(w.stir)
		if !waits {
			signal(w.wake)
		}
	}
}

// signal fills a channel that has room for one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// nodes sends all members, and with Watch every later change as Follow has it.
func (s *Service) nodes(ctx context.Context, _ bus.Caller, req nodesRequest, out *bus.Stream) error {
	first := true
	return s.follow(ctx, func(w *watch) error {
		up := s.news(w)
		up.Whole, first = first, false
		if err := send(up, out); err != nil || req.Watch {
			return err
		}
		return io.EOF
	})
}

// Follow yields the list of members whenever something in it changed, a few times a second at the most, and each
// BeatEvery when they only said how they are doing, until ctx ends. It is Client.Watch for the head itself.
func (s *Service) Follow(ctx context.Context) iter.Seq[[]Node] {
	return func(yield func([]Node) bool) {
		s.follow(ctx, func(w *watch) error {
			s.taken(w)
			if !yield(s.Nodes()) {
				return io.EOF
			}
			return nil
		})
	}
}

// followEvery is the least time between two looks at what changed.
const followEvery = 250 * time.Millisecond

// follow has tell look at all members, and whenever there is news, until ctx ends or tell returns an error; io.EOF is none.
func (s *Service) follow(ctx context.Context, tell func(*watch) error) error {
	w := s.watch()
	defer s.unwatch(w)
	for {
		if err := tell(w); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if !w.wait(ctx) {
			return nil
		}
	}
}

// wait returns when there is news that it is time for; false when ctx has ended.
func (w *watch) wait(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(followEvery):
	}
	select {
	case <-ctx.Done():
		return false
	case <-w.wake:
		return true
	case <-time.After(BeatEvery - followEvery):
	}
	select {
	case <-ctx.Done():
		return false
	case <-w.wake:
	case <-w.stir:
	}
	return true
}

// watch begins to note what changes; at first that is all.
func (s *Service) watch() *watch {
	w := &watch{dirty: map[string]bool{}, stir: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.members {
		w.dirty[name] = true
	}
	if s.watches == nil { // who follows need not wait until the roll is read
		s.watches = map[*watch]bool{}
	}
	s.watches[w] = true
	return w
}

func (s *Service) unwatch(w *watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watches, w)
}

// taken is the names of those that changed since the last time.
func (s *Service) taken(w *watch) map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := w.dirty
	w.dirty = map[string]bool{}
	for _, c := range []chan struct{}{w.stir, w.wake} {
		select {
		case <-c:
		default:
		}
	}
	return names
}

// news is the nodes that changed since the last time.
func (s *Service) news(w *watch) (up update) {
	names := s.taken(w)
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range names {
		if m := s.members[name]; m != nil && m.known() {
			up.Nodes = append(up.Nodes, m.node)
		} else {
			up.Gone = append(up.Gone, name)
		}
	}
	return up
}

// send sends news in messages that fit a stream frame.
func send(up update, out *bus.Stream) error {
	const perFrame = 4 // maxHello and 64 labels each, and less than bus.MaxFrame together
	for len(up.Nodes) > perFrame {
		if err := out.SendJSON(update{Nodes: up.Nodes[:perFrame], More: true}); err != nil {
			return err
		}
		up.Nodes = up.Nodes[perFrame:]
	}
	return out.SendJSON(up)
}

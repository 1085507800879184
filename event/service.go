package event

import (
	"context"
	"encoding/json"
	"iter"

	"bramble/bus"
)

// Serve answers event.read.list until ctx ends.
func (l *Log) Serve(ctx context.Context, conn *bus.Conn) error {
	return bus.HandleStream(ctx, conn, "event.read.list", func(ctx context.Context, _ bus.Caller, f Filter, s *bus.Stream) error {
		for {
			found, changed := l.list(f)
			for _, e := range found {
				if err := s.SendJSON(e); err != nil {
					return err
				}
				f.After = e.Seq
			}
			if !f.Follow {
				return nil
			}
			f.Limit = kept
			select {
			case <-changed:
			case <-ctx.Done():
				return nil
			}
		}
	})
}

// Client asks a head for events.
type Client struct{ Conn *bus.Conn }

// List yields the events that fit, oldest first, and with Follow goes on until ctx ends.
func (c Client) List(ctx context.Context, f Filter) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		s, err := c.Conn.Open(ctx, "event.read.list", f)
		if err != nil {
			yield(Event{}, err)
			return
		}
		defer s.Close()
		for data, err := range s.Messages() {
			var e Event
			if err == nil {
				err = json.Unmarshal(data, &e)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

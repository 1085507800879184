package bus

import (
	"context"
	"iter"
	"time"

	"bramble/fault"
)

// Many are streams to many nodes, opened at once. Who opens them need not have a goroutine wait for each:
// most have answered whole by the time they are first heard from.
type Many struct {
	Streams []*Stream
	heard   chan int // has room for all
}

// OpenMany asks each node for a stream on its subject. Cancelling ctx cancels them all.
func (c *Conn) OpenMany(ctx context.Context, subjects []string, req any) (*Many, error) {
	data, err := encode(req)
	if err != nil {
		return nil, err
	}
	m := &Many{Streams: make([]*Stream, len(subjects)), heard: make(chan int, len(subjects))}
	streams, now := make([]Stream, len(subjects)), time.Now()
	for i, subject := range subjects {
		s := &streams[i]
		s.init(c, true, now)
		s.ctx, s.cancel = ctx, noCancel
		s.place, s.many = i, m
		s.subject, s.request = subject, data
		c.register(s, c.peerKey(subject))
		m.Streams[i] = s
	}
	context.AfterFunc(ctx, m.Close)
	for i, s := range m.Streams {
		if err := s.ask(); err != nil {
			m.Close()
			return nil, fault.New(fault.Unreachable, "ask %s: %w", subjects[i], err)
		}
	}
	return m, nil
}

// noCancel is for streams that end with the context of all.
func noCancel(error) {}

// Heard yields each stream, with its place, once there is something to Recv from it, and returns when all have been.
func (m *Many) Heard() iter.Seq2[int, *Stream] {
	return func(yield func(int, *Stream) bool) {
		for range m.Streams {
			if i := <-m.heard; !yield(i, m.Streams[i]) {
				return
			}
		}
	}
}

// Close closes all that have not ended.
func (m *Many) Close() {
	for _, s := range m.Streams {
		s.Close()
	}
}

// arrived tells, once, that there is something to receive.
func (s *Stream) arrived() {
	s.mu.Lock()
	m := s.many
	s.many = nil
	s.mu.Unlock()
	if m != nil {
		m.heard <- s.place
	}
}

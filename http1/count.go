package http1

import (
	"maps"
	"sync"
	"sync/atomic"
)

// Counts are what a Server has done since its beginning, in all its calls of Serve.
type Counts struct {
	Conns    int64             // connections that were accepted
	Open     int64             // of them, those that have not ended
	Requests int64             // that a handler has seen
	Lean     int64             // of them, those that Server.Handler answered
	Bytes    int64             // of answers that went out over HTTP/1, heads included
	Panics   int64             // of Server.Handler, or of what its answers call
	Refusals map[Refusal]int64 // messages that were refused, by why
}

// Add adds another server's.
func (c *Counts) Add(other Counts) {
	c.Conns += other.Conns
	c.Open += other.Open
	c.Requests += other.Requests
	c.Lean += other.Lean
	c.Bytes += other.Bytes
	c.Panics += other.Panics
	for why, n := range other.Refusals {
		if c.Refusals == nil {
			c.Refusals = map[Refusal]int64{}
		}
		c.Refusals[why] += n
	}
}

// counters are what a Server counts. Loops keep their own counts and add them after a batch of events.
type counters struct {
	conns, ended, lean, other, bytes, panics atomic.Int64

	mu       sync.Mutex
	refusals map[Refusal]int64
}

// tally is what a loop has not added yet.
type tally struct{ lean, bytes int64 }

func (c *counters) add(t *tally) {
	if t.lean > 0 {
		c.lean.Add(t.lean)
	}
	if t.bytes > 0 {
		c.bytes.Add(t.bytes)
	}
	*t = tally{}
}

func (c *counters) refused(why *Refusal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refusals == nil {
		c.refusals = map[Refusal]int64{}
	}
	c.refusals[*why]++
}

// Counts may be called at any time.
func (s *Server) Counts() Counts {
	c := &s.counters
	ended := c.ended.Load() // before conns, so that Open is never negative
	conns, lean := c.conns.Load(), c.lean.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	return Counts{
		Conns: conns, Open: conns - ended, Requests: lean + c.other.Load(), Lean: lean,
		Bytes: c.bytes.Load(), Panics: c.panics.Load(), Refusals: maps.Clone(c.refusals),
	}
}

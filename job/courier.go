package job

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"bramble/bus"
)

// courier carries orders to one node, in order, all that have gathered in one message. After a
// failed delivery it is unknown what arrived, so the node is asked to say what it holds.
type courier struct {
	conn  *bus.Conn
	node  string
	log   *slog.Logger
	known map[ID]bool // specs sent since the node last said what it holds; the loop's own
	news  chan struct{}

	mu    sync.Mutex
	next  errand
	stale bool // ask the node what it holds
}

// courier is the one for a node, started when first needed. It runs in the loop.
func (s *Service) courier(node string) *courier {
	c := s.couriers[node]
	if c == nil {
		c = &courier{conn: s.Conn, node: node, log: s.Log, known: map[ID]bool{}, news: make(chan struct{}, 1)}
		s.couriers[node] = c
		s.ended.Go(func() { c.run(s.life) })
	}
	return c
}

func (c *courier) order(o order, specs map[ID]Spec) {
	c.mu.Lock()
	for id, spec := range specs {
		if c.next.Specs == nil {
			c.next.Specs = map[ID]Spec{}
		}
		c.next.Specs[id] = spec
	}
	if n := len(c.next.Orders); n > 0 && o.Start != nil && c.next.Orders[n-1].Start != nil {
		c.next.Orders[n-1].Start = append(c.next.Orders[n-1].Start, o.Start...)
	} else {
		c.next.Orders = append(c.next.Orders, o)
	}
	c.mu.Unlock()
	c.wake()
}

func (c *courier) forget(keys []Key) {
	c.mu.Lock()
	c.next.Forget = append(c.next.Forget, keys...)
	c.mu.Unlock()
	c.wake()
}

// resync has the node say what it holds.
func (c *courier) resync() {
	c.mu.Lock()
	c.stale = true
	c.mu.Unlock()
	c.wake()
}

func (c *courier) wake() {
	select {
	case c.news <- struct{}{}:
	default:
	}
}

func (c *courier) take() (e errand, stale bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, stale = c.next, c.stale
	c.next, c.stale = errand{}, false
	return e, stale
}

func (c *courier) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.news:
		}
		e, stale := c.take()
		for _, part := range e.split() {
			if err := c.deliver(ctx, "do", part); err != nil {
				c.log.Debug("errand not delivered", "node", c.node, "error", err)
				stale = true // what the node then says it holds brings to light what is missing
				break
			}
		}
		if !stale {
			continue
		}
		if err := c.deliver(ctx, "sync", nil); err != nil {
			c.log.Debug("node not asked what it holds", "node", c.node, "error", err)
		}
	}
}

func (c *courier) deliver(ctx context.Context, verb string, what any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return c.conn.Call(ctx, bus.Node("job", c.node, verb), what, nil)
}

const (
	// perErrand is how many attempts or keys, of about 100 bytes each, go into one message.
	perErrand = 2000
	// specsPerErrand is about how many bytes of specs do.
	specsPerErrand = bus.MaxMessage / 4
)

// split makes errands that each fit a message; specs go ahead of the orders that need them.
func (e errand) split() []errand {
	if e.count() == 0 && len(e.Specs) == 0 {
		return nil
	}
	if e.specSize() <= specsPerErrand && e.count() <= perErrand {
		return []errand{e}
	}
	var parts []errand
	for id, spec := range e.Specs {
		if n := len(parts); n > 0 && parts[n-1].specSize()+spec.size() <= specsPerErrand {
			parts[n-1].Specs[id] = spec
		} else {
			parts = append(parts, errand{Specs: map[ID]Spec{id: spec}})
		}
	}
	for _, o := range e.Orders {
		for len(o.Start) > perErrand {
			parts = append(parts, errand{Orders: []order{{Start: o.Start[:perErrand]}}})
			o.Start = o.Start[perErrand:]
		}
		parts = append(parts, errand{Orders: []order{o}})
	}
	for len(e.Forget) > 0 {
		n := min(perErrand, len(e.Forget))
		parts = append(parts, errand{Forget: e.Forget[:n]})
		e.Forget = e.Forget[n:]
	}
	return parts
}

func (e errand) count() int {
	n := len(e.Forget)
	for _, o := range e.Orders {
		n += len(o.Start) + len(o.Kill) + len(o.Recall)
	}
	return n
}

// specSize is about how many bytes the specs are, as JSON.
func (e errand) specSize() int {
	n := 0
	for _, s := range e.Specs {
		n += s.size() + s.size()/3 + 512
	}
	return n
}

package job

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"bramble/bus"
)

// courier carries orders to one node, in order, all that have gathered in one message. After a failed
// delivery it is unknown what arrived, so it asks the node what it holds. It asks between deliveries:
// none is under way while the node counts.
type courier struct {
	conn    *bus.Conn
	node    string
	log     *slog.Logger
	known   map[ID]bool                         // specs sent since the node last said what it holds; the loop's own
	counted func(context.Context, census) error // returns when the loop has taken it in
	news    chan struct{}
	last    stamp
	compact bool // the node reads compact errands
	heeds   bool // the node takes limits
	deaf    bool // it has said that it does not; the loop's own
	stop    context.CancelFunc

	mu     sync.Mutex
	next   errand
	stale  bool                 // ask the node what it holds
	limits map[ID]time.Duration // to be told
}

// courier is the one for a node, started when first needed. It runs in the loop.
func (s *Service) courier(node string) *courier {
	c := s.couriers[node]
	if c == nil {
		ctx, stop := context.WithCancel(s.life)
		c = &courier{conn: s.Conn, node: node, log: s.Log, known: map[ID]bool{}, news: make(chan struct{}, 1),
			last: stamp{Head: s.session, Compact: compactForm}, stop: stop}
		c.counted = func(ctx context.Context, found census) error {
			return s.inLoop(ctx, func() { s.nodeCounted(c, found) })
		}
		s.couriers[node] = c
		s.ended.Go(func() { c.run(ctx) })
	}
	return c
}

// dismiss ends the courier of a node that is no member any more. It runs in the loop.
func (s *Service) dismiss(node string) {
	if c := s.couriers[node]; c != nil {
		c.stop()
		delete(s.couriers, node)
	}
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
	signal(c.news)
}

// forgetWithin is how long the word that results are safe waits for orders to go with: nobody waits for it.
const forgetWithin = 50 * time.Millisecond

func (c *courier) forget(keys []Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.next.Forget) == 0 {
		time.AfterFunc(forgetWithin, func() { signal(c.news) })
	}
	c.next.Forget = append(c.next.Forget, keys...)
}

// resync has the node say what it holds.
func (c *courier) resync() {
	c.mu.Lock()
	c.stale = true
	c.mu.Unlock()
	signal(c.news)
}

// limit tells the node time limits of jobs.
func (c *courier) limit(limits map[ID]time.Duration) {
	if len(limits) == 0 {
		return
	}
	c.mu.Lock()
	if c.limits == nil {
		c.limits = map[ID]time.Duration{}
	}
	maps.Copy(c.limits, limits)
	c.mu.Unlock()
	signal(c.news)
}

// sendLimits tells what limits have gathered. A node that does not take them is not told; one that was not reached is
// told all when it has said what it holds.
func (c *courier) sendLimits(ctx context.Context) error {
	c.mu.Lock()
	limits := c.limits
	c.limits = nil
	c.mu.Unlock()
	if len(limits) == 0 || !c.heeds {
		return nil
	}
	return c.ask(ctx, "limit", limitsNews{c.stamp(), limits}, nil)
}

// unsent is the attempts that still wait to be carried.
func (c *courier) unsent() []Attempt {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []Attempt
	for _, o := range c.next.Orders {
		list = append(list, o.Start...)
	}
	return list
}

func (c *courier) take() (e errand, stale bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, stale = c.next, c.stale
	c.next, c.stale = errand{}, false
	return e, stale
}

// resyncMost is the longest that the courier leaves a node alone which does not answer. One that was
// away says hello when it is back; this is for one that was only slow.
const resyncMost = 30 * time.Second

func (c *courier) run(ctx context.Context) {
	pause := time.Duration(0)
	for {
		var again <-chan time.Time
		if pause > 0 {
			again = time.After(pause)
		}
		select {
		case <-ctx.Done():
			return
		case <-c.news:
		case <-again:
		}
		if err := c.round(ctx); err != nil {
			c.log.Debug("node does not say what it holds", "node", c.node, "error", err)
			c.mu.Lock()
			c.stale = true
			c.mu.Unlock()
			pause = min(resyncMost, max(time.Second, 2*pause))
			continue
		}
		pause = 0
	}
}

// round carries what has gathered, then asks what the node holds if that is in doubt.
func (c *courier) round(ctx context.Context) error {
	e, stale := c.take()
	for _, part := range e.split() {
		part.Stamp = c.stamp()
		if err := c.ask(ctx, "do", c.form(part), nil); err != nil {
			c.log.Debug("errand not delivered", "node", c.node, "error", err)
			stale = true // what the node then says it holds brings to light what is missing
			break
		}
	}
	if err := c.sendLimits(ctx); err != nil {
		c.log.Debug("limits not delivered", "node", c.node, "error", err)
		stale = true
	}
	if !stale {
		return nil
	}
	var found census
	if err := c.ask(ctx, "count", c.stamp(), &found); err != nil {
		return err
	}
	c.compact, c.heeds = found.Compact >= compactForm, found.Limits
	return c.counted(ctx, found)
}

// form is an errand as the node reads it.
func (c *courier) form(e errand) any {
	if c.compact {
		return e.pack()
	}
	return e
}

func (c *courier) stamp() stamp {
	c.last.No++
	return c.last
}

func (c *courier) ask(ctx context.Context, verb string, what, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return c.conn.Call(ctx, bus.Node("job", c.node, verb), what, answer)
}

// nodeCounted takes in what a node holds. What is on its way there counts as held, and so do results
// that are on their way here.
func (s *Service) nodeCounted(c *courier, found census) {
	if s.couriers[c.node] != c {
		return // removed meanwhile
	}
	clear(c.known)
	c.deaf = !found.Limits
	held := found.Held
	for _, a := range found.Ended {
		if s.state.Awaits(c.node, a.Key) {
			held = append(held, Held{Attempt: a})
		}
	}
	for _, a := range s.fetching[c.node] {
		held = append(held, Held{Attempt: a})
	}
	for _, a := range slices.Concat(c.unsent(), s.parkedFor(c.node)) {
		held = append(held, Held{Attempt: a, Waiting: true})
	}
	s.happen(NodeUp{Name: c.node, Cores: found.Cores, Memory: found.Memory, Held: distinct(held)})
	c.limit(s.state.LimitsOn(c.node))
	s.reselect = true
}

// parkedFor is the attempts of a node whose start waits for the disk.
func (s *Service) parkedFor(node string) (list []Attempt) {
	for _, p := range s.waits {
		if start, ok := p.action.(Start); ok && start.Node == node {
			list = append(list, start.Attempts...)
		}
	}
	return list
}

// distinct leaves each attempt once: a result that is being fetched is still with its node.
func distinct(list []Held) []Held {
	seen := make(map[Key]bool, len(list))
	return slices.DeleteFunc(list, func(h Held) bool {
		again := seen[h.Key]
		seen[h.Key] = true
		return again
	})
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
	size := 0
	for id, spec := range e.Specs {
		more := jsonSize(spec)
		if n := len(parts); n > 0 && size+more <= specsPerErrand {
			parts[n-1].Specs[id] = spec
			size += more
		} else {
			parts = append(parts, errand{Specs: map[ID]Spec{id: spec}})
			size = more
		}
	}
	for _, o := range e.Orders {
		for attempts := range slices.Chunk(o.Start, perErrand) {
			parts = append(parts, errand{Orders: []order{{Start: attempts}}})
		}
		for keys := range slices.Chunk(o.Kill, perErrand) {
			parts = append(parts, errand{Orders: []order{{Kill: keys}}})
		}
		for keys := range slices.Chunk(o.Recall, perErrand) {
			parts = append(parts, errand{Orders: []order{{Recall: keys}}})
		}
	}
	for keys := range slices.Chunk(e.Forget, perErrand) {
		parts = append(parts, errand{Forget: keys})
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

func (e errand) specSize() int {
	n := 0
	for _, s := range e.Specs {
		n += jsonSize(s)
	}
	return n
}

// jsonSize is how many bytes a spec is as JSON.
func jsonSize(s Spec) int { return len(marshal(s)) }

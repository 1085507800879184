package front

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"bramble/http1"
)

// group is a pool at work.
type group struct {
	ctx       context.Context // of the checks
	log       *slog.Logger
	drop      func(*http1.Origin) // ends the loops' connections with a member
	transport *http1.Transport    // for what does not go by the loops
	second    *second             // for members that speak HTTP/2
	now       func() time.Time

	mu      sync.Mutex
	pool    Pool
	members []*member
	known   map[string]bool // routes of members that there are or were
	checks  sync.WaitGroup
	ring    atomic.Pointer[ring]
	turn    atomic.Uint64
}

// ring is who may be asked now. It is not changed, but made anew.
type ring struct {
	balance Balance
	members []*member
	weights []float64
	sums    []float64 // of weights, up to and with each
	even    bool      // all weights are alike
	second  bool      // a member of the pool speaks HTTP/2, which loops do not
	sticky  string
	routes  map[string]*member // also of members that are drained
	known   map[string]bool    // routes of members that there are or were
	refused map[int]bool       // statuses that count as failures
	most    int64              // bytes of a request's body; 0: any
}

// newGroup puts a pool to work.
func newGroup(ctx context.Context, p Pool, log *slog.Logger, drop func(*http1.Origin)) *group {
	g := &group{ctx: ctx, log: log, drop: drop, now: time.Now, transport: &http1.Transport{Answer: p.Wait, Stall: p.Wait}, second: newSecond(p.Wait)}
	g.set(p)
	return g
}

// goesOnAs reports whether a group can take up a pool and be the same to its visitors.
func (g *group) goesOnAs(p Pool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.pool.Host == p.Host && g.pool.Path == p.Path && g.pool.Wait == p.Wait
}

// broke ends the connections with a member.
func (g *group) broke(o *http1.Origin) {
	g.drop(o)
	g.transport.Break(o.Address.String())
	g.second.breakOff(o.Address.String())
}

// set takes up what is wanted of a pool. Members that were there go on as they are.
func (g *group) set(p Pool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.members
	g.members = nil
	check, checked := p.Check, p.Check == g.pool.Check
	g.pool = p
	for _, spec := range p.Members {
		at := slices.IndexFunc(old, func(m *member) bool {
			return m.spec.Name == spec.Name && m.spec.Address == spec.Address && m.second == spec.Second
		})
		var m *member
		if at >= 0 {
			m = old[at]
			old = slices.Delete(slices.Clone(old), at, at+1)
		} else {
			m = &member{second: spec.Second, origin: &http1.Origin{Address: spec.Address, Answer: p.Wait, Stall: p.Wait}}
		}
		m.mu.Lock()
		m.spec = spec
		m.mu.Unlock()
		if at < 0 || !checked {
			g.watch(m, check)
		}
		g.members = append(g.members, m)
		if spec.Mode == Stopped {
			g.broke(m.origin)
		}
	}
	for _, m := range old {
		m.stop()
	}
	known := maps.Clone(g.known)
	if known == nil {
		known = map[string]bool{}
	}
	for _, m := range p.Members {
		known[m.Route] = true
	}
	g.known = known
	g.turnOver()
}

// watch begins a member's checks, and ends those it had.
func (g *group) watch(m *member, c Check) {
	if m.stop != nil {
		m.stop()
	}
	ctx, stop := context.WithCancel(g.ctx)
	m.stop = stop
	if c = c.filled(); c.active() {
		g.checks.Go(func() { g.check(ctx, m, c) })
	}
}

// turnOver makes the ring anew; the lock is held.
func (g *group) turnOver() {
	now := g.now()
	all := make([]candidate, len(g.members))
	r := &ring{balance: g.pool.Balance, sticky: g.pool.Sticky, routes: map[string]*member{}, even: true, refused: map[int]bool{}, known: g.known, most: g.pool.MaxBody}
	for _, status := range g.pool.FailOn {
		r.refused[status] = true
	}
	for i, m := range g.members {
		r.second = r.second || m.second
		m.mu.Lock()
		may := m.health.May(now)
		switch trial := may && m.health.Down; {
		case !trial:
			m.trial.Store(noTrial)
		default:
			m.trial.CompareAndSwap(noTrial, trialFree)
		}
		all[i] = candidate{Set: m.spec.Set, Duty: m.spec.Duty, May: may && m.spec.Mode == Enabled}
		if may && m.spec.Route != "" && (m.spec.Mode == Enabled || m.spec.Mode == Draining) {
			r.routes[m.spec.Route] = m
		}
		m.mu.Unlock()
	}
	for _, i := range eligible(all) {
		m := g.members[i]
		m.mu.Lock()
		w := weight(m.spec, m.health, g.pool.Slow, now)
		if g.pool.Balance == Heartbeat {
			w *= idle(m.load)
		}
		m.mu.Unlock()
		r.members, r.weights = append(r.members, m), append(r.weights, w)
		r.even = r.even && w == r.weights[0]
		sum := w
		if n := len(r.sums); n > 0 {
			sum += r.sums[n-1]
		}
		r.sums = append(r.sums, sum)
	}
	r.credit(g.ring.Load())
	g.ring.Store(r)
}

// credit gives those that were not in the ring before what the least of the others has sent, so that they do not get everything.
func (r *ring) credit(before *ring) {
	if before == nil {
		return
	}
	floor, found := int64(0), false
	for i, m := range r.members {
		if slices.Contains(before.members, m) {
			if sent := int64(float64(m.bytes.Load()+m.credit.Load()) / r.weights[i]); !found || sent < floor {
				floor, found = sent, true
			}
		}
	}
	for i, m := range r.members {
		if found && !slices.Contains(before.members, m) {
			m.credit.Store(max(int64(float64(floor)*r.weights[i])-m.bytes.Load(), 0))
		}
	}
}

// choose is who is asked next, besides those that were; nil is nobody. Route is what a visitor's cookie or target names.
func (g *group) choose(r *ring, tried []*member, route []byte) *member {
	if len(route) > 0 {
		if m := r.routes[string(route)]; m != nil && m.free(tried) {
			return m
		}
	}
	n := len(r.members)
	if n == 0 {
		return nil
	}
	out := func(i int) bool { return !r.members[i].free(tried) }
	at := -1
	switch r.balance {
	case ByRequests:
		at = r.inTurn(g.turn.Add(1), out)
	case ByTraffic:
		at = least(r.runners(), out, g.turn.Add(1), func(x runner) int64 { return x.traffic })
	case ByBusyness:
		at = least(r.runners(), out, g.turn.Add(1), func(x runner) int64 { return x.busy })
	default:
		at = r.ofTwo(out)
	}
	if at < 0 {
		return nil
	}
	m := r.members[at]
	if m.trial.Load() == trialFree && !m.trial.CompareAndSwap(trialFree, trialTaken) {
		return g.choose(r, append(tried, m), nil)
	}
	return m
}

// free reports whether a member may be asked besides those that were.
func (m *member) free(tried []*member) bool {
	return !slices.Contains(tried, m) && m.trial.Load() != trialTaken
}

// random is a position, by weight.
func (r *ring) random() int {
	if r.even {
		return rand.IntN(len(r.members))
	}
	x := rand.Float64() * r.sums[len(r.sums)-1]
	at, _ := slices.BinarySearch(r.sums, x)
	return min(at, len(r.sums)-1)
}

// ofTwo is the less busy of two that chance has chosen; where both are out, the least busy of all.
func (r *ring) ofTwo(out func(int) bool) int {
	a, b := r.random(), r.random()
	if a == b && len(r.members) > 1 {
		b = (a + 1) % len(r.members)
	}
	switch outA, outB := out(a), out(b); {
	case outA && outB:
		return least(r.runners(), out, rand.Uint64(), func(x runner) int64 { return x.busy })
	case outA:
		return b
	case outB, a == b:
		return a
	}
	if less(r.runner(b), r.runner(a)) {
		return b
	}
	return a
}

// inTurn goes round by weight: turn n falls on whoever has the point n·φ of the circle, which spreads each one's turns evenly
// (the golden ratio's multiples are as evenly spaced as can be: Knuth, The Art of Computer Programming 3, 6.4, theorem S).
func (r *ring) inTurn(turn uint64, out func(int) bool) int {
	const golden = 0x9e3779b97f4a7c15 // 2^64 / φ
	at := 0
	if r.even {
		at = int(turn % uint64(len(r.members)))
	} else {
		x := float64(turn*golden) / (1 << 64) * r.sums[len(r.sums)-1]
		at, _ = slices.BinarySearch(r.sums, x)
	}
	for k := range r.members {
		if i := (at + k) % len(r.members); !out(i) {
			return i
		}
	}
	return -1
}

func (r *ring) runner(i int) runner {
	m := r.members[i]
	busy, bytes := m.busy.Load(), m.bytes.Load()
	each := int64(1)
	if done := m.asked.Load() - busy; done > 0 {
		each = max(bytes/done, 1)
	}
	return runner{weight: r.weights[i], busy: busy, traffic: bytes + busy*each + m.credit.Load()}
}

func (r *ring) runners() []runner {
	all := make([]runner, len(r.members))
	for i := range all {
		all[i] = r.runner(i)
	}
	return all
}

// sign takes up what was seen of a member.
func (g *group) sign(m *member, s Sign) {
	if s.OK && m.well.Load() {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	m.mu.Lock()
	before := m.health
	m.health = before.Next(s, g.pool.Check, g.now())
	after := m.health
	m.well.Store(!after.Down && after.Fails == 0 && !after.Since.IsZero())
	if m.trial.Load() == trialTaken {
		m.trial.Store(noTrial)
	}
	name := m.spec.Name
	m.mu.Unlock()
	if before.Down == after.Down && !after.Down {
		return
	}
	g.turnOver()
	switch {
	case after.Down && !before.Down:
		g.log.Warn("a member is down", "member", name, "why", after.Why)
		g.broke(m.origin)
	case before.Down && !after.Down:
		g.log.Info("a member is back", "member", name, "down for", after.Since.Sub(before.Since).Round(time.Millisecond))
	}
}

// tick makes the ring anew while somebody's share grows, or somebody may be tried again.
func (g *group) tick() {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	for _, m := range g.members {
		m.mu.Lock()
		h := m.health
		m.mu.Unlock()
		if h.Down && !h.Until.IsZero() || h.Back && !h.Down && now.Sub(h.Since) <= g.pool.Slow+time.Second {
			g.turnOver()
			return
		}
	}
}

// heed takes up how busy members' machines are, 0 to 1; those that nobody knows of are idle.
func (g *group) heed(loads map[string]float64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pool.Balance != Heartbeat {
		return
	}
	for _, m := range g.members {
		m.mu.Lock()
		m.load = loads[m.spec.Name]
		m.mu.Unlock()
	}
	g.turnOver()
}

// standings are the members as others see them.
func (g *group) standings() []Standing {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.ring.Load()
	var all []Standing
	for _, m := range g.members {
		s := m.standing()
		if at := slices.Index(r.members, m); at >= 0 {
			s.Share = r.weights[at] / r.sums[len(r.sums)-1]
		}
		all = append(all, s)
	}
	return all
}

// close ends the checks.
func (g *group) close() {
	g.mu.Lock()
	for _, m := range g.members {
		m.stop()
	}
	g.mu.Unlock()
	g.checks.Wait()
	g.transport.CloseIdle()
	g.second.CloseIdleConnections()
}

package job

import (
	"slices"
	"sync"
	"time"
)

// moment is one remembered span; times are nanoseconds since 1970.
type moment struct {
	start, end, busy int64
	job              ID
	first, last, n   int32
	node             int32
	attempt          int32
	state            stateCode
}

// stateCode is a TaskState in one byte.
type stateCode uint8

const (
	codeDone stateCode = iota
	codeFailed
	codeCancelled
	codeRunning
)

func (c stateCode) state() TaskState { return [...]TaskState{Done, Failed, Cancelled, Running}[c] }

// past is what the head remembers of attempts that are over, the newest first to stay.
type past struct {
	mu     sync.Mutex
	ring   []moment
	count  uint64           // of all moments ever; the newest is ring[(count-1)%keptSpans]
	nodes  map[string]int32 // numbers names
	names  []string
	grow   [][openSpans]uint64 // by node: 1 + the number of those that may grow, the latest first
	since  time.Time           // of the first
	rate   [keptRate][2]int    // done and failed, by second modulo keptRate
	second int64               // the newest in rate, since 1970
}

// add takes in results that are final. cancelled reports whether a job was; it is asked only of tasks that failed.
func (p *past) add(results []Result, now time.Time, cancelled func(ID) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.nodes == nil {
		p.nodes, p.since = map[string]int32{}, now
	}
	p.advance(now.Unix())
	rate := &p.rate[p.second%keptRate]
	node, name := int32(-1), ""
	for i := range results {
		r := &results[i]
		if node < 0 || r.Node != name {
			node, name = p.number(r.Node), r.Node
		}
		code := codeDone
		if r.OK() {
			rate[0]++
		} else if code = codeFailed; cancelled(r.Job) {
			code = codeCancelled
		} else {
			rate[1]++
		}
		p.note(moment{start: r.Started.UnixNano(), end: r.Ended.UnixNano(), job: r.Job, first: int32(r.Index), last: int32(r.Index), n: 1,
			node: node, attempt: int32(r.Attempt), state: code}, now.UnixNano())
	}
}

// number is a node's.
func (p *past) number(name string) int32 {
	n, ok := p.nodes[name]
	if !ok {
		n = int32(len(p.names))
		p.nodes[name], p.names, p.grow = n, append(p.names, name), append(p.grow, [openSpans]uint64{})
	}
	return n
}

// advance empties the seconds between the newest one and now.
func (p *past) advance(now int64) {
	if now-p.second > keptRate {
		p.second = now - keptRate
	}
	for p.second < now {
		p.second++
		p.rate[p.second%keptRate] = [2]int{}
	}
}

// note remembers an attempt, by itself or together with others like it. A node's clock that is far off, or was set
// meanwhile, is not believed.
func (p *past) note(m moment, now int64) {
	if m.end > now || m.end <= 0 {
		m.start, m.end = now-max(0, m.end-m.start), now
	}
	m.start = min(max(m.start, 0), m.end)
	m.busy = m.end - m.start
	grow := &p.grow[m.node]
	for i, at := range grow {
		if at == 0 || p.count-(at-1) > keptSpans {
			break
		}
		if old := &p.ring[(at-1)%keptSpans]; old.takes(&m) {
			old.take(&m)
			copy(grow[1:i+1], grow[:i])
			grow[0] = at
			return
		}
	}
	if len(p.ring) < keptSpans {
		p.ring = append(p.ring, m)
	} else {
		p.ring[p.count%keptSpans] = m
	}
	p.count++
	copy(grow[1:], grow[:])
	grow[0] = p.count
}

// takes reports whether next is told together with m.
func (m *moment) takes(next *moment) bool {
	return m.job == next.job && m.node == next.node && m.state == next.state && next.busy < int64(shortSpan) &&
		(m.n > 1 || m.busy < int64(shortSpan)) &&
		next.start-m.end <= int64(shortGap) && m.start-next.end <= int64(shortGap) &&
		max(m.end, next.end)-min(m.start, next.start) <= int64(longSpan)
}

func (m *moment) take(next *moment) {
	m.start, m.end, m.busy, m.n = min(m.start, next.start), max(m.end, next.end), m.busy+next.busy, m.n+next.n
	m.first, m.last, m.attempt = min(m.first, next.first), max(m.last, next.last), max(m.attempt, next.attempt)
}

// between is what of the past falls in a stretch of time, by the name of its node.
func (p *past) between(since, until time.Time, only ID) (list []moment, names []string, known time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known = p.since
	if p.count > keptSpans {
		known = time.Unix(0, p.ring[p.count%keptSpans].end).UTC()
	}
	from, to := since.UnixNano(), until.UnixNano()
	for i := range p.ring {
		if m := &p.ring[i]; m.end >= from && m.start <= to && (only == 0 || m.job == only) {
			list = append(list, *m)
		}
	}
	return list, slices.Clone(p.names), known
}

func (p *past) throughput(now time.Time) Throughput {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advance(now.Unix())
	t := Throughput{Until: time.Unix(p.second, 0).UTC(), Done: make([]int, keptRate-1), Failed: make([]int, keptRate-1)}
	for i := range keptRate - 1 { // the second that is not over yet is left out
		at := &p.rate[(p.second+1+int64(i))%keptRate]
		t.Done[i], t.Failed[i] = at[0], at[1]
	}
	return t
}

package front

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"bramble/http1"
)

// member is a server behind the front, with what is known of it.
type member struct {
	origin *http1.Origin
	second bool // it speaks HTTP/2
	busy   atomic.Int64
	asked  atomic.Int64
	failed atomic.Int64
	bytes  atomic.Int64
	heard  atomic.Int64 // bytes of bodies that came past the loops, as they came
	credit atomic.Int64 // bytes that a choice by traffic adds, for what others had sent before it came
	delay  atomic.Uint64
	well   atomic.Bool // up, and nothing failed since: good news needs no lock
	trial  atomic.Int32

	mu     sync.Mutex // of what follows
	spec   Member
	health Health
	load   float64 // busy share of its machine's processors, 0 to 1
	stop   func()  // its checks
}

// What a trial, the one request that may find out whether a member is well again, is.
const (
	noTrial int32 = iota // its health is known
	trialFree
	trialTaken
)

// begin counts a request that the member is asked.
func (m *member) begin() {
	m.busy.Add(1)
	m.asked.Add(1)
}

// end counts the end of a request, well or not.
func (m *member) end(body int64, failed bool) {
	m.busy.Add(-1)
	m.trial.CompareAndSwap(trialTaken, trialFree) // where nothing was learnt: whoever asked has gone
	m.bytes.Add(body)
	if failed {
		m.failed.Add(1)
	}
}

// answered takes the time to an answer's head into the average, in which the last one counts a twentieth.
func (m *member) answered(took time.Duration) {
	old := math.Float64frombits(m.delay.Load())
	if old == 0 {
		old = float64(took)
	}
	m.delay.Store(math.Float64bits(old + (float64(took)-old)/20)) // of two at once one may be lost
}

// life grows with each byte that comes from the member.
func (m *member) life() int64 { return m.origin.Heard() + m.heard.Load() }

// name is what the member is called.
func (m *member) name() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.spec.Name
}

// standing is the member as others see it.
func (m *member) standing() Standing {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Standing{
		Member: m.spec, Health: m.health, Busy: m.busy.Load(), Requests: m.asked.Load(), Failures: m.failed.Load(),
		Bytes: m.bytes.Load(), Latency: time.Duration(math.Float64frombits(m.delay.Load())),
	}
}

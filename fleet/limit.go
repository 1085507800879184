package fleet

import (
	"sync"
	"time"
)

// A machine that joins with a wrong token may do so maxRefused times in refusedWithin; then its address
// waits. Tokens cannot be guessed; this keeps the record of events readable and the head's disk quiet.
const (
	maxRefused    = 10
	refusedWithin = time.Minute
	maxAddresses  = 4096 // addresses remembered at a time
)

// limiter counts refusals by address.
type limiter struct {
	mu      sync.Mutex
	refused map[string]refusals
}

type refusals struct {
	count int
	since time.Time
}

// wait is how long the address has to wait; 0 when it may ask.
func (l *limiter) wait(address string, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.refused[address]
	if r.count < maxRefused {
		return 0
	}
	return max(0, r.since.Add(refusedWithin).Sub(now))
}

// refuse counts a refusal.
func (l *limiter) refuse(address string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refused == nil {
		l.refused = map[string]refusals{}
	}
	if len(l.refused) >= maxAddresses {
		l.forget(now)
	}
	r := l.refused[address]
	if now.Sub(r.since) >= refusedWithin {
		r = refusals{since: now}
	}
	r.count++
	l.refused[address] = r
}

// forget drops what is over, and all where that is nothing: an attacker with so many addresses has won little.
func (l *limiter) forget(now time.Time) {
	for address, r := range l.refused {
		if now.Sub(r.since) >= refusedWithin {
			delete(l.refused, address)
		}
	}
	if len(l.refused) >= maxAddresses {
		clear(l.refused)
	}
}

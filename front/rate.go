package front

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"bramble/fault"
	"bramble/http1"
)

// Rate is how much one address may ask.
type Rate struct {
	Each  float64 `json:"each,omitempty"`  // requests a second; 0: any
	Burst int     `json:"burst,omitempty"` // of them at once
}

// Check reports as fault.Misused what cannot be a rate.
func (r Rate) Check() error {
	if !(r.Each >= 0) || r.Burst < 0 { // and what is no number
		return fault.New(fault.Misused, "a rate is 0 requests a second or more, and so many at once").Hint("--rate 50 --burst 100, or --rate 0 for any")
	}
	return nil
}

// denied counts requests that a front refuses by its settings.
type denied struct{ hurried, large atomic.Int64 }

// limits on what one address may do.
type limits struct {
	mu    sync.Mutex
	now   func() time.Time
	spent map[netip.Addr]*bucket
	swept time.Time
}

// bucket is a token bucket: what an address has left, at a time.
type bucket struct {
	left float64
	at   time.Time
}

// mostAddresses is how many addresses are told apart; what comes from more is not limited, for memory is.
const mostAddresses = 100_000

// allow takes one request of an address; false is that it has had too many.
func (l *limits) allow(r Rate, from netip.Addr) bool {
	if r.Each <= 0 {
		return true
	}
	from = http1.Neighbourhood(from)
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	full := max(float64(r.Burst), 1)
	if now.Sub(l.swept) > 10*time.Second {
		l.swept = now
		for at, b := range l.spent {
			if b.left+r.Each*now.Sub(b.at).Seconds() >= full {
				delete(l.spent, at)
			}
		}
	}
	b := l.spent[from]
	if b == nil {
		if len(l.spent) >= mostAddresses {
			return true
		}
		b = &bucket{left: full, at: now}
		l.spent[from] = b
	}
	b.left = min(full, b.left+r.Each*now.Sub(b.at).Seconds())
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

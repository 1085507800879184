package http1

import (
	"net/netip"
	"sync"
)

// crowd counts open connections by address, if there is a limit.
type crowd struct {
	most int
	mu   sync.Mutex
	open map[netip.Addr]int
}

// Neighbourhood is what counts as one address: whoever has an address of IPv6 has the 64 bits below it.
func Neighbourhood(a netip.Addr) netip.Addr {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// enter counts a connection; false is that there are too many, and it is not counted.
func (c *crowd) enter(from netip.Addr) bool {
	if c.most <= 0 || !from.IsValid() {
		return true
	}
	from = Neighbourhood(from)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[from] >= c.most {
		return false
	}
	if c.open == nil {
		c.open = map[netip.Addr]int{}
	}
	c.open[from]++
	return true
}

func (c *crowd) leave(from netip.Addr) {
	if c.most <= 0 || !from.IsValid() {
		return
	}
	from = Neighbourhood(from)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[from]--; c.open[from] <= 0 {
		delete(c.open, from)
	}
}

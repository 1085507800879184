package host

import (
	"sync/atomic"
	"syscall"
)

// peak is the most memory that this process ever had, as far as it was asked for.
type peak struct{ bytes atomic.Int64 }

// above is a child's peak if that can be its own: a child is counted with our memory until it executes its
// program, so what is not above our peak says nothing and becomes 0.
func (p *peak) above(child int64) int64 {
	if child <= p.bytes.Load() {
		return 0
	}
	var self syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &self)
	p.bytes.Store(int64(self.Maxrss) << 10)
	if child <= p.bytes.Load() {
		return 0
	}
	return child
}

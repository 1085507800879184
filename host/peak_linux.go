package host

import (
	"os"
	"sync/atomic"
)

// peak is the most memory that this process ever had at once, as far as it was asked for.
type peak struct{ bytes atomic.Int64 }

// above is a child's peak if that can be its own: a child is counted with our memory until it executes its
// program, so what is not above our peak says nothing and becomes 0.
func (p *peak) above(child int64) int64 {
	if child <= p.bytes.Load() {
		return 0
	}
	p.bytes.Store(highWater())
	if child <= p.bytes.Load() {
		return 0
	}
	return child
}

// highWater is the VmHWM of proc_pid_status(5), in bytes. It is not getrusage's, which this process has from
// the one that started it, and hands on to nobody.
func highWater() int64 {
	status, _ := os.ReadFile("/proc/self/status")
	return kilobytes(pairs(string(status), ":")["VmHWM"])
}

package host

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
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
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for lines := bufio.NewScanner(bytes.NewReader(status)); lines.Scan(); {
		if kb, ok := bytes.CutPrefix(lines.Bytes(), []byte("VmHWM:")); ok {
			n, _ := strconv.ParseInt(string(bytes.TrimSpace(bytes.TrimSuffix(kb, []byte("kB")))), 10, 64)
			return n << 10
		}
	}
	return 0
}

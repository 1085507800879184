package agent

import (
	"context"
	"runtime/debug"
	"time"
)

// leanEvery is how often the head looks how many are connected.
const leanEvery = time.Second

// stayLean collects garbage the more often the more memory is in use.
func (h *head) stayLean(ctx context.Context) error {
	tick := time.NewTicker(leanEvery)
	defer tick.Stop()
	for {
		connections := h.server.Connections()
		debug.SetGCPercent(gcPercent(connections))
		debug.SetMemoryLimit(memoryLimit(connections))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// gcPercent is how much garbage a head may gather, in percent of what it needs. A head's garbage is messages, so room for
// 64 MB of it halves a small one's collections for little memory; a large one has as much as it needs, which is more than that,
// up to memoryLimit.
func gcPercent(connections int) int {
	return min(200, max(100, 64*100/needs(connections)))
}

// memoryLimit is from where on it collects garbage whatever that costs, in bytes: while much happens, a collection takes so
// long that as much again would gather meanwhile.
func memoryLimit(connections int) int64 {
	n := needs(connections)
	return int64(n+max(64, n*7/10)) << 20
}

// needs is about what a head needs, in MB.
func needs(connections int) int { return 25 + connections/8 }

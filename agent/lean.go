package agent

import (
	"context"
	"runtime/debug"
	"time"
)

// leanEvery is how often the head looks how many are connected.
const leanEvery = 10 * time.Second

// stayLean collects garbage the more often the more memory is in use.
func (h *head) stayLean(ctx context.Context) error {
	tick := time.NewTicker(leanEvery)
	defer tick.Stop()
	for {
		debug.SetGCPercent(gcPercent(h.server.Connections()))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// gcPercent is how much garbage a head may gather, in percent of what it needs: that is about 25 MB and 125 kB for each
// connection. A head's garbage is messages, so room for 64 MB of it halves a small one's collections for little memory;
// a large one has two fifths of what it needs, which is more than that.
func gcPercent(connections int) int {
	needs := 25 + connections/8
	return min(200, max(40, 64*100/needs))
}

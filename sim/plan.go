package sim

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"bramble/fault"
	"bramble/trust"
)

// names are the nodes', padded to equal width.
func names(prefix string, nodes int) ([]string, error) {
	if nodes < 1 || nodes > MaxNodes {
		return nil, fault.New(fault.Misused, "a simulation has 1 to %d nodes, not %d", MaxNodes, nodes).Hint("several simulations with a --prefix each")
	}
	width := len(strconv.Itoa(nodes))
	all := make([]string, nodes)
	for i := range all {
		all[i] = fmt.Sprintf("%s%0*d", prefix, width, i+1)
	}
	return all, trust.ValidName(all[0])
}

// Percentile is the smallest of the times that at least the share p of them do not exceed.
func Percentile(times []time.Duration, p float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(times))
	for i, d := range sorted {
		if float64(i+1) >= p*float64(len(sorted)) {
			return d
		}
	}
	return sorted[len(sorted)-1]
}

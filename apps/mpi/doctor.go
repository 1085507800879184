package mpi

import (
	"fmt"
	"slices"
	"time"
)

// The doctor measures the links between nodes with a program of its own, in ranks that find each other through their
// allocation: it needs no library of MPI, and what it finds is the network's doing.

// Pair is what was measured between two nodes.
type Pair struct {
	A       string        `json:"a"`
	B       string        `json:"b"`
	Latency time.Duration `json:"latency"` // half of a round trip, nanoseconds
	Mbits   float64       `json:"mbits"`   // of data that went one way
	Error   string        `json:"error,omitempty"`
}

// Health is what the doctor found.
type Health struct {
	Nodes  []string      `json:"nodes"`
	Pairs  []Pair        `json:"pairs"`
	Ring   time.Duration `json:"ring"`      // a byte through all nodes and back, nanoseconds
	Reduce time.Duration `json:"allreduce"` // a number summed up over all nodes, nanoseconds
	Sum    int           `json:"sum"`       // what came out, of ranks counted from 1
}

// Verdict names what stands out: nodes all of whose pairs are far slower than most are, then single pairs.
func (h Health) Verdict() []string {
	var rates, waits []float64
	for _, p := range h.Pairs {
		if p.Error == "" {
			rates, waits = append(rates, p.Mbits), append(waits, float64(p.Latency))
		}
	}
	if len(rates) == 0 {
		return []string{"no two nodes reach each other"}
	}
	slices.Sort(rates)
	slices.Sort(waits)
	rate, wait := rates[len(rates)*3/4], waits[len(waits)/4] // of the better ones: half the nodes may share a bad switch
	var said []string
	named := map[string]bool{}
	for _, node := range h.Nodes {
		bad, pairs := 0, 0
		best := 0.0
		for _, p := range h.Pairs {
			if p.A != node && p.B != node {
				continue
			}
			pairs++
			if p.slow(rate, wait) {
				bad++
			}
			best = max(best, p.Mbits)
		}
		if pairs > 1 && bad == pairs {
			named[node] = true
			said = append(said, fmt.Sprintf("%s is slow towards every node: at best %.0f of %.0f Mbit/s; look at its cable and its port", node, best, rate))
		}
	}
	for _, p := range h.Pairs {
		switch {
		case named[p.A] || named[p.B]:
		case p.Error != "":
			said = append(said, fmt.Sprintf("%s and %s do not reach each other: %s", p.A, p.B, p.Error))
		case p.slow(rate, wait):
			said = append(said, fmt.Sprintf("%s and %s are slow: %.0f Mbit/s and %s", p.A, p.B, p.Mbits, short(p.Latency)))
		}
	}
	if want := len(h.Nodes) * (len(h.Nodes) + 1) / 2; h.Sum != want {
		said = append(said, fmt.Sprintf("the sum over all nodes is %d, not %d", h.Sum, want))
	}
	return said
}

// slow reports whether a pair is far from what the better ones reach: half the rate, or five times the latency and
// more than a busy machine makes of it.
func (p Pair) slow(rate, wait float64) bool {
	return p.Error != "" || p.Mbits < rate/2 || float64(p.Latency) > 5*wait && p.Latency > 2*time.Millisecond
}

func short(d time.Duration) string {
	if d < time.Millisecond {
		return fmt.Sprintf("%d µs", d.Microseconds())
	}
	return fmt.Sprintf("%.1f ms", float64(d)/1e6)
}

// Matrix is the pairs as rows of cells, the first row and column naming nodes: rate above the diagonal, latency below.
func (h Health) Matrix() [][]string {
	at := map[[2]string]Pair{}
	for _, p := range h.Pairs {
		at[[2]string{p.A, p.B}], at[[2]string{p.B, p.A}] = p, p
	}
	rows := [][]string{append([]string{""}, h.Nodes...)}
	for i, a := range h.Nodes {
		row := []string{a}
		for k, b := range h.Nodes {
			p := at[[2]string{a, b}]
			switch {
			case i == k:
				row = append(row, "·")
			case p.Error != "":
				row = append(row, "none")
			case k > i:
				row = append(row, fmt.Sprintf("%.0f", p.Mbits))
			default:
				row = append(row, short(p.Latency))
			}
		}
		rows = append(rows, row)
	}
	return rows
}

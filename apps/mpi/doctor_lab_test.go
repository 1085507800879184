package mpi_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	hostnet "bramble/host/net"
	"bramble/lab/labtest"
)

// A node whose link is ten times slower than the others' is seen in the matrix, and named.
func slowNode(t *testing.T, l *labtest.Lab) {
	rate, err := hostnet.ParseRate("10mbit")
	must(t, err)
	must(t, l.Slow(t.Context(), "node3", rate))
	defer l.Heal(t.Context(), "node3")
	r := typed(t, l, t.TempDir(), "mpi", "doctor")
	lines := strings.Split(strings.TrimSpace(r.Stdout), "\n")
	if len(lines) < 6 {
		t.Fatalf("status %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	nodes := strings.Split(lines[0], "\t")[1:]
	var slow, fast []float64 // Mbit/s of pairs with node3, and of those without
	for i, line := range lines[1:5] {
		cells := strings.Split(line, "\t")
		if cells[0] != nodes[i] {
			t.Errorf("row %d of the matrix is of %s, and its column of %s", i, cells[0], nodes[i])
		}
		for k, cell := range cells[1:] {
			if k <= i {
				continue // latencies
			}
			rate, err := strconv.ParseFloat(cell, 64)
			must(t, err)
			if nodes[i] == "node3" || nodes[k] == "node3" {
				slow = append(slow, rate)
			} else {
				fast = append(fast, rate)
			}
		}
	}
	if len(slow) != 3 || len(fast) != 3 || slices.Max(slow) > slices.Max(fast)/4 {
		t.Errorf("pairs with node3 reach %v Mbit/s, those without %v", slow, fast)
	}
	named := slices.DeleteFunc(lines[5:], func(line string) bool { return !strings.Contains(line, "is slow towards every node") })
	if r.Code != 1 || len(named) != 1 || !strings.HasPrefix(named[0], "node3 is slow towards every node: at best ") {
		t.Errorf("status %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
}

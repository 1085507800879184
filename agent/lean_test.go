package agent

import "testing"

func TestGCPercent(t *testing.T) {
	for connections, want := range map[int]int{0: 200, 10: 200, 100: 172, 1000: 42, 10_000: 40} {
		if got := gcPercent(connections); got != want {
			t.Errorf("%d connections: %d %%, want %d", connections, got, want)
		}
	}
}

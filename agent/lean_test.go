package agent

import "testing"

func TestGCPercent(t *testing.T) {
	for connections, want := range map[int]int{0: 200, 10: 200, 100: 172, 1000: 100, 10_000: 100} {
		if got := gcPercent(connections); got != want {
			t.Errorf("%d connections: %d %%, want %d", connections, got, want)
		}
	}
}

func TestMemoryLimit(t *testing.T) {
	for connections, want := range map[int]int64{0: 89, 100: 101, 1000: 255, 10_000: 2167} {
		if got := memoryLimit(connections); got != want<<20 {
			t.Errorf("%d connections: %d MB, want %d", connections, got>>20, want)
		}
	}
}

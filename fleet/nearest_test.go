package fleet_test

import (
	"strings"
	"testing"

	"bramble/fleet"
)

func TestNearest(t *testing.T) {
	verbs := strings.Fields("up add join nodes run shell push pull forward submit each queue job logs cancel wait drain container")
	tests := []struct{ word, want string }{
		{"nodes", "nodes"},
		{"ndoes", "nodes"},
		{"NODES", "nodes"},
		{"node", "nodes"},
		{"sumbit", "submit"},
		{"submitt", "submit"},
		{"sub", "submit"},
		{"cont", "container"},
		{"lgos", "logs"},
		{"quue", "queue"},
		{"pulll", "pull"},
		{"jon", "join"}, // before job, which is as near
		{"frobnicate", ""},
		{"xyz", ""},
		{"x", ""},
		{"u", ""}, // one letter says too little
		{"a", ""},
		{"", ""},
		{strings.Repeat("nodes", 1_000_000), ""},
	}
	for _, test := range tests {
		if got := fleet.Nearest(test.word, verbs); got != test.want {
			t.Errorf("Nearest(%.20q) = %q; want %q", test.word, got, test.want)
		}
	}
	if got := fleet.Nearest("node", []string{strings.Repeat("z", 1<<20), "mode"}); got != "mode" {
		t.Errorf("got %q", got)
	}
	long := strings.Repeat("node", 100)
	if allocs := testing.AllocsPerRun(1, func() { fleet.Nearest(long, verbs) }); allocs > 0 {
		t.Errorf("a word that nobody can have meant was compared with others")
	}
	if got := fleet.Nearest("node", nil); got != "" {
		t.Errorf("got %q", got)
	}
}

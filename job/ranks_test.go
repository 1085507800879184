package job

import (
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestRanksPlace(t *testing.T) {
	peers := []Peer{{Share: Share{Node: "a", Ranks: 4}}, {Share: Share{Node: "b", Ranks: 2}}, {Share: Share{Node: "c", Ranks: 1}}}
	for name, c := range map[string]struct {
		ranks Ranks
		want  string // or part of the error
	}{
		"as the job has them":    {Ranks{}, "a a a a b b c"},
		"fewer":                  {Ranks{Count: 5}, "a a a a b"},
		"on so many nodes":       {Ranks{Count: 3, Nodes: 2}, "a a b"},
		"so many on each":        {Ranks{PerNode: 1}, "a b c"},
		"on some of the nodes":   {Ranks{On: []string{"c", "b"}}, "b b c"},
		"each as large as two":   {Ranks{Each: 2}, "a a b"},
		"too many of these":      {Ranks{Each: 2, Count: 4}, "has 3 ranks"},
		"larger than any node":   {Ranks{Each: 5}, "no node of the allocation has the cores"},
		"more than were asked":   {Ranks{Count: 8}, "has 7 ranks"},
		"more nodes":             {Ranks{Nodes: 4}, "has 3 nodes"},
		"a node of another job":  {Ranks{On: []string{"d"}}, "d is not in this allocation"},
		"more than on each":      {Ranks{PerNode: 1, Count: 4}, "hold 3, not 4"},
		"in spite of their size": {Ranks{PerNode: 2, Each: 5}, "a a b b c c"},
	} {
		nodes, err := c.ranks.Place(peers)
		got := strings.Join(nodes, " ")
		if err != nil {
			got = err.Error()
		}
		if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// Steps that begin at the same time have different numbers, and none is left out.
func TestCountStep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.1")
	numbers := make([]int, 50)
	var all sync.WaitGroup
	for i := range numbers {
		all.Go(func() {
			var err error
			if numbers[i], err = CountStep(path); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	slices.Sort(numbers)
	for i, n := range numbers {
		if n != i {
			t.Fatalf("numbers %v", numbers)
		}
	}
	if _, err := CountStep(""); err == nil {
		t.Error("a step was counted nowhere")
	}
}

package job

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"bramble/keeper"
)

// queueKeeper is a keeper that heeds lanes, as far as these tests look.
type queueKeeper struct {
	*fakeKeeper
	old       bool
	withdrawn chan string
}

func (k *queueKeeper) Queues() bool { return !k.old }

func (k *queueKeeper) Withdraw(_ context.Context, ids []string) error {
	for _, id := range ids {
		k.withdrawn <- id
	}
	return nil
}

// aheadNode is a node of two cores whose jobs are plain, of another shape, with files, and with a memory limit.
func aheadNode(t *testing.T) (*Node, *queueKeeper) {
	k := &queueKeeper{fakeKeeper: newFakeKeeper(), withdrawn: make(chan string, 9)}
	n := NewNode(&Node{Keeper: k, Dir: t.TempDir(), Cores: 2, Memory: 1000, Log: slog.New(slog.DiscardHandler)})
	n.life = t.Context()
	n.specs[1], n.specs[2], n.specs[3] = Spec{CPUs: 1}, Spec{CPUs: 2}, Spec{CPUs: 1, Inputs: "x"}
	n.specs[4] = Spec{CPUs: 1, Memory: 600}
	return n, k
}

func give(n *Node, job ID, cpus int, memory int64, indexes ...int) {
	for _, i := range indexes {
		n.take([]Attempt{{Key: Key{Job: job, Index: i, Attempt: 1}, CPUs: cpus, Memory: memory}})
	}
	n.start()
}

// launched tells what was handed over since, and how.
func launched(n *Node) string {
	var said []string
	for _, a := range n.starts {
		said = append(said, fmt.Sprintf("%d.%d/%d", a.Job, a.Index, n.lanesOf(a.Key)))
	}
	n.starts = nil
	return strings.Join(said, " ")
}

func TestWhatIsHandedAhead(t *testing.T) {
	for _, c := range []struct {
		what string
		give func(n *Node, k *queueKeeper)
		want string
	}{
		{"all that are alike", func(n *Node, _ *queueKeeper) { give(n, 1, 1, 0, 1, 2, 3, 4) }, "1.1/0 1.2/0 1.3/2 1.4/2"},
		{"as many as the memory lets run", func(n *Node, _ *queueKeeper) { give(n, 4, 1, 600, 1, 2) }, "4.1/0 4.2/1"},
		{"none over another one that waits", func(n *Node, _ *queueKeeper) {
			give(n, 1, 1, 0, 1, 2)
			give(n, 2, 2, 0, 1)
			give(n, 1, 1, 0, 3)
		}, "1.1/0 1.2/0"},
		{"none with files of its own", func(n *Node, _ *queueKeeper) { give(n, 3, 1, 0, 1, 2, 3) }, "3.1/0 3.2/0"},
		{"none of an unknown job", func(n *Node, _ *queueKeeper) { give(n, 9, 1, 0, 1, 2, 3) }, "9.1/0 9.2/0"},
		{"none to a keeper of old", func(n *Node, k *queueKeeper) { k.old = true; give(n, 1, 1, 0, 1, 2, 3) }, "1.1/0 1.2/0"},
	} {
		n, k := aheadNode(t)
		c.give(n, k)
		if got := launched(n); got != c.want {
			t.Errorf("%s: %s, not %s", c.what, got, c.want)
		}
	}
}

func TestHandedAheadIsNotHandedTwice(t *testing.T) {
	n, _ := aheadNode(t)
	give(n, 1, 1, 0, 1, 2, 3, 4)
	launched(n)
	n.over([]keeper.Status{{ID: "1.1.1"}, {ID: "1.2.1"}})
	if got := launched(n); got != "" {
		t.Errorf("handed over again: %s", got)
	}
	if n.slots.cpus != 2 || len(n.slots.waiting) != 0 {
		t.Errorf("%d cores in use, %d wait", n.slots.cpus, len(n.slots.waiting))
	}
	n.over([]keeper.Status{{ID: "1.3.1"}, {ID: "1.4.1"}})
	if len(n.ahead) != 0 {
		t.Errorf("left in the books: %v", slices.Collect(maps.Keys(n.ahead)))
	}
}

func TestHandedAheadIsTakenBack(t *testing.T) {
	n, k := aheadNode(t)
	give(n, 1, 1, 0, 1, 2, 3, 4)
	n.giveBack([]Key{{Job: 1, Index: 3, Attempt: 1}})
	if id := <-k.withdrawn; id != "1.3.1" {
		t.Errorf("withdrew %s", id)
	}
	if len(n.owed.Rejected) != 0 {
		t.Error("given back before the keeper said that it has not begun")
	}
	n.over([]keeper.Status{{ID: "1.3.1", Error: keeper.Withdrawn}})
	if got := fmt.Sprint(n.owed.Rejected); got != "[1.3.1]" || n.slots.holds(Key{Job: 1, Index: 3, Attempt: 1}) {
		t.Errorf("given back: %s", got)
	}
}

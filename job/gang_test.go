package job

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"bramble/fleet"
)

var three = []string{"node1", "node2", "node3"}

// reserves is how many cores each node has given away.
func (c *cluster) reserves() map[string]int {
	synctest.Wait()
	cores := map[string]int{}
	for name, w := range c.nodes {
		w.node.mu.Lock()
		cores[name] = w.node.slots.cpus
		w.node.mu.Unlock()
	}
	return cores
}

func (c *cluster) wantReserved(when string, want ...int) {
	c.t.Helper()
	got := c.reserves()
	for i, name := range three[:len(want)] {
		if got[name] != want[i] {
			c.t.Errorf("%s %s has %d cores in use, want %d", when, name, got[name], want[i])
		}
	}
}

// An allocation's command runs on its leader, which is told of all, and the other nodes run nothing else meanwhile.
func TestAllocationOnItsNodes(t *testing.T) {
	inBubble(t, three, func(c *cluster) {
		id := c.submit(Spec{Args: []string{"sleep", "10"}, Nodes: 3, Ranks: 5})
		time.Sleep(time.Second)
		c.wantReserved("while it runs", 2, 2, 1)
		leader := c.nodes["node1"].keeper
		leader.mu.Lock()
		task := leader.tasks["1.0.1"].task
		leader.mu.Unlock()
		for _, want := range []string{"BRAMBLE_NODES=node[1-3]", "BRAMBLE_NODE_RANKS=2,2,1", "BRAMBLE_RANKS=5"} {
			if !slices.Contains(task.Env, want) {
				t.Errorf("the environment lacks %s: %q", want, task.Env)
			}
		}
		other := c.submit(Spec{Args: []string{"sleep", "1"}, CPUs: 2})
		if sum := c.wait(id); sum.State != Done {
			t.Errorf("job is %s", sum.State)
		}
		if sum := c.wait(other); sum.State != Done || sum.Ended.Sub(sum.Submitted) < 10*time.Second {
			t.Errorf("a job that needs a whole node is %s after %s", sum.State, sum.Ended.Sub(sum.Submitted))
		}
		time.Sleep(time.Second)
		c.wantReserved("afterwards", 0, 0, 0)
		c.nothingLeft()
	})
}

func TestAllocationIsCancelled(t *testing.T) {
	inBubble(t, three, func(c *cluster) {
		id := c.submit(Spec{Args: []string{"stay"}, Nodes: 3})
		time.Sleep(time.Second)
		c.wantReserved("before", 1, 1, 1)
		c.asked(func(cl Client) { cl.Cancel(c.t.Context(), id) })
		if sum := c.wait(id); sum.State != Cancelled {
			t.Errorf("job is %s", sum.State)
		}
		time.Sleep(time.Second)
		c.wantReserved("after", 0, 0, 0)
		c.nothingLeft()
	})
}

// What is memory and cores of a share is known to a later agent and a later head; the job runs once.
func TestAllocationOutlivesAgentsAndHead(t *testing.T) {
	for name, restart := range map[string]func(*cluster){
		"agents": func(c *cluster) {
			for _, name := range three {
				c.nodes[name].down()
			}
			time.Sleep(time.Second)
			for _, name := range three {
				c.nodes[name].up()
			}
		},
		"all": func(c *cluster) { c.restart(2 * time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, three, func(c *cluster) {
				id := c.submit(Spec{Args: []string{"sleep", "60"}, Nodes: 3, Ranks: 5, Memory: 1 << 20})
				time.Sleep(2 * time.Second)
				restart(c)
				time.Sleep(20 * time.Second)
				c.wantReserved("after the restart", 2, 2, 1)
				if sum := c.wait(id); sum.State != Done {
					t.Errorf("job is %s", sum.State)
				}
				if begun := c.begun(); len(begun) != 1 || begun["1.0.1"] != 1 {
					t.Errorf("attempts: %v", begun)
				}
				time.Sleep(time.Second)
				c.wantReserved("afterwards", 0, 0, 0)
				c.nothingLeft()
			})
		})
	}
}

// A node of an allocation that is lost takes the allocation with it; it starts anew on what is left.
func TestAllocationLosesANode(t *testing.T) {
	inBubble(t, three, func(c *cluster) {
		id := c.submit(Spec{Args: []string{"sleep", "30"}, Nodes: 2, Patience: time.Second})
		time.Sleep(2 * time.Second)
		c.nodes["node2"].down()
		c.notice("node2", fleet.Suspect)
		c.notice("node2", fleet.Down)
		time.Sleep(10 * time.Second)
		if cores := c.reserves(); cores["node1"] != 1 || cores["node3"] != 1 {
			t.Errorf("cores in use: %v", cores)
		}
		c.nodes["node2"].up()
		time.Sleep(2 * time.Second)
		c.wantReserved("when it is back", 1, 0, 1)
		if sum := c.wait(id); sum.State != Done {
			t.Errorf("job is %s", sum.State)
		}
		c.nothingLeft()
	})
}

// A share that an earlier agent held, and that the head ends before the agent has made it ready again, is freed.
func TestShareEndedAsItIsTakenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		n := NewNode(&Node{Accounts: nobody{}, Dir: t.TempDir(), Cores: 2, Log: quiet()})
		n.life = ctx
		a := Attempt{Key: Key{Job: 6, Attempt: 1}, CPUs: 1, Member: true}
		n.mu.Lock() // what makes it ready waits until the order to end it is here
		n.enter(a.Key)
		n.hold(a)
		n.kill([]Key{a.Key})
		n.mu.Unlock()
		synctest.Wait()
		n.mu.Lock()
		if n.slots.holds(a.Key) || !slices.Equal(n.owed.Rejected, []Key{a.Key}) {
			t.Errorf("%d cores are in use, and the head is told of %v", n.slots.cpus, n.owed.Rejected)
		}
		n.mu.Unlock()
		cancel()
		n.close()
	})
}

package job

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"bramble/keeper"
)

// TakesLimits implements keeper.Limiter.
func (k *fakeKeeper) TakesLimits() bool { return !k.old }

// Limit implements keeper.Limiter; that more time was given before is forgotten.
func (k *fakeKeeper) Limit(ctx context.Context, ids []string, timeout time.Duration) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range ids {
		if f := k.tasks[id]; f.status.Running && timeout > 0 {
			time.AfterFunc(time.Until(f.status.Started.Add(timeout)), func() { k.Signal(ctx, id, "TERM") })
		}
	}
	return nil
}

func (c *cluster) alter(id ID, timeout time.Duration) (sum Summary) {
	c.t.Helper()
	c.asked(func(cl Client) {
		var err error
		if sum, err = cl.Alter(c.t.Context(), id, Alteration{Timeout: &timeout}); err != nil {
			c.t.Fatal(err)
		}
	})
	synctest.Wait()
	return sum
}

// howEnded is the signal that ended a job of one task; "" while it runs.
func (c *cluster) howEnded(id ID) string {
	if d := c.detail(id); len(d.Failures) > 0 {
		return d.Failures[0].Signal
	}
	return ""
}

// What runs follows a new limit, warned before; where the keeper is old it goes on, and whoever asked is told where.
func TestAlterReachesWhatRuns(t *testing.T) {
	inBubble(t, []string{"a", "b"}, func(c *cluster) {
		c.nodes["b"].down()
		c.nodes["b"].keeper.old = true
		c.nodes["b"].up()
		synctest.Wait()
		stay := func(on string) Spec {
			return Spec{On: on, Args: []string{"stay"}, CPUs: 1, Timeout: time.Hour, Signal: "USR1", SignalBefore: time.Minute}
		}
		one, other := c.submit(stay("a")), c.submit(stay("b"))
		synctest.Wait()
		if sum := c.alter(one, 10*time.Minute); len(sum.Keep) > 0 {
			t.Errorf("kept on %q", sum.Keep)
		}
		if sum := c.alter(other, 10*time.Minute); !slices.Equal(sum.Keep, []string{"b"}) {
			t.Errorf("kept on %q", sum.Keep)
		}
		time.Sleep(9*time.Minute + time.Second) // the fake task ends by any signal
		synctest.Wait()
		if how := c.howEnded(one); how != "SIGUSR1" {
			t.Errorf("a's task was not warned: %s", how)
		}
		if how := c.howEnded(other); how != "" {
			t.Errorf("b's task ended by %s", how)
		}
	})
}

// A node that was away when the limit changed is told when it is back, whatever became of its agent and of the head.
func TestAlterReachesWhoWasAway(t *testing.T) {
	inBubble(t, []string{"a"}, func(c *cluster) {
		id := c.submit(Spec{Args: []string{"stay"}, CPUs: 1, Timeout: time.Hour, Patience: time.Hour})
		synctest.Wait()
		c.nodes["a"].down()
		c.alter(id, 10*time.Minute)
		c.restart(time.Second)
		time.Sleep(9 * time.Minute)
		synctest.Wait()
		if how := c.howEnded(id); how != "" {
			t.Fatalf("it ended by %s", how)
		}
		if spec, err := c.nodes["a"].node.readSpec(id); err != nil || spec.Timeout != 10*time.Minute {
			t.Errorf("a later agent would give it %s: %v", spec.Timeout, err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if how := c.howEnded(id); how != "SIGTERM" {
			t.Errorf("it did not end in time: %q", how)
		}
	})
}

var _ keeper.Limiter = (*fakeKeeper)(nil)

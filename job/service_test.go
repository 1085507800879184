package job

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bramble/bus"
	"bramble/fault"
	"bramble/fleet"
	"bramble/trust"
)

var two = []string{"node1", "node2"}

func TestArrayRunsToItsEnd(t *testing.T) {
	inBubble(t, two, func(c *cluster) {
		id := c.submit(Spec{Args: []string{"sleep", "3"}, Array: "1-20"})
		sum := c.wait(id)
		if sum.State != Done || sum.Counts.Done != 20 {
			t.Errorf("job is %s with %+v", sum.State, sum.Counts)
		}
		begun := c.begun()
		if len(begun) != 20 {
			t.Errorf("%d tasks were started, want 20: %v", len(begun), begun)
		}
		if took := sum.Ended.Sub(sum.Submitted); took < 15*time.Second || took > 20*time.Second {
			t.Errorf("20 tasks of 3 s on 4 cores took %s", took)
		}
		c.nothingLeft()
	})
}

func TestServiceRetries(t *testing.T) {
	inBubble(t, two, func(c *cluster) {
		if sum := c.wait(c.submit(Spec{Args: []string{"fail-until", "3"}, Retries: 2})); sum.State != Done {
			t.Errorf("a task that succeeds the third time is %s with two retries", sum.State)
		}
		id := c.submit(Spec{Args: []string{"fail-until", "3"}, Retries: 1})
		if sum := c.wait(id); sum.State != Failed {
			t.Errorf("with one retry it is %s", sum.State)
		}
		if d := c.detail(id); len(d.Failures) != 1 || d.Failures[0].Attempt != 2 || d.Failures[0].Code != 1 {
			t.Errorf("failures are %+v", d.Failures)
		}
	})
}

func TestServiceCancels(t *testing.T) {
	inBubble(t, two, func(c *cluster) {
		id := c.submit(Spec{Args: []string{"stay"}, Array: "1-10"})
		time.Sleep(time.Second)
		c.asked(func(cl Client) {
			if _, err := cl.Cancel(c.t.Context(), id); err != nil {
				t.Fatal(err)
			}
		})
		sum := c.wait(id)
		if sum.State != Cancelled || sum.Counts.Cancelled != 10 || sum.CancelledBy != "ann" {
			t.Errorf("job is %s by %q with %+v", sum.State, sum.CancelledBy, sum.Counts)
		}
		if len(c.begun()) != 4 {
			t.Errorf("%d tasks had been started on 4 cores", len(c.begun()))
		}
		if sum := c.wait(c.submit(Spec{Args: []string{"sleep", "1"}, Array: "1-4"})); sum.Ended.Sub(sum.Submitted) > 2*time.Second {
			t.Errorf("the slots of cancelled tasks are not free: the next job took %s", sum.Ended.Sub(sum.Submitted))
		}
		c.asked(func(cl Client) {
			if _, err := cl.Cancel(c.t.Context(), id); !fault.Is(err, fault.Conflict) {
				t.Errorf("cancelling an ended job gives %v", err)
			}
		})
	})
}

// A task whose files are still being brought when its job is cancelled never starts, and one that ignores SIGTERM is killed.
func TestCancelWhatIsNotRunningYet(t *testing.T) {
	inBubble(t, []string{"node1"}, func(c *cluster) {
		c.files.placing = 3 * time.Second
		id := c.submit(Spec{Args: []string{"stay"}, Inputs: "ref"})
		time.Sleep(time.Second)
		c.asked(func(cl Client) { cl.Cancel(c.t.Context(), id) })
		if sum := c.wait(id); sum.State != Cancelled {
			t.Errorf("job is %s", sum.State)
		}
		if len(c.begun()) != 0 {
			t.Errorf("%v was started", c.begun())
		}
		c.nodes["node1"].keeper.stubbed = true
		id = c.submit(Spec{Args: []string{"stay"}})
		time.Sleep(time.Second)
		c.asked(func(cl Client) { cl.Cancel(c.t.Context(), id) })
		if sum := c.wait(id); sum.State != Cancelled {
			t.Errorf("a task that ignores SIGTERM is %s", sum.State)
		}
	})
}

func TestPatience(t *testing.T) {
	for name, test := range map[string]struct {
		away  time.Duration
		begun int // attempts in all
	}{
		"comes back before": {20 * time.Second, 1},
		"stays away":        {10 * time.Minute, 2},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, two, func(c *cluster) {
				id := c.submit(Spec{Args: []string{"sleep", "40"}, On: "node1,node2", Patience: time.Minute})
				time.Sleep(time.Second)
				on := c.detail(id).Placements[0].Node
				c.nodes[on].down()
				c.notice(on, fleet.Suspect)
				time.Sleep(2 * time.Second)
				c.notice(on, fleet.Down)
				time.Sleep(test.away)
				c.nodes[on].up()
				if sum := c.wait(id); sum.State != Done {
					t.Errorf("job is %s", sum.State)
				}
				if got := len(c.begun()); got != test.begun {
					t.Errorf("%d attempts were started, want %d: %v", got, test.begun, c.begun())
				}
				c.nothingLeft()
			})
		})
	}
}

func TestWhyItWaits(t *testing.T) {
	inBubble(t, two, func(c *cluster) {
		c.submit(Spec{Args: []string{"stay"}, On: "node1", Array: "1-2"})
		busy := c.submit(Spec{Args: []string{"say"}, On: "node1"})
		c.nodes["node2"].down()
		c.notice("node2", fleet.Down)
		away := c.submit(Spec{Args: []string{"say"}, On: "node2"})
		for id, want := range map[ID]string{1: "", busy: "busy", away: "is up"} {
			if got := c.detail(id).Why.Text; (got == "") != (want == "") || !strings.Contains(got, want) {
				t.Errorf("job %d waits because %q, want %q", id, got, want)
			}
		}
	})
}

// A node that was removed loses its work at once, and what it still says of it is not heard.
func TestNodeGone(t *testing.T) {
	inBubble(t, two, func(c *cluster) {
		id := c.submit(Spec{Args: []string{"sleep", "30"}})
		time.Sleep(time.Second)
		on := c.detail(id).Placements[0].Node
		c.nodes[on].down()
		c.notice(on, fleet.Gone)
		if sum := c.wait(id); sum.State != Done || len(c.begun()) != 2 {
			t.Errorf("job is %s after %v", sum.State, c.begun())
		}
	})
}

// Head and agents stop and start again over the same folders while tasks run: nothing is lost, nothing runs twice.
func TestRestart(t *testing.T) {
	for name, slow := range map[string]time.Duration{"": 0, "slow keepers": time.Second} {
		t.Run(name, func(t *testing.T) { testRestart(t, slow) })
	}
}

// testRestart has keepers tell only after a while what has ended.
func testRestart(t *testing.T, slow time.Duration) {
	inBubble(t, two, func(c *cluster) {
		for _, w := range c.nodes {
			w.keeper.slow = slow
		}
		id := c.submit(Spec{Args: []string{"sleep", "7"}, Array: "1-30"})
		for range 4 {
			time.Sleep(5 * time.Second)
			c.restart(4 * time.Second)
		}
		if sum := c.wait(id); sum.State != Done || sum.Counts.Done != 30 {
			t.Errorf("job is %s with %+v", sum.State, sum.Counts)
		}
		tasks := map[int]int{}
		for attempt := range c.begun() {
			k, _ := ParseKey(attempt)
			tasks[k.Index]++
		}
		for i := 1; i <= 30; i++ {
			if tasks[i] != 1 {
				t.Errorf("task %d was started %d times", i, tasks[i])
			}
		}
		if next := c.submit(Spec{Args: []string{"say"}}); next != id+1 {
			t.Errorf("the job after %d is %d", id, next)
		}
	})
}

// Only the agent stops, under running tasks; what ends meanwhile is reported by the next agent, output and status.
func TestAgentRestart(t *testing.T) {
	inBubble(t, []string{"node1"}, func(c *cluster) {
		ends := c.submit(Spec{Args: []string{"say-slowly", "a b c d"}})
		stays := c.submit(Spec{Args: []string{"say-slowly", "a b c d e f g h i j"}, Return: []string{"*"}})
		time.Sleep(1500 * time.Millisecond)
		c.nodes["node1"].down()
		time.Sleep(4 * time.Second)
		c.nodes["node1"].up()
		for id, want := range map[ID]string{ends: "a b c d ", stays: "a b c d e f g h i j "} {
			if sum := c.wait(id); sum.State != Done {
				t.Errorf("job %d is %s", id, sum.State)
			}
			if got := c.output(LogRequest{ID: id}); got != want {
				t.Errorf("job %d wrote %q, want %q", id, got, want)
			}
		}
		if len(c.begun()) != 2 {
			t.Errorf("attempts: %v", c.begun())
		}
		c.nothingLeft()
	})
}

// What a lost keeper had running is run again, without counting as a failure of the task.
func TestKeeperLost(t *testing.T) {
	inBubble(t, []string{"node1"}, func(c *cluster) {
		id := c.submit(Spec{Args: []string{"sleep", "5"}})
		time.Sleep(time.Second)
		w := c.nodes["node1"]
		w.down()
		w.keeper.mu.Lock()
		lost := w.keeper.tasks["1.0.1"]
		lost.status.Running, lost.status.Error = false, "the keeper was lost"
		w.keeper.mu.Unlock()
		w.up()
		if sum := c.wait(id); sum.State != Done {
			t.Errorf("job is %s: %+v", sum.State, c.detail(id).Failures)
		}
		if begun := c.begun(); begun["1.0.2"] != 1 {
			t.Errorf("attempts: %v", begun)
		}
	})
}

// An attempt that was moved and ends after all is not counted: the later one is.
func TestLateReport(t *testing.T) {
	inBubble(t, two, func(c *cluster) {
		id := c.submit(Spec{Args: []string{"say-slowly", "one two three"}, Patience: time.Second})
		time.Sleep(500 * time.Millisecond)
		on := c.detail(id).Placements[0].Node
		c.nodes[on].down()
		c.notice(on, fleet.Down)
		time.Sleep(time.Minute)
		c.nodes[on].up() // with a result of attempt 1
		time.Sleep(time.Second)
		d := c.detail(id)
		if d.State != Done || d.Counts.Done != 1 {
			t.Fatalf("job is %s with %+v", d.State, d.Counts)
		}
		if got := c.output(LogRequest{ID: id}); got != "one two three " {
			t.Errorf("output is %q", got)
		}
		if left := c.nodes[on].keeper.held(); len(left) > 0 {
			t.Errorf("the late result was not acknowledged: %v", left)
		}
	})
}

func TestLargeOutput(t *testing.T) {
	const size = 3 << 20
	inBubble(t, two, func(c *cluster) {
		id := c.submit(Spec{Args: []string{"flood", fmt.Sprint(size)}, Array: "1-6"})
		if sum := c.wait(id); sum.State != Done {
			t.Fatalf("job is %s", sum.State)
		}
		for i := 1; i <= 6; i++ {
			if got := c.output(LogRequest{ID: id, Index: i}); len(got) != size {
				t.Errorf("task %d: %d bytes are kept of %d", i, len(got), size)
			}
		}
		c.nothingLeft()
	})
}

// Who follows a task hears it from its start, and again when it starts again elsewhere, and nothing twice.
func TestFollowAcrossMove(t *testing.T) {
	inBubble(t, two, func(c *cluster) {
		id := c.submit(Spec{Args: []string{"say-slowly", "a b c d e f"}, Patience: time.Second})
		heard := make(chan string, 1)
		go func() { heard <- c.output(LogRequest{ID: id, All: true, Follow: true}) }()
		time.Sleep(2500 * time.Millisecond)
		on := c.detail(id).Placements[0].Node
		c.nodes[on].down()
		c.notice(on, fleet.Down)
		got := <-heard
		first, second, again := strings.Cut(got, "[0 started again on ")
		if !again || !strings.HasPrefix("a b c d e f ", first) || !strings.HasSuffix(second, "]a b c d e f ") {
			t.Errorf("heard %q", got)
		}
	})
}

// Results, and files that come back, outlive a head that is away when they are ready.
func TestHeadAwayWhileTasksEnd(t *testing.T) {
	inBubble(t, two, func(c *cluster) {
		id := c.submit(Spec{Args: []string{"sleep", "2"}, Array: "1-4", Return: []string{"*.csv"}})
		time.Sleep(time.Second)
		c.files.setAway(true)
		time.Sleep(30 * time.Second)
		if d := c.detail(id); d.Counts.Running != 4 {
			t.Errorf("while the store is away: %+v", d.Counts)
		}
		c.files.setAway(false)
		if sum := c.wait(id); sum.State != Done {
			t.Errorf("job is %s: %+v", sum.State, c.detail(id).Failures)
		}
		came := 0
		c.asked(func(cl Client) {
			for r, err := range cl.Returns(c.t.Context(), id) {
				if err != nil || r.Ref != "ref-*.csv" {
					t.Errorf("returned %+v, %v", r, err)
				}
				came++
			}
		})
		if came != 4 {
			t.Errorf("%d of 4 tasks returned something", came)
		}
	})
}

func TestWhoMay(t *testing.T) {
	inBubble(t, two, func(c *cluster) {
		id := c.submit(Spec{Args: []string{"stay"}, Inputs: "ref", Folder: true})
		bob, eve, root := c.client("bob", trust.Operator), c.client("eve", trust.Viewer), c.client("root", trust.Admin)
		defer func() { bob.Conn.Close(); eve.Conn.Close(); root.Conn.Close() }()
		logs := func(cl Client) error {
			for _, err := range cl.Logs(c.t.Context(), LogRequest{ID: id}) {
				return err
			}
			return nil
		}
		_, err := bob.Cancel(c.t.Context(), id)
		denied(t, "another's cancel", err)
		denied(t, "another's logs", logs(bob))
		_, err = eve.Submit(c.t.Context(), Spec{Args: []string{"true"}})
		denied(t, "a viewer's submit", err)
		_, err = bob.Submit(c.t.Context(), Spec{Args: []string{"true"}, As: "root"})
		denied(t, "an operator's work as root", err)
		for _, cl := range []Client{bob, eve} {
			for _, err := range cl.Returns(c.t.Context(), id) {
				denied(t, "another's files", err)
			}
			if d, err := cl.Job(c.t.Context(), id); err != nil || d.Spec.Inputs != "" {
				t.Errorf("others may look at the job and not into it: %v %q", err, d.Spec.Inputs)
			}
			for j, err := range cl.List(c.t.Context(), ListRequest{}) {
				if err != nil || j.Spec.Inputs != "" {
					t.Errorf("a list names another's files: %v %q", err, j.Spec.Inputs)
				}
			}
		}
		if d, err := root.Job(c.t.Context(), id); err != nil || d.Spec.Inputs == "" {
			t.Errorf("an admin may look into it: %v", err)
		}
		if err := logs(root); err != nil {
			t.Errorf("an admin may read: %v", err)
		}
		if _, err := root.Cancel(c.t.Context(), id); err != nil {
			t.Errorf("an admin may cancel: %v", err)
		}
	})
}

func denied(t *testing.T, what string, err error) {
	t.Helper()
	if !fault.Is(err, fault.Denied) {
		t.Errorf("%s gives %v, want it denied", what, err)
	}
}

func TestRefused(t *testing.T) {
	inBubble(t, two, func(c *cluster) {
		for name, test := range map[string]struct {
			spec Spec
			code fault.Code
			says string
		}{
			"too many cores":   {Spec{Args: []string{"x"}, CPUs: 3}, fault.Misused, "the largest, node1, has 2"},
			"too much memory":  {Spec{Args: []string{"x"}, Memory: 2 << 30}, fault.Misused, "has 1 GiB"},
			"no such node":     {Spec{Args: []string{"x"}, On: "node9"}, fault.NotFound, "node9"},
			"no array":         {Spec{Args: []string{"x"}, Array: "5-1"}, fault.Misused, "5-1"},
			"what JSON swells": {Spec{Args: []string{"x", strings.Repeat("<", 140<<10)}}, fault.Misused, "written down"},
			"a zero byte":      {Spec{Args: []string{"x\x00y"}}, fault.Misused, "zero byte"},
			"a bad pattern":    {Spec{Args: []string{"x"}, Return: []string{"../x"}}, fault.Misused, "../x"},
		} {
			c.asked(func(cl Client) {
				_, err := cl.Submit(c.t.Context(), test.spec)
				if !fault.Is(err, test.code) || !strings.Contains(err.Error(), test.says) {
					t.Errorf("%s: %v, want %s with %q", name, err, test.code, test.says)
				}
			})
		}
		c.jobs.Room = func() error { return fault.New(fault.Full, "the disk is full") }
		c.asked(func(cl Client) {
			if _, err := cl.Submit(c.t.Context(), Spec{Args: []string{"x"}}); !fault.Is(err, fault.Full) {
				t.Errorf("on a full disk: %v", err)
			}
			if _, err := cl.Job(c.t.Context(), 1); !fault.Is(err, fault.NotFound) {
				t.Errorf("after refusals there is a job: %v", err)
			}
		})
	})
}

// A submission that comes again is the job that it was, also after a restart, but only for the same user.
func TestTokenMakesOneJob(t *testing.T) {
	inBubble(t, two, func(c *cluster) {
		spec := Spec{Args: []string{"say", "x"}, Token: "once"}
		first := c.submit(spec)
		if again := c.submit(spec); again != first {
			t.Errorf("the same submission became job %d and %d", first, again)
		}
		c.wait(first)
		c.restart(time.Second)
		if again := c.submit(spec); again != first {
			t.Errorf("after a restart it became job %d, was %d", again, first)
		}
		bob := c.client("bob", trust.Operator)
		defer bob.Conn.Close()
		if id, err := bob.Submit(c.t.Context(), spec); err != nil || id == first {
			t.Errorf("another user's submission became job %d, %v", id, err)
		}
	})
}

// Files of a submission stay as long as its job is open, whatever happens in between.
func TestInputsArePinned(t *testing.T) {
	inBubble(t, two, func(c *cluster) {
		id := c.submit(Spec{Args: []string{"sleep", "20"}, Inputs: "ref"})
		if got := c.files.pinned(); !slices.Equal(got, []string{"job.1"}) {
			t.Errorf("pinned are %v", got)
		}
		c.files.Unpin("job.1") // as if the head had died before
		c.restart(time.Second)
		if got := c.files.pinned(); !slices.Equal(got, []string{"job.1"}) {
			t.Errorf("after a restart pinned are %v", got)
		}
		c.wait(id)
		synctest.Wait()
		if got := c.files.pinned(); len(got) > 0 {
			t.Errorf("after the job pinned are %v", got)
		}
	})
}

// stub is a node of which a test says how it behaves.
type stub struct {
	count func() census
	do    func(context.Context, errand) error

	mu     sync.Mutex
	orders []string
}

// up connects the stub in place of a node's agent and returns what ends it.
func (f *stub) up(c *cluster, name string) (down func()) {
	c.nodes[name].down()
	conn := c.bus.Node(name)
	ctx, cancel := context.WithCancel(c.t.Context())
	bus.Handle(ctx, conn, bus.Node("job", name, "do"), func(ctx context.Context, _ bus.Caller, e errand) (none, error) {
		f.mu.Lock()
		for _, o := range e.Orders {
			for _, a := range o.Start {
				f.orders = append(f.orders, "start "+a.String())
			}
			for _, k := range o.Kill {
				f.orders = append(f.orders, "kill "+k.String())
			}
		}
		f.mu.Unlock()
		if f.do == nil {
			return none{}, nil
		}
		return none{}, f.do(ctx, e)
	})
	bus.Handle(ctx, conn, bus.Node("job", name, "count"), func(context.Context, bus.Caller, stamp) (census, error) {
		found := census{Cores: 2, Memory: 1 << 30}
		if f.count != nil {
			found = f.count()
		}
		return found, nil
	})
	conn.Flush(ctx)
	c.notice(name, fleet.Up)
	time.Sleep(2 * resyncMost) // until all that was in doubt is known
	return func() {
		cancel()
		conn.Close()
	}
}

func (f *stub) heard() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.orders, ", ")
}

// A delivery of which nobody knows whether it arrived must not lose a task, though the node stays connected.
func TestErrandLost(t *testing.T) {
	inBubble(t, []string{"node1"}, func(c *cluster) {
		var f stub
		var lost atomic.Bool
		f.do = func(ctx context.Context, _ errand) error {
			if lost.CompareAndSwap(false, true) {
				<-ctx.Done()
			}
			return ctx.Err()
		}
		down := f.up(c, "node1")
		id := c.submit(Spec{Args: []string{"say", "x"}})
		time.Sleep(time.Minute)
		down()
		if got := f.heard(); got != "start 1.0.1, start 1.0.2" {
			t.Errorf("the node heard %q", got)
		}
		c.nodes["node1"].up()
		if sum := c.wait(id); sum.State != Done || len(c.begun()) != 1 {
			t.Errorf("job is %s after %v", sum.State, c.begun())
		}
	})
}

// What is handed to a node while it counts what it holds is not missing there.
func TestStartWhileTheNodeCounts(t *testing.T) {
	inBubble(t, []string{"node1"}, func(c *cluster) {
		var f stub
		var armed, counted atomic.Bool
		f.count = func() census {
			if armed.CompareAndSwap(true, false) {
				counted.Store(true)
				c.submit(Spec{Args: []string{"say", "x"}})
				time.Sleep(time.Second)
			}
			return census{Cores: 2, Memory: 1 << 30}
		}
		down := f.up(c, "node1")
		armed.Store(true)
		c.notice("node1", fleet.Up) // counts again
		time.Sleep(time.Minute)
		down()
		if got := f.heard(); !counted.Load() || got != "start 1.0.1" {
			t.Errorf("the node heard %q", got)
		}
	})
}

// While nothing happens nobody asks anything: not the head, not the nodes, not those who watch.
func TestIdleIsSilent(t *testing.T) {
	inBubble(t, two, func(c *cluster) {
		id := c.submit(Spec{Args: []string{"stay"}})
		watching := c.client("ann", trust.Operator)
		defer watching.Conn.Close()
		ctx, cancel := context.WithCancel(c.t.Context())
		defer cancel()
		go watching.Wait(ctx, id, nil)
		time.Sleep(time.Minute)
		asked := 0
		c.jobs.do(ctx, func() {})
		synctest.Wait()
		before := c.jobs.changes()
		for range 100 {
			time.Sleep(time.Second)
			if len(c.jobs.inbox) > 0 {
				asked++
			}
		}
		if c.jobs.changes() != before || asked > 0 {
			t.Error("something happened to an idle head")
		}
	})
}

func TestOutputIsForgottenWithItsJob(t *testing.T) {
	inBubble(t, two, func(c *cluster) {
		id := c.submit(Spec{Args: []string{"say", "x"}})
		c.wait(id)
		stray := filepath.Join(c.dir, "job", "output", "0", "77")
		if err := os.WriteFile(stray, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		c.restart(time.Second)
		if _, err := os.Stat(stray); err == nil {
			t.Error("output of a job that nobody knows is kept")
		}
		if got := c.output(LogRequest{ID: id}); got != "x" {
			t.Errorf("output of a known job is %q", got)
		}
	})
}

// TestPrivate is what others see of a job beside its owner and admins.
func TestPrivate(t *testing.T) {
	sum := Summary{Spec: Spec{User: "ann", Args: []string{"x"}, Script: []byte("#!"), Env: []string{"KEY=secret"}, Inputs: "ref"}}
	for who, whole := range map[bus.Caller]bool{
		{Name: "ann", Role: trust.Operator}: true, {Name: "bob", Role: trust.Admin}: true,
		{Name: "bob", Role: trust.Operator}: false, {Name: "eve", Role: trust.Viewer}: false,
	} {
		got := private(who, sum).Spec
		if whole != (got.Script != nil && got.Env != nil && got.Inputs != "") || !whole && (got.Script != nil || got.Env != nil || got.Inputs != "") || len(got.Args) != 1 {
			t.Errorf("%+v sees %+v", who, got)
		}
	}
}

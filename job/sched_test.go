package job

import (
	"maps"
	"strings"
	"testing"
	"time"
)

// with is a single task's spec, changed.
func with(change func(*Spec)) Spec {
	s := spec("")
	change(&s)
	return s
}

func TestSpreadTaskTakesAllItsNodesOrNone(t *testing.T) {
	c := newScene(t)
	for _, name := range []string{"a", "b", "c"} {
		c.want(up(name, 2))
	}
	c.want(submit(spec(""), "b"), "accepted 1", "start b 1.0.1")
	four := with(func(s *Spec) { s.Nodes, s.Ranks, s.CPUs = 3, 6, 1 })
	c.want(submit(four, "a", "b", "c"), "accepted 2")
	c.want(ended("b", long, "1.0.1"), "final 1.0.1", "forget b 1.0.1", "start a 2.0.1\nstart b 2.0.1\nstart c 2.0.1", "ended 1")
	a := c.s.nodes["a"].slots.running[0]
	if len(a.Shares) != 3 || a.Shares[0].Node != "a" || a.Shares[2].Ranks != 2 || a.Member {
		t.Errorf("the leader was told %+v", a)
	}
	if b := c.s.nodes["b"].slots.running[0]; !b.Member || b.CPUs != 2 {
		t.Errorf("a member was told %+v", b)
	}
	c.want(ended("a", long, "2.0.1"), "final 2.0.1", "forget a 2.0.1", "kill b 2.0.1: its allocation is over\nkill c 2.0.1: its allocation is over", "ended 2")
	c.want(Rejected{Node: "b", Keys: []Key{key("2.0.1")}})
	if load := c.s.Load("b"); load.Used != 0 {
		t.Errorf("b still uses %d cores", load.Used)
	}
}

func TestRanksAreSpreadEvenlyOrOverAsFewNodesAsHoldThem(t *testing.T) {
	for _, c := range []struct {
		room          []int
		nodes, ranks  int
		want          []int
		none, uneven_ bool
	}{
		{room: []int{4, 4, 4}, ranks: 6, want: []int{4, 2}},
		{room: []int{4, 4, 4}, nodes: 3, ranks: 7, want: []int{3, 2, 2}},
		{room: []int{1, 4, 4}, nodes: 3, ranks: 7, want: []int{1, 3, 3}},
		{room: []int{2, 8}, ranks: 8, want: []int{8}},
		{room: []int{2, 2}, ranks: 5, none: true},
		{room: []int{2, 2}, nodes: 3, ranks: 3, none: true},
		{room: []int{2, 2, 2}, nodes: 3, ranks: 2, none: true},
	} {
		var list []candidate
		for i, r := range c.room {
			list = append(list, candidate{&node{at: i}, r})
		}
		got := choose(list, c.nodes, c.ranks)
		if (got == nil) != c.none || len(got) != len(c.want) {
			t.Fatalf("%+v: got %v", c, got)
		}
		for i, g := range got {
			if g.ranks != c.want[i] {
				t.Errorf("%+v: node %d has %d ranks", c, i, g.ranks)
			}
		}
	}
}

func TestLossOfOneNodeTakesTheWholeAllocation(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 1))
	c.want(up("b", 1))
	two := with(func(s *Spec) { s.Nodes, s.Ranks = 2, 2 })
	c.want(submit(two, "a", "b"), "accepted 1", "start a 1.0.1\nstart b 1.0.1")
	c.want(NodeGone{"b"}, "moved b 1.0.1: the node was removed", "kill a 1.0.1: its allocation is over")
	c.want(ended("a", long, "1.0.1!"), "forget a 1.0.1")
	c.want(up("b", 1), "start a 1.0.2\nstart b 1.0.2")
	if why := c.s.Why(1); why.Code != "" {
		t.Errorf("a job that runs waits for %+v", why)
	}
}

func TestHeadRestartFindsAnAllocationAgain(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 2))
	c.want(up("b", 2))
	two := with(func(s *Spec) { s.Nodes, s.Ranks, s.CPUs = 2, 2, 2 })
	c.want(submit(two, "a", "b"), "accepted 1", "start a 1.0.1\nstart b 1.0.1")
	lead, member := Held{Attempt: c.s.nodes["a"].slots.running[0]}, Held{Attempt: c.s.nodes["b"].slots.running[0]}
	for _, order := range []string{"leader first", "member first", "member lost"} {
		t.Run(order, func(t *testing.T) {
			c := &scene{t: t, now: c.now, journal: c.journal, s: c.s}
			c.restart([]string{"a", "b"}, "wake 15s")
			c.want(Eligible{Nodes: []string{"a", "b"}})
			switch order {
			case "leader first":
				c.want(up("a", 2, lead))
				c.want(up("b", 2, member))
			case "member first":
				c.want(up("b", 2, member))
				c.want(up("a", 2, lead))
			case "member lost":
				c.want(up("b", 2))
				c.want(up("a", 2, lead), "moved b 1.0.1: the node no longer has it", "kill a 1.0.1: its allocation is over\nkill b 1.0.1: its allocation is over")
				return
			}
			if p := c.s.Placements(1); len(p) != 1 || p[0].Node != "a" {
				t.Errorf("placements are %+v", p)
			}
		})
	}
}

func TestBackfill(t *testing.T) {
	limit := func(d time.Duration) Spec { return with(func(s *Spec) { s.Timeout = d }) }
	c := newScene(t)
	c.want(up("a", 2))
	c.want(submit(limit(time.Hour), "a"), "accepted 1", "start a 1.0.1")
	c.want(submit(with(func(s *Spec) { s.CPUs = 2 }), "a"), "accepted 2")
	c.want(submit(limit(2*time.Hour), "a"), "accepted 3") // would end after job 2 can start
	c.want(submit(limit(59*time.Minute), "a"), "accepted 4", "start a 4.0.1")
	if why := c.s.Why(2); why.Code != "Resources" || !why.Until.Equal(begin.Add(time.Hour+lateAfter)) {
		t.Errorf("job 2 waits for %+v", why)
	}
	c.want(Alter{ID: 1, Set: Alteration{Timeout: new(90 * time.Minute)}}, "limit a 1 1h30m0s")
	if why := c.s.Why(2); !why.Until.Equal(begin.Add(90*time.Minute + lateAfter)) {
		t.Errorf("job 2 waits until %s", why.Until)
	}
	if why := c.s.Why(3); why.Code != "Priority" || !strings.Contains(why.Text, "1 job is before it") {
		t.Errorf("job 3 waits for %+v", why)
	}
}

// A new limit goes to every node that has something of the job, once, and to none for what waits at the head.
func TestAlterLimit(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 2))
	c.want(up("b", 2))
	c.want(up("c", 2))
	two := with(func(s *Spec) { s.Nodes, s.Ranks, s.CPUs = 2, 2, 1 })
	c.want(submit(two, "b", "c"), "accepted 1", "start b 1.0.1\nstart c 1.0.1")
	many := with(func(s *Spec) { s.Array, s.Timeout = "0-1", time.Hour })
	c.want(submit(many, "a"), "accepted 2", "start a 2.0.1 2.1.1")
	c.want(submit(with(func(s *Spec) { s.CPUs, s.Timeout = 2, time.Hour }), "a"), "accepted 3")
	c.want(Alter{ID: 1, Set: Alteration{Timeout: new(time.Minute)}}, "limit b 1 1m0s\nlimit c 1 1m0s")
	c.want(Alter{ID: 2, Set: Alteration{Timeout: new(time.Duration(0))}}, "limit a 2 0s")
	c.want(Alter{ID: 2, Set: Alteration{Nice: new(3)}})
	c.want(Alter{ID: 3, Set: Alteration{Timeout: new(time.Minute)}})
	c.want(Alter{ID: 4, Set: Alteration{Timeout: new(time.Minute)}})
	for name, want := range map[string]map[ID]time.Duration{"a": {2: 0}, "b": {1: time.Minute}, "c": {1: time.Minute}, "d": {}} {
		if got := c.s.LimitsOn(name); !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestBackfillBesideAnAllocationThatGathersItsNodes(t *testing.T) {
	limit := func(d time.Duration) Spec { return with(func(s *Spec) { s.Timeout = d }) }
	c := newScene(t)
	c.want(up("a", 2))
	c.want(up("b", 2))
	c.want(up("c", 2))
	c.want(submit(limit(time.Hour), "a"), "accepted 1", "start a 1.0.1")
	c.want(submit(limit(5*time.Hour), "b"), "accepted 2", "start b 2.0.1")
	gang := with(func(s *Spec) { s.Nodes, s.Ranks, s.CPUs = 2, 2, 2 })
	c.want(submit(gang, "a", "b", "c"), "accepted 3") // a and c, in an hour
	c.want(submit(limit(2*time.Hour), "a", "b", "c"), "accepted 4", "start b 4.0.1")
	c.want(submit(limit(30*time.Minute), "c"), "accepted 5", "start c 5.0.1")
	c.want(submit(limit(2*time.Hour), "c"), "accepted 6")
	if why := c.s.Why(3); why.Text != "a,c are kept for it, and a,c still run jobs 1, 5" || !why.Until.Equal(begin.Add(time.Hour+lateAfter)) {
		t.Errorf("the allocation waits for %+v", why)
	}
}

func TestExclusive(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 4))
	c.want(submit(spec(""), "a"), "accepted 1", "start a 1.0.1")
	c.want(submit(with(func(s *Spec) { s.Exclusive = true }), "a"), "accepted 2")
	c.want(ended("a", long, "1.0.1"), "final 1.0.1", "forget a 1.0.1", "start a 2.0.1", "ended 1")
	c.want(submit(spec(""), "a"), "accepted 3")
	c.want(ended("a", long, "2.0.1"), "final 2.0.1", "forget a 2.0.1", "start a 3.0.1", "ended 2")
}

func TestGenericResources(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 4))
	c.want(up("b", 4))
	cam := with(func(s *Spec) { s.Gres, s.Array = map[string]int{"camera": 1}, "1-3" })
	c.want(submit(cam, "a", "b"), "accepted 1")
	c.want(Offered{Gres: "camera", Nodes: map[string]int{"b": 2}}, "start b 1.1.1 1.2.1")
	c.want(submit(spec(""), "a", "b"), "accepted 2", "start a 2.0.1")
	c.want(ended("b", 0, "1.1.1"), "final 1.1.1", "forget b 1.1.1", "start b 1.3.1")
	if got := c.s.GresInUse(); len(got) != 1 || got[0] != "camera" {
		t.Errorf("in use: %v", got)
	}
}

func TestDependencies(t *testing.T) {
	on := func(kind DependencyKind, id ID) Spec {
		return with(func(s *Spec) { s.Depend = []Dependency{{kind, id}} })
	}
	c := newScene(t)
	c.want(up("a", 9))
	c.want(submit(spec("1-2"), "a"), "accepted 1", "start a 1.1.1 1.2.1")
	c.want(submit(on(AfterOK, 1), "a"), "accepted 2")
	c.want(submit(on(AfterNotOK, 1), "a"), "accepted 3")
	c.want(submit(on(AfterAny, 1), "a"), "accepted 4")
	c.want(submit(on(After, 1), "a"), "accepted 5", "start a 5.0.1")
	c.want(submit(on(AfterOK, 2), "a"), "accepted 6")
	if why := c.s.Why(2); why.Code != "Dependency" || why.Text != "job 1 has not ended (afterok)" {
		t.Errorf("job 2 waits for %+v", why)
	}
	c.restart(nil, "wake 15s")
	c.want(Eligible{Nodes: []string{"a"}})
	c.want(up("a", 9, held("1.1.1"), held("1.2.1"), held("5.0.1")))
	c.later(headWindow)
	c.want(ended("a", long, "1.1.1", "1.2.1!"), "final 1.1.1", "final 1.2.1", "forget a 1.1.1 1.2.1", "start a 3.0.2 4.0.2", "ended 1", "ended 2", "ended 6")
	if sum, _ := c.s.Job(2); sum.State != Cancelled || sum.CancelledBy != "its dependency afterok:1" {
		t.Errorf("job 2 is %+v", sum)
	}
}

func TestSingleton(t *testing.T) {
	s := with(func(s *Spec) { s.Name, s.Depend = "night", []Dependency{{Kind: Singleton}} })
	c := newScene(t)
	c.want(up("a", 9))
	c.want(submit(s, "a"), "accepted 1", "start a 1.0.1")
	c.want(submit(s, "a"), "accepted 2")
	c.want(submit(s, "a"), "accepted 3")
	c.want(ended("a", long, "1.0.1!"), "final 1.0.1", "forget a 1.0.1", "start a 2.0.1", "ended 1")
	c.want(ended("a", long, "2.0.1"), "final 2.0.1", "forget a 2.0.1", "start a 3.0.1", "ended 2")
}

func TestBeginHoldAndRelease(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 9))
	c.want(submit(with(func(s *Spec) { s.Begin = begin.Add(time.Minute) }), "a"), "accepted 1", "wake 1m0s")
	c.later(time.Minute, "start a 1.0.1")
	c.want(submit(with(func(s *Spec) { s.Hold = true }), "a"), "accepted 2")
	c.restart(nil, "wake 1m15s")
	c.want(Eligible{Nodes: []string{"a"}})
	c.want(up("a", 9, held("1.0.1")))
	c.later(headWindow)
	if why := c.s.Why(2); why.Code != "JobHeldUser" {
		t.Errorf("job 2 waits for %+v", why)
	}
	c.want(Hold{ID: 2, By: "ada"}, "start a 2.0.2")
}

func TestRequeue(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 1))
	c.want(submit(spec("1-2"), "a"), "accepted 1", "start a 1.1.1")
	c.want(Requeue{ID: 1}, "moved a 1.1.1: it was requeued", "kill a 1.1.1: it was requeued")
	c.want(ended("a", long, "1.1.1!"), "forget a 1.1.1", "start a 1.1.2")
	if sum, _ := c.s.Job(1); sum.Attempts != 1 {
		t.Errorf("%d attempts are over", sum.Attempts)
	}
}

func TestTaskThatMayNotBeRequeuedFailsWithItsNode(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 1))
	c.want(submit(with(func(s *Spec) { s.NoRequeue = true }), "a"), "accepted 1", "start a 1.0.1")
	c.want(NodeGone{"a"}, "ended 1")
	if f := c.s.Failures(1); len(f) != 1 || f[0].Error != "the node was removed" || f[0].Node != "a" {
		t.Errorf("failures are %+v", f)
	}
}

func TestNice(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 1))
	c.want(submit(spec(""), "a"), "accepted 1", "start a 1.0.1")
	c.want(submit(with(func(s *Spec) { s.Nice = 60 }), "a"), "accepted 2")
	c.now = c.now.Add(30 * time.Second)
	c.want(submit(spec(""), "a"), "accepted 3") // half a minute later, and as if half a minute earlier
	c.want(submit(spec(""), "a"), "accepted 4")
	c.want(Alter{ID: 4, Set: Alteration{Nice: new(-1)}})
	for _, next := range []string{"4.0.1", "3.0.1", "2.0.1"} {
		k := c.s.nodes["a"].slots.running[0].Key
		c.want(ended("a", long, k.String()), "final "+k.String(), "forget a "+k.String(), "start a "+next, "ended "+strings.Split(k.String(), ".")[0])
	}
}

func TestFairShare(t *testing.T) {
	by := func(user, array string) Spec { return with(func(s *Spec) { s.User, s.Array = user, array }) }
	c := newScene(t)
	c.want(up("a", 1))
	c.want(submit(by("ada", "1-99"), "a"), "accepted 1", "start a 1.1.1")
	c.now = c.now.Add(10 * time.Minute)
	c.want(submit(by("bob", "1-99"), "a"), "accepted 2")
	c.want(ended("a", long, "1.1.1"), "final 1.1.1", "forget a 1.1.1", "start a 2.1.1") // ada has used all, bob nothing
	turns := map[string]int{}
	for range 40 {
		k := c.s.nodes["a"].slots.running[0].Key
		turns[k.String()[:1]]++
		c.now = c.now.Add(10 * time.Minute)
		c.do(ended("a", long, k.String()))
	}
	if turns["1"] < 15 || turns["2"] < 15 {
		t.Errorf("ada had %d turns, bob %d", turns["1"], turns["2"])
	}
	uses := c.s.Uses(c.now)
	if len(uses) != 2 || uses[0].Used < uses[1].Used || uses[1].Used == 0 {
		t.Errorf("uses are %+v", uses)
	}
	before := uses[0].Used
	c.restart(nil, "wake "+(c.now.Sub(begin)+headWindow).String())
	if after := c.s.Uses(c.now); len(after) != 2 {
		t.Errorf("after a restart uses are %+v, before %v", after, before)
	}
}

func TestPartitions(t *testing.T) {
	in := func(name string, change func(*Spec)) Spec {
		return with(func(s *Spec) { s.Partition = name; change(s) })
	}
	plain := func(*Spec) {}
	c := newScene(t)
	parts := []Partition{{Name: "fast", Priority: 1}, {Name: "slow", UserCPUs: 1}}
	c.want(Partitions{parts})
	c.want(up("a", 1))
	c.want(up("b", 1))
	c.want(submit(spec(""), "a"), "accepted 1", "start a 1.0.1")
	c.want(submit(in("slow", func(s *Spec) { s.Array = "1-2" }), "a", "b"), "accepted 2", "start b 2.1.1")
	c.want(submit(in("fast", plain), "a", "b"), "accepted 3")
	c.want(ended("a", long, "1.0.1"), "final 1.0.1", "forget a 1.0.1", "start a 3.0.1", "ended 1")
	c.want(ended("a", long, "3.0.1"), "final 3.0.1", "forget a 3.0.1", "ended 3") // a user has one core in slow
	if why := c.s.Why(2); why.Code != "" {
		t.Logf("%+v", why)
	}
	c.want(ended("b", long, "2.1.1"), "final 2.1.1", "forget b 2.1.1", "start a 2.2.1")
	parts[0].Down = true
	c.want(Partitions{parts})
	c.want(submit(in("fast", plain), "a", "b"), "accepted 4")
	if why := c.s.Why(4); why.Code != "PartitionDown" {
		t.Errorf("job 4 waits for %+v", why)
	}
	parts[0].Down = false
	c.want(Partitions{parts}, "start b 4.0.1")
}

func TestCancelOfOneTask(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 1))
	c.want(submit(spec("1-4"), "a"), "accepted 1", "start a 1.1.1")
	c.want(Cancel{ID: 1, Index: new(3), By: "ada"})
	c.want(Cancel{ID: 1, Index: new(9), By: "ada"}) // there is no such task
	c.want(Cancel{ID: 1, Index: new(1), By: "ada"}, "kill a 1.1.1: the job was cancelled")
	c.want(Cancel{ID: 1, Index: new(1), By: "ada"}) // once is enough
	c.restart(nil, "wake 15s")
	c.want(Eligible{Nodes: []string{"a"}})
	c.want(up("a", 1, held("1.1.1")), "kill a 1.1.1: the job was cancelled")
	c.later(headWindow)
	c.want(ended("a", long, "1.1.1!"), "final 1.1.1", "forget a 1.1.1", "start a 1.2.2")
	c.want(ended("a", long, "1.2.2"), "final 1.2.2", "forget a 1.2.2", "start a 1.4.2")
	c.want(ended("a", long, "1.4.2"), "final 1.4.2", "forget a 1.4.2", "ended 1")
	if sum, _ := c.s.Job(1); sum.Counts != (Counts{Done: 2, Cancelled: 2}) || c.s.Tasks(1, Cancelled) != "1,3" {
		t.Errorf("the job ended as %+v, cancelled %s", sum.Counts, c.s.Tasks(1, Cancelled))
	}
}

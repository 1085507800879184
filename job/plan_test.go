package job

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"bramble/host"
)

var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// scene steps a state and keeps its journal.
type scene struct {
	t       *testing.T
	s       *State
	now     time.Time
	journal [][]byte
}

func newScene(t *testing.T) *scene {
	c := &scene{t: t, s: NewState(), now: begin}
	c.do(HeadStarted{})
	return c
}

// do steps the event and returns the actions as lines of text, records left out.
func (c *scene) do(ev Event) string {
	c.t.Helper()
	actions := Step(c.s, ev, c.now)
	for _, a := range actions {
		if r, ok := a.(Record); ok {
			c.journal = append(c.journal, r.Data)
		}
	}
	check(c.t, c.s)
	return text(actions)
}

// want steps the event and compares.
func (c *scene) want(ev Event, lines ...string) {
	c.t.Helper()
	if got, want := c.do(ev), strings.Join(lines, "\n"); got != want {
		c.t.Fatalf("%T%+v\ngot:\n%s\nwant:\n%s", ev, ev, got, want)
	}
}

// later lets time pass.
func (c *scene) later(d time.Duration, lines ...string) {
	c.t.Helper()
	c.now = c.now.Add(d)
	c.want(Tick{}, lines...)
}

// restart replays the journal into a new head.
func (c *scene) restart(expect []string, lines ...string) {
	c.t.Helper()
	before := c.s.Snapshot()
	c.s = NewState()
	for _, record := range c.journal {
		for range 2 { // the second time must change nothing
			if err := c.s.Apply(record); err != nil {
				c.t.Fatal(err)
			}
		}
	}
	if !reflect.DeepEqual(c.s.Snapshot(), before) {
		c.t.Fatal("the journal gives another state back")
	}
	c.want(HeadStarted{Expect: expect}, lines...)
}

// lose takes the newest records away, as a head does that dies before they are on disk.
func (c *scene) lose(records int) {
	c.journal = c.journal[:len(c.journal)-records]
	c.s = NewState()
	for _, record := range c.journal {
		if err := c.s.Apply(record); err != nil {
			c.t.Fatal(err)
		}
	}
}

func text(actions []Action) string {
	var lines []string
	for _, a := range actions {
		switch a := a.(type) {
		case Record:
		case Accepted:
			lines = append(lines, fmt.Sprintf("accepted %d", a.ID))
		case Final:
			for _, r := range a.Results {
				lines = append(lines, "final "+r.Key().String())
			}
		case Forget:
			lines = append(lines, "forget "+a.Node+keys(a.Keys))
		case Start:
			line := "start " + a.Node
			for _, at := range a.Attempts {
				line += " " + at.Key.String()
			}
			lines = append(lines, line)
		case Kill:
			lines = append(lines, "kill "+a.Node+keys(a.Keys)+": "+a.Why)
		case Limit:
			lines = append(lines, fmt.Sprintf("limit %s %d %s", a.Node, a.ID, a.Timeout))
		case Recall:
			lines = append(lines, "recall "+a.Node+keys(a.Keys))
		case Moved:
			lines = append(lines, "moved "+a.Node+keys(a.Keys)+": "+a.Why)
		case JobEnded:
			lines = append(lines, fmt.Sprintf("ended %d", a.ID))
		case WakeAt:
			lines = append(lines, "wake "+a.At.Sub(begin).String())
		}
	}
	return strings.Join(lines, "\n")
}

func keys(list []Key) (line string) {
	for _, k := range list {
		line += " " + k.String()
	}
	return line
}

// check holds the state to what must always be so.
func check(t *testing.T, s *State) {
	t.Helper()
	for _, j := range s.jobs {
		if j.done.Len()+j.failed.Len()+j.cancelled.Len()+j.pending.Len()+len(j.active) != j.array.Len() && j.ended.IsZero() {
			t.Fatalf("job %d: %d done, %d failed, %d cancelled, %d pending, %d active of %d", j.id,
				j.done.Len(), j.failed.Len(), j.cancelled.Len(), j.pending.Len(), len(j.active), j.array.Len())
		}
		if j.array.Cap > 0 && len(j.active) > j.array.Cap {
			t.Fatalf("job %d: %d active, cap %d", j.id, len(j.active), j.array.Cap)
		}
		for task := range j.spent {
			if j.done.Contains(task) || j.failed.Contains(task) || j.cancelled.Contains(task) {
				t.Fatalf("job %d: what final task %d has spent is remembered", j.id, task)
			}
		}
		for task, a := range j.active {
			if j.pending.Contains(task) || j.done.Contains(task) || j.failed.Contains(task) || j.cancelled.Contains(task) {
				t.Fatalf("job %d: task %d is active and something else", j.id, task)
			}
			k := j.key(task, a.attempt)
			for _, n := range append([]*node{a.node}, a.others...) {
				if !n.slots.holds(k) {
					t.Fatalf("%s is active on %s, whose books don't have it", k, n.name)
				}
				if s.nodes[n.name] != n {
					t.Fatalf("%s is on %s, which is gone", k, n.name)
				}
			}
		}
		if (j.class != nil) != (s.placeable(j) > 0) {
			t.Fatalf("job %d: %d tasks may be placed, waiting: %v", j.id, s.placeable(j), j.class != nil)
		}
	}
	recalling, inUse, byGroup := 0, map[useKey]int{}, map[*group]int{}
	for _, j := range s.jobs {
		for _, a := range j.active {
			inUse[useKey{j.spec.Partition, j.spec.User}] += a.cpus
			byGroup[j.group] += a.cpus
			if a.recalled {
				recalling += a.cpus
			}
		}
	}
	if !maps.Equal(inUse, s.inUse) {
		t.Fatalf("users use %v, the books say %v", inUse, s.inUse)
	}
	for _, g := range s.groups {
		if g.cpus != byGroup[g] {
			t.Fatalf("%s of %s uses %d cores, the books say %d", g.user, g.account, byGroup[g], g.cpus)
		}
	}
	if recalling != s.recalling {
		t.Fatalf("%d cores are recalled, the count says %d", recalling, s.recalling)
	}
	for _, n := range s.nodes {
		var books Slots
		for _, a := range n.slots.running {
			books.cpus, books.memory = books.cpus+a.CPUs, books.memory+a.Memory
		}
		for _, a := range n.slots.waiting {
			books.waitCPUs, books.waitMem = books.waitCPUs+a.CPUs, books.waitMem+a.Memory
		}
		if books.cpus != n.slots.cpus || books.memory != n.slots.memory || books.waitCPUs != n.slots.waitCPUs || books.waitMem != n.slots.waitMem {
			t.Fatalf("%s: its sums are wrong: %+v", n.name, n.slots)
		}
	}
}

func spec(array string) Spec {
	return Spec{User: "ada", Args: []string{"true"}, CPUs: 1, Array: array, Patience: time.Minute}
}

func submit(s Spec, nodes ...string) Submitted { return Submitted{Spec: s, Nodes: nodes} }

func up(name string, cores int, held ...Held) NodeUp {
	return NodeUp{Name: name, Cores: cores, Memory: 1000, Held: held}
}

func key(text string) Key {
	k, err := ParseKey(text)
	if err != nil {
		panic(err)
	}
	return k
}

func held(text string) Held { return Held{Attempt: Attempt{Key: key(text), CPUs: 1}} }

// ended is successes; a name with "!" behind it is a failure with status 3. Each took wall.
func ended(node string, wall time.Duration, names ...string) Ended {
	ev := Ended{Node: node}
	for _, name := range names {
		name, failed := strings.CutSuffix(name, "!")
		k := key(name)
		r := Result{Job: k.Job, Index: k.Index, Attempt: k.Attempt, Node: node, Exit: host.Exit{Wall: wall}}
		if failed {
			r.Exit.Code = 3
		}
		ev.Results = append(ev.Results, r)
	}
	return ev
}

const long = time.Hour // of a job that is not handed out ahead of time

func TestFirstComeFirstServedAndSpread(t *testing.T) {
	c := newScene(t)
	c.want(submit(spec("1-3"), "a", "b"), "accepted 1")
	c.want(submit(spec("1-3"), "a", "b"), "accepted 2")
	c.want(up("b", 2), "start b 1.1.1 1.2.1")
	c.want(up("a", 3), "start a 1.3.1 2.1.1 2.2.1")
	c.want(ended("a", long, "1.3.1"), "final 1.3.1", "forget a 1.3.1", "start a 2.3.1")
	c.want(ended("b", long, "1.2.1", "1.1.1"), "final 1.2.1", "final 1.1.1", "forget b 1.2.1 1.1.1", "ended 1")
	c.want(submit(spec("0-3"), "a", "b", "c"), "accepted 3", "start b 3.0.1 3.1.1")
	c.want(up("c", 1), "start c 3.2.1")
	c.want(ended("a", long, "2.1.1", "2.2.1", "2.3.1"), "final 2.1.1", "final 2.2.1", "final 2.3.1",
		"forget a 2.1.1 2.2.1 2.3.1", "start a 3.3.1", "ended 2")
	if got := c.s.Tasks(3, Running); got != "0-3" {
		t.Errorf("running are %q", got)
	}
}

func TestSpreadGoesToTheEmptiestTiesByName(t *testing.T) {
	c := newScene(t)
	for _, n := range []NodeUp{up("c", 2), up("a", 2), up("b", 4)} {
		c.want(n)
	}
	c.want(submit(spec("1-6"), "a", "b", "c"), "accepted 1", "start b 1.1.1 1.2.1 1.4.1", "start a 1.3.1 1.6.1", "start c 1.5.1")
}

func TestCoresAndMemory(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 4))
	big := spec("1-3")
	big.CPUs, big.Memory = 1, 400
	c.want(submit(big, "a"), "accepted 1", "start a 1.1.1 1.2.1")
	wide := spec("")
	wide.CPUs = 3
	c.want(submit(wide, "a"), "accepted 2")
	small := spec("")
	c.want(submit(small, "a"), "accepted 3", "start a 3.0.1") // a is held back for job 1, which needs less of it
	c.want(ended("a", long, "1.1.1"), "final 1.1.1", "forget a 1.1.1", "start a 1.3.1")
	c.want(ended("a", long, "1.2.1"), "final 1.2.1", "forget a 1.2.1")
	c.want(ended("a", long, "1.3.1"), "final 1.3.1", "forget a 1.3.1", "start a 2.0.1", "ended 1")
	if load := c.s.Load("a"); load.Used != 4 || load.MemUsed != 0 || load.Running != 2 {
		t.Errorf("load is %+v", load)
	}
}

// A wide task is not starved by small ones that came later, and only the nodes it would get are held back.
func TestWideTaskIsNotStarved(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 4))
	c.want(up("b", 4))
	c.want(submit(spec("1-8"), "a", "b"), "accepted 1", "start a 1.1.1 1.3.1 1.5.1 1.7.1", "start b 1.2.1 1.4.1 1.6.1 1.8.1")
	wide := spec("")
	wide.CPUs = 4
	c.want(submit(wide, "a", "b"), "accepted 2")
	c.want(submit(spec("1-9"), "a", "b"), "accepted 3")
	c.want(ended("b", long, "1.2.1", "1.4.1"), "final 1.2.1", "final 1.4.1", "forget b 1.2.1 1.4.1") // b is held back for job 2
	c.want(ended("a", long, "1.1.1"), "final 1.1.1", "forget a 1.1.1", "start a 3.1.1")
	c.want(ended("b", long, "1.6.1", "1.8.1"), "final 1.6.1", "final 1.8.1", "forget b 1.6.1 1.8.1", "start b 2.0.1")
}

func TestJobThatWaitsForOneNodeLeavesTheOthersToLaterJobs(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 1))
	c.want(up("b", 1))
	pinned := spec("1-5")
	pinned.On = "a"
	c.want(submit(pinned, "a"), "accepted 1", "start a 1.1.1")
	c.want(submit(spec(""), "a", "b"), "accepted 2", "start b 2.0.1")
}

func TestCap(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 4))
	c.want(submit(spec("1-4%2"), "a"), "accepted 1", "start a 1.1.1 1.2.1")
	c.want(submit(spec(""), "a"), "accepted 2", "start a 2.0.1")
	c.want(ended("a", 0, "1.2.1"), "final 1.2.1", "forget a 1.2.1", "start a 1.3.1")
	c.want(ended("a", 0, "1.1.1!"), "final 1.1.1", "forget a 1.1.1", "start a 1.4.1")
	c.want(ended("a", 0, "1.3.1", "1.4.1"), "final 1.3.1", "final 1.4.1", "forget a 1.3.1 1.4.1", "ended 1")
	if sum, _ := c.s.Job(1); sum.State != Failed || sum.Counts != (Counts{Done: 3, Failed: 1}) {
		t.Errorf("the job is %+v", sum)
	}
	if f := c.s.Failures(1); len(f) != 1 || f[0].Index != 1 || f[0].Code != 3 || f[0].Node != "a" {
		t.Errorf("failures are %+v", f)
	}
}

func TestShortTasksAreHandedOutAheadOfTime(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 2))
	c.want(submit(spec("1-9"), "a"), "accepted 1", "start a 1.1.1 1.2.1") // nothing is known of their length
	c.want(ended("a", 100*time.Millisecond, "1.1.1"), "final 1.1.1", "forget a 1.1.1", "start a 1.3.1 1.4.1 1.5.1")
	if load := c.s.Load("a"); load.Running != 2 || load.Waiting != 2 {
		t.Errorf("load is %+v", load)
	}
	if sum, _ := c.s.Job(1); sum.Counts != (Counts{Pending: 6, Running: 2, Done: 1}) {
		t.Errorf("counts are %+v", sum.Counts)
	}
	c.want(ended("a", 100*time.Millisecond, "1.2.1", "1.3.1"), "final 1.2.1", "final 1.3.1", "forget a 1.2.1 1.3.1", "start a 1.6.1 1.7.1")
	c.want(ended("a", 20*time.Second, "1.5.1"), "final 1.5.1", "forget a 1.5.1") // long after all: no more ahead
}

// Of tasks shorter than a message's way several nodes' worth goes at a time.
func TestTinyTasksAreHandedOutFurtherAhead(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 2))
	c.want(submit(spec("1-99"), "a"), "accepted 1", "start a 1.1.1 1.2.1")
	c.want(ended("a", aheadFor/5, "1.1.1"), "final 1.1.1", "forget a 1.1.1", "start a 1.3.1 1.4.1 1.5.1 1.6.1 1.7.1 1.8.1 1.9.1 1.10.1 1.11.1 1.12.1 1.13.1")
	if load := c.s.Load("a"); load.Running != 2 || load.Waiting != 2*5 {
		t.Errorf("load is %+v", load)
	}
	c = newScene(t)
	c.want(up("a", 2))
	Step(c.s, submit(spec("1-99"), "a"), c.now)
	Step(c.s, ended("a", time.Millisecond, "1.1.1"), c.now)
	if load := c.s.Load("a"); load.Running != 2 || load.Waiting != 2*maxAhead {
		t.Errorf("load is %+v", load)
	}
}

func TestWaitingWorkIsRecalledForAnIdleNode(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 1))
	c.want(submit(spec("1-3"), "a", "b"), "accepted 1", "start a 1.1.1")
	c.want(ended("a", time.Millisecond, "1.1.1"), "final 1.1.1", "forget a 1.1.1", "start a 1.2.1 1.3.1")
	c.want(up("b", 1), "wake 2s")
	c.later(time.Second, "wake 2s")
	c.later(time.Second, "recall a 1.3.1", "wake 4s")
	c.want(Rejected{Node: "a", Keys: []Key{key("1.3.1")}, Reason: "recalled"}, "moved a 1.3.1: recalled", "start b 1.3.2")

	c.want(ended("b", time.Millisecond, "1.3.2"), "final 1.3.2", "forget b 1.3.2")
	c.want(ended("a", time.Millisecond, "1.2.1"), "final 1.2.1", "forget a 1.2.1", "ended 1")
	if load := c.s.Load("a"); load.Running+load.Waiting != 0 {
		t.Errorf("load is %+v", load)
	}
}

func TestRecallThatComesTooLate(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 1))
	c.want(submit(spec("1-3"), "a", "b"), "accepted 1", "start a 1.1.1")
	c.want(ended("a", 0, "1.1.1"), "final 1.1.1", "forget a 1.1.1", "start a 1.2.1 1.3.1")
	c.want(up("b", 1), "wake 2s")
	c.later(2*time.Second, "recall a 1.3.1", "wake 4s")
	c.want(Started{Node: "a", Keys: []Key{key("1.3.1")}})
	c.later(9 * time.Second)
	c.want(ended("a", 0, "1.3.1", "1.2.1"), "final 1.3.1", "final 1.2.1", "forget a 1.3.1 1.2.1", "ended 1")
}

func TestDrain(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 1))
	c.want(submit(spec("1-9"), "a", "b"), "accepted 1", "start a 1.1.1")
	c.want(ended("a", 100*time.Millisecond, "1.1.1"), "final 1.1.1", "forget a 1.1.1", "start a 1.2.1 1.3.1")
	c.want(Drained{"a"}, "recall a 1.3.1", "wake 2s")
	c.want(Rejected{Node: "a", Keys: []Key{key("1.3.1")}}, "moved a 1.3.1: ")
	c.want(ended("a", 100*time.Millisecond, "1.2.1"), "final 1.2.1", "forget a 1.2.1")
	c.want(up("b", 1), "start b 1.3.2 1.4.1", "wake 2s")
	c.want(Undrained{"a"}, "start a 1.5.1 1.6.1")
}

func TestRefusalPausesTheNode(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 1))
	c.want(submit(spec(""), "a", "b"), "accepted 1", "start a 1.0.1")
	c.want(Rejected{Node: "a", Keys: []Key{key("1.0.1")}, Reason: "the disk is full"}, "moved a 1.0.1: the disk is full", "wake 5s")
	c.later(4*time.Second, "wake 5s")
	c.later(time.Second, "start a 1.0.2")
	c.want(submit(spec("1-3"), "a"), "accepted 2")
	c.want(ended("a", 0, "1.0.2"), "final 1.0.2", "forget a 1.0.2", "start a 2.1.1", "ended 1")
	c.want(ended("a", 0, "2.1.1"), "final 2.1.1", "forget a 2.1.1", "start a 2.2.1 2.3.1")
	c.want(Rejected{Node: "a", Keys: []Key{key("2.2.1")}}, "moved a 2.2.1: ", "wake 10s")
	if load := c.s.Load("a"); load.Running != 1 || load.Waiting != 0 {
		t.Errorf("after a refusal the next one runs; load is %+v", load)
	}
	c.want(Rejected{Node: "a", Keys: []Key{key("1.0.1")}, Reason: "late"}) // of an attempt that is over
	c.want(Rejected{Node: "nobody", Keys: []Key{key("1.0.2")}})
}

func TestDownNodeIsWaitedForWithPatience(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 2))
	hasty := spec("")
	hasty.Patience = time.Second
	c.want(submit(hasty, "a", "b"), "accepted 1", "start a 1.0.1")
	c.want(submit(spec(""), "a", "b"), "accepted 2", "start a 2.0.1")
	c.want(NodeSuspect{"a"})
	c.want(NodeDown{"a"}, "wake 1s")
	c.want(up("b", 2))
	c.later(time.Second, "moved a 1.0.1: the node is down", "start b 1.0.2", "wake 1m0s")
	c.want(NodeDown{"a"}) // said twice counts once
	c.later(58*time.Second, "wake 1m0s")
	c.later(time.Second, "moved a 2.0.1: the node is down", "start b 2.0.2")
	// It comes back: what it still runs is not wanted any more, and takes its place until it has ended.
	c.want(up("a", 2, held("1.0.1"), held("2.0.1")), "kill a 1.0.1 2.0.1: the task was placed anew meanwhile")
	c.want(submit(spec(""), "a"), "accepted 3")
	c.want(ended("a", 0, "2.0.1!"), "forget a 2.0.1", "start a 3.0.1")
	c.want(ended("b", 0, "1.0.2", "2.0.2"), "final 1.0.2", "final 2.0.2", "forget b 1.0.2 2.0.2", "ended 1", "ended 2")
}

func TestNodeThatComesBackInTime(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 3))
	c.want(submit(spec("1-3"), "a", "b"), "accepted 1", "start a 1.1.1 1.2.1 1.3.1")
	c.want(NodeDown{"a"}, "wake 1m0s")
	c.later(30*time.Second, "wake 1m0s")
	back := up("a", 3, held("1.1.1"))
	back.Results = ended("a", long, "1.2.1").Results
	c.want(back, "final 1.2.1", "forget a 1.2.1", "moved a 1.3.1: the node no longer has it", "start a 1.3.2")
	c.later(time.Hour)
	c.want(ended("a", long, "1.1.1", "1.3.2"), "final 1.1.1", "final 1.3.2", "forget a 1.1.1 1.3.2", "ended 1")
}

func TestSuspectNodeGetsNoNewWork(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 2))
	c.want(NodeSuspect{"a"})
	c.want(submit(spec("1-3"), "a"), "accepted 1")
	c.want(up("a", 2), "start a 1.1.1 1.2.1")
	c.want(NodeSuspect{"a"})
	c.want(ended("a", long, "1.1.1"), "final 1.1.1", "forget a 1.1.1")
	c.want(NodeDown{"a"}, "wake 1m0s")
	c.want(ended("a", long, "1.2.1"), "final 1.2.1", "forget a 1.2.1")
	c.want(up("a", 2), "start a 1.3.1")
}

func TestRemovedNode(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 1))
	c.want(submit(spec(""), "a", "b"), "accepted 1", "start a 1.0.1")
	c.want(up("b", 1))
	c.want(NodeGone{"a"}, "moved a 1.0.1: the node was removed", "start b 1.0.2")
	c.want(ended("a", 0, "1.0.1"), "forget a 1.0.1")
	c.want(NodeGone{"a"})
}

func TestLateAndDoubleReportsAreAcknowledgedAndDropped(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 2))
	c.want(submit(spec("1-2"), "a"), "accepted 1", "start a 1.1.1 1.2.1")
	c.want(ended("a", long, "1.1.1", "1.1.1!"), "final 1.1.1", "forget a 1.1.1 1.1.1")
	c.want(ended("a", long, "1.1.1"), "forget a 1.1.1")
	for _, stray := range []string{"1.2.2", "1.9.1", "7.1.1"} {
		c.want(ended("a", long, stray), "forget a "+stray)
	}
	c.want(ended("b", long, "1.2.1"), "forget b 1.2.1") // which never had it
	c.want(ended("a", long, "1.2.1"), "final 1.2.1", "forget a 1.2.1", "ended 1")
	c.want(ended("a", long, "1.2.1!"), "forget a 1.2.1")
	if sum, _ := c.s.Job(1); sum.State != Done || sum.Usage.Wall != 2*long {
		t.Errorf("the job is %+v", sum)
	}
}

func TestRetries(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 1))
	s := spec("")
	s.Retries = 2
	c.want(submit(s, "a"), "accepted 1", "start a 1.0.1")
	c.want(ended("a", 0, "1.0.1!"), "forget a 1.0.1", "start a 1.0.2")
	c.want(up("a", 1), "moved a 1.0.2: the node no longer has it", "start a 1.0.3") // no failure of its own
	c.want(ended("a", 0, "1.0.3!"), "forget a 1.0.3", "start a 1.0.4")
	c.restart(nil, "wake 15s")
	c.want(up("a", 1, held("1.0.4")))
	c.want(ended("a", 0, "1.0.4!"), "final 1.0.4", "forget a 1.0.4", "ended 1")
	if f := c.s.Failures(1); len(f) != 1 || f[0].Attempt != 4 {
		t.Errorf("failures are %+v", f)
	}
}

func TestCancel(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 2))
	c.want(submit(spec("1-4"), "a"), "accepted 1", "start a 1.1.1 1.2.1")
	c.want(Cancel{ID: 1, By: "ada"}, "kill a 1.1.1 1.2.1: the job was cancelled")
	c.want(Cancel{ID: 1, By: "bob"})
	if sum, _ := c.s.Job(1); sum.State != Running || sum.Counts != (Counts{Running: 2, Cancelled: 2}) || sum.CancelledBy != "ada" {
		t.Errorf("the job is %+v", sum)
	}
	c.want(ended("a", 0, "1.1.1!", "1.2.1"), "final 1.1.1", "final 1.2.1", "forget a 1.1.1 1.2.1", "ended 1")
	if sum, _ := c.s.Job(1); sum.State != Cancelled || sum.Counts != (Counts{Done: 1, Cancelled: 3}) {
		t.Errorf("the job is %+v", sum)
	}
	c.want(Cancel{ID: 1, By: "ada"})
	c.want(Cancel{ID: 9, By: "ada"})

	c.want(submit(spec("1-3"), "b"), "accepted 2")
	c.want(Cancel{ID: 2, By: "ada"}, "ended 2") // nothing had started
}

func TestCancelOfWhatADownNodeRuns(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 1))
	c.want(submit(spec(""), "a"), "accepted 1", "start a 1.0.1")
	c.want(NodeDown{"a"}, "wake 1m0s")
	c.want(Cancel{ID: 1}, "kill a 1.0.1: the job was cancelled") // into the void
	c.later(time.Minute, "ended 1")
	c.want(up("a", 1, held("1.0.1")), "kill a 1.0.1: the task was placed anew meanwhile")
}

func TestCancelIsSaidAgainToANodeThatComesBack(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 1))
	c.want(submit(spec(""), "a"), "accepted 1", "start a 1.0.1")
	c.want(Cancel{ID: 1}, "kill a 1.0.1: the job was cancelled")
	c.want(up("a", 1, held("1.0.1")), "kill a 1.0.1: the job was cancelled")
	c.want(Rejected{Node: "a", Keys: []Key{key("1.0.1")}}, "ended 1") // it had not started there
}

func TestHeadRestart(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 1))
	c.want(up("b", 2))
	c.want(submit(spec("1-6"), "a", "b", "c"), "accepted 1", "start b 1.1.1 1.3.1", "start a 1.2.1")
	c.want(ended("b", long, "1.3.1"), "final 1.3.1", "forget b 1.3.1", "start b 1.4.1")
	c.restart(nil, "wake 15s")
	if got := c.s.Selections(); !reflect.DeepEqual(got, []Selection{{}}) {
		t.Errorf("selections are %v", got)
	}
	c.want(Eligible{Selection: Selection{On: ""}, Nodes: []string{"a", "b", "c"}})
	c.want(Eligible{Selection: Selection{On: "gone"}, Nodes: []string{"a"}})
	// Old work waits; work that came after the start does not.
	c.want(up("c", 2))
	c.want(submit(spec(""), "a", "b", "c"), "accepted 2", "start c 2.0.1")
	back := up("b", 2, held("1.1.1"))
	back.Results = append(ended("b", long, "1.4.1").Results, ended("b", long, "1.3.1").Results...)
	c.want(back, "final 1.4.1", "forget b 1.4.1 1.3.1")
	// a is not heard of: its task and those that never started get a number that nobody can have had.
	c.later(15*time.Second, "start b 1.2.2", "start c 1.5.2")
	c.want(up("a", 2, held("1.2.1")), "kill a 1.2.1: the task was placed anew meanwhile", "start a 1.6.2")
	c.restart(nil, "wake 30s")
	c.want(up("b", 2, held("1.2.2"), held("1.5.9")), "kill b 1.5.9: the task was placed anew meanwhile") // a number that was never given
}

func TestHeadRestartEndsItsWaitWhenAllNodesHaveSpoken(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 1))
	c.want(submit(spec("1-3"), "a", "b"), "accepted 1", "start a 1.1.1")
	c.restart([]string{"a", "b"}, "wake 15s")
	c.want(Eligible{Nodes: []string{"a", "b"}})
	c.want(up("a", 1, held("1.1.1")))
	c.want(up("b", 1), "start b 1.2.2")
	c.later(time.Minute)
}

// After a start of the head, what a node does is not known until it has told, or is waited for no longer.
func TestLoadOfANodeThatHasNotTold(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 1))
	c.want(submit(spec("1-2"), "a", "b"), "accepted 1", "start a 1.1.1")
	untold := func() string {
		var names []string
		for _, name := range []string{"a", "b", "c"} {
			if load := c.s.Load(name); load.Name != name {
				t.Errorf("the load of %s is %+v", name, load)
			} else if load.Untold {
				names = append(names, name)
			}
		}
		return strings.Join(names, " ")
	}
	if got := untold(); got != "" {
		t.Errorf("before the start %s have not told", got)
	}
	c.restart([]string{"a", "b"}, "wake 15s")
	c.do(Drained{Name: "a"}) // as a new head hears of it, before the node comes
	if got := untold(); got != "a b c" {
		t.Errorf("after the start %q have not told", got)
	}
	c.want(up("a", 1, held("1.1.1")))
	if got := untold(); got != "b c" || c.s.Load("a").Running != 1 {
		t.Errorf("when a has told, %q have not, and a does %+v", got, c.s.Load("a"))
	}
	c.later(15 * time.Second)
	if got := untold(); got != "" {
		t.Errorf("%s are waited for too long", got)
	}
	c.want(ended("a", 0, "1.1.1"), "final 1.1.1", "forget a 1.1.1")
	c.restart([]string{"a", "b"}, "wake 30s")
	c.want(Cancel{ID: 1})
	c.later(15*time.Second, "ended 1")
	c.restart(nil)
	if got := untold(); got != "" {
		t.Errorf("%s might do what no open job asks for", got)
	}
}

// A task that no node claimed in time and that no other node has got yet is claimed even later.
func TestLateClaim(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 1))
	c.want(submit(spec(""), "a"), "accepted 1", "start a 1.0.1")
	c.restart(nil, "wake 15s")
	c.want(Eligible{Nodes: []string{"a"}})
	c.later(20 * time.Second)
	c.want(up("a", 1, held("1.0.1")))
	c.want(ended("a", 0, "1.0.1"), "final 1.0.1", "forget a 1.0.1", "ended 1")
}

// Two earlier heads may have handed out an attempt each: after one of them failed, the
// next gets a number above both.
func TestAttemptsOfTwoEarlierHeads(t *testing.T) {
	c := newScene(t)
	s := spec("")
	s.Retries = 1
	c.want(up("a", 1))
	c.want(submit(s, "a", "b"), "accepted 1", "start a 1.0.1")
	c.restart(nil, "wake 15s")
	c.want(Eligible{Nodes: []string{"a", "b"}})
	c.want(up("b", 1))
	c.later(15*time.Second, "start b 1.0.2")
	c.restart(nil, "wake 30s")
	c.want(up("a", 1, held("1.0.1")))
	c.want(ended("a", 0, "1.0.1!"), "forget a 1.0.1")
	c.want(Eligible{Nodes: []string{"a", "b"}})
	c.later(15*time.Second, "start a 1.0.3")
	c.want(up("b", 1, held("1.0.2")), "kill b 1.0.2: the task was placed anew meanwhile")
}

// A node may start the next task of a capped array before the end of the one before is on
// disk. When that end is lost with the head, and the task is placed anew, the cap still holds.
func TestCapHoldsForClaims(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 1))
	c.want(submit(spec("1-3%1"), "a", "b"), "accepted 1", "start a 1.1.1")
	c.want(ended("a", long, "1.1.1"), "final 1.1.1", "forget a 1.1.1", "start a 1.2.1")
	c.lose(1)
	c.restart(nil, "wake 15s")
	c.want(Eligible{Nodes: []string{"a", "b"}})
	c.want(up("b", 1))
	c.later(15*time.Second, "start b 1.1.2")
	back := up("a", 1, held("1.2.1"))
	back.Results = ended("a", long, "1.1.1").Results
	c.want(back, "forget a 1.1.1", "kill a 1.2.1: the task was placed anew meanwhile")
}

func TestHeadRestartInTheMiddleOfACancel(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 2))
	c.want(submit(spec("1-3"), "a"), "accepted 1", "start a 1.1.1 1.2.1")
	c.want(Cancel{ID: 1}, "kill a 1.1.1 1.2.1: the job was cancelled")
	c.restart(nil, "wake 15s")
	c.want(up("a", 2, held("1.1.1")), "kill a 1.1.1: the job was cancelled")
	c.later(15 * time.Second) // 1.2 is gone
	c.want(ended("a", 0, "1.1.1!"), "final 1.1.1", "forget a 1.1.1", "ended 1")
	if sum, _ := c.s.Job(1); sum.Counts != (Counts{Cancelled: 3}) {
		t.Errorf("counts are %+v", sum.Counts)
	}
}

func TestCancelWhileTheHeadWaitsForItsNodes(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 1))
	c.want(submit(spec("1-2"), "a"), "accepted 1", "start a 1.1.1")
	c.restart(nil, "wake 15s")
	c.want(Cancel{ID: 1})
	c.want(up("a", 1, held("1.1.1")), "kill a 1.1.1: the job was cancelled")
	c.want(ended("a", 0, "1.1.1!"), "final 1.1.1", "forget a 1.1.1")
	c.later(15*time.Second, "ended 1")
}

func TestNodesThatChange(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 2))
	c.want(submit(spec("1-9"), "a", "new"), "accepted 1", "start a 1.1.1 1.2.1")
	c.want(up("new", 1), "start new 1.3.1")
	c.want(up("a", 3, held("1.1.1"), held("1.2.1")), "start a 1.4.1")
	c.want(Eligible{Nodes: []string{"new"}})
	c.want(ended("a", long, "1.1.1"), "final 1.1.1", "forget a 1.1.1")
	c.want(Eligible{Nodes: []string{"a"}}, "start a 1.5.1")
	c.want(up("a", 1, held("1.2.1"), held("1.4.1"), held("1.5.1")))
	c.want(ended("a", long, "1.2.1"), "final 1.2.1", "forget a 1.2.1")
}

func TestStartedThatShouldNotBe(t *testing.T) {
	c := newScene(t)
	c.want(up("a", 2))
	c.want(submit(spec(""), "a"), "accepted 1", "start a 1.0.1")
	c.want(Started{Node: "a", Keys: []Key{key("1.0.1"), key("4.0.1")}}, "kill a 4.0.1: the task was placed anew meanwhile")
	c.want(Started{Node: "b", Keys: []Key{key("1.0.1")}})
}

// What an action waits for is the difference between accepted and hoped for.
func TestAfter(t *testing.T) {
	s := NewState()
	step := func(ev Event) []Action { return Step(s, ev, begin) }
	after := func(list []Action) (record, start, forget uint64) {
		for _, a := range list {
			switch a := a.(type) {
			case Record:
				record = a.Seq
			case Start:
				start = a.After
			case Forget:
				forget = a.After
			}
		}
		return
	}
	step(HeadStarted{})
	step(up("a", 2))
	retried := spec("1-9")
	retried.Retries = 1
	if record, start, _ := after(step(submit(retried, "a"))); record != 2 || start != 2 {
		t.Errorf("a new job's tasks start after record %d, its submission is %d", start, record)
	}
	if record, start, forget := after(step(ended("a", long, "1.1.1"))); record != 3 || forget != 3 || start != 2 {
		t.Errorf("record %d, forget after %d, the next task after %d", record, forget, start)
	}
	if record, _, forget := after(step(ended("a", long, "1.1.1"))); record != 0 || forget != 3 {
		t.Errorf("a double report makes record %d and is acknowledged after %d", record, forget)
	}
	if record, start, forget := after(step(ended("a", long, "1.2.1!"))); record != 4 || forget != 4 || start != 4 {
		t.Errorf("a retry: record %d, forget after %d, start after %d", record, forget, start)
	}
	for _, a := range step(Cancel{ID: 1}) {
		if kill, ok := a.(Kill); ok && kill.After != 5 {
			t.Errorf("a cancelled task is killed after record %d, want 5", kill.After)
		}
	}
	step(submit(retried, "a"))
	s2, err := Restore(s.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	Step(s2, HeadStarted{Expect: []string{}}, begin)
	Step(s2, Eligible{Nodes: []string{"a"}}, begin)
	if _, start, _ := after(Step(s2, up("a", 2), begin)); start != 7 {
		t.Errorf("a new head starts work after record %d, want its own start, 7", start)
	}
}

func TestOldJobsAreForgottenAndTheirNumbersStay(t *testing.T) {
	s := NewState()
	Step(s, HeadStarted{}, begin)
	for i := range ID(keptEnded + 5) {
		Step(s, submit(spec("")), begin)
		Step(s, Cancel{ID: i + 1}, begin)
	}
	if n := len(s.Jobs()); n != keptEnded {
		t.Errorf("%d jobs are kept", n)
	}
	if _, ok := s.Job(5); ok {
		t.Error("job 5 is remembered")
	}
	if _, ok := s.Job(6); !ok {
		t.Error("job 6 is forgotten")
	}
	s, err := Restore(s.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	Step(s, HeadStarted{}, begin)
	if got := text(Step(s, submit(spec("")), begin)); got != fmt.Sprintf("accepted %d", keptEnded+6) {
		t.Error(got)
	}
	if len(s.Selections()) != 1 || len(s.classes) != 1 {
		t.Errorf("%d selections and %d classes are left", len(s.Selections()), len(s.classes))
	}
}

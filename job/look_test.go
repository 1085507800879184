package job

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"bramble/fault"
	"bramble/fleet"
	"bramble/host"
	"bramble/trust"
)

func TestGrid(t *testing.T) {
	s := NewState()
	Step(s, HeadStarted{}, begin)
	Step(s, up("a", 4), begin)
	Step(s, submit(spec("1-10"), "a"), begin)
	Step(s, Ended{Node: "a", Results: []Result{{Job: 1, Index: 1, Attempt: 1, Ended: begin}, {Job: 1, Index: 2, Attempt: 1, Exit: host.Exit{Code: 3}, Ended: begin}}}, begin)
	Step(s, submit(spec("1-1000000"), "a"), begin)

	g, ok := s.Grid(1, 0)
	var states []TaskState
	for _, c := range g.Cells {
		states = append(states, c.State())
	}
	want := []TaskState{Done, Failed, Running, Running, Running, Running, Pending, Pending, Pending, Pending}
	if !ok || g.Per != 1 || !slices.Equal(states, want) {
		t.Errorf("the grid of ten is %+v: %v", g, states)
	}
	g, _ = s.Grid(1, 4)
	if g.Per != 3 || len(g.Cells) != 4 || g.Cells[0] != (Cell{First: 1, Last: 3, Tasks: 3, Running: 1, Done: 1, Failed: 1}) || g.Cells[3] != (Cell{First: 10, Last: 10, Tasks: 1}) {
		t.Errorf("ten in four cells are %+v", g)
	}
	g, _ = s.Grid(2, 99_999)
	if g.Per != 500 || len(g.Cells) != 2000 || g.Cells[1999].Last != 1_000_000 {
		t.Errorf("a million are %d cells of %d", len(g.Cells), g.Per)
	}
	if _, ok := s.Grid(3, 0); ok {
		t.Error("a job that never was has a grid")
	}
}

func TestEndings(t *testing.T) {
	inBubble(t, two, func(c *cluster) {
		id := c.submit(Spec{Args: []string{"say", "hello"}, Array: "1-20:2"})
		bad := c.submit(Spec{Args: []string{"fail-until", "9"}})
		all := func(user string, req EndingsRequest) (list []Ending, err error) {
			for e, err := range c.client(user, trust.Operator).Endings(c.t.Context(), req) {
				if err != nil {
					return list, err
				}
				list = append(list, e)
			}
			return list, nil
		}
		list, err := all("ann", EndingsRequest{ID: id, Follow: true})
		seen := map[int]string{}
		for _, e := range list {
			seen[e.Index] = fmt.Sprintf("%s %s", e.State, e.Stdout)
		}
		if err != nil || len(list) != 10 || len(seen) != 10 || seen[19] != "done hello" {
			t.Errorf("the tasks ended as %v (%v)", seen, err)
		}
		if list, err := all("ann", EndingsRequest{ID: id, Had: "1-9", Bare: true}); err != nil || len(list) != 5 || list[0].Stdout != nil || list[0].OutSize != 5 {
			t.Errorf("without 1-9 and their output: %+v (%v)", list, err)
		}
		c.wait(bad)
		if list, err := all("ann", EndingsRequest{ID: bad}); err != nil || len(list) != 1 || list[0].State != Failed || list[0].Failure.Code != 1 {
			t.Errorf("the failed one ended as %+v (%v)", list, err)
		}
		if _, err := all("bob", EndingsRequest{ID: id}); !fault.Is(err, fault.Denied) {
			t.Errorf("somebody else is told %v", err)
		}
	})
}

func TestTimelineOfWork(t *testing.T) {
	inBubble(t, two, func(c *cluster) {
		id := c.submit(Spec{Args: []string{"sleep", "30"}, Array: "1-4"})
		c.wait(id)
		long := c.submit(Spec{Args: []string{"stay"}})
		time.Sleep(10 * time.Second)
		c.asked(func(cl Client) {
			line, err := cl.Timeline(c.t.Context(), TimelineRequest{})
			if err != nil || len(line.Rows) != 2 || len(line.Spans) != 5 {
				t.Fatalf("%+v %v", line, err)
			}
			byJob := map[ID][]Span{}
			for _, s := range line.Spans {
				byJob[s.Job] = append(byJob[s.Job], s)
			}
			if s := byJob[id][0]; s.State != Done || s.End.Sub(s.Start).Round(time.Second) != 30*time.Second || s.N != 1 {
				t.Errorf("a task of 30 s is %+v", s)
			}
			if s := byJob[long][0]; s.State != Running || s.End.Sub(s.Start).Round(time.Second) != 10*time.Second {
				t.Errorf("what has run for 10 s is %+v", s)
			}
			line, err = cl.Timeline(c.t.Context(), TimelineRequest{Rows: 1, Columns: 10})
			if err != nil || len(line.Rows) != 1 || line.Rows[0].Name != "node[1-2]" || line.Spans != nil || len(line.Heat[0]) != 10 || line.Heat[0][9] < 500 {
				t.Errorf("two nodes in one row: %+v %v", line, err)
			}
			tp, err := cl.Throughput(c.t.Context())
			sum := 0
			for _, n := range tp.Done {
				sum += n
			}
			if err != nil || sum != 4 {
				t.Errorf("throughput counts %d tasks, want 4 (%v)", sum, err)
			}
			if _, err := cl.Timeline(c.t.Context(), TimelineRequest{Since: time.Now().Add(time.Hour)}); !fault.Is(err, fault.Misused) {
				t.Errorf("a stretch that begins after its end: %v", err)
			}
		})
	})
}

func results(node string, id ID, from, n int, at time.Time, took time.Duration, code int) (list []Result) {
	for i := range n {
		list = append(list, Result{Job: id, Index: from + i, Attempt: 1, Node: node, Started: at, Ended: at.Add(took), Exit: host.Exit{Code: code}})
	}
	return list
}

func nobodyCancelled(ID) bool { return false }

func TestPastMergesShortTasks(t *testing.T) {
	var p past
	now := begin
	for i := range 250 { // 1,000 tasks of 100 ms, four at a time, within 25 s
		p.add(results("a", 1, 4*i, 4, now, 100*time.Millisecond, 0), now.Add(100*time.Millisecond), nobodyCancelled)
		now = now.Add(100 * time.Millisecond)
	}
	p.add(results("a", 1, 5000, 1, now, 100*time.Millisecond, 1), now.Add(100*time.Millisecond), nobodyCancelled)
	p.add(results("a", 2, 1, 1, now, 10*time.Second, 0), now.Add(10*time.Second), nobodyCancelled)
	p.add(results("a", 2, 2, 1, now, 10*time.Second, 0), now.Add(10*time.Second), nobodyCancelled)
	list, _, _ := p.between(begin, now.Add(time.Hour), 0)
	if len(list) != 4 {
		t.Fatalf("%d spans, want the thousand, the failure, and two long ones: %+v", len(list), list)
	}
	if m := list[0]; m.n != 1000 || m.first != 0 || m.last != 999 || time.Duration(m.busy) != 100*time.Second {
		t.Errorf("a thousand short tasks are %+v", m)
	}
	if list[1].state != codeFailed || list[2].n != 1 {
		t.Errorf("the others are %+v", list[1:])
	}
	rate, sum, failed := p.throughput(now.Add(11*time.Second)), 0, 0
	for i := range rate.Done {
		sum, failed = sum+rate.Done[i], failed+rate.Failed[i]
	}
	if sum != 1002 || failed != 1 {
		t.Errorf("throughput counts %d done and %d failed", sum, failed)
	}
}

func TestPastIsBounded(t *testing.T) {
	var p past
	now := begin
	for i := range keptSpans + 500 {
		now = now.Add(2 * time.Second)
		p.add(results("a", 1, i, 1, now.Add(-2*time.Second), 2*time.Second, 0), now, nobodyCancelled)
	}
	list, _, known := p.between(begin, now, 0)
	if len(list) != keptSpans || len(p.ring) != keptSpans || !known.After(begin.Add(999*time.Second)) {
		t.Errorf("%d spans are kept, since %s", len(list), known)
	}
	if kept, hidden := condense(slices.Clone(list), 100, int64(now.Sub(begin))); len(kept) > 100 || hidden != 0 {
		t.Errorf("%d spans one after the other become %d, %d hidden", len(list), len(kept), hidden)
	}
}

// A node's clock that is wrong moves its attempts to when the head heard of them.
func TestPastWithoutClock(t *testing.T) {
	for name, at := range map[string]time.Time{"zero": {}, "far ahead": begin.Add(24 * time.Hour)} {
		var p past
		p.add(results("a", 1, 1, 1, at, 10*time.Second, 0), begin, nobodyCancelled)
		list, _, _ := p.between(time.Unix(0, 0), begin, 0)
		if len(list) != 1 || list[0].end != begin.UnixNano() || list[0].busy != int64(10*time.Second) {
			t.Errorf("%s: %+v", name, list)
		}
	}
}

func TestCondenseHidesTheShortest(t *testing.T) {
	var list []moment
	for i := range 100 {
		list = append(list, moment{node: int32(i), start: 0, end: int64(i + 1)})
	}
	kept, hidden := condense(list, 10, 1000)
	if len(kept) != 10 || hidden != 90 || slices.ContainsFunc(kept, func(m moment) bool { return m.end <= 90 }) {
		t.Errorf("%d kept, %d hidden: %+v", len(kept), hidden, kept)
	}
}

func TestRowsOf(t *testing.T) {
	var nodes []fleet.Node
	for i := range 1000 {
		nodes = append(nodes, fleet.Node{Name: fmt.Sprintf("node%04d", i+1)})
	}
	rows, of := rowsOf(nodes, 48, 0)
	if len(rows) != 48 || rows[0].Name != "node[0001-0021]" || rows[1].Skip != 21 || of["node0022"] != 1 {
		t.Errorf("%d rows, the first %+v", len(rows), rows[0])
	}
}

// BenchmarkPast is what remembering costs for each task: batches of four short ones from 100 nodes.
func BenchmarkPast(b *testing.B) {
	var p past
	var batches [][]Result
	for n := range 100 {
		batches = append(batches, results(fmt.Sprintf("node%02d", n), 1, n, 4, begin, time.Millisecond, 0))
	}
	for i := 0; b.Loop(); i++ {
		p.add(batches[i%100], begin.Add(time.Duration(i)*time.Microsecond), nobodyCancelled)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(4*b.N), "ns/task")
}

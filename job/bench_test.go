package job

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// BenchmarkStep runs an array of 1,000,000 no-op tasks through Step: 1,000 nodes of 4 cores, each
// of which reports a batch when its cores are done. It tells tasks a second, bytes of journal and
// of the head's memory (live after collection, half-way through) for each task.
func BenchmarkStep(b *testing.B) {
	for _, c := range []struct{ nodes, cores, tasks int }{{4, 4, 1_000_000}, {1000, 4, 1_000_000}, {10_000, 4, 1_000_000}} {
		b.Run(fmt.Sprintf("nodes=%d", c.nodes), func(b *testing.B) {
			var journal, memory int
			for b.Loop() {
				journal, memory = runArray(b, c.nodes, c.cores, c.tasks)
			}
			b.ReportMetric(float64(c.tasks)*float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
			b.ReportMetric(float64(journal)/float64(c.tasks), "journal-B/task")
			b.ReportMetric(float64(memory)/float64(c.tasks), "memory-B/task")
		})
	}
}

func runArray(b *testing.B, nodes, cores, tasks int) (journal, memory int) {
	b.StopTimer()
	base := heap()
	s := NewState()
	names := make([]string, nodes)
	Step(s, HeadStarted{}, begin)
	for i := range names {
		names[i] = fmt.Sprintf("node%05d", i)
		Step(s, NodeUp{Name: names[i], Cores: cores, Memory: 1 << 30}, begin)
	}
	b.StartTimer()
	on := make(map[string]*Slots, nodes)
	for _, name := range names {
		on[name] = &Slots{Cores: cores, Memory: 1 << 30}
	}
	now, left, ready := begin, tasks, []string(nil)
	take := func(actions []Action) {
		for _, a := range actions {
			switch a := a.(type) {
			case Record:
				journal += len(a.Data)
			case Final:
				left -= len(a.Results)
			case Start:
				if len(on[a.Node].Running()) == 0 {
					ready = append(ready, a.Node)
				}
				for _, at := range a.Attempts {
					on[a.Node].Add(at)
				}
				on[a.Node].Start()
			}
		}
	}
	take(Step(s, Submitted{Spec: spec(fmt.Sprintf("1-%d", tasks)), Nodes: names}, now))
	for half := false; len(ready) > 0; {
		name := ready[0]
		ready = ready[1:]
		now = now.Add(40 * time.Microsecond)
		ev := Ended{Node: name}
		for _, a := range on[name].Running() {
			ev.Results = append(ev.Results, Result{Job: a.Job, Index: a.Index, Attempt: a.Attempt, Node: name, Started: now, Ended: now})
		}
		for _, r := range ev.Results {
			on[name].Remove(r.Key())
		}
		if on[name].Start(); len(on[name].Running()) > 0 {
			ready = append(ready, name)
		}
		take(Step(s, ev, now))
		if !half && left < tasks/2 {
			half = true
			b.StopTimer()
			memory = heap() - base
			b.StartTimer()
		}
	}
	if left != 0 {
		b.Fatalf("%d tasks are left", left)
	}
	return journal, memory
}

func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// BenchmarkSubmit is 1,000 jobs of one task each that wait behind a full cluster.
func BenchmarkSubmit(b *testing.B) {
	for b.Loop() {
		s := NewState()
		Step(s, HeadStarted{}, begin)
		Step(s, up("a", 1), begin)
		for range 1000 {
			Step(s, submit(spec(""), "a"), begin)
		}
	}
	b.ReportMetric(1000*float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
}

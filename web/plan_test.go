package web

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"bramble/event"
	"bramble/host"
	"bramble/job"
)

func TestTrace(t *testing.T) {
	gap := float32(math.NaN())
	for _, tt := range []struct {
		name       string
		values     []float32
		line, area string
	}{
		{"nothing", nil, "", ""},
		{"only gaps", []float32{gap, gap}, "", ""},
		{"up and down", []float32{0, 1, 0.5}, "M0 100l1-100l1 50", "M0 100V100l1-100l1 50V100z"},
		{"a gap breaks the line", []float32{1, gap, 1, 1}, "M0 0M2 0l1 0", "M0 100V0V100zM2 100V0l1 0V100z"},
		{"out of scale is held at the edge", []float32{-3, 7}, "M0 100l1-100", "M0 100V100l1-100V100z"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := line(tt.values, 0, 1); got != tt.line {
				t.Errorf("line %q, want %q", got, tt.line)
			}
			if got := area(tt.values, 0, 1); got != tt.area {
				t.Errorf("area %q, want %q", got, tt.area)
			}
		})
	}
}

func TestHistory(t *testing.T) {
	start := time.Unix(1_000_000, 0)
	h := newHistory()
	at := func(seconds float64, rx uint64) host.Sample {
		return host.Sample{At: start.Add(time.Duration(seconds * float64(time.Second))), RxBytes: rx, Load: seconds, MemUsed: 1, MemTotal: 4}
	}
	if !h.add(at(0, 1000), 4) || h.add(at(0, 1000), 4) || h.add(at(-1, 0), 4) {
		t.Error("a sample counts once, and only when it is newer")
	}
	h.add(at(1, 1500), 4)
	if got := h.now(received); got != 250 {
		t.Errorf("the slot's mean of 0 and 500 B/s is %v", got)
	}
	h.add(at(6, 1000), 4) // two slots were missed, and the counter began anew
	last := h.values(received)[slots-4:]
	if last[0] != 250 || last[1] == last[1] || last[2] == last[2] || last[3] != 0 {
		t.Errorf("newest slots %v, want 250, two gaps, 0", last)
	}
	if got := h.now(memory); got != 0.25 {
		t.Errorf("memory %v", got)
	}
	if got := h.values(heat)[slots-1]; got == got {
		t.Errorf("heat %v without a sensor", got)
	}
	h.add(at(6+1e6, 0), 4)
	if left := h.values(load); left[slots-2] == left[slots-2] {
		t.Errorf("what is long past is still shown: %v", left)
	}
}

func TestMention(t *testing.T) {
	for _, tt := range []struct {
		text string
		job  int64
		want mention
	}{
		{"node1 is up", 0, mention{"", "node1", " is up", "/nodes/node1"}},
		{"node12, then node1", 0, mention{"node12, then ", "node1", "", "/nodes/node1"}},
		{"my-node1 and node1-b", 0, mention{Before: "my-node1 and node1-b"}},
		{"job 12 and job 1: done", 1, mention{"job 12 and ", "job 1", ": done", "/jobs/1"}},
		{"submitted", 7, mention{"submitted ", "job 7", "", "/jobs/7"}},
	} {
		if got := mentionOf(event.Event{Node: "node1", Job: tt.job, Text: tt.text}); got != tt.want {
			t.Errorf("%q: %+v, want %+v", tt.text, got, tt.want)
		}
	}
}

func TestThrottled(t *testing.T) {
	for _, tt := range []struct {
		bits      uint32
		now, ever string
	}{{0, "", ""}, {1, "under-voltage", ""}, {0x50000, "", "under-voltage"}, {0x50005, "under-voltage", "under-voltage"}, {8, "too hot", ""}} {
		if now, ever := throttled(tt.bits); now != tt.now || ever != tt.ever {
			t.Errorf("%#x: %q and %q, want %q and %q", tt.bits, now, ever, tt.now, tt.ever)
		}
	}
}

func TestProgress(t *testing.T) {
	p := progressOf(job.Summary{Tasks: 10, Counts: job.Counts{Done: 4, Failed: 1, Running: 2, Pending: 3}})
	if len(p.Parts) != 3 || p.Parts[2] != (part{"running", 500, 200}) || p.Text != "4 done, 1 failed, 2 running, 3 pending" {
		t.Errorf("%+v", p)
	}
}

func TestCells(t *testing.T) {
	d := job.Detail{Summary: job.Summary{Tasks: 4, Spec: job.Spec{Array: "2-8:2"}}, Indices: map[string]string{"done": "2,6", "running": "8", "pending": "", "failed": "4"},
		Placements: []job.Placement{{Key: job.Key{Index: 8}, Node: "node3"}}, Failures: []job.Failure{{Index: 4, Node: "node1"}}}
	g := job.Grid{Tasks: 4, Per: 1, Cells: []job.Cell{{First: 2, Last: 2, Tasks: 1, Done: 1}, {First: 4, Last: 4, Tasks: 1, Failed: 1},
		{First: 6, Last: 6, Tasks: 1, Done: 1}, {First: 8, Last: 8, Tasks: 1, Running: 1}}}
	view := jobViewOf(d, g, -1, visitor{}, time.Now())
	var got []string
	for _, c := range view.Grid.Chunks[0].Cells {
		got = append(got, c.Title)
	}
	if want := "task 2: done; task 4: failed on node1; task 6: done; task 8: running on node3"; strings.Join(got, "; ") != want {
		t.Errorf("cells %q, want %q", got, want)
	}
	if view.Task != 2 || !view.HasTask || view.First != 2 || view.Last != 8 {
		t.Errorf("shows task %d of %d to %d", view.Task, view.First, view.Last)
	}
	if view := jobViewOf(d, g, 3, visitor{}, time.Now()); view.HasTask {
		t.Error("there is no task 3")
	}
}

func TestBlocks(t *testing.T) {
	g := job.Grid{Tasks: 1000, Per: 10}
	for i := range 100 {
		g.Cells = append(g.Cells, job.Cell{First: 10 * i, Last: 10*i + 9, Tasks: 10})
	}
	g.Cells[0].Done = 10
	g.Cells[1] = job.Cell{First: 10, Last: 19, Tasks: 10, Done: 4, Failed: 1, Running: 2}
	g.Cells[2].Failed = 10
	v := gridViewOf(g, job.Detail{}, 15)
	if c := v.Chunks[0].Cells[2]; c.Class != "failed block l10 m0" {
		t.Errorf("ten that all failed are %+v", c)
	}
	if len(v.Chunks) != 2 || v.Chunks[0].Cells[0].Class != "done block l10 m10" {
		t.Errorf("%d chunks, the first cell %+v", len(v.Chunks), v.Chunks[0].Cells[0])
	}
	if c := v.Chunks[0].Cells[1]; c.Class != "failed block l5 m4" || !c.Shown || c.Title != "tasks 10-19: 4 of 10 done, 1 failed, 2 running" {
		t.Errorf("the second cell is %+v", c)
	}
}

// Spans of one core each lie beside each other, one of many short tasks as high as it was busy, and none beyond the row.
func TestLanes(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(1000+int64(s), 0) }
	spans := []job.Span{
		{Job: 1, N: 1, CPUs: 1, Start: at(0), End: at(10), State: job.Done},
		{Job: 1, N: 1, CPUs: 1, Start: at(1), End: at(5), State: job.Failed},
		{Job: 2, N: 100, CPUs: 1, Start: at(5), End: at(15), Busy: 19 * time.Second, State: job.Done, First: 1, Last: 100},
		{Job: 3, N: 1, CPUs: 9, Start: at(20), End: at(21), State: job.Running},
	}
	var got []string
	for _, g := range spanBoxes(spans, 4, at(0), time.Minute, true) {
		for _, b := range g.Spans {
			got = append(got, fmt.Sprintf("%d %s %s+%s %s+%s", g.Job, b.Class, b.X, b.W, b.Y, b.H))
		}
	}
	want := []string{"1 h1 0+10 0+25", "1 failed 1+4 25+25", "2 h2 5+10 25+50", "3 h3 runs 20+600 0+100"}
	if !slices.Equal(got, want) {
		t.Errorf("lanes are\n%q, want\n%q", got, want)
	}
}

func TestHeat(t *testing.T) {
	g := heatBoxes([]int{0, 5, 40, 1000, 1000, 0}, -10, 5)[0].Spans
	if len(g) != 2 || g[0] != (box{Class: "q1", X: "-5", W: "10", Y: "0", H: "100"}) || g[1] != (box{Class: "q10", X: "5", W: "10", Y: "0", H: "100"}) {
		t.Errorf("%+v", g)
	}
}

// What is past keeps its place while time goes on.
func TestWhatIsPastStays(t *testing.T) {
	a := timelineAsk{width: 10 * time.Minute}
	now := time.Unix(1_000_000_003, 0)
	one, two := a.request(now), a.request(now.Add(time.Second))
	if !one.Since.Equal(two.Since) || one.Columns != two.Columns || one.Since.After(now.Add(-a.width)) {
		t.Errorf("%+v, a second later %+v", one, two)
	}
	counts := make([]int, 599)
	for i := range counts {
		counts[i] = i
	}
	before, after := binned(counts, now), binned(append(counts[1:], 7), now.Add(time.Second))
	if before[10] != after[10] {
		t.Errorf("a point of the throughput changes from %v to %v", before[10], after[10])
	}
}

func TestChanges(t *testing.T) {
	sent := map[string]uint64{}
	f := func(id string, hash uint64) fragment {
		return fragment{ID: id, HTML: `<p id="` + "" + `">`, Hash: hash, Box: "box"}
	}
	first := string(changes([]fragment{f("a", 1), f("b", 1)}, sent))
	for _, want := range []string{`data-only="box" data-ids="a b"`, `data-into="box" data-after=""`, `data-into="box" data-after="a"`} {
		if !strings.Contains(first, want) {
			t.Errorf("first message has no %s: %s", want, first)
		}
	}
	if same := changes([]fragment{f("a", 1), f("b", 1)}, sent); same != "" {
		t.Errorf("nothing changed, and was sent: %s", same)
	}
	next := string(changes([]fragment{f("c", 1), f("b", 2)}, sent))
	if !strings.Contains(next, `data-gone="a"`) || strings.Count(next, "<p") != 2 || strings.Count(next, "data-into") != 1 {
		t.Errorf("a went, b changed, c came: %s", next)
	}
}

func TestOutputText(t *testing.T) {
	var o outputText
	var got strings.Builder
	for i, l := range []job.Line{
		{Attempt: 1, Data: []byte("caf\xc3")}, {Attempt: 1, Stderr: true, Data: []byte("oh\n")}, {Attempt: 1, Data: []byte("\xa9\r")},
		{Attempt: 1, Data: []byte("\n<b>\x1b[2J")}, {Attempt: 2, Data: []byte("again")},
	} {
		got.WriteString(string(o.html(l, i)))
	}
	want := `<span id="o0" class="out">caf</span><span id="o1" class="err">oh` + "\n" + `</span><span id="o2" class="out">é</span>` +
		`<span id="o3" class="out">` + "\n" + `&lt;b&gt;␛[2J</span><b id="o4a">attempt 2</b><span id="o4" class="out">again</span>`
	if got.String() != want {
		t.Errorf("got  %s\nwant %s", got.String(), want)
	}
}

func TestHostNames(t *testing.T) {
	s := &Server{}
	s.URL = "https://berry.example:7652"
	for name, want := range map[string]bool{"127.0.0.1:80": true, "localhost": true, "[::1]:7652": true, "10.1.2.3": true,
		"berry.example:1": true, "BERRY.example.": true, "evil.example:7652": false, "localhost.evil.example": false, "": false} {
		if got := s.isOurs(hostName(name)); got != want {
			t.Errorf("%q: %t", name, got)
		}
	}
}

func TestLocalPath(t *testing.T) {
	for path, want := range map[string]string{"/jobs/7": "/jobs/7", "//evil.example": "", "https://evil.example": "", `/\evil.example`: "", "": "", "/a\r\nb": ""} {
		if got := localPath(path); got != want {
			t.Errorf("%q: %q", path, got)
		}
	}
}

func TestAlike(t *testing.T) {
	var list []job.Failure
	for i := range 40 {
		list = append(list, job.Failure{Index: 40 - i, Node: fmt.Sprintf("node%d", i%3+1), Code: 1})
	}
	list = append(list, job.Failure{Index: 50, Error: "no room"}, job.Failure{Index: 41, Node: "node9", OOM: true}, job.Failure{Index: 42, Node: "node9", OOM: true})
	got := alikeOf(list)
	if len(got) != 3 || got[0].Why != "exit status 1" || got[0].On != "node[1-3]" || len(got[0].Tasks) != mostAlike || got[0].Tasks[0] != 1 || got[0].More != 25 {
		t.Fatalf("%+v", got)
	}
	if g := got[1]; g.Why != "took more memory than it may" || g.More != 0 || !slices.Equal(g.Tasks, []int{41, 42}) || got[2].On != "no node" {
		t.Errorf("%+v", got[1:])
	}
}

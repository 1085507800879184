package term

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func onScreen(s *screen) *Out {
	out := NewTest(s, 80, Basic)
	out.Stdout.Size, out.Stderr.Size = s.size, s.size
	return out
}

// tick lets the next drawing happen.
func tick() {
	time.Sleep(redrawEvery)
	synctest.Wait()
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScreen(80, 24)
		p := NewProgress(t.Context(), onScreen(s))
		file := p.Bar("node1", 100<<20, Data)
		count := p.Bar("node12", 0, Items)
		tick()
		if want := "node1   waiting\nnode12  waiting"; s.text() != want {
			t.Errorf("at the start:\n%s\nwant\n%s", s.text(), want)
		}
		time.Sleep(2*time.Second - redrawEvery)
		file.Set(50 << 20)
		count.Add(1234)
		tick()
		time.Sleep(time.Hour) // the rate of the last seconds
		count.State("hashing")
		file.Set(100 << 20)
		file.Done("100 MiB in 1 h")
		tick()
		if want := "node1   100 MiB in 1 h\nnode12  1,234  0.0/s  hashing"; s.text() != want {
			t.Errorf("later:\n%s\nwant\n%s", s.text(), want)
		}
		p.Stop()
		if s.text() != "" {
			t.Errorf("left behind: %q", s.text())
		}
		p.Stop()
	})
}

func TestProgressRedrawsSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScreen(80, 24)
		p := NewProgress(t.Context(), onScreen(s))
		defer p.Stop()
		b := p.Bar("n", 1000, Items)
		for range 1000 {
			b.Add(1)
			time.Sleep(time.Millisecond)
		}
		if n := s.count(); n > 10 {
			t.Errorf("%d drawings in a second", n)
		}
		tick()
		tick()
		before := s.count()
		time.Sleep(time.Minute)
		if after := s.count() - before; after > 121 {
			t.Errorf("%d drawings of what hardly changes", after)
		}
	})
}

func TestProgressOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScreen(60, 24)
		p := NewProgress(t.Context(), onScreen(s))
		out := p.Over(p.out)
		b := p.Bar("n", 0, Items)
		b.State("working")
		tick()
		fmt.Fprintln(out.Stdout, "one")
		fmt.Fprintln(out.Stderr, "two")
		tick()
		if want := "one\ntwo\nn  working"; s.text() != want {
			t.Errorf("%q, want %q", s.text(), want)
		}
		fmt.Fprint(out.Stderr, "half a line")
		tick()
		if want := "one\ntwo\nhalf a line"; s.text() != want {
			t.Errorf("%q, want %q", s.text(), want)
		}
		fmt.Fprintln(out.Stderr, ", ended")
		tick()
		if want := "one\ntwo\nhalf a line, ended\nn  working"; s.text() != want {
			t.Errorf("%q, want %q", s.text(), want)
		}
		fmt.Fprintln(out.Stdout, strings.Repeat("x", maxPending))
		if !strings.Contains(s.text(), "xxx") {
			t.Error("a large output waits")
		}
		fmt.Fprintln(out.Stdout, "kept to the end")
		p.Stop()
		fmt.Fprintln(out.Stdout, "after")
		if want := "\nkept to the end\nafter"; !strings.HasSuffix(s.text(), want) {
			t.Errorf("…%q, want …%q", s.text()[len(s.text())-40:], want)
		}
	})
}

func TestProgressSurvivesResize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScreen(100, 24)
		fmt.Fprintln(s, "before")
		p := NewProgress(t.Context(), onScreen(s))
		for i := range 30 {
			p.Bar(fmt.Sprint("node", i), 1000, Items).Set(int64(10 * i))
		}
		for _, size := range [][2]int{{100, 24}, {31, 24}, {120, 24}, {47, 10}, {9, 3}, {80, 40}} {
			s.resize(size[0], size[1])
			tick()
			lines := strings.Split(s.text(), "\n")
			want := min(1+30, size[1])
			if len(lines) != want || lines[0] != "before" || !strings.HasPrefix(lines[1], "n") {
				t.Fatalf("at %v: %d lines, want %d:\n%s", size, len(lines), want, s.text())
			}
			for _, line := range lines {
				if cells(line) > size[0] {
					t.Errorf("at %v: %q is too wide", size, line)
				}
			}
		}
		p.Stop()
		if s.text() != "before" {
			t.Errorf("left behind: %q", s.text())
		}
	})
}

func TestProgressInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := newScreen(80, 24)
		p := NewProgress(ctx, onScreen(s))
		b := p.Bar("n", 10, Items)
		b.Add(1)
		tick()
		if s.text() == "" {
			t.Fatal("nothing was drawn")
		}
		cancel()
		synctest.Wait()
		if s.text() != "" {
			t.Errorf("left behind: %q", s.text())
		}
		b.Add(1)
		b.Done("late")
		tick()
		if s.text() != "" {
			t.Errorf("drawn after the end: %q", s.text())
		}
		p.Stop()
	})
}

func TestProgressPlain(t *testing.T) {
	for name, dumb := range map[string]bool{"pipe": false, "dumb terminal": true} {
		var b bytes.Buffer
		out := NewTest(&b, 0, Plain)
		if dumb {
			out = NewTest(&b, 80, Plain)
			out.Stderr.Dumb = true
		}
		p := NewProgress(t.Context(), out)
		if p.Over(out) != out {
			t.Error("output takes a detour")
		}
		bar := p.Bar("node1", 100, Data)
		bar.Add(10)
		bar.State("copying")
		bar.State("copying")
		bar.Total(200)
		bar.Set(200)
		bar.Done("done")
		p.Bar("node2", 0, Items).Fail("no room\x1b[2J")
		p.Stop()
		if want := "node1: copying\nnode1: done\nnode2: no room␛[2J\n"; b.String() != want {
			t.Errorf("%s: %q, want %q", name, b.String(), want)
		}
	}
}

func TestFrame(t *testing.T) {
	half := view{name: "node1", done: 50 << 20, total: 100 << 20, unit: Data, rate: 10e6}
	for _, c := range []struct {
		width int
		want  string
	}{
		{100, "node1  ███████████████                  50%  50.0 MiB / 100 MiB   10.0 MB/s  6 s left"},
		{79, "node1  ████████           50%  50.0 MiB / 100 MiB   10.0 MB/s  6 s left"},
		{40, "node1  ████▌       50%  6 s left"},
		{20, "node1  ███▌      50%"},
		{8, "n…   50%"},
	} {
		got := half.line(max(min(5, c.width/3), 1), c.width, Style{})
		if got != c.want {
			t.Errorf("width %d:\n%q, want\n%q", c.width, got, c.want)
		}
	}
	over := view{name: "n", done: 20, total: 10}
	if got := over.line(1, 30, Style{ASCII: true}); got != "n  ############  100%  20 / 10" {
		t.Errorf("beyond its total: %q", got)
	}
}

func TestFrameChoosesRows(t *testing.T) {
	var views []view
	for i := range 47 {
		v := view{name: fmt.Sprint("node", i), total: 10}
		switch {
		case i < 20:
			v.phase, v.state = succeeded, "done"
		case i == 40:
			v.phase, v.state = failed, "unreachable"
		case i > 43:
			v.done = 5
		}
		views = append(views, v)
	}
	lines := frame(views, 60, 6, Style{})
	var names []string
	for _, line := range lines {
		names = append(names, strings.Fields(line)[0])
	}
	if got := strings.Join(names, " "); got != "node20 node40 node44 node45 node46 …" {
		t.Errorf("rows for %s", got)
	}
	if want := "… and 42 more: 22 waiting, 20 done"; lines[5] != want {
		t.Errorf("%q, want %q", lines[5], want)
	}
	if got := frame(views, 60, 1, Style{ASCII: true}); len(got) != 1 || !strings.HasPrefix(got[0], "... and 47 more: 3 running, 1 failed") {
		t.Errorf("one row: %q", got)
	}
}

func TestMeter(t *testing.T) {
	start := time.Unix(0, 0)
	m := meter{start: start}
	start = start.Add(time.Hour) // of waiting
	if got := m.rate(start, 0); got != 0 {
		t.Errorf("waiting: %v", got)
	}
	if got := m.rate(start.Add(500*time.Millisecond), 1000); got != 0 {
		t.Errorf("too early: %v", got)
	}
	if got := m.rate(start.Add(2*time.Second), 200); got != 100 {
		t.Errorf("first: %v", got)
	}
	done := int64(200)
	for i := range 300 {
		done += 100 // every tenth of a second: 1,000 a second
		m.rate(start.Add(2*time.Second+time.Duration(i+1)*redrawEvery), done)
	}
	if m.value < 990 || m.value > 1000 {
		t.Errorf("after half a minute at 1,000/s: %v", m.value)
	}
}

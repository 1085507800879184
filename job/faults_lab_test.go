package job_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bramble/event"
	"bramble/fleet"
	"bramble/job"
	"bramble/lab"
	"bramble/lab/labtest"
)

// apart is a lab of namespaces, whose links can be cut, and a folder that the tasks of all its nodes see.
func apart(t *testing.T, nodes int) (l *labtest.Lab, marks string) {
	t.Helper()
	if testing.Short() {
		t.Skip("short: a lab takes seconds; make test runs it")
	}
	if os.Geteuid() != 0 {
		t.Skip("cutting a link needs root, for network namespaces; CI is root")
	}
	marks, err := os.MkdirTemp("/var/tmp", "bramble-marks-") // each node has a /tmp of its own
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(marks) })
	must(t, os.Chmod(marks, 0o777))
	return labtest.Up(t, nodes), marks
}

// Ten thousand tasks while the head is killed, agents die at random, both die, a node is cut off and finishes tasks
// on the far side, and the head hangs for half a minute: every index ran, no attempt twice, one attempt of each is final.
func TestTenThousandTasksThroughFaults(t *testing.T) {
	const tasks = 10_000
	l, marks := apart(t, 4)
	c := l.Connect()
	id, err := c.Jobs.Submit(t.Context(), job.Spec{Args: mark(marks, "sleep 0.03"), Array: fmt.Sprintf("1-%d", tasks), Patience: 3 * time.Second})
	must(t, err)
	ran := func() int {
		entries, _ := os.ReadDir(marks)
		return len(entries)
	}
	// more waits for tasks that have yet to run: more than nodes can hold while the head is away.
	more := func(n int) {
		t.Helper()
		before := ran()
		labtest.Until(t, fmt.Sprintf("%d tasks more to have run", n), func() bool { return ran() >= min(before+n, tasks) })
	}
	killAgent := func(name string) {
		t.Helper()
		all, err := l.PS()
		must(t, err)
		for _, p := range all {
			if p.Node == name {
				kill(t, p.Agent)
				labtest.Until(t, "an agent to end", func() bool { return !running(l, p.Node, p.Agent) })
			}
		}
	}
	heal := func(name string) { t.Helper(); must(t, l.Heal(t.Context(), name)) }

	more(500)
	must(t, l.Kill(t.Context(), lab.Head))
	heal(lab.Head)
	more(500)
	killAgent("node1")
	heal("node1")
	more(500)
	must(t, l.Cut(t.Context(), "node2")) // what it holds it finishes, and can't say so
	l.Await("node2", fleet.Down)
	more(500)
	heal("node2")
	killAgent("node3")
	must(t, l.Kill(t.Context(), lab.Head))
	heal(lab.Head)
	heal("node3")
	more(1000)
	must(t, l.Hang(t.Context(), lab.Head))
	time.Sleep(30 * time.Second) // a head that stops for so long is what is tested
	heal(lab.Head)
	more(1000)
	must(t, l.Kill(t.Context(), "node4"))
	heal("node4")
	for ran() < tasks { // as long as it goes on
		more(500)
	}
	d := wait(t, l, id)
	if d.State != job.Done || d.Counts != (job.Counts{Done: tasks}) || d.Indices["done"] != fmt.Sprintf("1-%d", tasks) {
		t.Errorf("the job is %s with %+v: %+v", d.State, d.Counts, d.Failures)
	}
	marked := marked(t, marks)
	attempts := 0
	for i := 1; i <= tasks; i++ {
		n := len(marked[fmt.Sprintf("%d.%d", id, i)])
		if attempts += n; n == 0 {
			t.Errorf("task %d is done and never ran", i)
		}
	}
	t.Logf("%d attempts ran for %d tasks; the head counts %d that are over", attempts, tasks, d.Attempts)
}

// The last block of one copy of the journal is damaged while the head is dead: it says so, and all that was
// acknowledged is there, whichever copy it was.
func TestDamagedJournalIsMendedFromItsOtherCopy(t *testing.T) {
	l, marks := loopback(t, 2)
	for _, damage := range []struct {
		name, files string
		harm        func([]byte) []byte
	}{
		{"log cut off", "head/job/log*", func(b []byte) []byte { return b[:len(b)-5] }},
		{"log with a flipped bit", "head/job/log*", func(b []byte) []byte { b[len(b)-3] ^= 0x10; return b }},
		{"stream with a flipped bit", "head/bus/jetstream/*/streams/*job*/msgs/*.blk", func(b []byte) []byte { b[len(b)-12] ^= 0x10; return b }},
	} {
		t.Run(damage.name, func(t *testing.T) {
			c := l.Connect()
			var last job.ID
			for range 5 {
				id, err := c.Jobs.Submit(t.Context(), job.Spec{Args: mark(marks, "true"), Hold: true})
				must(t, err)
				last = id
			}
			must(t, l.Kill(t.Context(), lab.Head))
			files, err := filepath.Glob(filepath.Join(l.State, lab.Head, damage.files))
			must(t, err)
			harmed := ""
			for _, path := range files {
				if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
					harmed = path // the newest one comes last
				}
			}
			if harmed == "" {
				t.Fatalf("nothing to harm in %s", damage.files)
			}
			data, err := os.ReadFile(harmed)
			must(t, err)
			must(t, os.WriteFile(harmed, damage.harm(data), 0o600))
			must(t, l.Heal(t.Context(), lab.Head))
			c = connected(t, l)
			for id := last - 4; id <= last; id++ {
				if _, err := c.Jobs.Job(t.Context(), id); err != nil {
					t.Errorf("job %d was acknowledged: %v", id, err)
				}
				_, err := c.Jobs.Release(t.Context(), id)
				must(t, err)
			}
			for id := last - 4; id <= last; id++ {
				if d := wait(t, l, id); d.State != job.Done {
					t.Errorf("job %d is %s: %+v", id, d.State, d.Failures)
				}
			}
			told := false
			for ev, err := range c.Events.List(t.Context(), event.Filter{Room: "job"}) {
				must(t, err)
				told = told || strings.Contains(ev.Text, "mended from its other copy")
			}
			if !told {
				t.Error("nobody was told of the damage")
			}
		})
	}
}

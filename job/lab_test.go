package job_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bramble/cluster"
	"bramble/fault"
	"bramble/fleet"
	"bramble/job"
	"bramble/lab"
	"bramble/lab/labtest"
)

// loopback is a lab of processes side by side in a folder that tasks of other accounts may pass through.
func loopback(t *testing.T, nodes int) (l *labtest.Lab, marks string) {
	t.Helper()
	dir := t.TempDir()
	marks = filepath.Join(dir, "marks")
	for _, path := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(marks, 0o777); err != nil {
		t.Fatal(err)
	}
	os.Chmod(marks, 0o777)
	l = labtest.Up(t, nodes, labtest.Loopback, func(o *lab.Options) { o.State = filepath.Join(dir, "lab") })
	return l, marks
}

// mark is a command that leaves a file named for its attempt, which fails when that is there already.
func mark(marks, then string) []string {
	return []string{"sh", "-c", fmt.Sprintf(`mkdir %s/$BRAMBLE_JOB_ID.$BRAMBLE_TASK_ID.$BRAMBLE_ATTEMPT || exit 99; %s`, marks, then)}
}

// marked is the attempts that ran, by job and task.
func marked(t *testing.T, marks string) map[string][]job.Key {
	t.Helper()
	entries, err := os.ReadDir(marks)
	if err != nil {
		t.Fatal(err)
	}
	ran := map[string][]job.Key{}
	for _, e := range entries {
		k, err := job.ParseKey(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		task := fmt.Sprintf("%d.%d", k.Job, k.Index)
		ran[task] = append(ran[task], k)
	}
	return ran
}

// wait returns a job's detail when it has ended, whatever becomes of the connection meanwhile.
func wait(t *testing.T, l *labtest.Lab, id job.ID) job.Detail {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*labtest.Patience)
	defer cancel()
	c := l.Connect()
	if _, err := c.Jobs.Wait(ctx, id, nil); err != nil {
		d, _ := c.Jobs.Job(t.Context(), id)
		t.Fatalf("job %d: %v; it stands at %+v, %v", id, err, d.Counts, d.Placements)
	}
	d, err := c.Jobs.Job(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The head is killed twice while clients submit: what was acknowledged is there afterwards, and nothing twice.
func TestHeadKilledWhileItTakesSubmissions(t *testing.T) {
	if testing.Short() {
		t.Skip("short: it takes seconds; make test runs it")
	}
	l, marks := loopback(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	acknowledged := map[job.ID]string{}
	var clients sync.WaitGroup
	for client := range 4 {
		c := l.Connect()
		clients.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				name := fmt.Sprintf("c%d-%d", client, i)
				id, err := c.Jobs.Submit(context.WithoutCancel(ctx), job.Spec{Name: name, Args: mark(marks, "true")})
				if err != nil {
					t.Errorf("submission %s: %v", name, err)
					return
				}
				mu.Lock()
				if other, twice := acknowledged[id]; twice {
					t.Errorf("job %d was given to %s and %s", id, other, name)
				}
				acknowledged[id] = name
				mu.Unlock()
			}
		})
	}
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(acknowledged) }
	for range 2 {
		goal := count() + 30
		labtest.Until(t, "submissions to be acknowledged", func() bool { return count() >= goal || t.Failed() })
		must(t, l.Kill(t.Context(), lab.Head))
		must(t, l.Heal(t.Context(), lab.Head))
	}
	goal := count() + 30
	labtest.Until(t, "submissions to be acknowledged", func() bool { return count() >= goal || t.Failed() })
	cancel()
	clients.Wait()
	c := l.Connect()
	names := map[string]int{}
	for sum, err := range c.Jobs.List(t.Context(), job.ListRequest{}) {
		must(t, err)
		names[sum.Spec.Name]++
		if want, known := acknowledged[sum.ID]; known && want != sum.Spec.Name {
			t.Errorf("job %d is %s, was acknowledged as %s", sum.ID, sum.Spec.Name, want)
		}
		delete(acknowledged, sum.ID)
	}
	if len(acknowledged) > 0 {
		t.Errorf("acknowledged and lost: %v", acknowledged)
	}
	for name, n := range names {
		if n > 1 {
			t.Errorf("%s became %d jobs", name, n)
		}
	}
	for id := range job.ID(len(names)) {
		if d := wait(t, l, id+1); d.State != job.Done {
			t.Errorf("job %d is %s: %+v", id+1, d.State, d.Failures)
		}
	}
	for task, attempts := range marked(t, marks) {
		if len(attempts) > 1 {
			t.Errorf("task %s ran as %v", task, attempts)
		}
	}
}

// Agents are killed under running tasks and started again while the tasks go on: exit status and output are intact.
func TestAgentsKilledUnderTasks(t *testing.T) {
	if testing.Short() {
		t.Skip("short: it takes seconds; make test runs it")
	}
	l, marks := loopback(t, 2)
	c := l.Connect()
	script := mark(marks, `for i in 1 2 3 4 5 6 7 8; do echo out $i; echo err $i >&2; sleep 0.5; done; head -c 100000 /dev/zero | tr "\0" x; exit $BRAMBLE_TASK_ID`)
	files := filepath.Join(filepath.Dir(marks), "files")
	must(t, os.Mkdir(files, 0o777))
	must(t, os.Chmod(files, 0o777))
	id, err := c.Jobs.Submit(t.Context(), job.Spec{Args: script, Array: "0-3", On: "node1,node2",
		Output: files + "/%a.out", Error: files + "/%a.err", Append: true, Shared: []string{files}})
	must(t, err)
	labtest.Until(t, "tasks to run", func() bool { return len(marked(t, marks)) == 4 })
	for range 2 {
		all, err := l.PS()
		must(t, err)
		for _, p := range all {
			if p.Node != lab.Head {
				kill(t, p.Agent)
				labtest.Until(t, "an agent to end", func() bool { return !running(l, p.Node, p.Agent) })
			}
		}
		must(t, l.Heal(t.Context(), "node[1-2]"))
		l.Await("node[1-2]", fleet.Up)
	}
	d := wait(t, l, id)
	if d.Counts.Done != 1 || d.Counts.Failed != 3 {
		t.Errorf("tasks ended as %+v", d.Counts)
	}
	for _, f := range d.Failures {
		if f.Code != f.Index || f.Attempt != 1 {
			t.Errorf("task %d ended as %+v", f.Index, f)
		}
	}
	for i := range 4 {
		var out, errs strings.Builder
		for line, err := range c.Jobs.Logs(t.Context(), job.LogRequest{ID: id, Index: i}) {
			must(t, err)
			if line.Stderr {
				errs.Write(line.Data)
			} else {
				out.Write(line.Data)
			}
		}
		if text, x, _ := strings.Cut(out.String(), "x"); text != numbered("out") || len(x) != 99_999 {
			t.Errorf("stdout of task %d is %q and %d bytes", i, text, len(x))
		}
		if errs.String() != numbered("err") {
			t.Errorf("stderr of task %d is %q", i, errs.String())
		}
		for stream, want := range map[string]string{"out": out.String(), "err": errs.String()} {
			if text, err := os.ReadFile(fmt.Sprintf("%s/%d.%s", files, i, stream)); err != nil || string(text) != want {
				t.Errorf("the file of task %d's std%s has %d bytes, wanted %d: %v", i, stream, len(text), len(want), err)
			}
		}
	}
	for task, attempts := range marked(t, marks) {
		if len(attempts) != 1 {
			t.Errorf("task %s ran as %v", task, attempts)
		}
	}
}

// running reports whether a node's agent is still that process.
func running(l *labtest.Lab, node string, pid int) bool {
	all, _ := l.PS()
	return slices.ContainsFunc(all, func(p lab.Processes) bool { return p.Node == node && p.Agent == pid })
}

func numbered(word string) string {
	var b strings.Builder
	for i := 1; i <= 8; i++ {
		fmt.Fprintf(&b, "%s %d\n", word, i)
	}
	return b.String()
}

// A thousand tasks while the head is killed twice, a node dies with all its processes and comes back, and another hangs
// for a while: every task has exactly one final attempt, and no attempt ran twice.
func TestThousandTasksThroughFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("short: it takes seconds; make test runs it")
	}
	const tasks = 1000
	l, marks := loopback(t, 4)
	c := l.Connect()
	id, err := c.Jobs.Submit(t.Context(), job.Spec{Args: mark(marks, "sleep 0.08; echo done $BRAMBLE_TASK_ID"), Array: fmt.Sprintf("1-%d", tasks), Patience: 2 * time.Second})
	must(t, err)
	reach := func(n int) {
		t.Helper()
		labtest.Until(t, fmt.Sprintf("%d tasks to have run", n), func() bool { return len(marked(t, marks)) >= n })
	}
	reach(100)
	must(t, l.Kill(t.Context(), lab.Head))
	must(t, l.Heal(t.Context(), lab.Head))
	reach(250)
	must(t, l.Kill(t.Context(), "node2"))
	must(t, l.Hang(t.Context(), "node3"))
	reach(350)
	must(t, l.Heal(t.Context(), "node2"))
	reach(450)
	must(t, l.Kill(t.Context(), lab.Head))
	must(t, l.Heal(t.Context(), lab.Head))
	reach(550)
	must(t, l.Heal(t.Context(), "node3"))
	d := wait(t, l, id)
	if d.State != job.Done || d.Counts.Done != tasks {
		t.Errorf("job is %s with %+v: %+v", d.State, d.Counts, d.Failures)
	}
	ran := marked(t, marks)
	again := 0
	for i := 1; i <= tasks; i++ {
		attempts := ran[fmt.Sprintf("%d.%d", id, i)]
		if len(attempts) == 0 {
			t.Errorf("task %d is done and never ran", i)
		}
		again += max(0, len(attempts)-1)
	}
	t.Logf("%d attempts beyond the first", again)
	var told struct {
		Counts  job.Counts        `json:"counts"`
		Indices map[string]string `json:"indices"`
	}
	must(t, json.Unmarshal([]byte(l.Must("job", fmt.Sprint(id), "--json")), &told))
	if told.Counts != (job.Counts{Done: tasks}) || told.Indices["done"] != fmt.Sprintf("1-%d", tasks) {
		t.Errorf("bramble job --json tells %+v", told)
	}
	outputs := map[int]string{}
	for line, err := range c.Jobs.Logs(t.Context(), job.LogRequest{ID: id, All: true}) {
		must(t, err)
		outputs[line.Index] += string(line.Data)
	}
	for i := 1; i <= tasks; i++ {
		if want := fmt.Sprintf("done %d\n", i); outputs[i] != want {
			t.Errorf("output of task %d is %q", i, outputs[i])
		}
	}
	if indices := slices.Sorted(maps.Keys(outputs)); len(indices) != tasks {
		t.Errorf("there is output of %d tasks", len(indices))
	}
}

// connected tries until the head answers.
func connected(t *testing.T, l *labtest.Lab) *cluster.Cluster {
	t.Helper()
	var c *cluster.Cluster
	labtest.Until(t, "the head to answer", func() bool {
		var err error
		c, err = l.Cluster(t.Context())
		return err == nil || !fault.Is(err, fault.Unreachable)
	})
	t.Cleanup(c.Close)
	return c
}

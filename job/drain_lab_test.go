package job_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"bramble/job"
	"bramble/lab"
	"bramble/lab/labtest"
)

// A node is drained while it works, and the head is killed: the node is drained still, what runs there ends in its own
// time, nothing new comes, and who waits for the drain is told when all is done.
func TestDrainOutlivesTheHead(t *testing.T) {
	l, marks := loopback(t, 2)
	c := l.Connect()
	long, err := c.Jobs.Submit(t.Context(), job.Spec{On: "node1", Args: mark(marks, fmt.Sprintf("until [ -e %s.go ]; do sleep 0.1; done", marks))})
	must(t, err)
	labtest.Until(t, "the task to run", func() bool { return len(marked(t, marks)) == 1 })
	said, drained := &spoken{}, make(chan error, 1)
	cmd := exec.CommandContext(t.Context(), labtest.Binary(t), "drain", "node1", "--why", "new card", "--wait")
	cmd.Stdout, cmd.Stderr, cmd.Env = said, said, append(os.Environ(), "BRAMBLE_CLUSTER="+l.State)
	must(t, cmd.Start())
	go func() { drained <- cmd.Wait() }()
	labtest.Until(t, "the drain to wait", func() bool { return strings.Contains(said.String(), "1 task still runs on node1") }, said.String)

	must(t, l.Kill(t.Context(), lab.Head))
	must(t, l.Heal(t.Context(), lab.Head))
	c = connected(t, l)
	nodes, err := c.Fleet.Nodes(t.Context())
	must(t, err)
	for _, n := range nodes {
		if want := map[string]string{"node1": "new card"}[n.Name]; n.Drained != want {
			t.Errorf("%s is drained for %q, want %q", n.Name, n.Drained, want)
		}
	}
	parked, err := c.Jobs.Submit(t.Context(), job.Spec{On: "node1", Args: mark(marks, "true")})
	must(t, err)
	elsewhere, err := c.Jobs.Submit(t.Context(), job.Spec{Args: mark(marks, "true"), Array: "1-8"})
	must(t, err)
	if d := wait(t, l, elsewhere); d.State != job.Done || d.Ran != "node2" {
		t.Errorf("what came meanwhile is %s and ran on %s", d.State, d.Ran)
	}
	if d, err := c.Jobs.Job(t.Context(), parked); err != nil || d.Counts.Pending != 1 {
		t.Errorf("the drained node took work: %+v, %v", d.Counts, err)
	}
	select {
	case err := <-drained:
		t.Fatalf("the drain ended under the task: %v\n%s", err, said)
	default:
	}
	must(t, os.WriteFile(marks+".go", nil, 0o644))
	must(t, <-drained)
	if !strings.HasSuffix(said.String(), "drained node1: nothing runs there\n") {
		t.Errorf("the drain said\n%s", said)
	}
	if d := wait(t, l, long); d.State != job.Done || d.Attempts != 1 {
		t.Errorf("what ran is %s after %d attempts", d.State, d.Attempts)
	}
	l.Must("undrain", "node1")
	if d := wait(t, l, parked); d.State != job.Done || d.Ran != "node1" {
		t.Errorf("what waited is %s and ran on %s", d.State, d.Ran)
	}
}

// spoken is what a process that goes on has said so far.
type spoken struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *spoken) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *spoken) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// slurmHere needs root and Debian's Slurm.
func slurmHere(t *testing.T) *bench {
	t.Helper()
	if testing.Short() {
		t.Skip("short: it starts daemons; make test runs it")
	}
	if os.Geteuid() != 0 {
		t.Skip("a namespace of processes needs root")
	}
	if not := missing(slurmPrograms...); len(not) > 0 {
		t.Fatalf("%s not here: scripts/setup installs it", strings.Join(not, ", "))
	}
	return &bench{dir: t.TempDir(), say: t.Logf}
}

func TestSlurm(t *testing.T) {
	b := slurmHere(t)
	s, err := b.startSlurm(t.Context(), "slurm", 4, slurmTuning)
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	for _, n := range []int{5, 3} {
		before, _ := s.done()
		if took, err := s.array(n)(t.Context()); err != nil || took <= 0 {
			t.Fatalf("%d tasks took %s: %v", n, took, err)
		}
		if after, err := s.done(); err != nil || after != before+n {
			t.Errorf("%d and then %d tasks have ended: %v", before, after, err)
		}
	}
	if err := os.WriteFile(filepath.Join(s.dir, "task"), []byte("#!/bin/false\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.array(1)(t.Context()); err == nil || !strings.Contains(err.Error(), "not ended well") {
		t.Errorf("of a task that fails: %v", err)
	}
	if n := len(processesOf(t, s)); n < 3 {
		t.Errorf("%d processes are Slurm's, and there should be three daemons at least", n)
	}
	s.stop()
	if left := processesOf(t, s); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// processesOf are those whose environment names its configuration.
func processesOf(t *testing.T, s *slurm) (found []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		environ, _ := os.ReadFile(path) // it may have ended meanwhile
		if bytes.Contains(environ, []byte("SLURM_CONF="+s.dir)) {
			command, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "comm"))
			found = append(found, strings.TrimSpace(string(command)))
		}
	}
	return found
}

func TestSlurmSaysWhyItDoesNotStart(t *testing.T) {
	b := slurmHere(t)
	var said strings.Builder
	b.say = func(format string, args ...any) { fmt.Fprintf(&said, format, args...) }
	s, err := b.startSlurm(t.Context(), "slurm", 1, "ProctrackType=proctrack/unheard\n")
	if err == nil {
		s.stop()
		t.Fatal("it started")
	}
	if !strings.Contains(said.String(), "proctrack/unheard") {
		t.Errorf("nothing said why: %s", said.String())
	}
}

func TestDone(t *testing.T) {
	line := func(id int, state string) string {
		return fmt.Sprintf("JobId=%d Name=task JobState=%s Partition=bench ExitCode=0:0 \n", id, state)
	}
	ended := line(1, "COMPLETED") + line(2, "COMPLETED")
	for _, c := range []struct {
		text string
		want int
		ok   bool
	}{
		{"", 0, true},
		{ended, 2, true},
		{ended + strings.TrimSuffix(line(3, "COMPLETED"), "\n"), 2, true},
		{ended + line(3, "FAILED"), 2, false},
		{ended + line(3, "NODE_FAIL") + line(3, "COMPLETED"), 2, false},
	} {
		s := &slurm{dir: t.TempDir()}
		if err := os.WriteFile(filepath.Join(s.dir, "done"), []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := s.done(); n != c.want || (err == nil) != c.ok {
			t.Errorf("%d, %v of\n%s", n, err, c.text)
		}
	}
}

func TestSpawn(t *testing.T) {
	if testing.Short() {
		t.Skip("short: it builds a program; make test runs it")
	}
	b := &bench{options: options{tasks: 7}, dir: t.TempDir()}
	if _, _, err := b.bounds(t.Context()); err != nil {
		t.Fatal(err)
	}
	counting, runs := filepath.Join(b.dir, "counting"), filepath.Join(b.dir, "runs")
	script := "#!/bin/sh\necho run >>" + runs + "\nhead -c 200000 /dev/zero\n" // more than fits a pipe that nobody reads
	if err := os.WriteFile(counting, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	for i, more := range [][]string{{"1", "7", counting}, {"3", "7", counting}, {"2", "7", counting, "task"}} {
		if err := exec.Command(filepath.Join(b.dir, "spawn"), more...).Run(); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(runs)
		if got := bytes.Count(text, []byte("\n")); got != 7*(i+1) {
			t.Errorf("after %q it was started %d times in all: %v", more, got, err)
		}
	}
	for _, program := range []string{"/bin/false", filepath.Join(b.dir, "absent")} {
		if err := exec.Command(filepath.Join(b.dir, "spawn"), "2", "2", program).Run(); err == nil {
			t.Errorf("%s counts as started", program)
		}
	}
}

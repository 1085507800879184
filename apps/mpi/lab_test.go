package mpi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bramble/apps/mpi"
	"bramble/artefact"
	"bramble/cluster"
	"bramble/fleet"
	hostnet "bramble/host/net"
	"bramble/job"
	"bramble/lab"
	"bramble/lab/labtest"
)

var libraries = []mpi.Library{mpi.OpenMPI, mpi.MPICH}

// TestLab has four machines with links like a board's for all that MPI does on real ones.
func TestLab(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("each rank's host needs a network and a name of its own: run it as root")
	}
	l := labtest.Up(t, 4, func(o *lab.Options) { o.Link, _ = hostnet.ParseRate("100mbit") })
	for _, lib := range libraries {
		hello := compiled(t, lib, "hello", "testdata/hello.c")
		t.Run(string(lib), func(t *testing.T) {
			t.Run("plain mpirun", func(t *testing.T) { plainMpirun(t, l, lib, hello) })
			t.Run("built in the job", func(t *testing.T) { builtInTheJob(t, l, lib) })
			t.Run("dead rank", func(t *testing.T) { deadRank(t, l, lib, hello) })
			t.Run("dead node", func(t *testing.T) { deadNode(t, l, lib, hello) })
			t.Run("host outside", func(t *testing.T) { hostOutside(t, l, lib) })
			t.Run("before the launch", func(t *testing.T) { beforeTheLaunch(t, l, lib, hello) })
		})
	}
	t.Run("cancelled", func(t *testing.T) { cancelled(t, l) })
	t.Run("hpcc", func(t *testing.T) { hpcc(t, l) })
	t.Run("doctor", func(t *testing.T) { slowNode(t, l) })
}

// On loopback all nodes are one machine, and yet ranks of different nodes speak over the network.
func TestLoopback(t *testing.T) {
	dir, err := os.MkdirTemp("", "mpi")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755)) // ranks run as another account
	l := labtest.Up(t, 3, labtest.Loopback, func(o *lab.Options) { o.State = filepath.Join(dir, "lab") })
	for _, lib := range libraries {
		hello := compiled(t, lib, "hello", "testdata/hello.c")
		r := typed(t, l, filepath.Dir(hello), "mpi", "-n", "6", "--nodes", "3", "./hello")
		if r.Code != 0 || strings.Count(r.Stdout, ": 21\n") != 6 {
			t.Errorf("%s: status %d\n%s%s", lib, r.Code, r.Stdout, r.Stderr)
		}
	}
}

// compiled is a program, or with options a library to preload, that is linked to a library of MPI.
func compiled(t *testing.T, lib mpi.Library, name, source string, options ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), name)
	if text, err := exec.Command("mpicc."+string(lib), append(options, "-o", out, source)...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

func upload(t *testing.T, c *cluster.Cluster, path string) string {
	t.Helper()
	tree, err := artefact.Scan(t.Context(), []string{path})
	must(t, err)
	defer tree.Close()
	ref, err := c.Files().Upload(t.Context(), tree, tree.Manifest, nil)
	must(t, err)
	return string(ref)
}

// run submits a job and returns its detail when it has ended, and what it wrote.
func run(t *testing.T, c *cluster.Cluster, spec job.Spec) (job.Detail, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*labtest.Patience)
	defer cancel()
	id, err := c.Jobs.Submit(ctx, spec)
	must(t, err)
	_, err = c.Jobs.Wait(ctx, id, nil)
	must(t, err)
	var out bytes.Buffer
	for chunk, err := range c.Jobs.Logs(ctx, job.LogRequest{ID: id, All: true}) {
		must(t, err)
		out.Write(chunk.Data)
	}
	d, err := c.Jobs.Job(ctx, id)
	must(t, err)
	return d, out.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// typed runs bramble in a folder, as somebody would who sits there, and patiently.
func typed(t *testing.T, l *labtest.Lab, dir string, args ...string) labtest.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*labtest.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, labtest.Binary(t), args...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = dir, &out, &errs, append(os.Environ(), "BRAMBLE_CLUSTER="+l.State)
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil || ctx.Err() != nil {
		t.Fatalf("bramble %s: %v\n%s%s", strings.Join(args, " "), errors.Join(err, ctx.Err()), out.String(), errs.String())
	}
	return labtest.Result{Stdout: out.String(), Stderr: errs.String(), Code: cmd.ProcessState.ExitCode()}
}

// ownRace is what Open MPI's launcher says when the program it has started is faster than its own setpgid(2) about it: that program has
// the group already, for it did the same.
var ownRace = regexp.MustCompile(`(?m)^\[node\d:\d+\] plm:rsh: Warning: setpgid\(\d+,\d+\) failed in parent with errno=Permission denied\(13\)\n`)

// A plain mpirun in a job starts the ranks on all nodes, two on each, without ssh or a list of hosts.
func plainMpirun(t *testing.T, l *labtest.Lab, lib mpi.Library, hello string) {
	c := l.Connect()
	d, out := run(t, c, job.Spec{Args: []string{"mpirun." + string(lib), "./hello"}, Nodes: 4, Ranks: 8, Inputs: upload(t, c, hello)})
	lines := strings.Split(strings.TrimSpace(ownRace.ReplaceAllString(out, "")), "\n")
	slices.Sort(lines)
	var want []string
	for rank := range 8 {
		want = append(want, fmt.Sprintf("rank %d of 8 on node%d: 36", rank, 1+rank/2))
	}
	if d.State != job.Done || !slices.Equal(lines, want) {
		t.Errorf("job is %s: %+v\n%s", d.State, d.Failures, out)
	}
}

// A program that the job itself has built goes to the other nodes before their ranks begin.
func builtInTheJob(t *testing.T, l *labtest.Lab, lib mpi.Library) {
	c := l.Connect()
	script := fmt.Sprintf(`mkdir bin && mpicc.%[1]s -o bin/made hello.c && mpirun.%[1]s -n 2 ./bin/made | wc -l &&
		$BRAMBLE_EXE step -N 2 --ranks-per-node 1 -- sh -c 'ls -l bin/made | cut -c1-10'`, lib)
	d, out := run(t, c, job.Spec{Args: []string{"sh", "-c", script}, Nodes: 2, Ranks: 2, RanksPerNode: 1, Inputs: upload(t, c, "testdata/hello.c")})
	if d.State != job.Done || out != "2\n-rwxr-xr-x\n-rwxr-xr-x\n" {
		t.Errorf("job is %s: %+v\n%s", d.State, d.Failures, out)
	}
}

// verdict is how bramble mpi ends on stderr: what it says of a job that failed.
var verdict = regexp.MustCompile(`(?m)^bramble: job \d+ failed on node1: (.*)\ntry: .+$`)

// When one of eight ranks dies, the rest end as well, and who waits is told which it was, where, how, and what it said.
func deadRank(t *testing.T, l *labtest.Lab, lib mpi.Library, hello string) {
	for _, c := range []struct {
		args   []string
		how    string
		status int
	}{
		{[]string{"5"}, "rank 5 on node3 ended with status 3", 3},
		{[]string{"5", "9"}, "rank 5 on node3 was ended by signal 9", 128 + 9},
		{[]string{"5", "abort"}, "rank 5 on node3 called MPI_Abort with 4", 4},
	} {
		r := typed(t, l, filepath.Dir(hello), append([]string{"mpi", "-n", "8", "--nodes", "4", "./hello"}, c.args...)...)
		text := ""
		if m := verdict.FindStringSubmatch(r.Stderr); m != nil {
			text = m[1]
		}
		how, last, _ := strings.Cut(text, "; it said last: ")
		named := how == c.how && strings.Contains(last, "rank 5 cannot go on") && strings.Contains(last, "rank 5 of 8 on node3: 36")
		if lib == mpi.MPICH && c.status == 4 { // whose mpiexec may end before it has read what the rank that aborts writes
			named = named || text == "mpirun.mpich ended with status 4 and named no rank"
		}
		if !named || r.Code != c.status {
			t.Errorf("%q: status %d, want %d and %q\n%s", c.args, r.Code, c.status, c.how, r.Stderr)
		}
		nothingRuns(t, l)
	}
}

// nothingRuns waits until no node has a task's process any more.
func nothingRuns(t *testing.T, l *labtest.Lab) {
	t.Helper()
	var left []lab.Processes
	labtest.Until(t, "the other ranks to end", func() bool {
		all, err := l.PS()
		must(t, err)
		left = slices.DeleteFunc(all, func(p lab.Processes) bool { return len(p.Tasks) == 0 })
		return len(left) == 0
	}, func() string { return fmt.Sprint(left) })
}

// When a whole node dies the job ends, names the node and what its ranks said last, and leaves nothing on the others.
func deadNode(t *testing.T, l *labtest.Lab, lib mpi.Library, hello string) {
	done := make(chan labtest.Result, 1)
	name := "node lost under " + string(lib)
	go func() {
		defer close(done)
		done <- typed(t, l, filepath.Dir(hello), "mpi", "-n", "8", "--nodes", "4", "--name", name, "./hello", "5", "19") // rank 5 stops, all wait for it
	}()
	c := l.Connect()
	labtest.Until(t, "all ranks to wait", func() bool {
		for sum, err := range c.Jobs.List(t.Context(), job.ListRequest{}) {
			must(t, err)
			if sum.Spec.Name != name {
				continue
			}
			said := ""
			for line, err := range c.Jobs.Logs(t.Context(), job.LogRequest{ID: sum.ID, All: true}) {
				must(t, err)
				said += string(line.Data)
			}
			return strings.Contains(said, "cannot go on") && strings.Count(said, ": 36\n") == 8
		}
		return len(done) > 0
	})
	must(t, l.Kill(t.Context(), "node3"))
	r := <-done
	must(t, l.Heal(t.Context(), "node3"))
	m := verdict.FindStringSubmatch(r.Stderr)
	if r.Code == 0 || m == nil || !strings.HasPrefix(m[1], "the connection to the step on node3 was lost") || !strings.Contains(m[1], "; it said last: [4] rank 4 of 8 on node3: 36 | [5] rank 5") {
		t.Errorf("status %d\n%s", r.Code, r.Stderr)
	}
	nothingRuns(t, l)
	l.Await("node3", fleet.Up)
}

// What Open MPI's launcher keeps for itself is in memory on every node, and goes with the job however that ends.
func cancelled(t *testing.T, l *labtest.Lab) {
	c := l.Connect()
	id, err := c.Jobs.Submit(t.Context(), job.Spec{Args: []string{"mpirun.openmpi", "sleep", "600"}, Nodes: 4, Ranks: 4})
	must(t, err)
	folders := func(which string) int {
		r := typed(t, l, ".", "run", "--on", "all", "--", "sh", "-c", "ls -d "+which+" || true")
		return strings.Count(r.Stdout, "/dev/shm/")
	}
	inside := fmt.Sprintf("/dev/shm/bramble-%d.*/ompi.*", id)
	labtest.Until(t, "a folder on each node", func() bool { return folders(inside) == 4 }, func() string { return fmt.Sprint(folders(inside)) })
	_, err = c.Jobs.Cancel(t.Context(), id)
	must(t, err)
	labtest.Until(t, "all folders to be removed", func() bool { return folders("/dev/shm/bramble-*") == 0 })
}

// A plain mpirun that names a host outside of the allocation ends, and the job says why.
func hostOutside(t *testing.T, l *labtest.Lab, lib mpi.Library) {
	d, out := run(t, l.Connect(), job.Spec{Args: []string{"mpirun." + string(lib), "--host", "node1,node4", "-n", "2", "hostname"}, Nodes: 2, Ranks: 2, Timeout: labtest.Patience})
	want := fmt.Sprintf(`"node4" is not in the allocation of job %d`, d.ID)
	if d.State != job.Failed || len(d.Failures) != 1 || d.Failures[0].Error != want+"\ntry: one of node[1-2]" {
		t.Errorf("job is %s: %+v, want %s\n%s", d.State, d.Failures, want, out)
	}
	if !strings.Contains(out, "bramble: "+want+"\ntry: one of node[1-2]\n") || strings.Contains("\n"+out, "\nnode4\n") {
		t.Errorf("the command wrote\n%s", out)
	}
}

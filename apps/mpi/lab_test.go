package mpi_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bramble/apps/mpi"
	"bramble/artefact"
	"bramble/cluster"
	hostnet "bramble/host/net"
	"bramble/job"
	"bramble/lab"
	"bramble/lab/labtest"
)

var libraries = []mpi.Library{mpi.OpenMPI, mpi.MPICH}

// inLab makes a lab with links like a board's and programs for both libraries.
func inLab(t *testing.T, nodes int) (*labtest.Lab, *cluster.Cluster) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("each rank's host needs a network and a name of its own: run it as root")
	}
	for _, lib := range libraries {
		if _, err := exec.LookPath("mpicc." + string(lib)); err != nil {
			t.Skipf("%v: scripts/setup installs it", err)
		}
	}
	l := labtest.Up(t, nodes, func(o *lab.Options) { o.Link, _ = hostnet.ParseRate("100mbit") })
	return l, l.Connect()
}

// compiled is a program for a library.
func compiled(t *testing.T, lib mpi.Library, source string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "hello")
	if text, err := exec.Command("mpicc."+string(lib), "-o", out, source).CombinedOutput(); err != nil {
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

// A plain mpirun in a job starts the ranks on all nodes, two on each, without ssh or a list of hosts.
func TestPlainMpirun(t *testing.T) {
	_, c := inLab(t, 4)
	for _, lib := range libraries {
		t.Run(string(lib), func(t *testing.T) {
			program := compiled(t, lib, "testdata/hello.c")
			d, out := run(t, c, job.Spec{Args: []string{"mpirun." + string(lib), "./hello"}, Nodes: 4, Ranks: 8, Inputs: upload(t, c, program)})
			lines := strings.Split(strings.TrimSpace(out), "\n")
			slices.Sort(lines)
			var want []string
			for rank := range 8 {
				want = append(want, fmt.Sprintf("rank %d of 8 on node%d: 36", rank, 1+rank/2))
			}
			if d.State != job.Done || !slices.Equal(lines, want) {
				t.Errorf("job is %s: %+v\n%s", d.State, d.Failures, out)
			}
		})
	}
}

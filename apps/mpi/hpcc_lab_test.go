package mpi_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bramble/apps/mpi"
	"bramble/lab/labtest"
)

// HPC Challenge solves its equations and transposes its matrices over four nodes, and finds the results right.
func hpcc(t *testing.T, l *labtest.Lab) {
	input, err := filepath.Abs("testdata/hpccinf.txt")
	must(t, err)
	ends := compiled(t, mpi.OpenMPI, "ends.so", "testdata/ends.c", "-shared", "-fPIC")
	dir := t.TempDir()
	r := typed(t, l, dir, "mpi", "-n", "4", "--ntasks-per-node", "1", "--transfer", input, "--transfer", ends, "--return", "hpccoutf.txt",
		"--env", "LD_PRELOAD=./ends.so",
		"--env", "OMPI_MCA_mpi_yield_when_idle=1", // the lab's nodes have the same few cores
		"--", "/usr/bin/hpcc")
	text, err := os.ReadFile(filepath.Join(dir, "hpccoutf.txt"))
	if r.Code != 0 || err != nil {
		t.Fatalf("status %d, %v\n%s%s", r.Code, err, r.Stdout, r.Stderr)
	}
	_, ptrans, _ := strings.Cut(string(text), "Begin of PTRANS section.")
	ptrans, rest, _ := strings.Cut(ptrans, "End of PTRANS section.")
	_, hpl, _ := strings.Cut(rest, "Begin of HPL section.")
	hpl, summary, _ := strings.Cut(hpl, "End of HPL section.")
	passed := func(section string) int { return strings.Count(section, "PASSED") }
	if strings.Contains(string(text), "FAILED") || passed(ptrans) == 0 || passed(hpl) == 0 ||
		!strings.Contains(summary, "\nSuccess=1\n") || !strings.Contains(summary, "\nCommWorldProcs=4\n") {
		t.Errorf("PTRANS:%s\nHPL:%s\n%s", ptrans, hpl, summary)
	}
}

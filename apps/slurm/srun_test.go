package slurm

import (
	"os/exec"
	"reflect"
	"strings"
	"testing"
)

func TestReadRun(t *testing.T) {
	r, err := ReadRun(strings.Fields("-n 4 -N2 -l --mpi=pmix -K --cpu-bind=none -t 5 ./work -n 9"), false, noon)
	if err != nil {
		t.Fatal(err)
	}
	if r.Spec.Ranks != 4 || r.Spec.Nodes != 2 || !r.Label || r.KeepGoing || r.Pty || !reflect.DeepEqual(r.Command, []string{"./work", "-n", "9"}) {
		t.Errorf("read as %+v", r)
	}
	if r, err := ReadRun(strings.Fields("--ntasks-per-node=2 ./work"), true, noon); err != nil || r.Spec.Ranks != 0 || r.Spec.Nodes != 0 || r.Spec.RanksPerNode != 2 {
		t.Errorf("inside a job read as %+v, %v", r, err)
	}
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "--cpu-bind") {
		t.Errorf("warnings %q", r.Warnings)
	}
	for line, want := range map[string]string{"": "nothing to run", "-n 0 x": "-n:", "--array=1 x": "no option --array", "--tsaks=1 x": "no option"} {
		if _, err := ReadRun(strings.Fields(line), false, noon); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", line, err, want)
		}
	}
}

func TestInput(t *testing.T) {
	for words, want := range map[string]struct {
		rank int
		file string
	}{
		"x":                   {-1, ""},
		"-i all x":            {-1, ""},
		"--input=none x":      {-1, ""},
		"-i 3 x":              {3, ""},
		"--input in.%2t x":    {-1, "in.%2t"},
		"--input=./3 x":       {-1, "./3"},
		"--input -3 -n 1 x":   {-1, "-3"},
		"--input=/data/3.i x": {-1, "/data/3.i"},
	} {
		r, err := ReadRun(strings.Fields(words), false, noon)
		if err != nil {
			t.Errorf("%s: %v", words, err)
		} else if r.InputRank() != want.rank || r.InputFile() != want.file {
			t.Errorf("%s: rank %d, file %q, want %v", words, r.InputRank(), r.InputFile(), want)
		}
	}
	if _, err := ReadRun([]string{"--input=", "x"}, false, noon); err == nil {
		t.Error("a file without a name was taken")
	}
}

// What is the machine's and the job's stays, whatever else goes.
func TestSettled(t *testing.T) {
	got := Settled([]string{"HOME=/h", "SLURM_JOB_ID=7", "A=1", "PATH=/bin", "BRAMBLE_JOB_ID=7", "PATHS=x"})
	if want := []string{"HOME=/h", "SLURM_JOB_ID=7", "PATH=/bin", "BRAMBLE_JOB_ID=7"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// Each rank finds its own place.
func TestRankCommand(t *testing.T) {
	nodes := []string{"pi1", "pi1", "pi2", "pi2", "pi3"}
	for rank, want := range []string{"0 0 0", "1 1 0", "2 0 1", "3 1 1", "4 0 2"} {
		args := RankCommand(nodes, []string{"sh", "-c", `echo $SLURM_PROCID $SLURM_LOCALID $SLURM_NODEID $SLURM_NTASKS $SLURM_STEP_ID $SLURM_STEP_NODELIST $SLURM_STEP_TASKS_PER_NODE "$1"`, "x", "a  b"}, 3)
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = []string{"PATH=/usr/bin:/bin", "BRAMBLE_NODE=" + nodes[rank], "BRAMBLE_RANK=" + string(rune('0'+rank)), "BRAMBLE_LOCAL_RANK=" + want[2:3]}
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want+" 5 3 pi[1-3] 2(x2),1 a  b" {
			t.Errorf("rank %d: %v %q", rank, err, got)
		}
	}
}

package job

import (
	"slices"
	"strings"
	"testing"
)

func TestSlurmEnv(t *testing.T) {
	one := Scene{Node: "node1", User: "ann", UID: 1000, GID: 1000, Dir: "/work/7"}
	gang := one
	gang.Shares = []Share{{Node: "node1", Ranks: 2, CPUs: 4}, {Node: "node2", Ranks: 2, CPUs: 4}, {Node: "node3", Ranks: 1, CPUs: 2}}
	for name, c := range map[string]struct {
		key  Key
		spec Spec
		at   Scene
		want []string
		not  []string
	}{
		"plain": {Key{Job: 7, Attempt: 1}, Spec{Name: "hello", CPUs: 1, SubmitDir: "/home/ann"}, one, []string{
			"SLURM_JOB_ID=7", "SLURM_JOBID=7", "SLURM_JOB_NAME=hello", "SLURM_JOB_NODELIST=node1", "SLURM_NODELIST=node1",
			"SLURM_JOB_NUM_NODES=1", "SLURM_NNODES=1", "SLURM_NTASKS=1", "SLURM_NPROCS=1", "SLURM_CPUS_ON_NODE=1",
			"SLURM_JOB_CPUS_PER_NODE=1", "SLURM_TASKS_PER_NODE=1", "SLURM_PROCID=0", "SLURM_LOCALID=0", "SLURM_NODEID=0",
			"SLURM_JOB_USER=ann", "SLURM_JOB_UID=1000", "SLURM_SUBMIT_HOST=node1", "SLURM_SUBMIT_DIR=/work/7", "SLURM_CLUSTER_NAME=bramble",
			"SLURM_JOB_PARTITION=all", "SLURM_JOB_ACCOUNT=default", "SLURM_CPUS_PER_TASK=1", "SLURMD_NODENAME=node1"},
			[]string{"SLURM_ARRAY_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_MEM_PER_NODE", "SLURM_NTASKS_PER_NODE"}},
		"gang": {Key{Job: 8, Attempt: 3}, Spec{Nodes: 3, Ranks: 5, RanksPerNode: 2, CPUs: 2, MemoryPerCPU: 1 << 30, Partition: "long", Account: "chem",
			SubmitDir: "/shared/ann", SubmitHost: "desk", Shared: []string{"/shared/"}}, gang, []string{
			"SLURM_JOB_NODELIST=node[1-3]", "SLURM_NNODES=3", "SLURM_NTASKS=5", "SLURM_NTASKS_PER_NODE=2", "SLURM_TASKS_PER_NODE=2(x2),1",
			"SLURM_JOB_CPUS_PER_NODE=4(x2),2", "SLURM_CPUS_ON_NODE=4", "SLURM_CPUS_PER_TASK=2", "SLURM_MEM_PER_CPU=1024",
			"SLURM_JOB_PARTITION=long", "SLURM_JOB_ACCOUNT=chem", "SLURM_RESTART_COUNT=2", "SLURM_SUBMIT_DIR=/shared/ann", "SLURM_SUBMIT_HOST=desk"}, nil},
		"array": {Key{Job: 7, Index: 4, Attempt: 1}, Spec{Array: "2-8:2%1", CPUs: 2, Ranks: 2, Memory: 512 << 20}, one, []string{
			"SLURM_ARRAY_JOB_ID=7", "SLURM_ARRAY_TASK_ID=4", "SLURM_ARRAY_TASK_COUNT=4", "SLURM_ARRAY_TASK_MIN=2", "SLURM_ARRAY_TASK_MAX=8",
			"SLURM_ARRAY_TASK_STEP=2", "SLURM_JOB_ID=15032385540", "SLURM_MEM_PER_NODE=512", "SLURM_NTASKS=2", "SLURM_CPUS_ON_NODE=4"}, nil},
	} {
		got := SlurmEnv(c.key, c.spec, c.at)
		for _, v := range c.want {
			if !slices.Contains(got, v) {
				t.Errorf("%s: no %s in\n%s", name, v, strings.Join(got, "\n"))
			}
		}
		for _, v := range c.not {
			if slices.ContainsFunc(got, func(have string) bool { return strings.HasPrefix(have, v+"=") }) {
				t.Errorf("%s: has %s", name, v)
			}
		}
		if !slices.IsSorted(got) {
			t.Errorf("%s: not in order", name)
		}
	}
	if spec := (Spec{Shared: []string{"/data"}}); spec.IsShared("/database") || !spec.IsShared("/data") || !spec.IsShared("/data/x") {
		t.Error("which paths are shared is misjudged")
	}
}

func TestSlurmID(t *testing.T) {
	for _, k := range []Key{{Job: 1, Index: 0}, {Job: 7, Index: MaxIndex}, {Job: 1 << 30, Index: 3}} {
		if id, index := FromSlurm(SlurmID(k.Job, k.Index)); id != k.Job || index != k.Index {
			t.Errorf("%v came back as %d, %d", k, id, index)
		}
	}
	if id, index := FromSlurm(7); id != 7 || index != -1 {
		t.Errorf("7 is %d, %d", id, index)
	}
}

func TestFileName(t *testing.T) {
	w := Writer{Job: 7, Array: true, Index: 13, Name: "two/words", User: "ann", Node: "node1", Rank: 2, Place: 1}
	plain := Writer{Job: 7, Name: "x", User: "ann", Node: "node1"}
	for pattern, want := range map[string][2]string{
		"slurm-%j.out":        {"slurm-15032385549.out", "slurm-7.out"},
		"%A_%a":               {"7_13", "7_0"},
		"%A_%4a":              {"7_0013", "7_0000"},
		"%x-%u.%N":            {"two_words-ann.node1", "x-ann.node1"},
		"%t.%n.%b":            {"2.1.3", "0.0.0"},
		"100%%/%04j":          {"100%/15032385549", "100%/0007"},
		"%99999999999999999A": {"0000000007", "0000000007"},
		"odd%q%":              {"odd%q%", "odd%q%"},
	} {
		if got := FileName(pattern, w); got != want[0] {
			t.Errorf("%s is %s, want %s", pattern, got, want[0])
		}
		if got := FileName(pattern, plain); got != want[1] {
			t.Errorf("%s is %s, want %s", pattern, got, want[1])
		}
	}
	for pattern, ok := range map[string]bool{"": false, "a\x00": false, strings.Repeat("x", maxPattern+1): false, "a/%j": true} {
		if err := CheckPattern(pattern); (err == nil) != ok {
			t.Errorf("%.20q: %v", pattern, err)
		}
	}
}

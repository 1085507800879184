package job

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"bramble/fleet"
)

// Slurm gives each task of an array a number of its own, and scripts make folder names and ports of it. So here:
// what a script sees is JOB·2³¹ + INDEX, which no job ever has.
const slurmTask = 1 << 31

// SlurmID is the number that Slurm's variables give a task of an array.
func SlurmID(id ID, index int) int64 { return int64(id)*slurmTask + int64(index) }

// FromSlurm is the job and the index that a number in a script stands for; index is -1 when it is a job's.
func FromSlurm(n int64) (id ID, index int) {
	if n < slurmTask {
		return ID(n), -1
	}
	return ID(n / slurmTask), int(n % slurmTask)
}

// Scene is where an attempt runs and who submitted it, as far as Slurm's variables tell.
type Scene struct {
	Node    string // that leads the allocation
	User    string // the account
	UID     uint32
	GID     uint32
	Cluster string
	Dir     string  // where it runs
	Shares  []Share // leader first; nil: all of it is on Node
}

// SlurmEnv is the SLURM_… variables of an attempt's first process, as NAME=VALUE in order of name.
func SlurmEnv(k Key, spec Spec, at Scene) []string {
	shares := at.shares(spec)
	ranks, nodes := 0, make([]string, len(shares))
	for i, s := range shares {
		ranks += s.Ranks
		nodes[i] = s.Node
	}
	env := map[string]string{}
	set := func(value string, names ...string) {
		for _, name := range names {
			env["SLURM_"+name] = value
		}
	}
	number := func(n int64, names ...string) { set(strconv.FormatInt(n, 10), names...) }
	id := int64(k.Job)
	if spec.Array != "" {
		id = SlurmID(k.Job, k.Index)
		array, _ := ParseArray(spec.Array) // the head has read it
		number(int64(k.Job), "ARRAY_JOB_ID")
		number(int64(k.Index), "ARRAY_TASK_ID")
		number(int64(array.Len()), "ARRAY_TASK_COUNT")
		number(int64(array.At(0)), "ARRAY_TASK_MIN")
		number(int64(array.At(array.Len()-1)), "ARRAY_TASK_MAX")
		number(int64(array.runs[0].step), "ARRAY_TASK_STEP")
	}
	number(id, "JOB_ID", "JOBID")
	set(spec.Name, "JOB_NAME")
	set(cmp.Or(spec.Partition, DefaultPartition), "JOB_PARTITION")
	set(cmp.Or(spec.Account, DefaultAccount), "JOB_ACCOUNT")
	set(at.User, "JOB_USER")
	number(int64(at.UID), "JOB_UID")
	number(int64(at.GID), "JOB_GID")
	set(cmp.Or(at.Cluster, "bramble"), "CLUSTER_NAME")
	set(cmp.Or(spec.SubmitHost, at.Node), "SUBMIT_HOST")
	set(at.Dir, "SUBMIT_DIR") // scripts go there, so it has to be here
	if spec.IsShared(spec.SubmitDir) {
		set(spec.SubmitDir, "SUBMIT_DIR")
	}

	set(fleet.Fold(nodes), "JOB_NODELIST", "NODELIST")
	number(int64(len(shares)), "JOB_NUM_NODES", "NNODES")
	set(folded(shares, func(s Share) int { return s.CPUs }), "JOB_CPUS_PER_NODE")
	number(int64(shares[0].CPUs), "CPUS_ON_NODE")
	set(folded(shares, func(s Share) int { return s.Ranks }), "TASKS_PER_NODE")
	number(int64(ranks), "NTASKS", "NPROCS")
	number(int64(max(1, spec.CPUs)), "CPUS_PER_TASK")
	if spec.RanksPerNode > 0 {
		number(int64(spec.RanksPerNode), "NTASKS_PER_NODE")
	}
	if spec.Memory > 0 {
		number(spec.Memory>>20, "MEM_PER_NODE")
	}
	if spec.MemoryPerCPU > 0 {
		number(spec.MemoryPerCPU>>20, "MEM_PER_CPU")
	}
	number(0, "PROCID", "LOCALID", "NODEID", "GTIDS")
	set(at.Node, "TOPOLOGY_ADDR")
	env["SLURMD_NODENAME"] = at.Node
	if k.Attempt > 1 {
		number(int64(k.Attempt-1), "RESTART_COUNT")
	}
	list := make([]string, 0, len(env))
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}

// What a job belongs to when nobody said.
const (
	DefaultPartition = "all"
	DefaultAccount   = "default"
)

// shares is what the allocation has on each node, worked out for one on a single node.
func (at Scene) shares(spec Spec) []Share {
	if len(at.Shares) > 0 {
		return at.Shares
	}
	ranks, cpus := max(1, spec.Ranks), max(1, spec.CPUs)
	return []Share{{Node: at.Node, Ranks: ranks, CPUs: ranks * cpus, Memory: spec.Memory}}
}

// folded writes one number for each node, equal ones that follow each other once: 2(x3),1.
func folded(shares []Share, of func(Share) int) string {
	var items []string
	for i := 0; i < len(shares); {
		k := i + 1
		for k < len(shares) && of(shares[k]) == of(shares[i]) {
			k++
		}
		item := strconv.Itoa(of(shares[i]))
		if k-i > 1 {
			item += fmt.Sprintf("(x%d)", k-i)
		}
		items, i = append(items, item), k
	}
	return strings.Join(items, ",")
}

// IsShared reports whether a path is the same on every machine.
func (s *Spec) IsShared(path string) bool {
	return slices.ContainsFunc(s.Shared, func(root string) bool {
		root = strings.TrimSuffix(root, "/")
		return path == root || strings.HasPrefix(path, root+"/")
	})
}

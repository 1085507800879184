package job

import (
	"cmp"
	"os"
	"slices"
	"strconv"
	"strings"

	"bramble/fleet"
	"bramble/host"
)

// environment is what a task finds, with more of what its runtime says; its user's own variables win over both, but
// for the place where Slurm's commands are.
func (n *Node) environment(a Attempt, spec Spec, account host.Account, dir string, more ...string) []string {
	k := a.Key
	env := append(account.Env(),
		"LANG="+cmp.Or(os.Getenv("LANG"), "C.UTF-8"), "PWD="+dir, DirVar+"="+dir,
		"BRAMBLE_JOB_ID="+strconv.FormatInt(int64(k.Job), 10), taskVar+"="+strconv.Itoa(k.Index),
		attemptVar+"="+strconv.Itoa(k.Attempt), "BRAMBLE_NODE="+n.Conn.Who().Name,
		"BRAMBLE_USER="+spec.User, "BRAMBLE_CPUS="+strconv.Itoa(spec.CPUs))
	if a.takesSteps() {
		env = append(env, SocketVar+"="+n.doorPath(k), SecretVar+"="+n.secret(k))
	}
	env = append(env, allocationEnv(a)...)
	if spec.Slurm {
		return n.withSlurm(k.Job, mergeEnv(env, n.slurmEnv(a, spec, account, dir), more, spec.Env))
	}
	return mergeEnv(env, more, spec.Env)
}

// allocationEnv tells an allocation's command what it has: nodes as a hostlist, and how many ranks are meant for each of them.
func allocationEnv(a Attempt) []string {
	if len(a.Shares) == 0 {
		return nil
	}
	nodes, each, ranks := make([]string, len(a.Shares)), make([]string, len(a.Shares)), 0
	for i, s := range a.Shares {
		nodes[i], each[i] = s.Node, strconv.Itoa(s.Ranks)
		ranks += s.Ranks
	}
	return []string{"BRAMBLE_NODES=" + fleet.Fold(nodes), "BRAMBLE_NODE_RANKS=" + strings.Join(each, ","), "BRAMBLE_RANKS=" + strconv.Itoa(ranks)}
}

// stepEnv is what an allocation's command has, then what was asked, then what is this node's own.
func (n *Node) stepEnv(al *allocation, spec Spec, req StepRequest, account host.Account, dir string) []string {
	own := append(account.Env(), "PWD="+dir, DirVar+"="+n.workDir(al.Key, spec))
	own = slices.DeleteFunc(own, func(v string) bool { return strings.HasPrefix(v, "PATH=") })
	own = append(own, "BRAMBLE_NODE="+n.Conn.Who().Name, SocketVar+"="+n.doorPath(al.Key), SecretVar+"="+n.secret(al.Key))
	if exe, err := n.tool(); err == nil {
		own = append(own, "BRAMBLE_EXE="+exe)
	}
	own = append(own, req.Rank.env()...)
	return mergeEnv(n.environment(al.Attempt, spec, account, dir), req.Env, own)
}

// names reports whether a variable is called so.
func names(v, name string) bool {
	return len(v) > len(name) && v[len(name)] == '=' && v[:len(name)] == name
}

// mergeEnv lays environments over each other, so that each name is there once.
func mergeEnv(layers ...[]string) []string {
	size := 0
	for _, layer := range layers {
		size += len(layer)
	}
	at, env := make(map[string]int, size), make([]string, 0, size)
	for _, layer := range layers {
		for _, v := range layer {
			name, _, _ := strings.Cut(v, "=")
			if i, known := at[name]; known {
				env[i] = v
				continue
			}
			at[name] = len(env)
			env = append(env, v)
		}
	}
	return env
}

package job

import (
	"cmp"
	"context"
	"os"
	"strconv"
	"strings"

	"bramble/fault"
	"bramble/fleet"
	"bramble/host"
	"bramble/keeper"
)

// ground is what tasks of a job that are started together share.
type ground struct {
	job     ID
	account host.Account
	name    string // of the account; "": our own
}

// make finds a job's ground and makes its folder, unless that was done for the task before.
func (g *ground) make(n *Node, id ID, spec Spec) (err error) {
	if g.job == id {
		return nil
	}
	if g.account, g.name, err = n.account(spec); err != nil {
		return err
	}
	if err = n.makeJobDir(id, spec, g.account); err == nil {
		g.job = id
	}
	return err
}

// prepare makes a task's folder with all that it needs, and says what to run in it.
func (n *Node) prepare(ctx context.Context, a Attempt, spec Spec, on *ground) (keeper.Task, error) {
	k := a.Key
	if err := on.make(n, k.Job, spec); err != nil {
		return keeper.Task{}, err
	}
	account := on.account
	dir, err := n.furnish(ctx, k, spec, account)
	if err != nil {
		return keeper.Task{}, err
	}
	if err := n.keepHold(a, spec); err != nil {
		return keeper.Task{}, err
	}
	more, err := n.dress(ctx, a, account)
	if err != nil {
		return keeper.Task{}, err
	}
	args := spec.Args
	if len(spec.Script) > 0 {
		args = append([]string{n.scriptPath(k.Job)}, args...)
	}
	start, args := n.into(k, dir, args)
	return keeper.Task{
		ID: k.String(), Args: args, Env: n.environment(a, spec, account, dir, more...), Dir: start, User: on.name,
		Limits: limits(a.Memory), Timeout: spec.Timeout, Umask: cmp.Or(spec.Umask, usualUmask),
	}, nil
}

const (
	// usualUmask is what a task's files are not when nobody said.
	usualUmask = 0o022
	// mostProcesses is how many processes and threads a task that has a group of its own may have; of the others
	// host bounds the sum.
	mostProcesses = 4096
)

func limits(memory int64) host.Limits {
	l := host.Limits{Memory: memory}
	if l.Memory > 0 {
		l.PIDs = mostProcesses
	}
	return l
}

// account is whose account the work runs as; without root it is our own.
func (n *Node) account(spec Spec) (host.Account, string, error) {
	name := cmp.Or(spec.As, n.Accounts.AccountFor(spec.User))
	if name == "" || os.Geteuid() != 0 {
		if spec.As != "" && os.Geteuid() != 0 {
			return host.Account{}, "", fault.New(fault.Denied, "the agent on %s does not run as root", n.Conn.Who().Name)
		}
		return host.Account{Name: cmp.Or(os.Getenv("USER"), spec.User), UID: uint32(os.Getuid()), GID: uint32(os.Getgid()),
			Home: os.Getenv("HOME"), Shell: os.Getenv("SHELL")}, "", nil
	}
	account, err := n.Accounts.Account(name)
	return account, name, err
}

// environment is what a task finds, with more of what its runtime says; its user's own variables win over both, but
// for the place where Slurm's commands are.
func (n *Node) environment(a Attempt, spec Spec, account host.Account, dir string, more ...string) []string {
	k := a.Key
	env := append(account.Env(),
		"LANG="+cmp.Or(os.Getenv("LANG"), "C.UTF-8"), "PWD="+dir,
		"BRAMBLE_JOB_ID="+strconv.FormatInt(int64(k.Job), 10), "BRAMBLE_TASK_ID="+strconv.Itoa(k.Index),
		"BRAMBLE_ATTEMPT="+strconv.Itoa(k.Attempt), "BRAMBLE_NODE="+n.Conn.Who().Name,
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

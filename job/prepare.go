package job

import (
	"cmp"
	"context"
	"os"

	"bramble/fault"
	"bramble/host"
	"bramble/keeper"
)

// prepare makes a task's folder with all that it needs, and says what to run in it.
func (n *Node) prepare(ctx context.Context, a Attempt, on *ground) (keeper.Task, error) {
	if on.pattern.Args != nil && !a.takesSteps() && len(a.Gres) == 0 && a.CPUs == on.cpus && a.Memory == on.spec.Memory {
		return on.task(a.Key), nil
	}
	k, spec, account := a.Key, on.spec, on.account
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
	return n.taskOf(a, on, dir, more), nil
}

// taskOf is what to run for an attempt, in a folder that is there, with more in its environment.
func (n *Node) taskOf(a Attempt, on *ground, dir string, more []string) keeper.Task {
	args := on.spec.Args
	if len(on.spec.Script) > 0 {
		args = append([]string{n.scriptPath(a.Job)}, args...)
	}
	start, args := n.into(a.Key, dir, args)
	return keeper.Task{
		ID: a.Key.String(), Args: args, Env: n.environment(a, on.spec, on.account, dir, more...), Dir: start, User: on.name,
		Limits: limits(a.Memory), Timeout: on.spec.Timeout, Umask: cmp.Or(on.spec.Umask, usualUmask),
	}
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

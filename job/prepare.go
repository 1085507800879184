package job

import (
	"cmp"
	"context"
	"os"

	"bramble/fault"
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

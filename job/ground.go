package job

import (
	"context"
	"slices"
	"strconv"

	"bramble/host"
	"bramble/keeper"
)

// ground is what tasks of a job share on this node while any is here: what the job is, whose account it runs as, and the
// job's folder, which has been made. It does not change.
type ground struct {
	spec    Spec
	cpus    int
	account host.Account
	name    string // of the account; "": our own

	// pattern is a task of the job's with nothing of its own but its number, which is the first two words of Env.
	// Its Args are nil where a task needs more than that.
	pattern keeper.Task
}

// groundOf is the ground of an attempt that is here.
func (n *Node) groundOf(ctx context.Context, k Key) (*ground, error) {
	n.mu.Lock()
	g, era := n.grounds[k.Job], n.era
	n.mu.Unlock()
	if g != nil {
		if account, name, err := n.account(g.spec); err == nil && name == g.name && account.UID == g.account.UID && account.GID == g.account.GID {
			return g, nil
		}
	}
	spec, err := n.spec(ctx, k)
	if err != nil {
		return nil, err
	}
	g = &ground{spec: spec, cpus: max(1, spec.CPUs)}
	if g.account, g.name, err = n.account(spec); err != nil {
		return nil, err
	}
	if err := n.makeJobDir(k.Job, spec, g.account); err != nil {
		return nil, err
	}
	if spec.alike() {
		g.pattern = n.taskOf(Attempt{Key: k, CPUs: g.cpus, Memory: spec.Memory}, g, n.commonDir(k.Job), nil)
		g.pattern.Env = slices.DeleteFunc(g.pattern.Env, isNumber)
		g.pattern.Env = slices.Insert(g.pattern.Env, 0, "", "")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.here[k.Job] != nil && n.era == era { // else what it was made of may have changed meanwhile
		n.grounds[k.Job] = g
	}
	return g, nil
}

// respec notes what a job is now. n.mu is held.
func (n *Node) respec(id ID, spec Spec) {
	n.specs[id] = spec
	delete(n.grounds, id)
	n.era++
}

// Variables that tell a task from others of its job.
const (
	taskVar    = "BRAMBLE_TASK_ID"
	attemptVar = "BRAMBLE_ATTEMPT"
)

func isNumber(v string) bool { return names(v, taskVar) || names(v, attemptVar) }

// alike reports whether tasks of the job differ by their numbers only.
func (s *Spec) alike() bool {
	return !s.ownFolder() && s.WorkDir == "" && !s.Slurm && !slices.ContainsFunc(s.Env, isNumber)
}

// task is what to run for an attempt where the job's tasks are alike.
func (g *ground) task(k Key) keeper.Task {
	t := g.pattern
	t.ID = k.String()
	t.Env = slices.Clone(t.Env)
	t.Env[0], t.Env[1] = taskVar+"="+strconv.Itoa(k.Index), attemptVar+"="+strconv.Itoa(k.Attempt)
	return t
}

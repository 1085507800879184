package cli

import (
	"cmp"
	"fmt"

	"bramble/agent"
	"bramble/fault"
)

type joinCmd struct {
	Head    string `arg:"" optional:"" help:"Address of the head: HOST or HOST:PORT. Without, runs as the node that joined before."`
	Token   string `help:"Token that the head printed." env:"BRAMBLE_TOKEN"`
	Name    string `help:"Name of this node; the host name without."`
	State   string `help:"State folder." placeholder:"DIR" env:"BRAMBLE_STATE"`
	Work    string `help:"Folder for the files of tasks, the same on every node of the cluster for MPI (default node/work in the state folder)." placeholder:"DIR" env:"BRAMBLE_WORK"`
	Keep    string `help:"How much this node keeps of files, from now on: the least recently used that nobody needs go first (bramble store set changes it later; 0: no limit)." placeholder:"SIZE" env:"-"`
	Once    bool   `help:"Only join; bramble service install runs the node."`
	Metrics string `help:"Loopback address of /metrics; empty for none." default:"127.0.0.1:7653"`
	Log     string `help:"Least level that is logged: debug, info, warn or error." default:"warn" enum:"debug,info,warn,error"`
}

func (joinCmd) Examples() string {
	return `bramble join 10.0.0.1 --token bt1-…   # the line that bramble up printed
bramble join                          # run again what joined before
`
}

func (c *joinCmd) Run(e *env) error {
	state := stateFolder(c.State)
	l := agent.Layout(state)
	if l.IsHead() {
		return fault.New(fault.Conflict, "%s is the head of a cluster and cannot join another", state).Hint("bramble up to run it, or --state DIR")
	}
	if _, err := keepSize(cmp.Or(c.Keep, "0")); err != nil {
		return err
	}
	if c.Head != "" {
		if c.Token == "" {
			return fault.New(fault.Misused, "joining needs a token").Hint("bramble token create on the head, then bramble join %s --token TOKEN", c.Head)
		}
		if _, err := agent.Join(e.ctx, l, c.Head, c.Token, c.Name); err != nil {
			return err
		}
	}
	if l.IsNode() {
		if err := setKeep(state, false, c.Keep); err != nil {
			return err
		}
	}
	if c.Head != "" && c.Once {
		fmt.Fprintf(e.out.Stdout, "joined; run it with: sudo bramble service install, or bramble join\n")
		return nil
	}
	o, machine := e.agentOptions(state, c.Log)
	defer machine.Close()
	o.Metrics, o.Work = c.Metrics, workFolder(c.Work)
	o.Ready = func(i agent.Info) {
		s := e.out.Stdout
		fmt.Fprintf(s, "%s is a node of %s.\n", s.Bold(i.Name), s.Bold(i.Cluster))
	}
	defer notified(e.ctx, &o)()
	defer settles()()
	defer restKeeper(state)
	defer e.tellFronts(state)
	return agent.RunNode(e.ctx, o)
}

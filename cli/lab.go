package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"bramble/fault"
	hostnet "bramble/host/net"
	"bramble/lab"
	"bramble/term"
)

type labCmd struct {
	Up   labUpCmd   `cmd:"" help:"Make a cluster of machines that are namespaces (as root) or processes here."`
	Down labDownCmd `cmd:"" help:"End the lab and remove all of it."`
	PS   labPsCmd   `cmd:"" name:"ps" help:"List the processes of each node."`
	Kill labKillCmd `cmd:"" help:"End all processes of nodes at once."`
	Hang labHangCmd `cmd:"" help:"Stop all processes of nodes."`
	Cut  labCutCmd  `cmd:"" help:"Take nodes' links down."`
	Slow labSlowCmd `cmd:"" help:"Change the speed of nodes' links."`
	Heal labHealCmd `cmd:"" help:"Undo all faults of nodes, and start what does not run."`
}

// labState is where a lab is.
type labState struct {
	State string `required:"" help:"State folder of the lab." placeholder:"DIR" env:"BRAMBLE_LAB_STATE"`
}

type labUpCmd struct {
	labState
	Nodes   int    `help:"How many nodes, besides the head." default:"4"`
	Link    string `help:"Speed of every node's link, such as 100mbit." placeholder:"RATE"`
	NoNetns bool   `help:"Processes on loopback even as root."`
	Seed    uint64 `help:"Makes what is left to chance the same each time." placeholder:"N"`
}

func (labUpCmd) Examples() string {
	return `sudo bramble lab up --state /tmp/lab --nodes 16 --link 100mbit
BRAMBLE_CLUSTER=/tmp/lab bramble nodes
sudo bramble lab cut --state /tmp/lab 'node[03-05]'
sudo bramble lab down --state /tmp/lab
`
}

func (c *labUpCmd) Run(e *env) error {
	var rate hostnet.Rate
	if err := rate.UnmarshalText([]byte(c.Link)); err != nil {
		return err
	}
	progress := term.NewProgress(e.ctx, e.out)
	defer progress.Stop()
	bar := progress.Bar("lab", int64(c.Nodes)+1, term.Items)
	begun := time.Now()
	_, err := lab.Up(e.ctx, lab.Options{State: c.State, Nodes: c.Nodes, Link: rate, NoNetns: c.NoNetns, Seed: c.Seed,
		Joined: func(string) { bar.Add(1) }})
	progress.Stop()
	if err != nil {
		return err
	}
	s := e.out.Stdout
	fmt.Fprintf(s, "The lab is up: head and %s nodes, in %s.\n", term.Count(int64(c.Nodes)), term.Duration(time.Since(begun)))
	fmt.Fprintf(s, "\nTry: %s\n", s.Bold("BRAMBLE_CLUSTER="+shellWord(absolute(c.State))+" bramble nodes"))
	return nil
}

// shellWord quotes a path that a shell would take apart.
func shellWord(path string) string {
	if strings.ContainsAny(path, " \t\n\"'\\$&;()<>|*?[]#~`!{}") {
		return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
	}
	return path
}

type labDownCmd struct{ labState }

func (labDownCmd) Examples() string { return "bramble lab down --state /tmp/lab\n" }

func (c *labDownCmd) Run(e *env) error {
	l := &lab.Lab{State: absolute(c.State)}
	if err := l.Down(e.ctx); err != nil {
		return err
	}
	fmt.Fprintf(e.out.Stdout, "Nothing of the lab in %s is left.\n", c.State)
	return nil
}

type labPsCmd struct {
	labState
	JSON bool `help:"Print a JSON list: node, agent, keeper, tasks, and its faults."`
}

func (labPsCmd) Examples() string { return "bramble lab ps --state /tmp/lab\n" }

func (c *labPsCmd) Run(e *env) error {
	l, err := lab.Open(c.State)
	if err != nil {
		return err
	}
	list, err := l.PS()
	if err != nil {
		return err
	}
	if c.JSON {
		return term.JSON(e.out.Stdout, list)
	}
	t := term.NewTable(term.Column{Title: "NODE"}, term.Column{Title: "AGENT", Right: true}, term.Column{Title: "KEEPER", Right: true},
		term.Column{Title: "TASKS", Priority: 2, Min: 8}, term.Column{Title: "FAULTS", Priority: 1})
	s := e.out.Stdout
	for _, p := range list {
		t.Row(s.Name(p.Node), pid(p.Agent), pid(p.Keeper), pids(p.Tasks), s.Bad(faultsText(p.Faults)))
	}
	return t.Write(s)
}

func pid(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

func pids(all []int) string {
	if len(all) == 0 {
		return "-"
	}
	return strings.Trim(fmt.Sprint(all), "[]")
}

func faultsText(f lab.Faults) string {
	var words []string
	for word, is := range map[string]bool{"killed": f.Killed, "hung": f.Hung} {
		if is {
			words = append(words, word) // one of the two at most
		}
	}
	if f.Cut {
		words = append(words, "cut")
	}
	if f.Slow != 0 {
		words = append(words, "slow "+f.Slow.String())
	}
	return strings.Join(words, ",")
}

// labNodes are the nodes that a fault is for.
type labNodes struct {
	labState
	Node string `arg:"" help:"Nodes of the lab: node3, node[1-4], or head."`
}

// inflict opens the lab and prints what becomes of each node.
func (c *labNodes) inflict(e *env, act func(l *lab.Lab, ctx context.Context, nodes string) error) error {
	l, err := lab.Open(c.State)
	if err != nil {
		return err
	}
	s := e.out.Stdout
	l.Say = func(node, what string) { fmt.Fprintf(s, "%s: %s\n", s.Name(node), what) }
	return act(l, e.ctx, c.Node)
}

type labKillCmd struct{ labNodes }

func (labKillCmd) Examples() string { return "bramble lab kill --state /tmp/lab node3\n" }

func (c *labKillCmd) Run(e *env) error { return c.inflict(e, (*lab.Lab).Kill) }

type labHangCmd struct{ labNodes }

func (labHangCmd) Examples() string { return "bramble lab hang --state /tmp/lab node3\n" }

func (c *labHangCmd) Run(e *env) error { return c.inflict(e, (*lab.Lab).Hang) }

type labCutCmd struct{ labNodes }

func (labCutCmd) Examples() string { return "bramble lab cut --state /tmp/lab 'node[1-2]'\n" }

func (c *labCutCmd) Run(e *env) error { return c.inflict(e, (*lab.Lab).Cut) }

type labHealCmd struct{ labNodes }

func (labHealCmd) Examples() string { return "bramble lab heal --state /tmp/lab node3\n" }

func (c *labHealCmd) Run(e *env) error { return c.inflict(e, (*lab.Lab).Heal) }

type labSlowCmd struct {
	labNodes
	Rate string `arg:"" help:"Speed in each direction, such as 1mbit."`
}

func (labSlowCmd) Examples() string { return "bramble lab slow --state /tmp/lab node3 1mbit\n" }

func (c *labSlowCmd) Run(e *env) error {
	rate, err := hostnet.ParseRate(c.Rate)
	if err != nil {
		return err
	}
	return c.inflict(e, func(l *lab.Lab, ctx context.Context, nodes string) error { return l.Slow(ctx, nodes, rate) })
}

// labEnterCmd turns into a program on a lab's node.
type labEnterCmd struct {
	Entry string `arg:"" help:"What to run where, as JSON."`
}

func (c *labEnterCmd) Run(e *env) error {
	if err := hostnet.Enter(c.Entry); err != nil {
		return err
	}
	return fault.New(fault.Failed, "%s came back", hostnet.EnterVerb)
}

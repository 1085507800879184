package cli

import (
	"errors"
	"fmt"
	"net"
	"time"

	"bramble/agent"
	"bramble/cluster"
	"bramble/fault"
	"bramble/fleet"
	"bramble/host"
	"bramble/keeper"
	"bramble/term"
)

type doctorCmd struct {
	State string `help:"State folder." placeholder:"DIR" env:"BRAMBLE_STATE"`
	JSON  bool   `help:"Print a JSON list."`
}

func (doctorCmd) Examples() string { return "bramble doctor\n" }

func (c *doctorCmd) Run(e *env) error {
	state := stateFolder(c.State)
	machine := host.NewReal(host.RealOptions{StateDir: state})
	defer machine.Close()
	facts, err := machine.Facts(e.ctx)
	if err != nil {
		return err
	}
	sample, err := machine.Sample(e.ctx)
	if err != nil {
		return err
	}
	checks := append(host.Doctor("/", facts, sample), e.checkMembership(state)...)
	if c.JSON {
		if err := term.JSON(e.out.Stdout, checks); err != nil {
			return err
		}
	} else if err := printChecks(e.out.Stdout, checks); err != nil {
		return err
	}
	bad := 0
	for _, check := range checks {
		if !check.OK {
			bad++
		}
	}
	if bad > 0 {
		return exitStatus(1)
	}
	return nil
}

func printChecks(s *term.Stream, checks []host.Check) error {
	for _, c := range checks {
		mark := s.Good("ok  ")
		if !c.OK {
			mark = s.Bad("bad ")
		}
		if _, err := fmt.Fprintf(s, "%s %-10s %s\n", mark, c.Name, c.Text); err != nil {
			return err
		}
		if c.Try != "" {
			fmt.Fprintf(s, "%16stry: %s\n", "", s.Bold(c.Try))
		}
	}
	return nil
}

// checkMembership looks at what this machine has to do with a cluster: its state folder, keeper and head.
func (e *env) checkMembership(state string) []host.Check {
	l := agent.Layout(state)
	if !l.IsNode() && !l.IsHead() {
		check := host.Check{Name: "member", OK: true, Text: "this machine is in no cluster (" + state + ")"}
		if e.cluster == "" {
			check.Try = "bramble up to make a cluster, or bramble join HEAD --token TOKEN"
		}
		return append([]host.Check{check}, e.checkCluster()...)
	}
	conf, err := agent.ReadNode(l)
	if err != nil {
		return []host.Check{broken("member", err)}
	}
	what := "a node"
	if l.IsHead() {
		what = "the head"
	}
	checks := []host.Check{{Name: "member", OK: true, Text: fmt.Sprintf("%s is %s of %s", conf.Name, what, conf.Cluster)}}
	checks = append(checks, e.checkKeeper(l))
	for _, addr := range []string{conf.Heads[0], conf.Peer} {
		checks = append(checks, checkPort(addr))
	}
	if l.IsHead() || e.cluster != "" {
		checks = append(checks, e.checkCluster()...)
	}
	return checks
}

func broken(name string, err error) host.Check {
	f := fault.Of(err)
	return host.Check{Name: name, Text: f.Text, Try: f.Try}
}

func (e *env) checkKeeper(l agent.Layout) host.Check {
	k, err := keeper.Connect(e.ctx, l.Socket())
	if err != nil {
		return host.Check{Name: "keeper", Text: "no agent has started a keeper here: " + err.Error(), Try: "bramble service install, or bramble join (bramble up on the head)"}
	}
	defer k.Close()
	return host.Check{Name: "keeper", OK: true, Text: fmt.Sprintf("answers, process %d", k.Pid())}
}

func checkPort(addr string) host.Check {
	conn, err := net.DialTimeout("tcp", addr, 3*time.Second)
	if err != nil {
		return host.Check{Name: "head", Text: fmt.Sprintf("%s does not answer: %v", addr, err), Try: "check the cable, and that bramble up runs on the head"}
	}
	conn.Close()
	return host.Check{Name: "head", OK: true, Text: addr + " answers"}
}

// checkCluster looks at the cluster as a client sees it, where there is a client file.
func (e *env) checkCluster() []host.Check {
	cl, err := cluster.Open(e.ctx, e.cluster)
	if err != nil {
		if f, ok := errors.AsType[*fault.Error](err); ok && f.Code == fault.NotFound && e.cluster == "" {
			return nil
		}
		return []host.Check{broken("cluster", err)}
	}
	defer cl.Close()
	nodes, err := cl.Fleet.Nodes(e.ctx)
	if err != nil {
		return []host.Check{broken("cluster", err)}
	}
	var away []string
	for _, n := range nodes {
		if n.State != fleet.Up {
			away = append(away, n.Name)
		}
	}
	if len(away) > 0 {
		return []host.Check{{Name: "nodes", Text: fmt.Sprintf("%d of %d are not up: %s", len(away), len(nodes), fleet.Fold(away)), Try: "bramble nodes, and bramble doctor on those machines"}}
	}
	return []host.Check{{Name: "nodes", OK: true, Text: fmt.Sprintf("all %d are up", len(nodes))}}
}

package lab

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"

	"bramble/fault"
	"bramble/fleet"
	hostnet "bramble/host/net"
)

// maxNodes is as many as anybody has boards; more are for sim.
const maxNodes = 2000

// names are the head's and, padded to equal width, the nodes'.
func names(nodes int) []string {
	width := len(strconv.Itoa(nodes))
	all := []string{Head}
	for i := range nodes {
		all = append(all, fmt.Sprintf("node%0*d", width, i+1))
	}
	return all
}

// check refuses what cannot be made; netns says whether there will be namespaces.
func (o Options) check(netns bool) error {
	switch {
	case o.State == "":
		return fault.New(fault.Misused, "a lab needs a state folder").Hint("bramble lab up --state DIR --nodes 4")
	case o.Nodes < 1 || o.Nodes > maxNodes:
		return fault.New(fault.Misused, "a lab has 1 to %d nodes, not %d", maxNodes, o.Nodes).Hint("bramble sim makes thousands")
	case o.Link != 0 && !netns:
		return needsNetns("shaping links")
	}
	return nil
}

func needsNetns(what string) error {
	return fault.New(fault.Misused, "%s needs root and namespaces", what).Hint("sudo bramble lab up …, without --no-netns")
}

// pick expands a hostlist of the lab's nodes; fault.NotFound names the first that is none.
func pick(all []string, list string) ([]string, error) {
	chosen, err := fleet.Expand(list)
	if err != nil {
		return nil, err
	}
	if len(chosen) == 0 {
		return nil, fault.New(fault.Misused, "which node?").Hint("one or more of %s", fleet.Fold(all))
	}
	for _, name := range chosen {
		if !slices.Contains(all, name) {
			e := fault.New(fault.NotFound, "the lab has no node %q", name)
			if near := fleet.Nearest(name, all); near != "" {
				return nil, e.Hint("%s", near)
			}
			return nil, e.Hint("one of %s", fleet.Fold(all))
		}
	}
	return chosen, nil
}

// Where the head of a lab without namespaces listens: below the ports that kernels give to outgoing connections.
const firstPort, lastPort = 20_000, 32_000

// choosePorts takes three ports by chance that are free.
func choosePorts(r *rand.Rand, free func(port int) bool) (ports [3]int, err error) {
	found := 0
	for range 1000 {
		port := firstPort + r.IntN(lastPort-firstPort)
		if slices.Contains(ports[:found], port) || !free(port) {
			continue
		}
		ports[found] = port
		if found++; found == len(ports) {
			return ports, nil
		}
	}
	return ports, fault.New(fault.Full, "no free ports were found on loopback")
}

func listenAt(host string, ports [3]int) addresses {
	at := func(i int) string { return net.JoinHostPort(host, strconv.Itoa(ports[i])) }
	return addresses{Bus: at(0), Peer: at(1), Web: at(2)}
}

// agentArgs is the command line of a node's agent. The first time a node is told which head to join.
func agentArgs(r *record, node, state string, first bool) []string {
	if node == Head {
		host, _, _ := net.SplitHostPort(r.At.Bus)
		return []string{"up", "--no-work", "--name", Head, "--title", "lab", "--state", state,
			"--address", host, "--bus", r.At.Bus, "--peer", r.At.Peer, "--web", r.At.Web}
	}
	args := []string{"join"}
	if first {
		args = append(args, r.At.Peer, "--name", node)
	}
	args = append(args, "--state", state)
	if r.Netns {
		args = append(args, "--work", "/tmp/bramble-work") // each has a /tmp of its own, so that paths are the same on all
	} else {
		args = append(args, "--metrics", "") // there is but one loopback
	}
	return args
}

// agentEnv is the environment of an agent: ours without what is meant for our own command line.
func agentEnv(env []string, mark, token string) []string {
	env = slices.DeleteFunc(slices.Clone(env), func(v string) bool { return strings.HasPrefix(v, "BRAMBLE_") })
	env = append(env, markName+"="+mark)
	if token != "" {
		env = append(env, "BRAMBLE_TOKEN="+token) // who lists processes sees it not
	}
	return env
}

// step is one thing to do to a node.
type step string

const (
	stepKill   step = "kill"   // all its processes
	stepStop   step = "stop"   // all its processes
	stepResume step = "resume" // all its processes
	stepUnplug step = "unplug"
	stepPlug   step = "plug"
	stepRate   step = "rate"  // to that of Faults.Slow or, when that is 0, the lab's
	stepStart  step = "start" // its agent
)

// decision is what a wish comes to: the faults afterwards, the steps to there, and how people are told.
type decision struct {
	after Faults
	steps []step
	said  string
}

func already(node, what string) error {
	return fault.New(fault.Conflict, "%s is %s already", node, what).Hint("bramble lab heal %s", node)
}

// decideKill: a killed machine does not hang, but its link stays as it is.
func decideKill(node string, f Faults) (decision, error) {
	if f.Killed {
		return decision{}, already(node, "killed")
	}
	f.Killed, f.Hung = true, false
	return decision{f, []step{stepKill}, "killed (all its processes)"}, nil
}

func decideHang(node string, f Faults) (decision, error) {
	switch {
	case f.Killed:
		return decision{}, already(node, "killed")
	case f.Hung:
		return decision{}, already(node, "hung")
	}
	f.Hung = true
	return decision{f, []step{stepStop}, "hung (all its processes stopped)"}, nil
}

func decideCut(node string, f Faults, netns bool) (decision, error) {
	switch {
	case !netns:
		return decision{}, needsNetns("cutting a link")
	case f.Cut:
		return decision{}, already(node, "cut")
	}
	f.Cut = true
	return decision{f, []step{stepUnplug}, "cut (link down)"}, nil
}

// decideSlow: a link may be slowed again, to another rate.
func decideSlow(f Faults, rate hostnet.Rate, netns bool) (decision, error) {
	switch {
	case !netns:
		return decision{}, needsNetns("slowing a link")
	case rate == 0:
		return decision{}, fault.New(fault.Misused, "how slow?").Hint("bramble lab slow NODE 1mbit")
	}
	f.Slow = rate
	return decision{f, []step{stepRate}, fmt.Sprintf("slow (link at %s)", rate)}, nil
}

// decideHeal undoes all faults: the link first, so that who goes on finds it whole. A node whose agent
// runs no more is started, whoever ended it.
func decideHeal(f Faults, link hostnet.Rate, running bool) decision {
	var d decision
	var words []string
	add := func(wanted bool, s step, word string) {
		if wanted {
			d.steps, words = append(d.steps, s), append(words, word)
		}
	}
	add(f.Cut, stepPlug, "link up")
	add(f.Slow != 0, stepRate, "link "+rateText(link))
	add(f.Hung, stepResume, "resumed")
	add(!running, stepStart, "started again")
	d.said = "well already"
	if len(words) > 0 {
		d.said = "healed (" + strings.Join(words, ", ") + ")"
	}
	return d
}

func rateText(r hostnet.Rate) string {
	if r == 0 {
		return "unshaped"
	}
	return "at " + r.String()
}

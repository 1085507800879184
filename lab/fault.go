package lab

import (
	"context"
	"fmt"
	"syscall"

	hostnet "bramble/host/net"
)

// Kill ends all processes of the nodes at once, as when their power is cut. nodes is a hostlist, here and below.
func (l *Lab) Kill(ctx context.Context, nodes string) error {
	return l.inflict(ctx, nodes, func(n *Node, _ *record) (decision, error) { return decideKill(n.Name, n.Faults) })
}

// Hang stops all processes of the nodes: they hold their connections and say nothing.
func (l *Lab) Hang(ctx context.Context, nodes string) error {
	return l.inflict(ctx, nodes, func(n *Node, _ *record) (decision, error) { return decideHang(n.Name, n.Faults) })
}

// Cut takes the nodes' links down; fault.Misused in a lab without namespaces, as for Slow.
func (l *Lab) Cut(ctx context.Context, nodes string) error {
	return l.inflict(ctx, nodes, func(n *Node, r *record) (decision, error) { return decideCut(n.Name, n.Faults, r.Netns) })
}

// Slow changes the speed of the nodes' links, in both directions.
func (l *Lab) Slow(ctx context.Context, nodes string, rate hostnet.Rate) error {
	return l.inflict(ctx, nodes, func(n *Node, r *record) (decision, error) { return decideSlow(n.Faults, rate, r.Netns) })
}

// Heal undoes all faults of the nodes and starts agents that do not run. It does not wait for them to join.
func (l *Lab) Heal(ctx context.Context, nodes string) error {
	return l.inflict(ctx, nodes, func(n *Node, r *record) (decision, error) {
		running, err := l.running(n)
		return decideHeal(n.Faults, r.Link, running), err
	})
}

// inflict decides for all nodes before it touches the first.
func (l *Lab) inflict(ctx context.Context, nodes string, decide func(*Node, *record) (decision, error)) error {
	return l.change(func(r *record) error {
		chosen, err := pick(r.names(), nodes)
		if err != nil {
			return err
		}
		decisions := make([]decision, len(chosen))
		for i, name := range chosen {
			if decisions[i], err = decide(r.node(name), r); err != nil {
				return err
			}
		}
		for i, name := range chosen {
			if err := l.carryOut(ctx, r, name, decisions[i]); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	})
}

func (l *Lab) carryOut(ctx context.Context, r *record, name string, d decision) error {
	for _, s := range d.steps {
		if err := l.do(ctx, r, name, s, d.after); err != nil {
			return err
		}
	}
	r.node(name).Faults = d.after
	l.say(name, d.said)
	return nil
}

func (l *Lab) do(ctx context.Context, r *record, node string, s step, after Faults) error {
	m, err := l.machines(r)
	if err != nil {
		return err
	}
	signals := map[step]syscall.Signal{stepKill: syscall.SIGKILL, stepStop: syscall.SIGSTOP, stepResume: syscall.SIGCONT}
	if sig, ok := signals[s]; ok {
		_, err := m.Signal(ctx, node, sig)
		return err
	}
	if s == stepStart {
		_, err := l.start(ctx, r, node, "")
		return err
	}
	n, ok := m.(*hostnet.Network)
	switch {
	case !ok:
		return needsNetns("changing a link")
	case s == stepRate && after.Slow != 0:
		return n.SetRate(node, after.Slow)
	case s == stepRate:
		return n.SetRate(node, r.Link)
	}
	return n.SetUp(node, s == stepPlug)
}

// running reports whether the node's agent is there, hung or not.
func (l *Lab) running(n *Node) (bool, error) {
	all, err := l.PS()
	if err != nil {
		return false, err
	}
	for _, p := range all {
		if p.Node == n.Name {
			return p.Agent != 0, nil
		}
	}
	return false, nil
}

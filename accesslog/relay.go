package accesslog

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"bramble/bus"
	"bramble/fault"
	"bramble/fleet"
)

// Fleet knows the nodes.
type Fleet interface {
	Select(selection string) ([]fleet.Node, error)
	Nodes() []fleet.Node
}

// Among are the nodes that a site's or a front's selection means by now and that another one, just given, names too; "" names all of
// them. There may be none.
func Among(f Fleet, selection, named string) ([]fleet.Node, error) {
	nodes := fleet.Meant(selection, f.Nodes())
	if named == "" {
		return nodes, nil
	}
	others, err := f.Select(named)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(nodes), func(n fleet.Node) bool {
		return !slices.ContainsFunc(others, func(m fleet.Node) bool { return m.Name == n.Name })
	}), nil
}

// answersWithin is how long a node may take to be heard: those who read wait for one that hangs no longer.
const answersWithin = 5 * time.Second

// Relay sends what nodes have logged, as it comes: Lines, each of one node. A room answers for the log on nodes.
func Relay(ctx context.Context, conn *bus.Conn, room string, nodes []fleet.Node, req Request, out *bus.Stream) error {
	pieces := make(chan Lines)
	group, ctx := errgroup.WithContext(ctx)
	asking, asked := errgroup.WithContext(ctx)
	for _, n := range nodes {
		asking.Go(func() error { ask(asked, conn, room, n, req, pieces); return nil })
	}
	group.Go(func() error { defer close(pieces); return asking.Wait() })
	group.Go(func() error {
		for p := range pieces {
			if err := out.SendJSON(p); err != nil {
				return err
			}
		}
		return nil
	})
	return group.Wait()
}

// ask passes on what one node has logged.
func ask(ctx context.Context, conn *bus.Conn, room string, n fleet.Node, req Request, to chan<- Lines) {
	send := func(l Lines) bool {
		l.Node = n.Name
		select {
		case to <- l:
			return true
		case <-ctx.Done():
			return false
		}
	}
	if n.State == fleet.Down {
		send(Lines{Fault: fault.New(fault.Unreachable, "down").Hint("bramble nodes")})
		return
	}
	in, err := conn.Open(ctx, bus.Node(room, n.Name, "log"), req)
	if err != nil {
		send(Lines{Fault: fault.Of(err)})
		return
	}
	defer in.Close()
	if !in.Answered(answersWithin) {
		send(Lines{Fault: fault.New(fault.Unreachable, "no answer").Hint("bramble nodes")})
		return
	}
	for text, err := range in.Messages() {
		if err != nil {
			send(Lines{Fault: fault.Of(err)})
			return
		}
		l := Lines{Text: text}
		if n, _ := fmt.Sscanf(string(text[:min(len(text), 40)]), leftOut, &l.Left); n == 1 {
			l.Text = nil
		}
		if !send(l) {
			return
		}
	}
}

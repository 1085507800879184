package front

import (
	"context"
	"iter"
	"time"

	"bramble/accesslog"
	"bramble/bus"
	"bramble/fault"
	"bramble/fleet"
)

// Client asks the head about fronts.
type Client struct{ Conn *bus.Conn }

// Up puts a front up, or changes one.
func (c Client) Up(ctx context.Context, f Front) (st Status, err error) {
	err = c.Conn.Call(ctx, "front.do.up", f, &st)
	return st, err
}

// Down takes a front away; "" is the only one. It returns its name.
func (c Client) Down(ctx context.Context, name string) (string, error) {
	var gone which
	err := c.Conn.Call(ctx, "front.do.down", which{name}, &gone)
	return gone.Name, err
}

// Change changes a member.
func (c Client) Change(ctx context.Context, change Change) (st Status, err error) {
	err = c.Conn.Call(ctx, "front.do.change", change, &st)
	return st, err
}

// Status is how fronts do: the one of that name, or all.
func (c Client) Status(ctx context.Context, name string) ([]Status, error) {
	var all statuses
	err := c.Conn.Call(ctx, "front.read.status", which{name}, &all)
	return all.Fronts, err
}

// Log yields what the nodes of a front have noted of visitors; with Follow it goes on.
func (c Client) Log(ctx context.Context, req accesslog.Request) iter.Seq2[accesslog.Lines, error] {
	return bus.Ask[accesslog.Lines](ctx, c.Conn, "front.do.log", req)
}

// watchEvery is how often somebody who waits looks.
const watchEvery = 200 * time.Millisecond

// Fronts can be asked how they do, and told to change members: those of a cluster, or one of this machine without a cluster.
type Fronts interface {
	Status(ctx context.Context, name string) ([]Status, error)
	Change(ctx context.Context, change Change) (Status, error)
}

// Await looks at a front until ok is content with it, and returns what it saw last.
func Await(ctx context.Context, fronts Fronts, name string, ok func(Status) bool) (Status, error) {
	for {
		all, err := fronts.Status(ctx, name)
		if err != nil {
			return Status{}, err
		}
		if len(all) == 1 && ok(all[0]) {
			return all[0], nil
		}
		select {
		case <-ctx.Done():
			if len(all) == 1 {
				return all[0], fault.New(fault.Interrupted, "stopped waiting for the front %s", name).Hint("bramble front status %s", name)
			}
			return Status{}, ctx.Err()
		case <-time.After(watchEvery):
		}
	}
}

// Await is Await with the cluster's fronts.
func (c Client) Await(ctx context.Context, name string, ok func(Status) bool) (Status, error) {
	return Await(ctx, c, name, ok)
}

// Settled reports whether each node of the front that is up does what is wanted, or has said why it cannot.
func (s Status) Settled() bool {
	for _, n := range s.Nodes {
		if n.State == fleet.Up && !n.Current && n.Error == "" {
			return false
		}
	}
	return true
}

// Taken reports whether a node has the address that the front's nodes share, or none of them can.
func (s Status) Taken() bool {
	able := false
	for _, n := range s.Nodes {
		if n.Has != "" {
			return true
		}
		able = able || n.State == fleet.Up && n.Error == ""
	}
	return !able
}

// Busy is how many requests a member is answering, on all nodes of the front that say so.
func (s Status) Busy(member string) (busy int64) {
	for _, n := range s.Nodes {
		for _, p := range n.Pools {
			for _, m := range p.Members {
				if m.Name == member {
					busy += m.Busy
				}
			}
		}
	}
	return busy
}

package accesslog

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bramble/bus"
	"bramble/bus/bustest"
	"bramble/fault"
	"bramble/fleet"
	"bramble/trust"
)

// Lines come at once from nodes that answer, and also later; one that hears and says nothing is named soon, and not waited for.
func TestRelay(t *testing.T) {
	for name, follow := range map[string]bool{"the last lines": false, "those that come": true} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { relayed(t, follow) }) })
	}
}

func relayed(t *testing.T, follow bool) {
	const later = 4 * bus.Lost
	b := bustest.Start(t)
	head, ann := b.Head(), b.Client("ann", trust.Operator)
	talks, hangs, refuses := b.Node("talks"), b.Node("hangs"), b.Node("refuses")
	ctx, stop := context.WithCancel(t.Context())
	nodes := []fleet.Node{{Name: "hangs"}, {Name: "talks"}, {Name: "gone", State: fleet.Down}, {Name: "refuses"}}
	answer := func(conn *bus.Conn, name string, serve func(context.Context, bus.Caller, Request, *bus.Stream) error) {
		if err := bus.HandleStream(ctx, conn, name, serve); err != nil {
			t.Fatal(err)
		}
		conn.Flush(ctx)
	}
	answer(talks, bus.Node("site", "talks", "log"), func(ctx context.Context, _ bus.Caller, req Request, out *bus.Stream) error {
		if req.Follow { // nothing was logged yet
			time.Sleep(later)
		}
		return out.Send([]byte("a visit\n"))
	})
	answer(refuses, bus.Node("site", "refuses", "log"), func(context.Context, bus.Caller, Request, *bus.Stream) error {
		return fault.New(fault.Unreachable, "its process does not answer").Hint("bramble front status")
	})
	hangs.Subscribe(ctx, bus.Node("site", "hangs", "log"), func(bus.Message) {})
	hangs.Flush(ctx)
	answer(head, "site.do.log", func(ctx context.Context, _ bus.Caller, req Request, out *bus.Stream) error {
		return Relay(ctx, head, "site", nodes, req, out)
	})
	begun := time.Now()
	var said []string
	for l, err := range bus.Ask[Lines](ctx, ann, "site.do.log", Request{Follow: follow}) {
		if err != nil {
			t.Fatal(err)
		}
		text := l.Node + ": " + string(l.Text)
		if l.Fault != nil {
			text += l.Fault.Text + ", try " + l.Fault.Try
		}
		due := map[string]time.Duration{"hangs": answersWithin, "talks": 0}[l.Node]
		if l.Node == "talks" && follow {
			due = later
		}
		if took := time.Since(begun); took < due || took > due+time.Second {
			t.Errorf("%s, after %s", text, took)
		}
		said = append(said, strings.TrimSpace(text))
	}
	slices.Sort(said)
	if want := []string{"gone: down, try bramble nodes", "hangs: no answer, try bramble nodes", "refuses: its process does not answer, try bramble front status", "talks: a visit"}; !slices.Equal(said, want) {
		t.Errorf("said\n%s", strings.Join(said, "\n"))
	}
	stop()
	b.StopAll(ann, talks, hangs, refuses, head)
}

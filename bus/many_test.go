package bus_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"bramble/bus"
	"bramble/bus/bustest"
	"bramble/fault"
)

// TestOpenMany has one node that answers at once, one that talks first, one that is silent and one that is not there.
func TestOpenMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bustest.Start(t)
		head := b.Head()
		conns := []*bus.Conn{head}
		defer func() { b.StopAll(conns...) }()
		cancelled := make(chan error, 1)
		answers := []func(context.Context, *bus.Stream) error{
			func(_ context.Context, s *bus.Stream) error { return s.SendLast([]byte("whole")) },
			func(_ context.Context, s *bus.Stream) error {
				s.Send([]byte("first"))
				time.Sleep(time.Minute)
				return s.SendLast([]byte("last"))
			},
			func(ctx context.Context, s *bus.Stream) error { <-ctx.Done(); cancelled <- ctx.Err(); return nil },
		}
		var subjects []string
		for i, name := range []string{"pi1", "pi2", "pi3", "pi4"} {
			subjects = append(subjects, bus.Node("fan", name, "run"))
			if i == len(answers) {
				break
			}
			node := b.Node(name)
			conns = append(conns, node)
			err := bus.HandleStream(t.Context(), node, subjects[i], func(ctx context.Context, _ bus.Caller, _ question, s *bus.Stream) error {
				return answers[i](ctx, s)
			})
			if err != nil {
				t.Fatal(err)
			}
			node.Flush(t.Context())
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		many, err := head.OpenMany(ctx, subjects, question{})
		if err != nil {
			t.Fatal(err)
		}
		var order []int
		for i, s := range many.Heard() {
			order = append(order, i)
			data, err := s.Recv()
			switch {
			case i == 0 && (string(data) != "whole" || !s.Over()), i == 1 && (string(data) != "first" || s.Over()),
				i == 2 && !fault.Is(err, fault.Interrupted), i == 3 && !fault.Is(err, fault.Unreachable):
				t.Errorf("node %d: %q, %v, over %v", i, data, err, s.Over())
			case i == 1:
				if data, err = s.Recv(); string(data) != "last" {
					t.Errorf("then %q, %v", data, err)
				}
				if _, err = s.Recv(); err != io.EOF {
					t.Errorf("after the last: %v", err)
				}
				cancel()
			}
		}
		if len(order) != 4 || order[3] != 2 {
			t.Errorf("heard in the order %v", order)
		}
		if err := <-cancelled; !errors.Is(err, context.Canceled) {
			t.Errorf("the silent one: %v", err)
		}
	})
}

package demo

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"bramble/fault"
	"bramble/front"
	"bramble/front/visitor"
	"bramble/term"
)

const (
	visitors     = 8
	answersAfter = 500 // of visitors, once the node is known to be down
)

// balance puts one address before the site of all nodes, and kills one of them while visitors come.
func (t *Tour) balance(ctx context.Context) error {
	t.title("One address stands before the nodes, and " + victim + " is killed while visitors come")
	members, at, err := t.members(ctx)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	command := "bramble front serve --listen " + l.Addr().String()
	for _, m := range members {
		command += " \\\n       --backend http://" + m.Address.String()
	}
	t.command(command)
	s := &front.Server{Spec: front.Spec{Pools: []front.Pool{{Members: members}}}, Log: slog.New(slog.DiscardHandler)}
	t.serve(ctx, s, l)
	v := &visitor.Crowd{At: l.Addr().String(), Path: "/page2", Many: visitors, Pause: time.Millisecond}
	v.Begin(ctx)
	err = t.lose(ctx, s, at, v)
	if wrong := v.End(); err == nil && v.Failed() > 0 {
		err = fault.New(fault.Failed, "%d of %d requests failed, the first one: %w", v.Failed(), v.Answers()+v.Failed(), wrong)
	}
	if err != nil {
		return err
	}
	t.say("%s requests of %d visitors, %d failed; the slowest took %s", term.Count(v.Answers()), visitors, v.Failed(), v.Worst().Round(time.Millisecond))
	return t.lab.Heal(ctx, victim)
}

// members are the nodes, as the front has them behind it, and which of them is the victim.
func (t *Tour) members(ctx context.Context) (members []front.Member, at int, err error) {
	at = -1
	for st, err := range t.cluster.Sites().Status(ctx, "opticks") {
		if err != nil {
			return nil, 0, err
		}
		address, err := netip.ParseAddrPort(st.Address)
		if err != nil {
			return nil, 0, fmt.Errorf("%s serves at %q: %w", st.Node, st.Address, err)
		}
		if st.Node == victim {
			at = len(members)
		}
		members = append(members, front.Member{Name: st.Node, Address: address})
	}
	if at < 0 {
		return nil, 0, fault.New(fault.Failed, "%s does not serve the site", victim)
	}
	return members, at, nil
}

// serve runs the front until the tour ends.
func (t *Tour) serve(ctx context.Context, s *front.Server, l net.Listener) {
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx, l) })
	t.front, t.close = l.Addr().String(), func() { stop(); running.Wait() }
}

// lose kills the victim once visitors have come, and lets some more come after the front has noticed.
func (t *Tour) lose(ctx context.Context, s *front.Server, at int, v *visitor.Crowd) error {
	p := term.NewProgress(ctx, t.Out)
	defer p.Stop()
	bar := p.Bar("answers", 3*answersAfter, term.Items)
	until := func(most int64, is func() bool) error {
		for begun := time.Now(); !is(); {
			if time.Since(begun) > time.Minute {
				return fault.New(fault.Failed, "the front did not notice that %s had died", victim)
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(10 * time.Millisecond):
				bar.Set(min(v.Answers(), most))
			}
		}
		return nil
	}
	more := func(most int64) error {
		before := v.Answers()
		return until(most, func() bool { return v.Answers() >= before+answersAfter })
	}
	if err := more(answersAfter); err != nil {
		return err
	}
	if err := t.lab.Kill(ctx, victim); err != nil {
		return err
	}
	if err := until(2*answersAfter, func() bool { return down(s, at) }); err != nil {
		return err
	}
	if err := more(3 * answersAfter); err != nil {
		return err
	}
	bar.Done("done")
	return nil
}

// down reports whether the front knows that a member is down.
func down(s *front.Server, at int) bool {
	all := s.Standing()
	return len(all) > 0 && all[0].Members[at].Health.Down
}

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"bramble/front"
	"bramble/front/visitor"
)

const (
	changeNodes    = 4
	changeVisitors = 128
	changePause    = 20 * time.Millisecond
	changeRate     = 5000 // requests a second that are wanted meanwhile
)

// change measures what visitors notice when a front of the cluster is given other settings again and again.
func (b *bench) change(ctx context.Context, s *section) error {
	s.title = "A front's settings change under load"
	s.how = fmt.Sprintf("A site on %d nodes, and on the head a front before it. While %d visitors ask, weights change, members are drained, disabled and let in again, another server is added and taken away, "+
		"and the front has another port besides, for %s: each change by the command line's own requests, and waited for until the front does it.", changeNodes, changeVisitors, b.outage)
	r, at, err := b.raiseSite(ctx, "change", changeNodes)
	if err != nil {
		return err
	}
	defer r.down(ctx)
	changing := &changing{fronts: r.cluster.Fronts, member: r.nodes[0].Name, front: front.Front{Name: "front", On: "role=head",
		Sites: []front.SiteRef{{Name: "bench"}}, Doors: front.Doors{Plain: []string{":80"}}}}
	if changing.extra, err = front.ParseBackend("http://" + at[0] + ",name=extra"); err != nil {
		return err
	}
	if err := changing.up(ctx); err != nil {
		return err
	}
	st, err := changing.fronts.Status(ctx, "front")
	if err != nil {
		return err
	}
	v := &visitor.Crowd{At: st[0].Nodes[0].Address + ":80", Path: "/" + pages[0].name, Many: changeVisitors, Pause: changePause}
	v.Begin(ctx)
	defer v.End()
	begun, changes := time.Now(), 0
	for ; time.Since(begun) < b.outage && ctx.Err() == nil; changes++ {
		if err := changing.next(ctx, changes); err != nil {
			return err
		}
	}
	took := time.Since(begun)
	first := v.End()
	rate := float64(v.Answers()) / took.Seconds()
	s.add(row{what: fmt.Sprintf("%d changes under %.0f requests a second", changes, rate), figure: fmt.Sprintf("%d of %d failed, the longest took %s", v.Failed(), v.Answers(), brief(v.Worst())),
		target: fmt.Sprintf("0 failed, under %d a second", changeRate), verdict: judge(v.Failed() == 0 && rate >= changeRate)})
	if first != nil {
		s.notes = append(s.notes, "The first failure: "+first.Error()+".")
	}
	return ctx.Err()
}

// changing is a front that is given other settings in turns.
type changing struct {
	fronts front.Client
	front  front.Front
	member string
	extra  front.Backend
}

// next makes one change, and waits until the front does it.
func (c *changing) next(ctx context.Context, n int) error {
	mode := func(m front.Mode) front.Setting { return front.Setting{Mode: &m} }
	weight := 1 + n%5
	settings := []front.Setting{{Weight: &weight}, mode(front.Draining), mode(front.Enabled), mode(front.Disabled), mode(front.Enabled)}
	switch k := n % (len(settings) + 4); {
	case k < len(settings):
		if _, err := c.fronts.Change(ctx, front.Change{Front: c.front.Name, Member: c.member, Setting: settings[k]}); err != nil {
			return err
		}
		return c.settled(ctx)
	case k == len(settings):
		c.front.Servers = []front.Backend{c.extra}
	case k == len(settings)+1:
		c.front.Doors.Plain = append(c.front.Doors.Plain, ":8081")
	case k == len(settings)+2:
		c.front.Doors.Plain = c.front.Doors.Plain[:1]
	default:
		c.front.Servers = nil
	}
	c.front.Doors.Plain = slices.Clone(c.front.Doors.Plain)
	return c.up(ctx)
}

func (c *changing) up(ctx context.Context) error {
	if _, err := c.fronts.Up(ctx, c.front); err != nil {
		return err
	}
	return c.settled(ctx)
}

func (c *changing) settled(ctx context.Context) error {
	st, err := c.fronts.Await(ctx, c.front.Name, front.Status.Settled)
	for _, n := range st.Nodes {
		if err == nil && n.Error != "" {
			err = errors.New(n.Error)
		}
	}
	return err
}

package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"bramble/fault"
	"bramble/front"
	"bramble/term"
)

type frontStatusCmd struct {
	Name        string `arg:"" optional:"" help:"Name of the front; all without."`
	controlFlag `embed:""`
	JSON        bool `help:"A JSON object per front: front is what it should do, nodes where visitors come in and how the members do as seen from there."`
}

func (frontStatusCmd) Examples() string {
	return "bramble front status\nbramble front status --control /run/front.sock      # of a front serve --control\nbramble front status --json | jq -r '.nodes[].pools[].members[] | [.name, .requests] | @tsv'\n"
}

func (c *frontStatusCmd) Run(e *env) error {
	fronts, done, err := c.fronts(e, c.Name)
	if err != nil {
		return err
	}
	defer done()
	all, err := fronts.Status(e.ctx, c.Name)
	if err != nil {
		return err
	}
	if c.JSON {
		for _, st := range all {
			if err := term.JSONLine(e.out.Stdout, st); err != nil {
				return err
			}
		}
		return nil
	}
	if len(all) == 0 {
		fmt.Fprintln(e.out.Stderr, "no fronts")
		fmt.Fprintln(e.out.Stderr, "try: bramble front up --site NAME")
		return nil
	}
	doors := term.NewTable(term.Column{Title: "FRONT"}, term.Column{Title: "NODE"}, term.Column{Title: "STATE"}, term.Column{Title: "VISITORS", Right: true, Priority: 3},
		term.Column{Title: "REQUESTS", Right: true, Priority: 2}, term.Column{Title: "AT", Min: 30}, term.Column{Title: "WHY", Priority: 1, Min: 12})
	members := term.NewTable(term.Column{Title: "FRONT"}, term.Column{Title: "FOR"}, term.Column{Title: "MEMBER"}, term.Column{Title: "STATE"},
		term.Column{Title: "SHARE", Right: true}, term.Column{Title: "BUSY", Right: true}, term.Column{Title: "REQUESTS", Right: true}, term.Column{Title: "FAILED", Right: true},
		term.Column{Title: "SENT", Right: true, Priority: 4}, term.Column{Title: "ANSWERS IN", Right: true, Priority: 3}, term.Column{Title: "SEEN BY", Priority: 2}, term.Column{Title: "WHY", Priority: 1, Min: 12})
	names := term.NewTable(term.Column{Title: "FRONT"}, term.Column{Title: "NAME"}, term.Column{Title: "CERTIFIED UNTIL"}, term.Column{Title: "ASKED FOR AGAIN"}, term.Column{Title: "WHY", Priority: 1})
	for _, st := range all {
		for _, c := range st.Certified {
			names.Row(st.Front.Name, c.Name, when(c.Until), when(c.Next), cmp.Or(clean(c.Why), "-"))
		}
		if len(st.Nodes) == 0 {
			doors.Row(st.Front.Name, "-", "nowhere", "0", "0", "-", "no node is "+clean(st.Front.On)+" now")
		}
		for _, n := range st.Nodes {
			doors.Row(st.Front.Name, n.Node, n.Word(), fmt.Sprint(n.Count.Open), fmt.Sprint(n.Count.Requests),
				cmp.Or(strings.Join(n.URLs(), " "), "-"), cmp.Or(clean(n.Error), "-"))
			for _, p := range n.Pools {
				for _, m := range p.Members {
					members.Row(st.Front.Name, p.For(), m.Name, m.Word(), fmt.Sprintf("%.0f%%", 100*m.Share), fmt.Sprint(m.Busy),
						fmt.Sprint(m.Requests), fmt.Sprint(m.Failures), term.Bytes(m.Bytes), m.AnswersIn(), n.Node, cmp.Or(clean(m.Health.Why), "-"))
				}
			}
		}
	}
	if err := doors.Write(e.out.Stdout); err != nil {
		return err
	}
	for _, more := range []*term.Table{members, names} {
		if more.Len() == 0 {
			continue
		}
		fmt.Fprintln(e.out.Stdout)
		if err := more.Write(e.out.Stdout); err != nil {
			return err
		}
	}
	return nil
}

type frontDownCmd struct {
	Name string `arg:"" optional:"" help:"Name of the front; not needed where there is one."`
}

func (frontDownCmd) Examples() string { return "bramble front down\n" }

func (c *frontDownCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	name, err := cl.Fronts.Down(e.ctx, c.Name)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.out.Stdout, "%s is taken down\n", name)
	return nil
}

// memberFlags name a member.
type memberFlags struct {
	Member      string `arg:"" help:"Name of a member: a node, or what front status calls it."`
	Front       string `help:"Name of the front; not needed where there is one." placeholder:"NAME"`
	controlFlag `embed:""`
}

// typed is a verb as it is typed for the same front.
func (m memberFlags) typed(verb string) string {
	switch {
	case m.Control != "":
		verb += " --control " + m.Control
	case m.Front != "" && strings.HasPrefix(verb, "status"):
		verb += " " + m.Front
	case m.Front != "":
		verb += " --front " + m.Front
	}
	return "bramble front " + verb
}

// change changes the member, and waits until the front's nodes do so.
func (m memberFlags) change(e *env, s front.Setting, said string) error {
	fronts, done, err := m.fronts(e, m.Front)
	if err != nil {
		return err
	}
	defer done()
	st, err := fronts.Change(e.ctx, front.Change{Front: m.Front, Member: m.Member, Setting: s})
	if err != nil {
		return err
	}
	name := st.Front.Name
	ctx, cancel := context.WithTimeout(e.ctx, 20*time.Second)
	defer cancel()
	if _, err = front.Await(ctx, fronts, name, front.Status.Settled); err != nil && e.ctx.Err() == nil {
		return fault.New(fault.Unreachable, "this is settled, but a node of the front %s has not said that it does it", name).Hint("%s", m.typed("status"))
	} else if err != nil {
		return err
	}
	fmt.Fprintf(e.out.Stdout, "%s: "+said+"\n", name, m.Member)
	return nil
}

type frontDrainCmd struct {
	memberFlags `embed:""`
	Wait        bool `help:"Stay until the last request that it is answering has ended."`
}

func (frontDrainCmd) Examples() string {
	return "bramble front drain node3 --wait\nbramble front drain 10.0.0.11:80 --wait --control /run/front.sock\n"
}

func (c *frontDrainCmd) Run(e *env) error {
	if err := c.change(e, mode(front.Draining), "no new visitors go to %s"); err != nil || !c.Wait {
		return err
	}
	fronts, done, err := c.fronts(e, c.Front)
	if err != nil {
		return err
	}
	defer done()
	said := int64(-1)
	st, err := c.await(e, fronts, func(st front.Status) bool {
		busy := st.Busy(c.Member)
		if busy != said && busy > 0 {
			fmt.Fprintf(e.out.Stderr, "%d requests are under way at %s\n", busy, c.Member)
		}
		said = busy
		return busy == 0
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(e.out.Stdout, "%s: nothing is under way at %s\n", st.Front.Name, c.Member)
	return nil
}

// await looks at the front of the member until ok is content.
func (m memberFlags) await(e *env, fronts front.Fronts, ok func(front.Status) bool) (front.Status, error) {
	st, err := front.Await(e.ctx, fronts, m.Front, ok)
	if e.ctx.Err() != nil {
		return st, fault.New(fault.Interrupted, "stopped waiting; %s stays drained", m.Member).Hint("%s", m.typed("enable "+m.Member))
	}
	return st, err
}

func mode(m front.Mode) front.Setting { return front.Setting{Mode: &m} }

type frontEnableCmd struct {
	memberFlags `embed:""`
}

func (frontEnableCmd) Examples() string { return "bramble front enable node3\n" }
func (c *frontEnableCmd) Run(e *env) error {
	return c.change(e, mode(front.Enabled), "visitors go to %s again")
}

type frontDisableCmd struct {
	memberFlags `embed:""`
}

func (frontDisableCmd) Examples() string { return "bramble front disable node3\n" }
func (c *frontDisableCmd) Run(e *env) error {
	return c.change(e, mode(front.Disabled), "nobody goes to %s any more")
}

type frontStopCmd struct {
	memberFlags `embed:""`
}

func (frontStopCmd) Examples() string { return "bramble front stop node3\n" }
func (c *frontStopCmd) Run(e *env) error {
	return c.change(e, mode(front.Stopped), "%s is stopped")
}

type frontWeightCmd struct {
	memberFlags `embed:""`
	Weight      int `arg:"" help:"From 1 to 100: twice the weight is twice the visitors."`
}

func (frontWeightCmd) Examples() string { return "bramble front weight node3 4\n" }
func (c *frontWeightCmd) Run(e *env) error {
	return c.change(e, front.Setting{Weight: &c.Weight}, fmt.Sprintf("%%s has the weight %d", c.Weight))
}

type frontRouteCmd struct {
	memberFlags `embed:""`
	Route       string `arg:"" help:"Letters, digits, - and _."`
}

func (frontRouteCmd) Examples() string { return "bramble front route node3 c\n" }
func (c *frontRouteCmd) Run(e *env) error {
	return c.change(e, front.Setting{Route: &c.Route}, "cookies call %s "+strings.ReplaceAll(c.Route, "%", "%%"))
}

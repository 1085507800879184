package cli

import (
	"fmt"

	"bramble/event"
	"bramble/fault"
	"bramble/term"
)

type eventsCmd struct {
	Follow bool   `short:"f" help:"Stay and show new ones."`
	Last   int    `short:"n" help:"How many of the newest." default:"50"`
	Room   string `help:"Only those of one room: fleet, fan, job …"`
	Node   string `env:"-" help:"Only those about one node."`
	User   string `env:"-" help:"Only what one person asked for."`
	JSON   bool   `help:"A JSON object per line."`
}

func (eventsCmd) Examples() string {
	return `bramble events -n 20
bramble events -f --node node3
`
}

func (c *eventsCmd) Run(e *env) error {
	if c.Last < 1 {
		return fault.New(fault.Misused, "--last takes a number from 1, not %d", c.Last).Hint("bramble events -n 20")
	}
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	s := e.out.Stdout
	for ev, err := range cl.Events.List(e.ctx, event.Filter{Limit: c.Last, Room: c.Room, Node: c.Node, User: c.User, Follow: c.Follow}) {
		if err != nil {
			return err
		}
		if c.JSON {
			if err := term.JSONLine(s, ev); err != nil {
				return err
			}
			continue
		}
		text := oneLine(ev.Text)
		if ev.Bad {
			text = s.Bad(text)
		}
		fmt.Fprintf(s, "%s  %-5s  %-8s %s\n", s.Dim(ev.Time.Local().Format("2006-01-02 15:04:05")), ev.Room, ev.User, text)
	}
	return nil
}

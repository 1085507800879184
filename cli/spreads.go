package cli

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"bramble/artefact"
	"bramble/fleet"
	"bramble/term"
)

type storeSpreadsCmd struct {
	Follow bool `short:"f" help:"Go on, and print each that has ended as it does."`
	JSON   bool `help:"A JSON object per spread; with --follow, again whenever it changes."`
}

func (storeSpreadsCmd) Examples() string {
	return "bramble store spreads\nbramble store spreads --follow\n"
}

func (c *storeSpreadsCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	b, stop := newBars(e)
	defer stop()
	if !c.Follow {
		b.progress = nil
	}
	t := spreadsTable()
	any, over := false, map[int64]bool{}
	for s, err := range (artefact.Copier{Conn: cl.Conn}).Spreads(e.ctx, artefact.SpreadsRequest{Follow: c.Follow}) {
		switch {
		case err != nil:
			return err
		case c.JSON:
			err = term.JSONLine(b.out.Stdout, s)
		case !c.Follow:
			t.Row(spreadCells(s)...)
		case s.Ended.IsZero():
			b.spread(s)
		case !over[s.ID]:
			over[s.ID] = true
			b.spread(s)
			err = endLine(b.out.Stdout, s)
		}
		if any = true; err != nil {
			return err
		}
	}
	if c.JSON {
		return nil
	}
	if !any && e.out.Stdout.IsTerminal() {
		fmt.Fprintln(e.out.Stderr, "Nothing is on its way, and nothing was in the last hour. try: bramble push FILE --on all --to /tmp/")
		return nil
	}
	return t.Write(b.out.Stdout)
}

func spreadsTable() *term.Table {
	return term.NewTable(term.Column{Title: "WHAT"}, term.Column{Title: "BY"}, term.Column{Title: "SINCE"}, term.Column{Title: "STATE"}, term.Column{Title: "NODES", Right: true},
		term.Column{Title: "DONE", Right: true}, term.Column{Title: "OF", Right: true}, term.Column{Title: "RATE", Right: true}, term.Column{Title: "LEFT", Right: true},
		term.Column{Title: "FAILED ON", Priority: 1})
}

func spreadCells(s artefact.Spread) []string {
	left, rate := "-", "-"
	if s.Left > 0 {
		left = term.Duration(time.Duration(s.Left * 1e9).Round(time.Second))
	}
	if s.Rate > 0 {
		rate = term.Rate(s.Rate)
	}
	return []string{spreadName(s), cmp.Or(s.User, "-"), when(s.Began), s.State(), fmt.Sprintf("%d/%d", s.Whole, s.Of()),
		term.Bytes(s.Done), term.Bytes(s.Total), rate, left, cmp.Or(fleet.Fold(s.Failures()), "-")}
}

func spreadName(s artefact.Spread) string { return string(s.Kind) + " " + clean(s.What) }

// spread moves a spread's bar.
func (b *bars) spread(s artefact.Spread) {
	if b.progress == nil {
		return
	}
	bar := b.bar(fmt.Sprintf("%s (%d)", spreadName(s), s.ID), term.Data)
	bar.Total(s.Total)
	bar.Set(s.Done)
	switch s.State() {
	case "done":
		bar.Done("done")
	case "failed":
		bar.Fail("failed")
	}
}

// endLine prints how a spread ended.
func endLine(out *term.Stream, s artefact.Spread) error {
	text := fmt.Sprintf("%s: %s on %d of %d nodes", spreadName(s), s.State(), s.Whole, s.Of())
	parts := []string{text}
	for _, why := range s.Reasons() {
		parts = append(parts, fleet.Fold(why.Nodes)+": "+clean(why.Error))
	}
	_, err := io.WriteString(out, strings.Join(parts, "; ")+"\n")
	return err
}

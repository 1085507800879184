package cli

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"bramble/artefact"
	"bramble/fault"
	"bramble/fleet"
	"bramble/term"
)

type storePutCmd struct {
	Name    string `arg:"" help:"The name to keep it under. What is there under that name goes once this is kept."`
	File    string `arg:"" help:"A file or a folder here; DIR/. is what is in DIR."`
	Copies  int    `help:"On how many nodes each file is kept whole: on different power and switch labels, where nodes have such. The head's own machine is taken only where there are too few others." default:"2"`
	On      string `help:"Which nodes may keep it (default all)." placeholder:"SEL"`
	Private bool   `help:"Only you and admins may have it; otherwise any operator may."`
	JSON    bool   `help:"A JSON object per line: kind (upload, nodes, progress, skipped, ended), and at last kept."`
}

func (storePutCmd) Examples() string {
	return `bramble store put photos-2026 photos/ --copies 2
bramble store put ledger ledger.db --copies 3 --private
`
}

func (c *storePutCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	b, stop := newBars(e)
	defer stop()
	s := &copyShow{bars: b}
	req := artefact.Put{Name: c.Name, Copies: c.Copies, On: c.On, Private: c.Private, Source: c.File}
	for ev, err := range cl.Durables().Put(e.ctx, req) {
		if err == nil && c.JSON {
			err = term.JSONLine(s.out.Stdout, ev)
		} else if err == nil {
			err = c.event(s, ev)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *storePutCmd) event(s *copyShow, ev artefact.PutEvent) error {
	if d := ev.Kept; d != nil {
		_, err := fmt.Fprintf(s.out.Stdout, "%s: %s, %s, kept %s by %s\n", d.Name, countFiles(d.Files), term.Bytes(d.Bytes), timesText(d.Copies), fleet.Fold(holders(*d)))
		return err
	}
	s.draw(ev.Event)
	switch {
	case ev.Kind == artefact.LeftOut:
		for _, skipped := range ev.Skipped {
			s.warn("", fmt.Sprintf("%s is left out: %s", clean(skipped.Path), clean(skipped.Why)))
		}
	case ev.Kind == artefact.Ended && !ev.End.OK():
		s.warn(ev.Node, clean(ev.End.Error)+"; another node takes its place")
	}
	return nil
}

func timesText(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}

func holders(d artefact.Durable) []string {
	names := make([]string, len(d.Ring))
	for i, h := range d.Ring {
		names[i] = h.Node
	}
	return names
}

type storeGetCmd struct {
	Name      string `arg:"" help:"What to have."`
	Dest      string `arg:"" optional:"" help:"Where it goes, as cp has it: into a folder, or under that name." default:"."`
	Overwrite bool   `help:"Replace files there that are different."`
}

func (storeGetCmd) Examples() string {
	return "bramble store get photos-2026 /mnt/photos/\nbramble store get ledger /tmp/ledger.db\n"
}

func (c *storeGetCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	p := term.NewProgress(e.ctx, e.out)
	defer p.Stop()
	var tell artefact.Progress
	if e.out.Stderr.CanRedraw() {
		bar := p.Bar(c.Name, 0, term.Data)
		tell = func(done, total int64) {
			bar.Total(total)
			bar.Set(done)
		}
	}
	d, err := cl.Durables().Get(e.ctx, c.Name, c.Dest, c.Overwrite, tell)
	if fault.Is(err, fault.Conflict) && !c.Overwrite {
		err = fault.Of(err).Hint("another place, or --overwrite")
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(p.Over(e.out).Stdout, "%s: %s, %s\n", d.Name, countFiles(d.Files), term.Bytes(d.Bytes))
	return nil
}

type storeLsCmd struct {
	JSON bool `help:"Print a JSON list."`
}

func (storeLsCmd) Examples() string { return "bramble store ls\n" }

func (c *storeLsCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	list, err := cl.Durables().List(e.ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return term.JSON(e.out.Stdout, append([]artefact.Durable{}, list...))
	}
	if len(list) == 0 && e.out.Stdout.IsTerminal() {
		fmt.Fprintln(e.out.Stderr, "Nothing is kept. try: bramble store put NAME FILE --copies 2")
		return nil
	}
	t := term.NewTable(term.Column{Title: "NAME"}, term.Column{Title: "OWNER"}, term.Column{Title: "FILES", Right: true}, term.Column{Title: "SIZE", Right: true},
		term.Column{Title: "COPIES", Right: true}, term.Column{Title: "SINCE"}, term.Column{Title: "KEPT BY"}, term.Column{Title: "FOR"})
	for _, d := range list {
		t.Row(d.Name, d.Owner, term.Count(int64(d.Files)), term.Bytes(d.Bytes), fmt.Sprint(d.Copies), moment(d.At), fleet.Fold(holders(d)), whose(d))
	}
	return t.Write(e.out.Stdout)
}

func whose(d artefact.Durable) string {
	if d.Private {
		return d.Owner
	}
	return "all"
}

type storeStatCmd struct {
	Name string `arg:"" help:"What to look at."`
	JSON bool   `help:"Print JSON: kept, and standing with its copies counted."`
}

func (storeStatCmd) Examples() string { return "bramble store stat photos-2026\n" }

func (c *storeStatCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	d, err := cl.Durables().Find(e.ctx, c.Name)
	if err != nil {
		return err
	}
	reports, err := cl.Durables().Doctor(e.ctx, c.Name)
	if err != nil || len(reports) == 0 || reports[0].Standing == nil {
		return cmp.Or(err, error(fault.New(fault.Failed, "the head did not count the copies of %s", c.Name)))
	}
	st, silent := *reports[0].Standing, reports[len(reports)-1].Silent
	if c.JSON {
		return term.JSON(e.out.Stdout, map[string]any{"kept": d, "standing": st, "silent": append([]string{}, silent...)})
	}
	out := e.out.Stdout
	line := func(name, text string) { fmt.Fprintf(out, "%-8s %s\n", name, text) }
	line("name", d.Name)
	line("owner", d.Owner+", for "+whose(d))
	line("files", fmt.Sprintf("%s, %s", term.Count(int64(d.Files)), term.Bytes(d.Bytes)))
	line("copies", fmt.Sprintf("%d of each; %s", d.Copies, standingText(st)))
	line("kept by", fleet.Fold(holders(d)))
	if len(silent) > 0 {
		line("silent", fleet.Fold(silent))
	}
	line("may be", "on "+cmp.Or(d.On, "all"))
	line("since", moment(d.At))
	if d.Ref != "" {
		line("tree", string(d.Ref))
	}
	return nil
}

// standingText is how the copies are.
func standingText(s artefact.Standing) string {
	switch {
	case s.Lost > 0:
		return fmt.Sprintf("%d of %d blobs are nowhere that answers", s.Lost, s.Blobs)
	case s.Thin > 0:
		return fmt.Sprintf("%d of %d blobs have fewer, %d at least", s.Thin, s.Blobs, s.Least)
	}
	return "all are there"
}

type storeRmCmd struct {
	Name []string `arg:"" help:"What to keep no longer. Only its owner and admins may."`
}

func (storeRmCmd) Examples() string { return "bramble store rm photos-2026\n" }

func (c *storeRmCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	for _, name := range c.Name {
		if err := cl.Durables().Remove(e.ctx, name); err != nil {
			return err
		}
		fmt.Fprintf(e.out.Stdout, "%s is not kept any more\n", name)
	}
	return nil
}

type storeDoctorCmd struct {
	JSON bool `help:"Print a JSON list."`
}

func (storeDoctorCmd) Examples() string { return "bramble store doctor\n" }

func (c *storeDoctorCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	reports, err := cl.Durables().Doctor(e.ctx, "")
	if err != nil {
		return err
	}
	if c.JSON {
		return term.JSON(e.out.Stdout, append([]artefact.Report{}, reports...))
	}
	out, ill, count := e.out.Stdout, 0, 0
	for _, r := range reports {
		if r.Standing != nil {
			if count++; r.Standing.Thin > 0 {
				ill++
				fmt.Fprintf(out, "%s: %d copies wanted; %s\n", r.Standing.Name, r.Standing.Copies, out.Warn(standingText(*r.Standing)))
			}
			continue
		}
		c.rest(out, r)
	}
	if ill > 0 {
		return fault.New(fault.Partial, "%d of %d names have not all copies that they should have", ill, count).
			Hint("wait: copies are made where there is a node and room for them; bramble nodes, bramble store list, bramble events")
	}
	fmt.Fprintf(out, "%s kept, with all copies\n", countNames(count))
	return nil
}

// rest prints what is not about one name.
func (c *storeDoctorCmd) rest(out *term.Stream, r artefact.Report) {
	for _, risk := range r.Risks {
		fmt.Fprintf(out, "if %s died now: %s, %s, would be lost, of %s\n", out.Name(risk.Node), countBlobs(int64(risk.Blobs)), term.Bytes(risk.Bytes), strings.Join(risk.Names, ", "))
	}
	if len(r.Risks) == 0 {
		io.WriteString(out, "if any one node died now, nothing would be lost\n")
	}
	if len(r.Silent) > 0 {
		fmt.Fprintf(out, "%s: keeps something and does not answer\n", out.Bad(fleet.Fold(r.Silent)))
	}
	if len(r.Unknown) > 0 {
		fmt.Fprintf(out, "%s: holds what this head knows nothing of, and lets go of none of it (bramble store list --pins)\n", fleet.Fold(r.Unknown))
	}
}

func countNames(n int) string {
	if n == 1 {
		return "1 name is"
	}
	return fmt.Sprintf("%d names are", n)
}

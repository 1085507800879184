package cli

import (
	"cmp"
	"fmt"
	"iter"
	"strings"

	"bramble/artefact"
	"bramble/fault"
	"bramble/fleet"
	"bramble/term"
)

// showCopies prints what a push or a pull reports, and what became of it.
func showCopies(e *env, json bool, events iter.Seq2[artefact.Event, error]) error {
	b, stop := newBars(e)
	defer stop()
	s := &copyShow{bars: b, json: json}
	for ev, err := range events {
		if err != nil {
			return err
		}
		if err := s.event(ev); err != nil {
			return err
		}
	}
	return s.verdict()
}

// bars are where a long task shows how far it is, by name, and prints over them.
type bars struct {
	out      *term.Out
	progress *term.Progress // nil: no bars
	drawn    map[string]*term.Bar
}

// newBars draws none where nothing can be drawn.
func newBars(e *env) (b bars, stop func()) {
	p := term.NewProgress(e.ctx, e.out)
	b = bars{out: p.Over(e.out), drawn: map[string]*term.Bar{}}
	if e.out.Stderr.CanRedraw() {
		b.progress = p
	}
	return b, p.Stop
}

func (b *bars) bar(name string, unit term.Unit) *term.Bar {
	if b.drawn[name] == nil {
		b.drawn[name] = b.progress.Bar(name, 0, unit)
	}
	return b.drawn[name]
}

// copyShow shows a copy: bars where they can be drawn, and a line for each node's end.
type copyShow struct {
	bars
	json   bool
	steps  map[string]string // that nodes were last said to be at, where there are no bars
	names  []string
	ended  int
	failed []string
	lost   []string
}

func (s *copyShow) event(ev artefact.Event) error {
	s.draw(ev)
	if ev.Kind == artefact.Ended && !ev.End.OK() {
		s.failed = append(s.failed, ev.Node)
		if ev.End.Lost {
			s.lost = append(s.lost, ev.Node)
		}
	}
	if s.json {
		return term.JSONLine(s.out.Stdout, ev)
	}
	switch ev.Kind {
	case artefact.LeftOut:
		for _, skipped := range ev.Skipped {
			s.warn(ev.Node, fmt.Sprintf("%s is left out: %s", clean(skipped.Path), clean(skipped.Why)))
		}
	case artefact.Moving, artefact.Uploading:
		s.step(ev)
	case artefact.Ended:
		return s.end(ev.Node, *ev.End)
	}
	return nil
}

// doing is what a step is in words.
var doing = map[string]string{
	artefact.Fetching: "gets %s", artefact.Placing: "writes %s", artefact.Reading: "looks through its files", artefact.Sending: "gives %s", artefact.Receiving: "%s come from it",
}

// worthALine is from how many bytes on people hear what a node does with them before it has done it.
const worthALine = 1 << 20

// step prints a line when a node begins with what takes a while, and nobody sees its bar.
func (s *copyShow) step(ev artefact.Event) {
	if s.progress != nil || ev.Total < worthALine || ev.Done >= ev.Total || ev.Step == s.steps[ev.Node] && ev.Kind == artefact.Moving || s.steps[""] != "" && ev.Kind == artefact.Uploading {
		return
	}
	if s.steps == nil {
		s.steps = map[string]string{}
	}
	s.steps[ev.Node] = cmp.Or(ev.Step, string(ev.Kind))
	text := doing[ev.Step]
	if ev.Kind == artefact.Uploading {
		text = "%s go to the head"
	}
	if strings.Contains(text, "%s") {
		text = fmt.Sprintf(text, term.Bytes(ev.Total))
	}
	s.warn(ev.Node, text)
}

// end prints a node's line.
func (s *copyShow) end(node string, end artefact.End) error {
	if end.OK() {
		_, err := fmt.Fprintf(s.out.Stdout, "%s: %s, %s\n", s.out.Stdout.Name(node), countFiles(end.Files), term.Bytes(end.Bytes))
		return err
	}
	s.warn(node, s.out.Stderr.Bad(clean(end.Error)))
	if end.Try != "" && !end.Lost {
		s.warn(node, "try: "+clean(end.Try))
	}
	return nil
}

func (s *copyShow) warn(node, text string) {
	if node != "" {
		node = s.out.Stderr.Name(node) + ": "
	}
	fmt.Fprintf(s.out.Stderr, "%s%s\n", node, text)
}

func clean(text string) string { return string(term.Clean(nil, []byte(text), false)) }

func countFiles(n int) string {
	if n == 1 {
		return "1 file"
	}
	return term.Count(int64(n)) + " files"
}

// draw moves the bars: one for what leaves this machine, one for all nodes, one for each node at work.
func (s *copyShow) draw(ev artefact.Event) {
	if s.progress == nil {
		return
	}
	switch ev.Kind {
	case artefact.Uploading:
		bar := s.bar("upload", term.Data)
		bar.Total(ev.Total)
		bar.Set(ev.Done)
	case artefact.Chosen:
		s.names = append(s.names, ev.Names...)
		s.bar("nodes", term.Items).Total(int64(len(s.names)))
	case artefact.Moving:
		bar := s.bar(ev.Node, term.Data)
		bar.State(ev.Step)
		bar.Total(ev.Total)
		bar.Set(ev.Done)
	case artefact.Ended:
		s.ended++
		s.bar("nodes", term.Items).Set(int64(s.ended))
		if ev.End.OK() {
			s.bar(ev.Node, term.Data).Done("done")
		} else {
			s.bar(ev.Node, term.Data).Fail("failed")
		}
	}
}

func (s *copyShow) verdict() error {
	switch {
	case len(s.failed) == 0:
		return nil
	case len(s.lost) == len(s.failed):
		return fault.New(fault.Partial, "no answer from %s", fleet.Fold(s.lost)).Hint("bramble nodes, for their state")
	}
	return fault.New(fault.Partial, "failed on %s", fleet.Fold(s.failed)).Hint("the lines above say why; the same again with --on '%s' goes on there", fleet.Fold(s.failed))
}

package cli

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"bramble/fan"
	"bramble/fault"
	"bramble/fleet"
	"bramble/term"
)

type runCmd struct {
	On      string   `required:"" help:"Which nodes: all, node[01-16], model=pi3, a label; , or & and !." placeholder:"SEL"`
	Fanout  int      `short:"f" help:"At most so many nodes at the same time (default all)." placeholder:"N"`
	Timeout string   `help:"End the command on a node after so long, such as 30s." placeholder:"D"`
	Collate bool     `help:"Wait, then group the nodes that said the same."`
	Stdin   bool     `help:"Give what comes in here to every node."`
	JSON    bool     `help:"A JSON object per line: node, kind (stdout, stderr, ended), data or how it ended."`
	As      string   `help:"root: run as root (admins)." placeholder:"root"`
	Args    []string `arg:"" passthrough:"" help:"The command, after --. One word or quoted line goes through sh."`
}

func (runCmd) Examples() string {
	return `bramble run --on all -- uptime
bramble run --on 'node[1-4]' --collate -- uname -r
bramble run --on model=pi4 -- 'ls /tmp | wc -l'
`
}

func (c *runCmd) Run(e *env) error {
	req := fan.Request{On: c.On, Args: afterDashes(c.Args), Fanout: c.Fanout, As: c.As}
	if c.Timeout != "" {
		var err error
		if req.Timeout, err = term.ParseDuration(c.Timeout); err != nil {
			return err
		}
	}
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	var stdin io.Reader
	if c.Stdin {
		stdin = os.Stdin
	}
	show := c.shower(e)
	var failed, lost []string
	for ev, err := range cl.Fan.Run(e.ctx, req, stdin) {
		if err != nil {
			return err
		}
		if err := show.event(ev); err != nil {
			return err
		}
		if ev.Kind == fan.Ended && !ev.End.OK() {
			failed = append(failed, ev.Node)
			if ev.End.Lost {
				lost = append(lost, ev.Node)
			}
		}
	}
	return runVerdict(failed, lost, show.finish())
}

// afterDashes drops the -- that ends bramble's own words.
func afterDashes(args []string) []string {
	if len(args) > 0 && args[0] == "--" {
		return args[1:]
	}
	return args
}

func runVerdict(failed, lost []string, err error) error {
	if err != nil || len(failed) == 0 {
		return err
	}
	if len(lost) == len(failed) {
		return fault.New(fault.Partial, "no answer from %s", fleet.Fold(lost)).Hint("bramble nodes, for their state")
	}
	return fault.New(fault.Partial, "failed on %s", fleet.Fold(failed)).Hint("the lines above say why; bramble run --on '%s' … to repeat there", fleet.Fold(failed))
}

// shower prints a run's events in one of three ways.
type shower interface {
	event(fan.Event) error
	finish() error
}

func (c *runCmd) shower(e *env) shower {
	switch {
	case c.JSON:
		return jsonShower{e.out}
	case c.Collate:
		return &collateShower{out: e.out, said: map[string]*strings.Builder{}, ends: map[string]fan.End{}}
	}
	return &lineShower{out: e.out}
}

// lineShower prints each line under its node's name as it comes.
type lineShower struct {
	out   *term.Out
	lines *term.Prefixer
	names []string
}

func (s *lineShower) event(ev fan.Event) error {
	switch ev.Kind {
	case fan.Nodes:
		s.names = append(s.names, ev.Names...)
		return nil
	case fan.Stdout, fan.Stderr:
		stream := term.Stdout
		if ev.Kind == fan.Stderr {
			stream = term.Stderr
		}
		if err := s.prefixer().Write(ev.Node, stream, ev.Data); err != nil {
			return err
		}
		return s.prefixer().Flush()
	}
	if err := s.prefixer().End(ev.Node); err != nil {
		return err
	}
	if why := endText(ev.End); why != "" {
		if err := s.prefixer().Flush(); err != nil {
			return err
		}
		fmt.Fprintf(s.out.Stderr, "%s: %s\n", s.out.Stderr.Name(ev.Node), s.out.Stderr.Bad(why))
	}
	return s.prefixer().Flush()
}

func (s *lineShower) prefixer() *term.Prefixer {
	if s.lines == nil {
		s.lines = term.NewPrefixer(s.out, s.names)
	}
	return s.lines
}

func (s *lineShower) finish() error { return s.prefixer().Close() }

// endText says how a command failed; "" when it did not.
func endText(end fan.End) string {
	switch {
	case end.Error != "":
		return end.Error
	case end.Exit.Signal != "":
		return "ended by " + end.Exit.Signal
	case end.Exit.Code != 0:
		return fmt.Sprintf("exit status %d", end.Exit.Code)
	}
	return ""
}

// collateShower groups the nodes that said the same.
type collateShower struct {
	out  *term.Out
	said map[string]*strings.Builder
	ends map[string]fan.End
}

// maxCollate is how much of a node's output is kept for comparing.
const maxCollate = 4 << 20

func (s *collateShower) event(ev fan.Event) error {
	switch ev.Kind {
	case fan.Stdout, fan.Stderr:
		b := s.said[ev.Node]
		if b == nil {
			b = &strings.Builder{}
			s.said[ev.Node] = b
		}
		if b.Len() < maxCollate {
			b.Write(ev.Data)
		}
	case fan.Ended:
		s.ends[ev.Node] = ev.End
	}
	return nil
}

func (s *collateShower) finish() error {
	groups := map[string][]string{}
	for node, end := range s.ends {
		text := ""
		if b := s.said[node]; b != nil {
			text = b.String()
		}
		if why := endText(end); why != "" {
			if text != "" && !strings.HasSuffix(text, "\n") {
				text += "\n"
			}
			text += "(" + why + ")\n"
		}
		groups[text] = append(groups[text], node)
	}
	texts := make([]string, 0, len(groups))
	for text := range groups {
		texts = append(texts, text)
	}
	slices.SortFunc(texts, func(a, b string) int {
		return fleet.NaturalCompare(fleet.Natural(groups[a])[0], fleet.Natural(groups[b])[0])
	})
	out := s.out.Stdout
	for _, text := range texts {
		fmt.Fprintf(out, "%s\n", out.Bold(fleet.Fold(groups[text])+":"))
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(line, "\n")
			fmt.Fprintf(out, "%s\n", term.Clean(nil, []byte(line), out.IsTerminal()))
		}
	}
	return nil
}

// jsonShower prints a line of JSON per event.
type jsonShower struct{ out *term.Out }

func (s jsonShower) event(ev fan.Event) error {
	type line struct {
		Node string   `json:"node"`
		Kind string   `json:"kind"`
		Data string   `json:"data,omitempty"`
		End  *fan.End `json:"end,omitempty"`
	}
	switch ev.Kind {
	case fan.Stdout:
		return term.JSONLine(s.out.Stdout, line{Node: ev.Node, Kind: "stdout", Data: string(ev.Data)})
	case fan.Stderr:
		return term.JSONLine(s.out.Stdout, line{Node: ev.Node, Kind: "stderr", Data: string(ev.Data)})
	case fan.Ended:
		return term.JSONLine(s.out.Stdout, line{Node: ev.Node, Kind: "ended", End: &ev.End})
	}
	return nil
}

func (s jsonShower) finish() error { return nil }

package cli

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"bramble/fan"
	"bramble/fault"
	"bramble/fleet"
	"bramble/term"
)

type runCmd struct {
	On      string   `help:"Which nodes: all, node[01-16], model=pi3, a label; , or & and !." placeholder:"SEL"`
	Fanout  int      `short:"f" help:"At most so many nodes at the same time (default all)." placeholder:"N"`
	Timeout string   `help:"End the command on a node after so long, such as 30s." placeholder:"D"`
	Collate bool     `help:"Wait, then group the nodes that said the same."`
	Stdin   bool     `help:"Give what comes in here to every node."`
	JSON    bool     `help:"A JSON object per line: node, kind (stdout, stderr, ended), data (or bytes, base64), or how it ended."`
	As      string   `help:"root: run as root (admins)." placeholder:"root"`
	Args    []string `arg:"" optional:"" name:"command" passthrough:"" help:"The command, after --. One word or quoted line goes through sh."`
}

func (runCmd) Examples() string {
	return `bramble run --on all -- uptime
bramble run --on 'node[1-4]' --collate -- uname -r
bramble run --on model=pi4 -- 'ls /tmp | wc -l'
`
}

func (c *runCmd) Run(e *env) error {
	args, err := afterDashes("run", c.Args)
	switch {
	case err != nil:
		return err
	case c.On == "":
		return fault.New(fault.Misused, "run needs --on SEL: which nodes").Hint("bramble run --on all -- uptime")
	case len(args) == 0:
		return fault.New(fault.Misused, "run needs a command, after --").Hint("bramble run --on %s -- uptime", c.On)
	case c.Fanout < 0:
		return fault.New(fault.Misused, "--fanout takes a number of nodes, not %d", c.Fanout).Hint("-f 8, or without for all")
	}
	req := fan.Request{On: c.On, Args: args, Fanout: c.Fanout, As: c.As}
	if c.Timeout != "" {
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
	nodes := 0
	for ev, err := range cl.Fan.Run(e.ctx, req, stdin) {
		if err != nil {
			return err
		}
		if err := show.event(ev); err != nil {
			return err
		}
		nodes += len(ev.Names)
		if ev.Kind == fan.Ended && !ev.End.OK() {
			failed = append(failed, ev.Node)
			if ev.End.Lost {
				lost = append(lost, ev.Node)
			}
		}
	}
	return runVerdict(nodes, failed, lost, show.finish())
}

func runVerdict(nodes int, failed, lost []string, err error) error {
	if err != nil || len(failed) == 0 {
		return err
	}
	switch {
	case len(lost) == nodes:
		return fault.New(fault.Unreachable, "no answer from %s", fleet.Fold(lost)).Hint("bramble nodes, for their state")
	case len(lost) == len(failed):
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
		return jsonShower{e.out, map[string][]byte{}}
	case c.Collate:
		return &collateShower{out: e.out, said: map[string]*strings.Builder{}, cut: map[string]bool{}, ends: map[string]fan.End{}}
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
		return oneLine(end.Error)
	case end.Exit.Signal != "":
		return "ended by " + oneLine(end.Exit.Signal)
	case end.Exit.Code != 0:
		return fmt.Sprintf("exit status %d", end.Exit.Code)
	}
	return ""
}

// oneLine is text from a node as an operator's terminal may see it.
func oneLine(text string) string {
	return string(term.Clean(nil, []byte(strings.Join(strings.Fields(text), " ")), false))
}

// collateShower groups the nodes that said the same.
type collateShower struct {
	out  *term.Out
	said map[string]*strings.Builder
	cut  map[string]bool
	ends map[string]fan.End
	held int
}

// What is kept for comparing: bytes of one node, and of all.
const (
	maxCollate    = 4 << 20
	maxCollateAll = 256 << 20
)

func (s *collateShower) event(ev fan.Event) error {
	switch ev.Kind {
	case fan.Stdout, fan.Stderr:
		b := s.said[ev.Node]
		if b == nil {
			b = &strings.Builder{}
			s.said[ev.Node] = b
		}
		if b.Len()+len(ev.Data) > maxCollate || s.held+len(ev.Data) > maxCollateAll {
			s.cut[ev.Node] = true
			return nil
		}
		b.Write(ev.Data)
		s.held += len(ev.Data)
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
		why := endText(end)
		if s.cut[node] {
			why = strings.TrimPrefix(why+", cut here: more was written than can be compared", ", ")
		}
		if why != "" {
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
type jsonShower struct {
	out  *term.Out
	part map[string][]byte // by node and kind: the bytes of a character that was cut
}

// jsonEvent is a line of --json. Output that is no UTF-8 is in Bytes, as base64.
type jsonEvent struct {
	Node  string   `json:"node"`
	Kind  string   `json:"kind"`
	Data  string   `json:"data,omitempty"`
	Bytes []byte   `json:"bytes,omitempty"`
	End   *fan.End `json:"end,omitempty"`
}

func (s jsonShower) event(ev fan.Event) error {
	switch ev.Kind {
	case fan.Stdout:
		return s.output(ev.Node, "stdout", ev.Data)
	case fan.Stderr:
		return s.output(ev.Node, "stderr", ev.Data)
	case fan.Ended:
		for _, kind := range []string{"stdout", "stderr"} {
			if rest := s.part[ev.Node+" "+kind]; len(rest) > 0 {
				if err := term.JSONLine(s.out.Stdout, jsonEvent{Node: ev.Node, Kind: kind, Bytes: rest}); err != nil {
					return err
				}
			}
		}
		return term.JSONLine(s.out.Stdout, jsonEvent{Node: ev.Node, Kind: "ended", End: &ev.End})
	}
	return nil
}

func (s jsonShower) output(node, kind string, data []byte) error {
	key := node + " " + kind
	data = append(s.part[key], data...)
	whole := len(data) - cutRune(data)
	s.part[key] = append([]byte(nil), data[whole:]...)
	if data = data[:whole]; len(data) == 0 {
		return nil
	}
	line := jsonEvent{Node: node, Kind: kind, Data: string(data)}
	if !utf8.Valid(data) {
		line.Data, line.Bytes = "", data
	}
	return term.JSONLine(s.out.Stdout, line)
}

// cutRune is how many bytes at the end of data begin a character that goes on.
func cutRune(data []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(data); n++ {
		if tail := data[len(data)-n:]; utf8.RuneStart(tail[0]) {
			if tail[0] >= utf8.RuneSelf && !utf8.FullRune(tail) {
				return n
			}
			return 0
		}
	}
	return 0
}

func (s jsonShower) finish() error { return nil }

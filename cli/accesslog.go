package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"strings"

	"bramble/accesslog"
	"bramble/fault"
	"bramble/http1"
	"bramble/term"
)

// accessFlags say which lines of an access log are shown, and how.
type accessFlags struct {
	On     string `help:"Only these of its nodes: node[01-16], model=pi3, a label; , or & and !." placeholder:"SEL"`
	Last   int    `short:"n" aliases:"lines" help:"The last N visits of each node." default:"20" placeholder:"N"`
	Follow bool   `short:"f" help:"Go on with visits as they come, until Ctrl-C; also where none are kept."`
	JSON   bool   `help:"A JSON object per visit: node, time, remote, method, target, version, status, bytes, referer, agent."`
}

// request asks for the lines of a name.
func (c accessFlags) request(name string) accesslog.Request {
	return accesslog.Request{Name: name, On: c.On, Lines: c.Last, Follow: c.Follow}
}

// show prints lines as they come, each behind its node. Status is the command that says how the nodes do.
func (c accessFlags) show(e *env, lines iter.Seq2[accesslog.Lines, error], status string) error {
	show := term.NewPrefixer(e.out, nil)
	defer show.Close()
	var failed, broken []string
	came := map[string]bool{} // nodes
	for l, err := range lines {
		switch {
		case err != nil:
			return err
		case l.Fault != nil:
			if came[l.Node] {
				broken = append(broken, l.Node)
			} else {
				failed = append(failed, l.Node)
			}
			fmt.Fprintf(e.out.Stderr, "%s: %s\n", e.out.Stderr.Name(l.Node), e.out.Stderr.Bad(clean(l.Fault.Text)))
			if l.Fault.Try != "" {
				fmt.Fprintf(e.out.Stderr, "%s: try: %s\n", e.out.Stderr.Name(l.Node), clean(l.Fault.Try))
			}
			continue
		case l.Left > 0:
			came[l.Node] = true
			_, err = fmt.Fprintf(e.out.Stderr, "%s: %s lines left out: they came faster than they were read\n", e.out.Stderr.Name(l.Node), term.Count(int64(l.Left)))
		case c.JSON:
			came[l.Node] = true
			err = printVisits(e, l)
		default:
			came[l.Node] = true
			if err = show.Write(l.Node, term.Stdout, l.Text); err == nil {
				err = show.Flush()
			}
		}
		if err != nil {
			return err
		}
	}
	switch {
	case len(broken) > 0:
		return fault.New(fault.Partial, "the log of %s broke off", strings.Join(append(broken, failed...), ", ")).Hint("%s", status)
	case len(failed) > 0:
		return fault.New(fault.Partial, "nothing came from %s", strings.Join(failed, ", ")).Hint("%s", status)
	}
	return nil
}

// printVisits prints lines of a log as JSON, those that are JSON already with their node; a line that was cut off is none.
func printVisits(e *env, l accesslog.Lines) error {
	for line := range bytes.Lines(l.Text) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if rest, ok := bytes.CutPrefix(line, []byte("{")); ok {
			if node, err := json.Marshal(l.Node); err == nil && json.Valid(line) {
				line = append(append(append([]byte(`{"node":`), node...), ','), rest...)
				if _, err := e.out.Stdout.Write(append(line, '\n')); err != nil {
					return err
				}
			}
			continue
		}
		v, err := http1.ParseVisit(string(line))
		if err != nil {
			continue
		}
		if err := term.JSONLine(e.out.Stdout, accesslog.Visit{Node: l.Node, Visit: v}); err != nil {
			return err
		}
	}
	return nil
}

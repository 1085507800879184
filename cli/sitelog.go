package cli

import (
	"fmt"
	"strings"

	"bramble/fault"
	"bramble/http1"
	"bramble/site"
	"bramble/term"
)

type siteLogCmd struct {
	Name   string `arg:"" help:"Name of the site."`
	On     string `help:"Only these of its nodes: node[01-16], model=pi3, a label; , or & and !." placeholder:"SEL"`
	Last   int    `short:"n" help:"The last N visits of each node." default:"20" placeholder:"N"`
	Follow bool   `short:"f" help:"Go on with visits as they come, until Ctrl-C; also where none are kept."`
	JSON   bool   `help:"A JSON object per visit: node, time, remote, method, target, version, status, bytes, referer, agent."`
}

func (siteLogCmd) Examples() string {
	return `bramble site log blog -f                          # as visits come; nodes keep nothing
bramble site publish public/ --name blog --log    # from now on nodes keep them
bramble site log blog -n 1000 --json
bramble site log blog --on node1 -n 100000 | sed 's/^[^:]*: //' >access.log    # in the combined form, as Apache and nginx have it
`
}

func (c *siteLogCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	show := term.NewPrefixer(e.out, nil)
	defer show.Close()
	var failed, broken []string
	came := map[string]bool{} // nodes
	for l, err := range cl.Sites().Log(e.ctx, site.LogRequest{Name: c.Name, On: c.On, Lines: c.Last, Follow: c.Follow}) {
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
			err = c.objects(e, l)
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
		return fault.New(fault.Partial, "the log of %s broke off", strings.Join(append(broken, failed...), ", ")).Hint("bramble site status %s", c.Name)
	case len(failed) > 0:
		return fault.New(fault.Partial, "nothing came from %s", strings.Join(failed, ", ")).Hint("bramble site status %s", c.Name)
	}
	return nil
}

// objects prints lines of a log as JSON; a line that was cut off is none.
func (c *siteLogCmd) objects(e *env, l site.LogLines) error {
	for line := range strings.Lines(string(l.Text)) {
		v, err := http1.ParseVisit(strings.TrimSuffix(line, "\n"))
		if err != nil {
			continue
		}
		if err := term.JSONLine(e.out.Stdout, site.Visit{Node: l.Node, Visit: v}); err != nil {
			return err
		}
	}
	return nil
}

package cli

import (
	"context"
	"fmt"
	"os/exec"

	"bramble/agent"
	"bramble/bus"
	"bramble/fault"
	"bramble/job"
	"bramble/term"
	"bramble/web"
)

type uiCmd struct {
	Open bool `help:"Open it in this machine's browser."`
	JSON bool `help:"Print JSON."`
}

func (uiCmd) Examples() string {
	return `bramble ui          # prints a link that signs you in once
bramble ui --open
`
}

func (c *uiCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	link, err := web.Client{Conn: cl.Conn}.Link(e.ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return term.JSON(e.out.Stdout, link)
	}
	fmt.Fprintln(e.out.Stdout, link.URL)
	fmt.Fprintf(e.out.Stderr, "It signs you in once, as %s, within %s.\n", cl.Conn.Who(), term.Duration(web.LinkTTL))
	if c.Open {
		return browse(link.URL)
	}
	return nil
}

// browse opens a page in the person's browser.
func browse(url string) error {
	for _, name := range []string{"xdg-open", "open"} {
		if path, err := exec.LookPath(name); err == nil {
			if err := exec.Command(path, url).Run(); err != nil {
				return fault.New(fault.Failed, "%s could not open a browser: %w", name, err).Hint("open the link yourself")
			}
			return nil
		}
	}
	return fault.New(fault.NotFound, "this machine has no xdg-open to open a browser with").Hint("open the link yourself")
}

// serveWeb is the dashboard of a head.
func serveWeb(ctx context.Context, d agent.Dashboard) error {
	s := web.Server{Dashboard: d, Jobs: func(c *bus.Conn) web.Jobs { return job.Client{Conn: c} }}
	return s.Run(ctx)
}

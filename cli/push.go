package cli

import (
	"os"

	"bramble/artefact"
)

type pushCmd struct {
	On    string   `required:"" help:"Which nodes: all, node[01-16], model=pi3, a label; , or & and !." placeholder:"SEL"`
	To    string   `required:"" help:"Where it goes there, as cp has it: into a folder, or under that name. Relative to the home of your account there." placeholder:"PATH"`
	As    string   `help:"root: write as root (admins)." placeholder:"root"`
	JSON  bool     `help:"A JSON object per line: kind (upload, nodes, progress, skipped, ended), node, and what goes with it."`
	Files []string `arg:"" name:"file" help:"Files and folders; DIR/. is what is in DIR."`
}

func (pushCmd) Examples() string {
	return `bramble push data.csv --on all --to /tmp
bramble push site/. --on 'web[1-4]' --to /srv/www/ --as root
bramble push model.bin train.py --on model=pi4 --to run7/
`
}

func (c *pushCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	return showCopies(e, c.JSON, cl.Copies().Push(e.ctx, artefact.Push{On: c.On, To: c.To, As: c.As, Sources: c.Files}))
}

type porterCmd struct{}

func (porterCmd) Run(e *env) error { return artefact.RunPorter(e.ctx, os.Stdin) }

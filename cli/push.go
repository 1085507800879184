package cli

import (
	"os"

	"bramble/artefact"
	"bramble/fault"
	hostnet "bramble/host/net"
)

type pushCmd struct {
	On       string   `required:"" help:"Which nodes: all, node[01-16], model=pi3, a label; , or & and !." placeholder:"SEL"`
	To       string   `required:"" help:"Where it goes there, as cp has it: into a folder, or under that name. Relative to the home of your account there." placeholder:"PATH"`
	As       string   `help:"root: write as root (admins)." placeholder:"root"`
	Limit    string   `help:"No more than this over any link, such as 50mbit, so that others have the rest." placeholder:"RATE"`
	Courtesy bool     `help:"Leave visitors of the nodes' sites the room that they need on each link."`
	JSON     bool     `help:"A JSON object per line: kind (upload, nodes, progress, skipped, ended), node, and what goes with it."`
	Files    []string `arg:"" name:"file" help:"Files and folders; DIR/. is what is in DIR."`
}

func (pushCmd) Examples() string {
	return `bramble push data.csv --on all --to /tmp
bramble push site/. --on 'web[1-4]' --to /srv/www/ --as root
bramble push image.img --on all --to /srv/ --limit 50mbit
bramble push image.img --on all --to /srv/ --courtesy
bramble push model.bin train.py --on model=pi4 --to run7/
`
}

func (c *pushCmd) Run(e *env) error {
	limit, err := linkLimit(c.Limit)
	if err != nil {
		return err
	}
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	return showCopies(e, c.JSON, cl.Copies().Push(e.ctx, artefact.Push{On: c.On, To: c.To, As: c.As, Sources: c.Files, Limit: limit, Courtesy: c.Courtesy}))
}

// linkLimit is what --limit means, in bytes a second; 0 when it was not said.
func linkLimit(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	r, err := hostnet.ParseRate(text)
	if err != nil {
		return 0, fault.New(fault.Misused, "--limit %q is not the speed of a link", text).Hint("--limit 50mbit")
	}
	if int64(r)/8 < artefact.MinLimit {
		return 0, fault.New(fault.Misused, "--limit %s is too little to be of use", text).Hint("--limit 100kbit, or more")
	}
	return int64(r) / 8, nil
}

type porterCmd struct{}

func (porterCmd) Run(e *env) error { return artefact.RunPorter(e.ctx, os.Stdin) }

package cli

import "strings"

type frontLogCmd struct {
	Name        string `arg:"" optional:"" help:"Name of the front; not needed where there is one."`
	accessFlags `embed:""`
}

func (frontLogCmd) Examples() string {
	return `bramble front log -f                          # as visits come; nodes keep nothing
bramble front up --site blog --log            # from now on nodes keep them
bramble front log front -n 1000 --json
bramble front log front --on node1 -n 100000 | sed 's/^[^:]*: //' >access.log
`
}

func (c *frontLogCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	return c.show(e, cl.Fronts.Log(e.ctx, c.request(c.Name)), strings.TrimSpace("bramble front status "+c.Name))
}

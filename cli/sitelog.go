package cli

type siteLogCmd struct {
	Name        string `arg:"" help:"Name of the site."`
	accessFlags `embed:""`
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
	return c.show(e, cl.Sites().Log(e.ctx, c.request(c.Name)), "bramble site status "+c.Name)
}

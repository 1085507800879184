package cli

import (
	"context"

	"bramble/cluster"
	"bramble/demo"
	"bramble/web"
)

type demoCmd struct {
	State string `help:"Keep the cluster in this folder, so that every other verb can be tried on it." placeholder:"DIR"`
	Exit  bool   `help:"End after the tour; status 0 only if every result was right."`
}

func (demoCmd) Examples() string {
	return `bramble demo
bramble demo --state /tmp/demo      # then, in a second terminal: export BRAMBLE_CLUSTER=/tmp/demo
`
}

func (c *demoCmd) Run(e *env) error {
	t := demo.Tour{Out: e.out, Exit: c.Exit, Link: func(ctx context.Context, cl *cluster.Cluster) (string, error) {
		link, err := web.Client{Conn: cl.Conn}.Link(ctx)
		return link.URL, err
	}}
	if c.State != "" {
		t.State = absolute(c.State)
	}
	return t.Run(e.ctx)
}

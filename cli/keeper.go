package cli

import (
	"os"
	"path/filepath"

	"bramble/agent"
	"bramble/host"
	"bramble/keeper"
)

type keeperCmd struct {
	State string `required:"" help:"State folder."`
}

func (c *keeperCmd) Run(e *env) error {
	machine := host.NewReal(host.RealOptions{StateDir: c.State})
	defer machine.Close()
	l := agent.Layout(c.State)
	return keeper.Main(e.ctx, keeper.Options{Spool: l.Spool(), Socket: l.Socket(), Host: machine, Log: logger("info")}, os.Stdout)
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

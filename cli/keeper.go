package cli

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"time"

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
	defer settles()()
	return keeper.Main(e.ctx, keeper.Options{Spool: l.Spool(), Socket: l.Socket(), Host: machine, Log: logger("info")}, os.Stdout)
}

// restKeeper ends the keeper of an agent that was told to stop, unless it holds tasks: then it stays for the next agent.
func restKeeper(state string) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	k, err := keeper.Connect(ctx, agent.Layout(state).Socket())
	if err != nil {
		return
	}
	defer k.Close()
	if held, err := k.List(ctx); err == nil && len(held) == 0 {
		syscall.Kill(k.Pid(), syscall.SIGTERM)
	}
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

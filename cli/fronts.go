package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"bramble/agent"
	"bramble/front"
	"bramble/host"
)

// frontsCmd is the process of a node's fronts.
type frontsCmd struct {
	Dir  string `required:"" help:"Folder of the node's fronts."`
	Host string `help:"Address of ports for which none is said."`
}

func (c *frontsCmd) Run(e *env) error {
	p := front.Process{Dir: c.Dir, Host: c.Host, Version: e.version, Log: logger("info")}
	defer settles()()
	return p.Run(e.ctx)
}

// tellFronts says that fronts go on without the agent that ends here.
func (e *env) tellFronts(state string) {
	if pid := front.Carrier(filepath.Join(agent.Layout(state).Node(), "front")); pid > 0 {
		fmt.Fprintf(e.out.Stderr, "the fronts of this node go on by themselves, until bramble is started again or process %d is ended\n", pid)
	}
}

// startFronts starts that process.
func startFronts(dir, at string) (*os.Process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own program: %w", err)
	}
	return host.Detach(filepath.Join(dir, "log.txt"), exe, "fronts", "--dir", dir, "--host", at)
}

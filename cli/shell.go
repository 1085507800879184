package cli

import (
	"cmp"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	xterm "golang.org/x/term"

	"bramble/fan"
	"bramble/fault"
	"bramble/host"
)

type shellCmd struct {
	Node string   `arg:"" help:"Node to open a terminal on."`
	As   string   `help:"root: as root (admins)." placeholder:"root"`
	Args []string `arg:"" optional:"" passthrough:"" help:"A command instead of the login shell."`
}

func (shellCmd) Examples() string {
	return `bramble shell node3
bramble shell node3 -- htop
`
}

func (c *shellCmd) Run(e *env) error {
	stdin := int(os.Stdin.Fd())
	if !xterm.IsTerminal(stdin) {
		return fault.New(fault.Misused, "bramble shell needs a terminal").Hint("bramble run --on %s -- COMMAND", c.Node)
	}
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	cols, rows, err := xterm.GetSize(stdin)
	if err != nil {
		return fmt.Errorf("size of the terminal: %w", err)
	}
	sizes := make(chan host.Size, 1)
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	defer signal.Stop(changed)
	go func() {
		for range changed {
			if cols, rows, err := xterm.GetSize(stdin); err == nil {
				select {
				case sizes <- host.Size{Rows: uint16(rows), Cols: uint16(cols)}:
				default:
				}
			}
		}
	}()
	old, err := xterm.MakeRaw(stdin)
	if err != nil {
		return fmt.Errorf("raw terminal: %w", err)
	}
	end, err := cl.Fan.Shell(e.ctx, fan.ShellRequest{Node: c.Node, Args: afterDashes(c.Args), Term: cmp.Or(os.Getenv("TERM"), "xterm"),
		Size: host.Size{Rows: uint16(rows), Cols: uint16(cols)}, As: c.As}, os.Stdin, os.Stdout, sizes)
	xterm.Restore(stdin, old)
	switch {
	case err != nil:
		return err
	case end.Error != "":
		return fault.New(fault.Unreachable, "%s", end.Error).Hint("%s", cmp.Or(end.Try, "bramble nodes"))
	case end.Exit.Code != 0:
		return exitStatus(max(1, end.Exit.Code))
	}
	return nil
}

package cli

import (
	"cmp"
	"context"
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
	return `bramble shell node3           # Enter ~ . closes one that hangs
bramble shell node3 -- htop
`
}

func (c *shellCmd) Run(e *env) error {
	args, err := afterDashes("shell", c.Args)
	if err != nil {
		return err
	}
	stdin := int(os.Stdin.Fd())
	if !xterm.IsTerminal(stdin) {
		return fault.New(fault.Misused, "a shell needs a terminal").Hint("bramble run --on %s -- COMMAND", c.Node)
	}
	size, err := windowSize(stdin)
	if err != nil {
		return fmt.Errorf("size of the terminal: %w", err)
	}
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, hangUp := context.WithCancel(e.ctx)
	defer hangUp()
	before, err := xterm.MakeRaw(stdin)
	if err != nil {
		return fmt.Errorf("raw terminal: %w", err)
	}
	defer xterm.Restore(stdin, before) // a panic too leaves a terminal that can be used
	req := fan.ShellRequest{Node: c.Node, Args: args, Term: cmp.Or(os.Getenv("TERM"), "xterm"), Size: size, As: c.As}
	picture := &picture{Writer: os.Stdout}
	end, err := cl.Fan.Shell(ctx, req, &escape{Reader: os.Stdin, hangUp: hangUp, lineStart: true}, picture, windowSizes(ctx, stdin))
	xterm.Restore(stdin, before)
	if err != nil || end.Error != "" {
		picture.leave()
	}
	return c.verdict(e, ctx, end, err)
}

// verdict makes the program's exit status ours, as ssh does.
func (c *shellCmd) verdict(e *env, ctx context.Context, end fan.End, err error) error {
	switch {
	case err != nil && ctx.Err() != nil && e.ctx.Err() == nil: // ~.
		fmt.Fprintf(e.out.Stderr, "Terminal on %s closed.\n", c.Node)
		return exitStatus(1)
	case err != nil:
		return err
	case end.Lost:
		return fault.New(fault.Unreachable, "%s: %s", c.Node, oneLine(end.Error)).Hint("%s", cmp.Or(oneLine(end.Try), "bramble nodes"))
	case end.Error != "":
		return fault.New(fault.Failed, "%s: %s", c.Node, oneLine(end.Error)).Hint("%s", cmp.Or(oneLine(end.Try), "bramble nodes"))
	case end.Exit.Signal != "":
		return exitStatus(128 + int(host.SignalNumber(end.Exit.Signal)))
	case end.Exit.Code != 0:
		return exitStatus(end.Exit.Code)
	}
	return nil
}

func windowSize(fd int) (host.Size, error) {
	cols, rows, err := xterm.GetSize(fd)
	return host.Size{Rows: uint16(rows), Cols: uint16(cols)}, err
}

// windowSizes tells the window's newest size after each change, until ctx ends.
func windowSizes(ctx context.Context, fd int) <-chan host.Size {
	sizes := make(chan host.Size)
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	go func() {
		defer signal.Stop(changed)
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
			size, err := windowSize(fd)
			if err != nil {
				continue
			}
			select {
			case sizes <- size:
			case <-ctx.Done():
				return
			}
		}
	}()
	return sizes
}

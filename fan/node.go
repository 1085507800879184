package fan

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"

	"bramble/bus"
	"bramble/fault"
	"bramble/host"
)

// Accounts tells whose account a user's work runs as.
type Accounts interface {
	AccountFor(user string) string
	Account(name string) (host.Account, error)
}

// Node is the node's half: it starts commands and reports on them.
type Node struct {
	Conn     *bus.Conn
	Host     host.Host
	Accounts Accounts
	Log      *slog.Logger

	next atomic.Int64
}

// Run serves until ctx ends.
func (n *Node) Run(ctx context.Context) error {
	err := bus.HandleStream(ctx, n.Conn, bus.Node("fan", n.Conn.Who().Name, "run"), n.serve)
	if err == nil {
		<-ctx.Done()
	}
	return err
}

// serve runs one command; the stream's context ends when the caller gives it up.
func (n *Node) serve(ctx context.Context, _ bus.Caller, t task, s *bus.Stream) error {
	cmd, err := n.command(t)
	if err != nil {
		return err
	}
	var end End
	switch teller, ok := n.Host.(teller); {
	case t.TTY != nil:
		cmd.TTY = t.TTY
		end, err = n.terminal(ctx, cmd, s)
	case ok && !t.Stdin:
		end, err = n.told(ctx, t, cmd, s, teller)
	default:
		end, err = n.pipes(ctx, t, cmd, s)
	}
	if err != nil {
		return err
	}
	data, err := json.Marshal(end)
	if err != nil {
		return err
	}
	return s.SendLast(append([]byte{byte(Ended)}, data...))
}

func (n *Node) command(t task) (host.Command, error) {
	name := t.As
	if name == "" {
		name = n.Accounts.AccountFor(t.User)
	} else if os.Geteuid() != 0 {
		return host.Command{}, fault.New(fault.Denied, "the agent on %s does not run as root, so nothing can be run as root there", n.Conn.Who().Name).
			Hint("sudo bramble join … on that machine")
	}
	account := host.Account{Name: cmp.Or(os.Getenv("USER"), t.User), Home: os.Getenv("HOME"), Shell: os.Getenv("SHELL")}
	if name != "" {
		var err error
		if account, err = n.Accounts.Account(name); err != nil {
			return host.Command{}, err
		}
	}
	own := []string{"BRAMBLE_NODE=" + n.Conn.Who().Name, "BRAMBLE_USER=" + t.User}
	return host.Command{
		ID:   fmt.Sprintf("run.%d", n.next.Add(1)),
		Args: t.Args,
		Env:  environment(account.Env(), []string{"LANG=" + cmp.Or(os.Getenv("LANG"), "C.UTF-8")}, t.Env, own),
		Dir:  account.Home,
		User: name,
	}, nil
}

// home is where a command starts: the account's folder where there is one.
func home(dir string) string {
	if info, err := os.Stat(dir); dir != "" && err == nil && info.IsDir() {
		return dir
	}
	return "/"
}

// start tries the command itself, then as a line for sh.
func start(cmd host.Command, by func(host.Command) (host.Process, error)) (host.Process, error) {
	direct, shell := words(cmd.Args)
	if direct != nil {
		cmd.Args = direct
		p, err := by(cmd)
		if err == nil || shell == nil || !fault.Is(err, fault.NotFound) {
			return p, err
		}
	}
	cmd.Args = shell
	return by(cmd)
}

// loginShell is the account's shell, or sh where that is missing or lets nobody in.
func loginShell(env []string) string {
	for _, v := range env {
		shell, ok := strings.CutPrefix(v, "SHELL=")
		if !ok || strings.HasSuffix(shell, "/nologin") || strings.HasSuffix(shell, "/false") {
			continue
		}
		if _, err := os.Stat(shell); err == nil {
			return shell
		}
	}
	return "/bin/sh"
}

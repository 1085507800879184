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
	report := &reporter{to: s, together: t.Together}
	end, err := n.perform(ctx, t, report)
	if err != nil {
		return err
	}
	data, err := json.Marshal(end)
	if err != nil {
		return err
	}
	return report.last(data)
}

func (n *Node) perform(ctx context.Context, t task, report *reporter) (End, error) {
	user, account, err := n.account(t)
	if err != nil {
		return End{}, err
	}
	teller, ok := n.Host.(teller)
	if ok = ok && t.TTY == nil && !t.Stdin; ok {
		if exit, ok := atOnce(teller, t.Args); ok {
			return End{Exit: exit}, nil
		}
	}
	cmd := n.command(t, user, account)
	switch {
	case t.TTY != nil:
		return n.terminal(ctx, t, cmd, report)
	case ok:
		return n.told(ctx, t, cmd, report, teller)
	}
	return n.pipes(ctx, t, cmd, report)
}

// account is whom a command runs as; "" for the user is the agent's own account.
func (n *Node) account(t task) (user string, account host.Account, err error) {
	user = t.As
	if user == "" {
		user = n.Accounts.AccountFor(t.User)
	} else if os.Geteuid() != 0 {
		return "", account, fault.New(fault.Denied, "the agent on %s does not run as root, so nothing can be run as root there", n.Conn.Who().Name).
			Hint("sudo bramble join … on that machine")
	}
	if user == "" {
		return "", host.Account{Name: cmp.Or(os.Getenv("USER"), t.User), Home: os.Getenv("HOME"), Shell: os.Getenv("SHELL")}, nil
	}
	account, err = n.Accounts.Account(user)
	return user, account, err
}

func (n *Node) command(t task, user string, account host.Account) host.Command {
	own := []string{"BRAMBLE_NODE=" + n.Conn.Who().Name, "BRAMBLE_USER=" + t.User}
	return host.Command{
		ID:   fmt.Sprintf("run.%d", n.next.Add(1)),
		Args: t.Args,
		Env:  environment(account.Env(), []string{"LANG=" + cmp.Or(os.Getenv("LANG"), "C.UTF-8")}, t.Env, own),
		Dir:  account.Home,
		User: user,
	}
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

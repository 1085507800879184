package fan

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

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
	if t.TTY != nil {
		cmd.TTY = t.TTY
		end, err = n.terminal(ctx, cmd, s)
	} else {
		end, err = n.pipes(ctx, t, cmd, s)
	}
	if err != nil {
		return err
	}
	data, err := json.Marshal(end)
	if err != nil {
		return err
	}
	return s.Send(append([]byte{byte(Ended)}, data...))
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
	env := append(account.Env(), "LANG="+cmp.Or(os.Getenv("LANG"), "C.UTF-8"), "BRAMBLE_NODE="+n.Conn.Who().Name, "BRAMBLE_USER="+t.User)
	cmd := host.Command{
		ID:   fmt.Sprintf("run.%d", n.next.Add(1)),
		Args: t.Args,
		Env:  append(env, t.Env...),
		Dir:  home(account.Home),
		User: name,
	}
	return cmd, nil
}

// home is where a command starts: the account's folder where there is one.
func home(dir string) string {
	if info, err := os.Stat(dir); dir != "" && err == nil && info.IsDir() {
		return dir
	}
	return "/"
}

// start tries the command itself, then as a line for sh.
func (n *Node) start(cmd host.Command) (host.Process, error) {
	direct, shell := words(cmd.Args)
	if direct != nil {
		cmd.Args = direct
		p, err := n.Host.Start(cmd)
		if err == nil || shell == nil || !fault.Is(err, fault.NotFound) {
			return p, err
		}
	}
	cmd.Args = shell
	return n.Host.Start(cmd)
}

// pipes runs a command with its output in two pipes.
func (n *Node) pipes(ctx context.Context, t task, cmd host.Command, s *bus.Stream) (End, error) {
	outR, outW, err := os.Pipe()
	if err != nil {
		return End{}, err
	}
	defer outR.Close()
	errR, errW, err := os.Pipe()
	if err != nil {
		outW.Close()
		return End{}, err
	}
	defer errR.Close()
	var stdin *os.File // the writing end
	if t.Stdin {
		r, w, err := os.Pipe()
		if err != nil {
			outW.Close()
			errW.Close()
			return End{}, err
		}
		defer w.Close()
		defer r.Close()
		cmd.Stdin, stdin = r, w
	}
	cmd.Stdout, cmd.Stderr = outW, errW
	p, err := n.start(cmd)
	outW.Close()
	errW.Close()
	if err != nil {
		return End{}, err
	}
	if stdin != nil {
		cmd.Stdin.Close()
		go feedProcess(stdin, s) // ends with the stream, which ends when this handler returns
	}
	var readers sync.WaitGroup
	readers.Go(func() { forward(s, Stdout, outR) })
	readers.Go(func() { forward(s, Stderr, errR) })
	end := wait(ctx, p, t.Timeout)
	// What was written is in the pipes already; a daemon that keeps them open is not waited for.
	drain := time.Now().Add(250 * time.Millisecond)
	outR.SetReadDeadline(drain)
	errR.SetReadDeadline(drain)
	readers.Wait()
	return end, nil
}

// feedProcess writes what the caller sends to the command.
func feedProcess(to *os.File, s *bus.Stream) {
	defer to.Close()
	for data, err := range s.Messages() {
		if err != nil {
			return
		}
		if _, err := to.Write(data); err != nil {
			return
		}
	}
}

// forward sends what is read as frames of the kind. Once the caller has gone it only reads on, so that the command does not block.
func forward(s *bus.Stream, kind Kind, r io.Reader) {
	buf := make([]byte, 1, 32<<10)
	buf[0] = byte(kind)
	gone := false
	for {
		k, err := r.Read(buf[1:cap(buf)])
		if k > 0 && !gone {
			gone = s.Send(append([]byte(nil), buf[:k+1]...)) != nil
		}
		if err != nil {
			return
		}
	}
}

// wait returns when the command has ended: by itself, at its time limit, or because the caller gave it up.
func wait(ctx context.Context, p host.Process, timeout time.Duration) End {
	exited := make(chan host.Exit, 1)
	go func() { exited <- p.Wait() }()
	var limit <-chan time.Time
	if timeout > 0 {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		limit = timer.C
	}
	var end End
	select {
	case end.Exit = <-exited:
		return end
	case <-limit:
		end.Timeout = true
		end.Error = fmt.Sprintf("still running after %s, ended", timeout)
	case <-ctx.Done():
	}
	p.Signal(syscall.SIGTERM)
	select {
	case end.Exit = <-exited:
		p.Kill()
	case <-time.After(Grace):
		p.Kill()
		end.Exit = <-exited
	}
	return end
}

// terminal runs a command on a terminal: messages from the caller are 'i' and input, or 'r' and a size.
func (n *Node) terminal(ctx context.Context, cmd host.Command, s *bus.Stream) (End, error) {
	if len(cmd.Args) == 0 {
		cmd.Args = []string{loginShell(cmd.Env), "-l"}
	}
	p, err := n.Host.Start(cmd)
	if err != nil {
		return End{}, err
	}
	tty := p.Terminal()
	go func() {
		for data, err := range s.Messages() {
			if err != nil || len(data) == 0 {
				return
			}
			switch data[0] {
			case 'i':
				tty.Write(data[1:])
			case 'r':
				var size host.Size
				if json.Unmarshal(data[1:], &size) == nil {
					p.Resize(size)
				}
			}
		}
	}()
	var reader sync.WaitGroup
	reader.Go(func() { forward(s, Stdout, tty) })
	end := wait(ctx, p, 0)
	if closer, ok := tty.(io.Closer); ok {
		drained := make(chan struct{})
		go func() { reader.Wait(); close(drained) }()
		select {
		case <-drained:
		case <-time.After(250 * time.Millisecond):
		}
		closer.Close()
	}
	reader.Wait()
	return end, nil
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

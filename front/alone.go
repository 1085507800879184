package front

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"bramble/fault"
	"bramble/fleet"
)

// Alone lets whoever owns a front without a cluster look after it, over a socket of this machine.
type Alone struct {
	Server *Server
	Front  Front // what it should do; changes of members are the server's
	Plain  []net.Addr
	TLS    []net.Addr
	Log    *slog.Logger

	socket string
	l      *net.UnixListener
}

// Listen opens the socket, which is its owner's alone.
func (a *Alone) Listen(socket string) error {
	hint := "--control " + filepath.Join(os.TempDir(), "front.sock")
	info, err := os.Lstat(socket)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fault.New(fault.Failed, "cannot open the control socket: %w", err).Hint("%s", hint)
	case info.Mode().Type() != fs.ModeSocket:
		return fault.New(fault.Conflict, "%s is there, and is no socket", socket).Hint("%s", hint)
	default:
		if _, _, err := talkAt(socket, asked{Do: "look"}); !errors.Is(err, syscall.ECONNREFUSED) {
			return fault.New(fault.Conflict, "another process answers at %s", socket).Hint("bramble front status --control %s, or another --control", socket)
		}
	}
	if a.l, err = listenControl(socket); err != nil {
		return fault.New(fault.Failed, "cannot open the control socket %s: %w", socket, err).Hint("%s", hint)
	}
	a.socket = socket
	return nil
}

// Run answers until ctx ends, and takes the socket away.
func (a *Alone) Run(ctx context.Context) {
	defer os.Remove(a.socket)
	attend(ctx, a.l, func(conn *net.UnixConn, ask asked) bool {
		if err := answerWith(conn, a.answer(ask), nil); err != nil {
			a.Log.Warn("who asked does not hear", "error", err)
		}
		return false
	})
}

// answer answers a question.
func (a *Alone) answer(ask asked) (answer said) {
	switch ask.Do {
	case "change":
		if err := a.Server.Change(ask.Change.Member, ask.Change.Setting); err != nil {
			answer.Fault = fault.Of(err)
			return answer
		}
		a.Log.Info("a member is changed", "member", ask.Change.Member, "to", ask.Change.Setting.String())
	case "look":
	default:
		answer.Fault = fault.New(fault.Misused, "a front without a cluster does not do that")
		return answer
	}
	f := a.Front
	f.Name, f.Changed = strings.TrimSuffix(filepath.Base(a.socket), filepath.Ext(a.socket)), a.Server.Changed()
	host, _ := os.Hostname()
	n := OnNode{Node: cmp.Or(host, "localhost"), Address: "localhost", State: fleet.Up, Current: true,
		Carried: Carried{Pools: a.Server.Standing(), Count: a.Server.Counts()}}
	for _, at := range a.Plain {
		n.Plain = append(n.Plain, doorOf(at))
	}
	for _, at := range a.TLS {
		n.TLS = append(n.TLS, doorOf(at))
	}
	answer.Status = &Status{Front: f, Nodes: []OnNode{n}}
	return answer
}

// doorOf is an address that is listened on, as people say it.
func doorOf(at net.Addr) string {
	if a, ok := at.(*net.TCPAddr); ok && a.IP.IsUnspecified() {
		return ":" + strconv.Itoa(a.Port)
	}
	return at.String()
}

// Local are the fronts at a control socket of this machine: one.
type Local struct{ Socket string }

// Status is how the front does, whatever its name.
func (l Local) Status(_ context.Context, _ string) ([]Status, error) {
	st, err := l.ask(asked{Do: "look"})
	return []Status{st}, err
}

// Change changes a member until the front ends.
func (l Local) Change(_ context.Context, c Change) (Status, error) {
	return l.ask(asked{Do: "change", Change: c})
}

func (l Local) ask(ask asked) (Status, error) {
	answer, files, err := talkAt(l.Socket, ask)
	closeAll(files)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Status{}, fault.New(fault.NotFound, "there is no socket %s", l.Socket).Hint("bramble front serve … --control %s", l.Socket)
	case errors.Is(err, syscall.ECONNREFUSED):
		return Status{}, fault.New(fault.Unreachable, "no front answers at %s", l.Socket).Hint("bramble front serve … --control %s", l.Socket)
	case errors.Is(err, fs.ErrPermission):
		return Status{}, fault.New(fault.Denied, "%s is somebody else's", l.Socket).Hint("as whoever runs the front, such as root by sudo")
	case err != nil:
		return Status{}, fault.New(fault.Unreachable, "nobody answers properly at %s: %w", l.Socket, err).Hint("the socket of bramble front serve --control")
	case answer.Fault != nil:
		return Status{}, answer.Fault
	case answer.Status == nil:
		return Status{}, fault.New(fault.Misused, "at %s there is no front without a cluster", l.Socket).Hint("the socket of bramble front serve --control")
	}
	return *answer.Status, nil
}

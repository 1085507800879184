package keeper

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"bramble/fault"
	"bramble/host"
)

// How long Ensure waits, at first and at most, for a keeper that another agent is starting, or that is ending.
const (
	ensurePause    = 20 * time.Millisecond
	ensurePauseMax = 500 * time.Millisecond
)

// logTail is how many bytes of the log explain why a keeper did not start.
const logTail = 1 << 10

// Launch is how an agent starts its keeper when none answers.
type Launch struct {
	Socket string
	Log    string   // file that the keeper's log is appended to
	Exe    string   // the program, whose Args make it call Main with its standard output
	Args   []string // without the program's name; paths among them are absolute
	Env    []string // nil: this process's
}

// Ensure connects to the living keeper, or starts one, detached from this process, and waits until it answers.
// Two agents may do so at the same time: they get the same keeper. When ctx is done first the error says what
// was wrong last.
func Ensure(ctx context.Context, l Launch) (*Client, error) {
	for pause := ensurePause; ; pause = min(2*pause, ensurePauseMax) {
		c, err := Connect(ctx, l.Socket)
		if err == nil {
			return c, nil
		}
		child, err := l.start(ctx)
		if err != nil {
			return nil, err
		}
		if child != nil {
			if c, err = Connect(ctx, l.Socket); err == nil {
				return c.adopt(child), nil
			}
			child.Release()
		}
		select {
		case <-ctx.Done():
			return nil, fault.New(fault.Unreachable, "waiting for a keeper on %s: %w", l.Socket, ctx.Err()).Hint("tail %s", l.Log)
		case <-time.After(pause):
		}
	}
}

// adopt makes the client reap the process when its keeper is lost, if it is that one.
func (c *Client) adopt(child *os.Process) *Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	if child.Pid == c.Pid() {
		c.child = child
	}
	return c
}

// start starts a keeper and waits until it answers; nil when another one has the spool.
func (l Launch) start(ctx context.Context) (*os.Process, error) {
	log, err := os.OpenFile(l.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	from, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	said, out, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer said.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		out.Close()
		return nil, err
	}
	defer null.Close()
	child, err := os.StartProcess(l.Exe, append([]string{l.Exe}, l.Args...), &os.ProcAttr{
		Env:   l.environment(),
		Files: []*os.File{null, out, log},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	out.Close()
	if err != nil {
		return nil, fmt.Errorf("starting the keeper %s: %w", l.Exe, err)
	}
	return l.awaitReady(ctx, child, said, from)
}

// awaitReady waits for what the new keeper says; from is where its log begins.
func (l Launch) awaitReady(ctx context.Context, child *os.Process, said *os.File, from int64) (*os.Process, error) {
	defer context.AfterFunc(ctx, func() { said.Close() })()
	text, _ := io.ReadAll(said)
	if string(text) == ready || ctx.Err() != nil {
		return child, nil
	}
	child.Wait()
	if string(text) == taken {
		return nil, nil
	}
	return nil, fault.New(fault.Failed, "the keeper ended at once: %s", l.tail(from)).Hint("tail %s", l.Log)
}

// tail is the end of what was logged behind from.
func (l Launch) tail(from int64) string {
	data, err := os.ReadFile(l.Log)
	if err != nil || int64(len(data)) <= from {
		return "it said nothing"
	}
	data = data[from:]
	return strings.TrimSpace(string(data[max(0, len(data)-logTail):]))
}

// environment is what the keeper inherits.
func (l Launch) environment() []string {
	if l.Env == nil {
		return host.Heritage(os.Environ())
	}
	return host.Heritage(l.Env)
}

package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"bramble/fault"
	hostnet "bramble/host/net"
)

// child is an agent that this process started. It is reaped whenever it ends, and goes on when this process ends.
type child struct {
	node  string
	log   string
	pid   int
	ended chan struct{}
}

// start starts a node's agent, and returns once it is on its machine.
func (l *Lab) start(ctx context.Context, r *record, node, token string) (*child, error) {
	at := r.node(node)
	if err := os.MkdirAll(l.path(node), 0o755); err != nil {
		return nil, err
	}
	argv := append([]string{r.Exe}, agentArgs(r, node, l.path(node), token != "")...)
	m, err := l.machines(r)
	if err != nil {
		return nil, err
	}
	if n, ok := m.(*hostnet.Network); ok {
		entry, err := n.Entry(node, l.path(node, "machine"))
		if err != nil {
			return nil, err
		}
		entry.Keep = []string{l.path(node)}
		argv = entry.Argv(r.Exe, argv...)
	}
	c, err := l.fork(argv, node, token)
	if err != nil {
		return nil, err
	}
	at.Pid = c.pid
	return c, c.arrive(ctx, m)
}

func (l *Lab) fork(argv []string, node, token string) (*child, error) {
	log, err := os.OpenFile(l.Log(node), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := &exec.Cmd{Path: argv[0], Args: argv, Dir: l.path(node), Env: agentEnv(os.Environ(), l.path(node), token),
		Stdout: log, Stderr: log, SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the agent of %s: %w", node, err)
	}
	c := &child{node: node, log: log.Name(), pid: cmd.Process.Pid, ended: make(chan struct{})}
	go func() {
		cmd.Wait()
		close(c.ended)
	}()
	return c, nil
}

// arrive waits until the process can be found on its node, so that a fault which follows reaches it.
func (c *child) arrive(ctx context.Context, m machines) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		all, err := m.Processes()
		if err != nil || slices.Contains(all[c.node], c.pid) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.ended:
			return c.failed()
		case <-time.After(pause):
		}
	}
}

// failed is the error of an agent that ended by itself, with what it said last.
func (c *child) failed() error {
	return fault.New(fault.Failed, "the agent of %s ended at once; it said last:\n%s", c.node, lastLines(c.log, 8))
}

// lastLines is the end of a log, indented.
func lastLines(path string, n int) string {
	text, err := os.ReadFile(path)
	if err != nil || len(bytes.TrimSpace(text)) == 0 {
		return "  (nothing)"
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return "  " + strings.Join(lines[max(0, len(lines)-n):], "\n  ")
}

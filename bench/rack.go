package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"bramble/cluster"
	"bramble/fleet"
	"bramble/lab"
)

// downPatience is how long taking a cluster down may take, also after Ctrl-C.
const downPatience = time.Minute

// rack is a lab that is up, with a connection to its head.
type rack struct {
	*lab.Lab
	cluster *cluster.Cluster
	nodes   []lab.Node // without the head
	took    time.Duration
}

// raise makes a lab; without namespaces its nodes are processes on loopback.
func (b *bench) raise(ctx context.Context, name string, nodes int, namespaces bool) (*rack, error) {
	return b.raiseAs(ctx, name, lab.Options{Nodes: nodes, NoNetns: !namespaces})
}

// raiseAs makes a lab of the measured binary in a folder of that name.
func (b *bench) raiseAs(ctx context.Context, name string, o lab.Options) (*rack, error) {
	begun := time.Now()
	o.State, o.Exe = filepath.Join(b.dir, name), b.exe
	l, err := lab.Up(ctx, o)
	if err != nil {
		return nil, err
	}
	r := &rack{Lab: l, took: time.Since(begun)}
	if r.nodes, err = l.Nodes(); err == nil {
		r.nodes = slices.DeleteFunc(r.nodes, func(n lab.Node) bool { return n.Name == lab.Head })
		r.cluster, err = l.Cluster(ctx)
	}
	if err != nil {
		r.down(ctx)
		return nil, err
	}
	return r, nil
}

// down ends all of it, also when ctx has ended.
func (r *rack) down(ctx context.Context) error {
	if r.cluster != nil {
		r.cluster.Close()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), downPatience)
	defer cancel()
	return r.Lab.Down(ctx)
}

// revive starts a node that was killed, and waits until it is up.
func (r *rack) revive(ctx context.Context, name string) error {
	if err := r.Heal(ctx, name); err != nil {
		return err
	}
	for {
		if found, err := r.cluster.Fleet.Select(ctx, name); err != nil || found[0].State == fleet.Up {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (r *rack) names() []string {
	names := make([]string, len(r.nodes))
	for i, n := range r.nodes {
		names[i] = n.Name
	}
	return names
}

// head is the process id of the head's agent.
func (r *rack) head() (int, error) {
	all, err := r.PS()
	if err != nil {
		return 0, err
	}
	for _, p := range all {
		if p.Node == lab.Head && p.Agent != 0 {
			return p.Agent, nil
		}
	}
	return 0, errors.New("the head's process is not there")
}

// child is a program that runs until it is stopped.
type child struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner // of its standard output
	said  string         // file of its standard error
	end   syscall.Signal // what ends it
}

// start starts a program in a session of its own, so that Ctrl-C reaches only us, who end it.
func (b *bench) start(env []string, name string, args ...string) (*child, error) {
	said, err := os.CreateTemp(b.dir, filepath.Base(name)+"-*.log")
	if err != nil {
		return nil, err
	}
	defer said.Close()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &child{cmd: cmd, lines: bufio.NewScanner(out), said: said.Name(), end: syscall.SIGTERM}, nil
}

// await reads what the program says until a line contains the words.
func (c *child) await(ctx context.Context, words string) error {
	defer context.AfterFunc(ctx, func() { c.cmd.Process.Signal(c.end) })()
	for c.lines.Scan() {
		if strings.Contains(c.lines.Text(), words) {
			return ctx.Err()
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%s ended at once: %s", c.cmd.Path, c.last())
}

func (c *child) last() string {
	text, _ := os.ReadFile(c.said)
	return lastWords(string(text))
}

// tail is the last lines of what it said.
func (c *child) tail(lines int) string {
	text, _ := os.ReadFile(c.said)
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// stop ends the program, with SIGKILL if need be, and returns when it has ended.
func (c *child) stop() {
	c.cmd.Process.Signal(c.end)
	kill := time.AfterFunc(10*time.Second, func() { c.cmd.Process.Kill() })
	defer kill.Stop()
	for c.lines.Scan() { // until it has closed its output
	}
	c.cmd.Wait()
}

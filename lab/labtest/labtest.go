// Package labtest gives tests of the whole project a lab of real processes.
package labtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bramble/cluster"
	"bramble/fleet"
	"bramble/lab"
)

// Patience is how long a test waits for what has to come.
const Patience = time.Minute

// Lab is a lab that ends with its test.
type Lab struct {
	*lab.Lab
	t *testing.T
}

// Up makes a lab of n nodes and a head: with namespaces where there is root, unless an option says otherwise. When
// the test has failed, what the agents logged is shown at its end.
func Up(t *testing.T, n int, opts ...func(*lab.Options)) *Lab {
	t.Helper()
	if testing.Short() {
		t.Skip("short: a lab takes seconds; make test runs it")
	}
	o := lab.Options{State: filepath.Join(t.TempDir(), "lab"), Nodes: n, Exe: Binary(t),
		Say: func(node, what string) { t.Logf("%s: %s", node, what) }}
	for _, opt := range opts {
		opt(&o)
	}
	l, err := lab.Up(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { down(t, l) })
	return &Lab{l, t}
}

// Loopback is an option of Up: processes side by side, as without root.
func Loopback(o *lab.Options) { o.NoNetns = true }

func down(t *testing.T, l *lab.Lab) {
	if nodes, err := l.Nodes(); err == nil && t.Failed() {
		for _, n := range nodes {
			if text, _ := os.ReadFile(l.Log(n.Name)); len(text) > 0 {
				t.Logf("log of %s:\n%s", n.Name, text)
			}
		}
	}
	if err := l.Down(context.Background()); err != nil {
		t.Errorf("taking the lab down: %v", err)
	}
}

// Result is how a command ended.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Bramble runs the binary on the cluster in the state folder or client file.
func Bramble(t *testing.T, cluster string, args ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, Binary(t), args...)
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, &errs, append(os.Environ(), "BRAMBLE_CLUSTER="+cluster)
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended || ctx.Err() != nil {
		t.Fatalf("bramble %s: %v\n%s", strings.Join(args, " "), errors.Join(err, ctx.Err()), errs.String())
	}
	return Result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// Bramble runs the binary on this lab.
func (l *Lab) Bramble(args ...string) Result {
	l.t.Helper()
	return Bramble(l.t, l.State, args...)
}

// Must ends the test when the command failed, else returns what it printed.
func (l *Lab) Must(args ...string) string {
	l.t.Helper()
	r := l.Bramble(args...)
	if r.Code != 0 {
		l.t.Fatalf("bramble %s: exit status %d\n%s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// Connect opens an admin's connection that ends with the test.
func (l *Lab) Connect() *cluster.Cluster {
	l.t.Helper()
	c, err := l.Cluster(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(c.Close)
	return c
}

// Await waits until the head sees the nodes, a hostlist, in the state.
func (l *Lab) Await(nodes string, state fleet.State) {
	l.t.Helper()
	names, err := fleet.Expand(nodes)
	if err != nil {
		l.t.Fatal(err)
	}
	var last string
	Until(l.t, fmt.Sprintf("%s to be %s", nodes, state), func() bool {
		missing, err := l.notIn(names, state)
		last = fmt.Sprint(missing, err)
		return err == nil && len(missing) == 0
	}, func() string { return last })
}

// notIn lists the names that are in another state.
func (l *Lab) notIn(names []string, state fleet.State) ([]string, error) {
	c, err := l.Cluster(l.t.Context())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	nodes, err := c.Fleet.Nodes(l.t.Context())
	if err != nil {
		return nil, err
	}
	states := map[string]fleet.State{}
	for _, n := range nodes {
		states[n.Name] = n.State
	}
	var missing []string
	for _, name := range names {
		if states[name] != state {
			missing = append(missing, fmt.Sprintf("%s is %q", name, states[name]))
		}
	}
	return missing, nil
}

// Until waits for a condition; the test ends when it does not come. why, if given, says how it stood last.
func Until(t *testing.T, what string, is func() bool, why ...func() string) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	for !is() {
		if time.Now().After(deadline) {
			for _, f := range why {
				what += ": " + f()
			}
			t.Fatalf("waited %v for %s", Patience, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Binary is the path of the program under test: BRAMBLE_BIN, or one that is built once for all tests of this process.
func Binary(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("BRAMBLE_BIN"); path != "" {
		return path
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// binary is the one thing that tests of a process share.
var binary = sync.OnceValues(build)

const buildPrefix = "bramble-test-"

func build() (string, error) {
	removeOld()
	dir := filepath.Join(os.TempDir(), buildPrefix+strconv.Itoa(os.Getpid()))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "bramble")
	cmd := exec.Command("go", "build", "-o", path, "bramble")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building bramble: %w\n%s", err, out)
	}
	return path, nil
}

// removeOld removes what test processes that have ended left: none knows which of its tests is the last.
func removeOld() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), buildPrefix+"*"))
	for _, dir := range dirs {
		pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), buildPrefix))
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			os.RemoveAll(dir)
		}
	}
}

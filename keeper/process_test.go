package keeper_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bramble/fault"
	"bramble/keeper"
)

// launch is how to start this test binary as a keeper on a folder.
func launch(t testing.TB, dir string) keeper.Launch {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	socket := filepath.Join(dir, "sock")
	return keeper.Launch{
		Socket: socket,
		Log:    filepath.Join(dir, "keeper.log"),
		Exe:    exe,
		Args:   []string{"keeper", filepath.Join(dir, "spool"), socket},
	}
}

// ensure returns a client of the folder's keeper, which is told to stop when the test ends.
func ensure(t testing.TB, l keeper.Launch) *keeper.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := keeper.Ensure(ctx, l)
	must(t, err)
	t.Cleanup(func() {
		c.Close()
		stopKeeper(t, l)
		if t.Failed() {
			text, _ := os.ReadFile(l.Log)
			t.Logf("keeper.log:\n%s", text)
		}
	})
	return c
}

// stopKeeper stops the keeper that answers now, if one does: the number of one that ended may be another's.
func stopKeeper(t testing.TB, l keeper.Launch) {
	c, err := keeper.Connect(context.Background(), l.Socket)
	if err != nil {
		return
	}
	defer c.Close()
	must(t, syscall.Kill(c.Pid(), syscall.SIGTERM))
	until(t, "the keeper to end", func() bool { return !alive(strconv.Itoa(c.Pid())) })
}

// An agent that is replaced under running tasks gets their statuses and output.
func TestAgentIsReplacedUnderRunningTasks(t *testing.T) {
	dir := t.TempDir()
	l := launch(t, dir)
	first := ensure(t, l)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := first.Ended(ctx)
	must(t, err)
	fifo := filepath.Join(dir, "fifo")
	must(t, syscall.Mkfifo(fifo, 0o600))
	must(t, first.Start(t.Context(), []keeper.Task{sh("1", "echo before; cat "+fifo+"; exit 9"), sh("2", "yes | head -c 200000")}))
	cancel()
	must(t, first.Close())
	must(t, os.WriteFile(fifo, []byte("after\n"), 0))
	second := ensure(t, l)
	if second.Pid() != first.Pid() {
		t.Fatalf("another keeper: %d, %d", first.Pid(), second.Pid())
	}
	ended := collect(t, second, "1", "2")
	if s := ended["1"]; s.Exit.Code != 9 || string(s.SmallOut) != "before\nafter\n" {
		t.Errorf("%+v %+v %q", s, s.Exit, s.SmallOut)
	}
	if out := whole(t, second, "2", "stdout"); string(out) != strings.Repeat("y\n", 100_000) {
		t.Errorf("%d bytes, or others", len(out))
	}
	collect(t, second, "1", "2") // once more, until it is forgotten
}

func TestKeeperIsKilledUnderRunningTasks(t *testing.T) {
	dir := t.TempDir()
	l := launch(t, dir)
	c := ensure(t, l)
	must(t, c.Start(t.Context(), []keeper.Task{sh("done", "echo fine"), sh("gone", "true")}))
	collect(t, c, "done", "gone")
	must(t, c.Forget(t.Context(), []string{"gone"}))
	pids := filepath.Join(dir, "pids")
	script := "echo $$ >> " + pids + "; (setsid sleep 600 & echo $! >> " + pids + "); "
	must(t, c.Start(t.Context(), []keeper.Task{sh("1", script+"exec sleep 600"), sh("2", script+"yes | head -c 100000; exec sleep 600")}))
	until(t, "the tasks", func() bool {
		text, _ := os.ReadFile(pids)
		return bytes.Count(text, []byte("\n")) == 4 && len(whole(t, c, "2", "stdout")) == 100_000
	})
	batches, err := c.Ended(t.Context())
	must(t, err)
	must(t, syscall.Kill(c.Pid(), syscall.SIGKILL))
	for range batches { // ends with the keeper
	}
	if _, err := c.List(t.Context()); !fault.Is(err, fault.Unreachable) {
		t.Errorf("a dead keeper: %v", err)
	}
	next := ensure(t, l)
	ended := collect(t, next, "1", "2", "done")
	if len(ended) != 3 || string(ended["done"].SmallOut) != "fine\n" || ended["done"].Error != "" {
		t.Errorf("%+v", ended)
	}
	for _, id := range []string{"1", "2"} {
		if s := ended[id]; s.Error != keeper.Lost || s.Exit != nil || s.Running {
			t.Errorf("%+v", s)
		}
	}
	if out := whole(t, next, "2", "stdout"); string(out) != strings.Repeat("y\n", 50_000) {
		t.Errorf("%d bytes, or others", len(out))
	}
	text, _ := os.ReadFile(pids)
	for _, pid := range strings.Fields(string(text)) {
		if alive(pid) {
			t.Errorf("process %s is left", pid)
		}
	}
	must(t, next.Start(t.Context(), []keeper.Task{sh("1", "echo again")})) // known: left alone
	if s := collect(t, next, "1")["1"]; s.Error != keeper.Lost {
		t.Errorf("%+v", s)
	}
}

func TestKeeperIsToldToStop(t *testing.T) {
	l := launch(t, t.TempDir())
	c := ensure(t, l)
	deaf := sh("2", "trap '' TERM; echo deaf; while :; do sleep 0.01; done")
	deaf.Grace = 50 * time.Millisecond
	must(t, c.Start(t.Context(), []keeper.Task{sh("1", "trap 'echo saved; exit 85' TERM; echo up; while :; do sleep 0.01; done"), deaf}))
	until(t, "the traps", func() bool {
		return len(whole(t, c, "1", "stdout")) > 0 && len(whole(t, c, "2", "stdout")) > 0
	})
	must(t, syscall.Kill(c.Pid(), syscall.SIGTERM))
	until(t, "the keeper to end", func() bool { return !alive(strconv.Itoa(c.Pid())) })
	if _, err := os.Stat(l.Socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	ended := collect(t, ensure(t, l), "1", "2")
	if s := ended["1"]; s.Error != keeper.Stopped || s.Exit.Code != 85 || string(s.SmallOut) != "up\nsaved\n" {
		t.Errorf("%+v %+v %q", s, s.Exit, s.SmallOut)
	}
	if s := ended["2"]; s.Error != keeper.Stopped || s.Exit.Signal != "SIGKILL" || string(s.SmallOut) != "deaf\n" {
		t.Errorf("%+v %+v %q", s, s.Exit, s.SmallOut)
	}
}

func TestAgentsRaceForOneKeeper(t *testing.T) {
	l := launch(t, t.TempDir())
	must(t, os.WriteFile(l.Socket, nil, 0o600)) // as a crash leaves it
	clients := make([]*keeper.Client, 4)
	var racers sync.WaitGroup
	for i := range clients {
		racers.Go(func() { clients[i] = ensure(t, l) })
	}
	racers.Wait()
	for _, c := range clients {
		if c.Pid() != clients[0].Pid() {
			t.Errorf("keepers %d and %d", c.Pid(), clients[0].Pid())
		}
	}
	info, err := os.Stat(l.Socket)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %v", info.Mode())
	}
}

func TestEnsureTellsWhyAKeeperDoesNotStart(t *testing.T) {
	dir := t.TempDir()
	l := launch(t, dir)
	must(t, os.WriteFile(filepath.Join(dir, "spool"), nil, 0o600))
	_, err := keeper.Ensure(t.Context(), l)
	if err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("no folder: %v", err)
	}
	l.Exe = "/no/such/bramble"
	if _, err = keeper.Ensure(t.Context(), l); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no program: %v", err)
	}
}

func TestLongSocketPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 30))
	must(t, os.MkdirAll(dir, 0o700))
	run(t, ensure(t, launch(t, dir)), sh("1", "true"))
}

// No account can fill the machine with processes, whatever control groups there are.
func TestTasksHaveABoundOnProcesses(t *testing.T) {
	k := ensure(t, launch(t, t.TempDir()))
	run(t, k, sh("1", "grep 'Max processes' /proc/self/limits"))
	limits := strings.Fields(string(whole(t, k, "1", "stdout")))
	if len(limits) < 4 {
		t.Fatalf("the limits are %q", limits)
	}
	most, err := strconv.Atoi(limits[3]) // Max processes SOFT HARD processes: the hard one
	if os.Geteuid() == 0 && (err != nil || most > 16384) {
		t.Errorf("a task may have %s processes", limits[3])
	}
}

// An idle keeper is small, and small again after a burst.
func TestIdleKeeperIsSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("short: it takes seconds; make test runs it")
	}
	l := launch(t, t.TempDir())
	c := ensure(t, l)
	if underRace { // what the detector needs says nothing about the keeper
		burst(t, c, 500, 4)
		return
	}
	idle := anonymous(t, c.Pid())
	burst(t, c, 10_000, 4)
	const limit = 6 << 10 // half of what agent and keeper may have together
	var after int
	until(t, "the keeper to be small again", func() bool {
		after = anonymous(t, c.Pid())
		return after < limit
	})
	t.Logf("RssAnon: idle %d kB, after 10,000 tasks %d kB", idle, after)
	if idle > limit {
		t.Errorf("an idle keeper has %d kB", idle)
	}
}

// anonymous is a process's RssAnon in kB.
func anonymous(t testing.TB, pid int) int {
	t.Helper()
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if f := strings.Fields(lines.Text()); f[0] == "RssAnon:" {
			kb, err := strconv.Atoi(f[1])
			must(t, err)
			return kb
		}
	}
	t.Fatal("no RssAnon")
	return 0
}

// burst runs n tasks, so many at a time, and forgets them as they end.
func burst(t testing.TB, k keeper.Keeper, n, slots int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	batches, err := k.Ended(ctx)
	must(t, err)
	next := 0
	start := func(free int) {
		var tasks []keeper.Task
		for ; free > 0 && next < n; free-- {
			tasks = append(tasks, keeper.Task{ID: fmt.Sprint("burst.", next), Args: []string{"/bin/true"}})
			next++
		}
		must(t, k.Start(ctx, tasks))
	}
	start(slots)
	var done []string
	for ended := 0; ended < n; {
		batch, ok := <-batches
		if !ok {
			t.Fatal("the keeper was lost")
		}
		start(len(batch))
		ended += len(batch)
		for _, s := range batch {
			done = append(done, s.ID)
		}
		if len(done) >= 200 || ended == n {
			must(t, k.Forget(ctx, done))
			done = done[:0]
		}
	}
}

package keeper_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"bramble/fault"
	"bramble/keeper"
)

func TestEndsAsTheProgramEnded(t *testing.T) {
	each(t, func(t *testing.T, k keeper.Keeper, _ string) {
		s := run(t, k, sh("7.3.1", "echo out; echo err >&2; exit 3"))
		if s.Running || s.Exit == nil || s.Exit.Code != 3 || s.Error != "" || s.Pid == 0 || s.Ended.Before(s.Started) {
			t.Errorf("status %+v, exit %+v", s, s.Exit)
		}
		if string(s.SmallOut) != "out\n" || string(s.SmallErr) != "err\n" || s.Stdout != 4 || s.Stderr != 4 || s.Dropped != 0 {
			t.Errorf("output %q, %q in %+v", s.SmallOut, s.SmallErr, s)
		}
		if out, errs := whole(t, k, "7.3.1", "stdout"), whole(t, k, "7.3.1", "stderr"); string(out)+string(errs) != "out\nerr\n" {
			t.Errorf("Output read %q, %q", out, errs)
		}
		if b, err := k.Output(t.Context(), "7.3.1", "stderr", 1, 2); string(b) != "rr" || err != nil {
			t.Errorf("two bytes from 1: %q, %v", b, err)
		}
	})
}

func TestMissingProgramHasEnded(t *testing.T) {
	each(t, func(t *testing.T, k keeper.Keeper, _ string) {
		s := run(t, k, keeper.Task{ID: "1", Args: []string{"/no/such/program"}})
		if s.Running || s.Exit != nil || s.Error == "" || s.Ended.IsZero() {
			t.Errorf("status %+v", s)
		}
	})
}

func TestStartIsIdempotent(t *testing.T) {
	each(t, func(t *testing.T, k keeper.Keeper, _ string) {
		file := filepath.Join(t.TempDir(), "runs")
		task := sh("1", "echo x >> "+file)
		must(t, k.Start(t.Context(), []keeper.Task{task, task}))
		must(t, k.Start(t.Context(), []keeper.Task{task}))
		collect(t, k, "1")
		must(t, k.Start(t.Context(), []keeper.Task{task, sh("2", "true")}))
		collect(t, k, "1", "2")
		if text, _ := os.ReadFile(file); string(text) != "x\n" {
			t.Errorf("ran as %q", text)
		}
	})
}

func TestRefusals(t *testing.T) {
	each(t, func(t *testing.T, k keeper.Keeper, spool string) {
		ctx := t.Context()
		for _, id := range []string{"", ".", "..", "../x", "a/b", "A", "a_b", "-", "a\x00", strings.Repeat("1", 129)} {
			err := k.Start(ctx, []keeper.Task{sh("fine", "true"), sh(id, "true")})
			if !fault.Is(err, fault.Misused) {
				t.Errorf("id %q: %v", id, err)
			}
		}
		for _, task := range []keeper.Task{
			{ID: "1"},
			{ID: "1", Args: []string{"true"}, Cap: -1},
			{ID: "1", Args: []string{"true"}, Timeout: -1},
			{ID: "1", Args: []string{"true"}, Grace: -1},
		} {
			if err := k.Start(ctx, []keeper.Task{task}); !fault.Is(err, fault.Misused) {
				t.Errorf("%+v: %v", task, err)
			}
		}
		if list, err := k.List(ctx); len(list) != 0 || err != nil {
			t.Errorf("a refused start left %v, %v", list, err)
		}
		run(t, k, sh("1", "true"))
		for _, err := range []error{
			k.Signal(ctx, "none", "TERM"),
			func() error { _, err := k.Output(ctx, "none", "stdout", 0, 1); return err }(),
		} {
			if !fault.Is(err, fault.NotFound) {
				t.Errorf("unknown task: %v", err)
			}
		}
		for _, err := range []error{
			k.Signal(ctx, "1", "NONSENSE"),
			func() error { _, err := k.Output(ctx, "1", "stdlog", 0, 1); return err }(),
			func() error { _, err := k.Output(ctx, "1", "stdout", -1, 1); return err }(),
		} {
			if !fault.Is(err, fault.Misused) {
				t.Errorf("nonsense: %v", err)
			}
		}
	})
}

func TestSignal(t *testing.T) {
	each(t, func(t *testing.T, k keeper.Keeper, _ string) {
		ctx := t.Context()
		must(t, k.Start(ctx, []keeper.Task{sh("1", "trap 'echo usr; exit 4' USR1; echo up; while :; do sleep 0.01; done"), sh("2", "trap '' TERM; sleep 600")}))
		until(t, "the trap", func() bool { return len(whole(t, k, "1", "stdout")) > 0 })
		must(t, k.Signal(ctx, "1", "USR1"))
		must(t, k.Signal(ctx, "2", "KILL"))
		ended := collect(t, k, "1", "2")
		if s := ended["1"]; s.Exit.Code != 4 || string(s.SmallOut) != "up\nusr\n" {
			t.Errorf("USR1: %+v %+v %q", s, s.Exit, s.SmallOut)
		}
		if s := ended["2"]; s.Exit.Signal != "SIGKILL" || s.TimedOut {
			t.Errorf("KILL: %+v %+v", s, s.Exit)
		}
		must(t, k.Signal(ctx, "1", "SIGTERM"))
	})
}

func TestTimeout(t *testing.T) {
	each(t, func(t *testing.T, k keeper.Keeper, _ string) {
		polite, quick := sh("1", "exec sleep 600"), sh("2", "true")
		polite.Timeout, polite.Grace = 50*time.Millisecond, time.Hour
		quick.Timeout = time.Hour
		must(t, k.Start(t.Context(), []keeper.Task{polite, quick}))
		ended := collect(t, k, "1", "2")
		if s := ended["1"]; !s.TimedOut || s.Exit.Signal != "SIGTERM" {
			t.Errorf("polite: %+v %+v", s, s.Exit)
		}
		if s := ended["2"]; s.TimedOut || !s.Exit.OK() {
			t.Errorf("quick: %+v %+v", s, s.Exit)
		}
		for timeout, n := 50*time.Millisecond, 0; ; timeout, n = 2*timeout, n+1 {
			deaf := sh(fmt.Sprint("3.", n), "trap '' TERM; echo deaf; exec sleep 600")
			deaf.Timeout, deaf.Grace = timeout, 50*time.Millisecond
			s := run(t, k, deaf)
			if len(s.SmallOut) == 0 {
				continue // SIGTERM was faster than the trap
			}
			if !s.TimedOut || s.Exit.Signal != "SIGKILL" {
				t.Errorf("deaf: %+v %+v", s, s.Exit)
			}
			return
		}
	})
}

// A task's limit follows what is asked, while it waits as while it runs; one that is being ended stays so.
func TestLimit(t *testing.T) {
	each(t, func(t *testing.T, k keeper.Keeper, _ string) {
		l, ctx := k.(keeper.Limiter), t.Context()
		if !l.TakesLimits() {
			t.Fatal("it takes no limits")
		}
		cut, bare, deaf := sh("2", "exec sleep 600"), sh("3", "exec sleep 600"), sh("4", "trap 'echo asked' TERM; echo deaf; while :; do sleep 0.05; done")
		first, second := sh("5", "sleep 1"), sh("6", "exec sleep 600")
		cut.Timeout, deaf.Grace = time.Hour, 2*time.Second
		first.Lanes, second.Lanes = 1, 1
		must(t, k.Start(ctx, []keeper.Task{first, second, cut, bare, deaf}))
		must(t, l.Limit(ctx, []string{"2", "3", "6", "nothing"}, time.Millisecond))
		until(t, "the trap", func() bool { return strings.Contains(string(whole(t, k, "4", "stdout")), "deaf") })
		must(t, l.Limit(ctx, []string{"4"}, time.Millisecond))
		until(t, "its end to begin", func() bool { return strings.Contains(string(whole(t, k, "4", "stdout")), "asked") })
		must(t, l.Limit(ctx, []string{"4"}, 0))
		ended := collect(t, k, "2", "3", "4", "5", "6")
		for id, want := range map[string]string{"2": "SIGTERM", "3": "SIGTERM", "4": "SIGKILL", "5": "", "6": "SIGTERM"} {
			if s := ended[id]; s.Exit == nil || s.Exit.Signal != want || s.TimedOut != (want != "") {
				t.Errorf("%s: %+v %+v, want %q", id, s, s.Exit, want)
			}
		}
		spared := false
		for timeout := 250 * time.Millisecond; timeout < 20*time.Second && !spared; timeout *= 2 { // until we are faster than it
			long := sh(fmt.Sprint("7.", timeout.Milliseconds()), fmt.Sprintf("exec sleep %f", 2*timeout.Seconds()))
			long.Timeout = timeout
			must(t, k.Start(ctx, []keeper.Task{long}))
			must(t, l.Limit(ctx, []string{long.ID}, time.Hour))
			spared = !collect(t, k, long.ID)[long.ID].TimedOut
		}
		if !spared {
			t.Error("more time did not reach a task")
		}
		if err := l.Limit(ctx, []string{"1"}, -1); !fault.Is(err, fault.Misused) {
			t.Errorf("less than no time: %v", err)
		}
	})
}

// A descendant that keeps the pipe open ends with the task, and what is in the pipe is kept.
func TestDaemonsEndWithTheirTask(t *testing.T) {
	each(t, func(t *testing.T, k keeper.Keeper, _ string) {
		s := run(t, k, sh("1", "sleep 600 & echo $!; exit 0"))
		if !s.Exit.OK() {
			t.Errorf("%+v", s.Exit)
		}
		pid := strings.TrimSpace(string(s.SmallOut))
		until(t, "the daemon to end", func() bool { return !alive(pid) })
	})
}

// A process outside the tree that holds the pipe and goes on writing does not hang the task.
func TestPipeHeldFromOutside(t *testing.T) {
	k, _ := local(t, t.TempDir(), os.Stderr)
	fifo := filepath.Join(t.TempDir(), "go")
	must(t, k.Start(t.Context(), []keeper.Task{sh("1", "echo $$; mkfifo "+fifo+"; read x < "+fifo)}))
	var pid string
	until(t, "the task and its fifo", func() bool {
		pid = strings.TrimSpace(string(whole(t, k, "1", "stdout")))
		_, err := os.Stat(fifo)
		return pid != "" && err == nil
	})
	pipe, err := os.OpenFile("/proc/"+pid+"/fd/1", os.O_WRONLY, 0)
	must(t, err)
	defer pipe.Close()
	must(t, os.WriteFile(fifo, []byte("x\n"), 0))
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for block := make([]byte, 4096); err == nil; {
			_, err = pipe.Write(block)
		}
	}()
	if s := collect(t, k, "1")["1"]; !s.Exit.OK() || !strings.HasPrefix(string(whole(t, k, "1", "stdout")), pid+"\n") {
		t.Errorf("%+v", s)
	}
	<-stopped
}

func alive(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !bytes.Contains(stat, []byte(") Z "))
}

func TestForgetFreesTheDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("short: it takes seconds; make test runs it")
	}
	each(t, func(t *testing.T, k keeper.Keeper, spool string) {
		ctx := t.Context()
		var ids []string
		var tasks []keeper.Task
		for i := range 40 {
			ids = append(ids, fmt.Sprint("1.", i))
			tasks = append(tasks, sh(ids[i], "yes | head -c 300000; yes | head -c 100 >&2"))
		}
		must(t, k.Start(ctx, append(tasks, sh("2", "exec sleep 600"))))
		collect(t, k, ids...)
		if used := usage(spool); used < 40*300000 {
			t.Fatalf("%d bytes in the spool", used)
		}
		must(t, k.Forget(ctx, append(ids, "2", "unknown")))
		must(t, k.Forget(ctx, ids))
		list, err := k.List(ctx)
		must(t, err)
		if len(list) != 1 || list[0].ID != "2" {
			t.Errorf("left: %+v", list)
		}
		if used := usage(spool); used > 128<<10 {
			t.Errorf("%d bytes in the spool", used)
		}
		must(t, k.Signal(ctx, "2", "KILL"))
		collect(t, k, "2")
		must(t, k.Forget(ctx, []string{"2"}))
		until(t, "the journal to be cut", func() bool { return usage(spool) == int64(len("bramble spool 1\n")) })
	})
}

// usage is how many bytes the files of a spool hold.
func usage(spool string) (n int64) {
	for _, pattern := range []string{"journal", "output/*"} {
		files, _ := filepath.Glob(filepath.Join(spool, pattern))
		for _, f := range files {
			if info, err := os.Stat(f); err == nil {
				n += info.Size()
			}
		}
	}
	return n
}

// A busy keeper's journal does not grow for ever, though something is always running.
func TestJournalIsCutUnderWork(t *testing.T) {
	spool := t.TempDir()
	k, stop := local(t, spool, os.Stderr)
	must(t, k.Start(t.Context(), []keeper.Task{sh("long", "exec sleep 600"), sh("kept", "echo kept")}))
	collect(t, k, "kept")
	for round := range 6 {
		var ids []string
		var tasks []keeper.Task
		for i := range 20 {
			ids = append(ids, fmt.Sprintf("%d.%d", round, i))
			tasks = append(tasks, sh(ids[i], "yes | head -c 16000"))
		}
		must(t, k.Start(t.Context(), tasks))
		collect(t, k, ids...)
		must(t, k.Forget(t.Context(), ids))
	}
	if used := usage(spool); used > 1<<20 {
		t.Errorf("the journal has %d bytes", used)
	}
	stop()
	k, _ = local(t, spool, os.Stderr)
	ended := collect(t, k, "kept", "long")
	if s := ended["kept"]; string(s.SmallOut) != "kept\n" {
		t.Errorf("kept: %+v %q", s, s.SmallOut)
	}
	if s := ended["long"]; s.Error != keeper.Stopped || s.Exit.Signal != "SIGTERM" {
		t.Errorf("long: %+v", s)
	}
}

func TestManyTasks(t *testing.T) {
	each(t, func(t *testing.T, k keeper.Keeper, _ string) {
		var ids []string
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		batches, err := k.Ended(ctx)
		must(t, err)
		seen := map[string]int{}
		next := 0
		start := func(n int) {
			var tasks []keeper.Task
			for ; n > 0 && next < 2000; n-- {
				tasks = append(tasks, keeper.Task{ID: fmt.Sprint("9.", next), Args: []string{"/bin/true"}})
				ids = append(ids, tasks[len(tasks)-1].ID)
				next++
			}
			must(t, k.Start(ctx, tasks))
		}
		start(8)
		for len(seen) < 2000 {
			batch := <-batches
			for _, s := range batch {
				seen[s.ID]++
				if !s.Exit.OK() || seen[s.ID] > 1 {
					t.Fatalf("%+v, seen %d times", s, seen[s.ID])
				}
			}
			start(len(batch))
		}
		list, err := k.List(ctx)
		must(t, err)
		if len(list) != 2000 {
			t.Errorf("%d listed", len(list))
		}
		must(t, k.Forget(ctx, ids))
		if list, err = k.List(ctx); len(list) != 0 {
			t.Errorf("%d left, %v", len(list), err)
		}
	})
}

// A subscriber that does not read holds up nobody, and later gets everything that is not forgotten.
func TestSlowSubscriber(t *testing.T) {
	each(t, func(t *testing.T, k keeper.Keeper, _ string) {
		slow, err := k.Ended(t.Context())
		must(t, err)
		var ids []string
		var tasks []keeper.Task
		for i := range 800 {
			ids = append(ids, fmt.Sprint("1.", i))
			tasks = append(tasks, sh(ids[i], "head -c 16000 /dev/zero"))
		}
		var before, mem runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		must(t, k.Start(t.Context(), tasks))
		collect(t, k, ids...)
		runtime.GC()
		runtime.ReadMemStats(&mem)
		if grown := int64(mem.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 { // 12.8 MB of output wait for the slow one
			t.Errorf("the heap grew by %d bytes", grown)
		}
		must(t, k.Forget(t.Context(), ids[:400]))
		must(t, k.Start(t.Context(), []keeper.Task{sh("last", "true")}))
		seen := map[string]bool{}
		for !seen["last"] {
			for _, s := range <-slow {
				seen[s.ID] = true
			}
		}
		for _, id := range ids[400:] {
			if !seen[id] {
				t.Fatalf("%s is missing", id)
			}
		}
	})
}

func TestEverythingEndsWithTheContext(t *testing.T) {
	check := settled(t)
	spool := t.TempDir()
	k, stop := local(t, spool, os.Stderr)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	socket := filepath.Join(spool, "sock")
	go func() { done <- keeper.Serve(ctx, k, socket) }()
	c := dial(t, socket)
	idle, err := c.Ended(ctx)
	must(t, err)
	_, err = k.Ended(ctx)
	must(t, err)
	must(t, c.Start(ctx, []keeper.Task{sh("1", "exec sleep 600"), sh("2", "yes")}))
	cancel()
	must(t, <-done)
	for range idle {
	}
	if err := c.Start(context.Background(), nil); err == nil {
		if err = c.Signal(context.Background(), "1", "TERM"); !fault.Is(err, fault.Unreachable) {
			t.Errorf("a lost keeper: %v", err)
		}
	}
	c.Close()
	stop()
	check()
}

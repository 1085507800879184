package keeper_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bramble/keeper"
)

// lanes gives tasks a number of lanes.
func lanes(n int, tasks ...keeper.Task) []keeper.Task {
	for i := range tasks {
		tasks[i].Lanes = n
	}
	return tasks
}

// begun reports whether a task has a process, or had one.
func begun(t *testing.T, k keeper.Keeper, id string) bool {
	t.Helper()
	list, err := k.List(t.Context())
	must(t, err)
	return slices.ContainsFunc(list, func(s keeper.Status) bool { return s.ID == id && s.Pid > 0 && !s.Waiting })
}

func TestTasksWaitForALaneInTheirOrder(t *testing.T) {
	each(t, func(t *testing.T, k keeper.Keeper, _ string) {
		dir := t.TempDir()
		var tasks []keeper.Task
		var ids, want []string
		for i := range 40 {
			id := fmt.Sprint(i)
			// A task that finds another one's folder ran beside it.
			tasks = append(tasks, sh(id, "cd "+dir+" && mkdir alone && echo "+id+" >> order && rmdir alone"))
			ids, want = append(ids, id), append(want, id)
		}
		must(t, k.Start(t.Context(), lanes(1, tasks...)))
		for id, s := range collect(t, k, ids...) {
			if !s.Exit.OK() || s.Waiting || s.Running {
				t.Errorf("%s: %+v %+v %q", id, s, s.Exit, s.SmallErr)
			}
		}
		order, _ := os.ReadFile(filepath.Join(dir, "order"))
		if got := strings.Fields(string(order)); strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("ran as %v", got)
		}
	})
}

func TestLanesCountTasksThatBeganAtOnce(t *testing.T) {
	each(t, func(t *testing.T, k keeper.Keeper, _ string) {
		ctx := t.Context()
		must(t, k.Start(ctx, []keeper.Task{sh("1", "sleep 600"), sh("2", "sleep 600")}))
		must(t, k.Start(ctx, lanes(2, sh("3", "sleep 600"), sh("4", "true"))))
		list, err := k.List(ctx)
		must(t, err)
		waits := map[string]bool{}
		for _, s := range list {
			waits[s.ID] = s.Waiting
			if !s.Running || s.Waiting != (s.Pid == 0) {
				t.Errorf("%+v", s)
			}
		}
		if waits["1"] || waits["2"] || !waits["3"] || !waits["4"] {
			t.Errorf("waiting: %v", waits)
		}
		must(t, k.Signal(ctx, "1", "KILL"))
		collect(t, k, "1")
		until(t, "3 to begin", func() bool { return begun(t, k, "3") })
		must(t, k.Signal(ctx, "2", "KILL"))
		must(t, k.Signal(ctx, "3", "KILL"))
		if s := collect(t, k, "4")["4"]; !s.Exit.OK() {
			t.Errorf("%+v", s)
		}
	})
}

func TestWithdraw(t *testing.T) {
	each(t, func(t *testing.T, k keeper.Keeper, _ string) {
		ctx, q := t.Context(), k.(keeper.Queue)
		if !q.Queues() {
			t.Fatal("no queue")
		}
		must(t, k.Start(ctx, lanes(1, sh("1", "sleep 600"), sh("2", "true"), sh("3", "true"), sh("4", "echo ran"))))
		until(t, "1 to begin", func() bool { return begun(t, k, "1") })
		must(t, q.Withdraw(ctx, []string{"1", "2", "none"}))
		must(t, k.Signal(ctx, "3", "TERM"))
		for id, s := range collect(t, k, "2", "3") {
			if s.Error != keeper.Withdrawn || s.Exit != nil || s.Running {
				t.Errorf("%s: %+v", id, s)
			}
		}
		must(t, k.Signal(ctx, "1", "KILL"))
		ended := collect(t, k, "1", "4")
		if s := ended["1"]; s.Exit == nil || s.Exit.Signal != "SIGKILL" {
			t.Errorf("what had begun: %+v", s)
		}
		if s := ended["4"]; string(s.SmallOut) != "ran\n" {
			t.Errorf("the one behind: %+v", s)
		}
	})
}

// A keeper that is told to stop begins nothing more.
func TestStopWithdrawsWhatWaits(t *testing.T) {
	spool := t.TempDir()
	k, stop := local(t, spool, &quiet{})
	must(t, k.Start(t.Context(), lanes(1, sh("1", "exec sleep 600"), sh("2", "true"))))
	stop()
	next, _ := local(t, spool, &quiet{})
	for id, s := range collect(t, next, "1", "2") {
		if s.Error != keeper.Stopped || (s.Exit == nil) != (id == "2") {
			t.Errorf("%s: %+v", id, s)
		}
	}
}

// Ends are told together while plenty waits, and soon when little does.
func TestEndsAreGathered(t *testing.T) {
	k, _ := local(t, t.TempDir(), &quiet{})
	batches, err := k.Ended(t.Context())
	must(t, err)
	var tasks []keeper.Task
	for i := range 60 {
		tasks = append(tasks, sh(fmt.Sprint(i), "true"))
	}
	must(t, k.Start(t.Context(), lanes(2, tasks...)))
	told, times := 0, 0
	for limit := time.After(time.Minute); told < len(tasks); times++ {
		select {
		case batch := <-batches:
			told += len(batch)
		case <-limit:
			t.Fatalf("only %d ends in a minute", told)
		}
	}
	t.Logf("%d ends in %d batches", told, times)
}

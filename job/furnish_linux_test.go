package job

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bramble/host"
)

// copying is Files that writes some files and counts how often.
type copying struct {
	files, bytes int
	placed       atomic.Int64
}

func (c *copying) Place(_ context.Context, _, dir string, _ host.Account) error {
	c.placed.Add(1)
	for i := range c.files {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), make([]byte, c.bytes), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (c *copying) Collect(context.Context, string, []string) (string, error) { return "", nil }

func (c *copying) Changes(_ context.Context, dir, _ string, _ []string) (string, error) {
	list, err := os.ReadDir(dir)
	return fmt.Sprint(len(list)), err
}

// TestOneCopy furnishes a hundred tasks that share 1 MiB, with layers and with copies.
func TestOneCopy(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root makes layers")
	}
	const tasks = 100
	for _, layered := range []bool{true, false} {
		files := &copying{files: 16, bytes: 64 << 10}
		n := NewNode(&Node{Dir: t.TempDir(), Files: files, Layered: layered, Log: slog.New(slog.DiscardHandler)})
		t.Cleanup(func() { host.UnlayerBelow(n.Dir) })
		spec := Spec{Inputs: "ref", Folder: true}
		if err := n.makeJobDir(7, spec, host.Account{}); err != nil {
			t.Fatal(err)
		}
		begun, before := time.Now(), cpuTime()
		for i := range tasks {
			k := Key{Job: 7, Index: i, Attempt: 1}
			dir, err := n.furnish(t.Context(), k, spec, host.Account{})
			if err != nil {
				t.Fatal(err)
			}
			os.WriteFile(filepath.Join(dir, "0"), fmt.Append(nil, i), 0o644) // each its own
		}
		t.Logf("layered %v: %v of processor time, %v, %d copies for %d tasks", layered && !n.flat.Load(), cpuTime()-before,
			time.Since(begun), files.placed.Load(), tasks)
		if n.flat.Load() {
			t.Skip("this file system takes no layers")
		}
		for i := range tasks {
			k := Key{Job: 7, Index: i, Attempt: 1}
			text, err := os.ReadFile(filepath.Join(n.taskDir(k), "0"))
			if string(text) != fmt.Sprint(i) {
				t.Fatalf("task %d reads %.20q, %v", i, text, err)
			}
			want := map[bool]string{true: "1", false: "16"}[layered] // only what it changed, or all
			if got, err := n.returned(t.Context(), k, spec); got != want {
				t.Fatalf("task %d brings %s files, %v", i, got, err)
			}
			n.removeAttempt(k)
		}
		if want := map[bool]int64{true: 1, false: tasks}[layered]; files.placed.Load() != want {
			t.Errorf("%d copies, want %d", files.placed.Load(), want)
		}
		n.removeJob(n.jobDir(7))
		if left, _ := os.ReadDir(n.Dir); len(left) > 0 {
			t.Errorf("%d things are left", len(left))
		}
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

package host_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bramble/host"
)

// result is what a finished command left.
type result struct {
	out, err string
	exit     host.Exit
}

// run runs a command to its end, with its output in files.
func run(t *testing.T, h host.Host, cmd host.Command) result {
	t.Helper()
	dir := t.TempDir()
	out, err1 := os.Create(filepath.Join(dir, "out"))
	errs, err2 := os.Create(filepath.Join(dir, "err"))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	defer errs.Close()
	cmd.Stdout, cmd.Stderr = out, errs
	p, err := h.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	r := result{exit: p.Wait()}
	if err := p.Kill(); err != nil {
		t.Error(err)
	}
	o, _ := os.ReadFile(out.Name())
	e, _ := os.ReadFile(errs.Name())
	r.out, r.err = string(o), string(e)
	return r
}

// eventually waits for a condition that other processes bring about.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never came true: " + what)
		}
	}
}

func countFiles() int {
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries)
}

package keeper_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"bramble/keeper"
)

// holds checks what a file holds.
func holds(t *testing.T, path, want string) {
	t.Helper()
	if text, err := os.ReadFile(path); err != nil || string(text) != want {
		t.Errorf("%s holds %.80q (%d bytes), wanted %.80q: %v", filepath.Base(path), text, len(text), want, err)
	}
}

func TestOutputGoesToFilesAsWell(t *testing.T) {
	each(t, func(t *testing.T, k keeper.Keeper, _ string) {
		dir := t.TempDir()
		out, errs := filepath.Join(dir, "logs", "out"), filepath.Join(dir, "err")
		with := func(id, script string, c keeper.Copy) keeper.Status {
			task := sh(id, script)
			task.Copy = &c
			return run(t, k, task)
		}
		c := keeper.Copy{Out: out, Err: errs, Below: dir}
		with("1", "echo old; echo old >&2", c)
		s := with("2", "echo new; echo bad >&2", c)
		if string(s.SmallOut) != "new\n" || string(s.SmallErr) != "bad\n" || s.Error != "" {
			t.Errorf("it is kept as %q and %q: %s", s.SmallOut, s.SmallErr, s.Error)
		}
		holds(t, out, "new\n")
		holds(t, errs, "bad\n")
		with("3", "true", keeper.Copy{Err: errs}) // what writes nothing leaves nothing old
		holds(t, errs, "")
		with("4", "echo one; echo two >&2; sleep 0.05; echo three", keeper.Copy{Out: out, Err: out, Append: true})
		text, _ := os.ReadFile(out)
		if first, ok := strings.CutSuffix(string(text), "three\n"); !ok || first != "new\none\ntwo\n" && first != "new\ntwo\none\n" {
			t.Errorf("both in one file: %q", text)
		}
		big := sh("5", "yes | head -c 300000")
		big.Cap, big.Copy = 10, &keeper.Copy{Out: out}
		if s := run(t, k, big); s.Stdout != 10 {
			t.Errorf("%d bytes are kept", s.Stdout)
		}
		holds(t, out, strings.Repeat("y\n", 150_000))
	})
}

// A task that goes on is read in its file meanwhile.
func TestFilesGrowWithTheOutput(t *testing.T) {
	each(t, func(t *testing.T, k keeper.Keeper, _ string) {
		dir := t.TempDir()
		out := filepath.Join(dir, "out")
		if err := syscall.Mkfifo(filepath.Join(dir, "go"), 0o600); err != nil {
			t.Fatal(err)
		}
		task := sh("1", "echo begun; read x <"+dir+"/go; echo $x")
		task.Copy = &keeper.Copy{Out: out}
		must(t, k.Start(t.Context(), []keeper.Task{task}))
		until(t, "the file to have what was written", func() bool {
			text, _ := os.ReadFile(out)
			return string(text) == "begun\n"
		})
		must(t, os.WriteFile(filepath.Join(dir, "go"), []byte("on\n"), 0))
		collect(t, k, "1")
		holds(t, out, "begun\non\n")
	})
}

func TestTasksWithoutTheirFilesDoNotBegin(t *testing.T) {
	each(t, func(t *testing.T, k keeper.Keeper, _ string) {
		dir := t.TempDir()
		task := sh("1", "echo ran >"+dir+"/ran")
		task.Copy = &keeper.Copy{Out: dir + "/none/out"}
		if s := run(t, k, task); s.Exit != nil || !strings.Contains(s.Error, "its output cannot be written: ") {
			t.Errorf("it ended as %+v", s)
		}
		if _, err := os.Stat(dir + "/ran"); err == nil {
			t.Error("it ran")
		}
		for _, c := range []keeper.Copy{{}, {Out: "out"}, {Out: dir + "/out", Err: "err"}} {
			bad := sh("2", "true")
			if bad.Copy = &c; k.Start(t.Context(), []keeper.Task{bad}) == nil {
				t.Errorf("%+v was taken", c)
			}
		}
	})
}

// What a file has no room for is said.
func TestFilesThatAreFull(t *testing.T) {
	each(t, func(t *testing.T, k keeper.Keeper, _ string) {
		out := filepath.Join(t.TempDir(), "out")
		var old syscall.Rlimit
		must(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old))
		small := old
		small.Cur = 1 << 20
		must(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small))
		defer syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old)
		task := sh("1", "yes | head -c 2000000")
		task.Cap, task.Copy = 10, &keeper.Copy{Out: out}
		s := run(t, k, task)
		if s.Exit == nil || !s.Exit.OK() || !strings.Contains(s.Error, "not written to the end: ") {
			t.Errorf("it ended as %+v", s)
		}
	})
}

package host_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"bramble/fault"
	"bramble/host"
)

// open opens a file as an account and writes to it.
func openAs(t *testing.T, h *host.Real, user string, w host.Writing, text string) error {
	t.Helper()
	f, err := h.OpenAs(user, w)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Error(err)
	}
	return nil
}

func is(t *testing.T, path, want string, mode os.FileMode) {
	t.Helper()
	text, err := os.ReadFile(path)
	info, _ := os.Stat(path)
	if err != nil || string(text) != want || info.Mode().Perm() != mode {
		t.Errorf("%s holds %q, %v, wanted %q with %v: %v", path, text, info.Mode(), want, mode, err)
	}
}

func TestOpenAsWritesFilesAnewOrBehind(t *testing.T) {
	h := host.NewReal(host.RealOptions{StateDir: t.TempDir()})
	defer h.Close()
	dir := t.TempDir()
	path := filepath.Join(dir, "a", "b", "out")
	for _, step := range []struct {
		w    host.Writing
		want string
	}{
		{host.Writing{Path: path, Below: dir, Umask: 0o002}, "x"},
		{host.Writing{Path: path, Append: true}, "xx"},
		{host.Writing{Path: path}, "x"},
	} {
		if err := openAs(t, h, "", step.w, "x"); err != nil {
			t.Fatal(err)
		}
		is(t, path, step.want, 0o664)
	}
	for name, w := range map[string]host.Writing{
		"no folder":       {Path: filepath.Join(dir, "none", "out")},
		"no folder above": {Path: filepath.Join(dir, "none", "a", "out"), Below: filepath.Join(dir, "none")},
	} {
		if err := openAs(t, h, "", w, "x"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpenAsWantsOrdinaryFiles(t *testing.T) {
	h := host.NewReal(host.RealOptions{StateDir: t.TempDir()})
	defer h.Close()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o666); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	open, err := os.Create(filepath.Join(t.TempDir(), "ours"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	open.WriteString("kept")
	for _, path := range []string{fifo, os.DevNull, "/proc/self/comm"} {
		if err := openAs(t, h, "", host.Writing{Path: path}, "x"); !fault.Is(err, fault.Misused) {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, path := range []string{t.TempDir(), "/proc/self/fd/1", "/proc/self/cwd/x"} {
		if err := openAs(t, h, "", host.Writing{Path: path}, "x"); err == nil {
			t.Errorf("%s was opened", path)
		}
	}
}

// What root may and the account may not is not to be had, neither by a path nor by a link, and root is itself again afterwards.
func TestOpenAsHasTheAccountsRightsOnly(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root opens files as somebody else")
	}
	h := host.NewReal(host.RealOptions{StateDir: t.TempDir()})
	defer h.Close()
	dir, err := os.MkdirTemp("", "openas")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	theirs, secret, shut := filepath.Join(dir, "theirs"), filepath.Join(dir, "secret"), filepath.Join(dir, "shut")
	nobody, err := h.Account("nobody")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(theirs, 0o755), os.Chown(theirs, int(nobody.UID), int(nobody.GID)),
		os.WriteFile(secret, []byte("secret"), 0o644), os.Mkdir(shut, 0o700), os.WriteFile(filepath.Join(shut, "out"), nil, 0o666),
		os.Chmod(filepath.Join(shut, "out"), 0o666), os.Symlink(secret, filepath.Join(theirs, "link")),
		os.Symlink("elsewhere", filepath.Join(theirs, "own"))); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for _, path := range []string{secret, filepath.Join(theirs, "link"), filepath.Join(dir, "new"), filepath.Join(shut, "out"), filepath.Join(shut, "new")} {
				if err := openAs(t, h, "nobody", host.Writing{Path: path}, "x"); !errors.Is(err, fs.ErrPermission) {
					t.Errorf("%s: %v", path, err)
				}
			}
			if err := openAs(t, h, "nobody", host.Writing{Path: filepath.Join(theirs, "own"), Append: true}, ""); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	is(t, secret, "secret", 0o644)
	info, err := os.Stat(filepath.Join(theirs, "elsewhere"))
	if err != nil || info.Sys().(*syscall.Stat_t).Uid != nobody.UID {
		t.Errorf("a new file is %+v: %v", info, err)
	}
	if err := openAs(t, h, "", host.Writing{Path: filepath.Join(shut, "out")}, "root"); err != nil {
		t.Error(err)
	}
	threads, _ := filepath.Glob("/proc/self/task/*/status")
	for _, thread := range threads {
		status, _ := os.ReadFile(thread)
		for line := range strings.Lines(string(status)) {
			if f := strings.Fields(line); len(f) > 4 && (f[0] == "Uid:" || f[0] == "Gid:") && f[4] != "0" {
				t.Errorf("%s is left with %q", thread, line)
			}
		}
	}
}

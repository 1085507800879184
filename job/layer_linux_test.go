package job

import (
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"bramble/host"
)

// TestLayersAreUsedAgain furnishes tasks one after another: whoever has left nothing behind leaves its layer to the next, and
// nobody finds what another has made.
func TestLayersAreUsedAgain(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root makes layers")
	}
	files := &copying{files: 2, bytes: 3}
	n := NewNode(&Node{Dir: t.TempDir(), Files: files, Cores: 1, Layered: true, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() { host.UnlayerBelow(n.Dir) })
	spec, account := Spec{Inputs: "ref", Folder: true}, host.Account{UID: 65534, GID: 65534}
	if err := n.makeJobDir(7, spec, account); err != nil {
		t.Fatal(err)
	}
	n.grounds[7] = &ground{spec: spec, account: account}
	n.specs[7] = spec
	n.enter(Key{Job: 7, Index: 99, Attempt: 1})
	last := uint64(0)
	for i, c := range []struct {
		name string
		do   func(dir string) error // what the task does
		used bool                   // it has the layer of the one before
	}{
		{"the first", func(string) error { return nil }, false},
		{"after one that did nothing", func(dir string) error { return os.WriteFile(filepath.Join(dir, "made"), nil, 0o644) }, true},
		{"after one that made a file", func(dir string) error { return os.Remove(filepath.Join(dir, "0")) }, false},
		{"after one that removed one", func(dir string) error { return os.Chmod(dir, 0o755) }, false},
		{"after one that changed rights", func(dir string) error { return os.Chown(dir, 65534, 0) }, false},
		{"after one that changed its group", func(dir string) error {
			return syscall.Setxattr(dir, "system.posix_acl_default", []byte("\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x04\x00\x07\x00\xff\xff\xff\xff\x20\x00\x07\x00\xff\xff\xff\xff"), 0)
		}, false},
		{"after one that said who may more", func(dir string) error { return os.Truncate(filepath.Join(dir, "1"), 0) }, false},
		{"after one that changed a file", func(dir string) error { _, err := os.ReadFile(filepath.Join(dir, "1")); return err }, false},
		{"after one that read", func(string) error { return nil }, true},
	} {
		k := Key{Job: 7, Index: i, Attempt: 1}
		n.enter(k)
		dir, err := n.furnish(t.Context(), k, spec, account)
		if err != nil {
			t.Fatal(err)
		}
		if n.flat.Load() {
			t.Skip("this file system takes no layers")
		}
		info, _ := os.Stat(dir)
		on := info.Sys().(*syscall.Stat_t)
		list, _ := os.ReadDir(dir)
		text, _ := os.ReadFile(filepath.Join(dir, "1"))
		if len(list) != 2 || len(text) != 3 || info.Mode().Perm() != 0o700 || on.Uid != 65534 || on.Gid != 65534 {
			t.Errorf("%s: it finds %v in a folder of %v", c.name, list, info.Mode())
		}
		if used := uint64(on.Dev) == last; used != c.used {
			t.Errorf("%s: it has the same layer: %v", c.name, used)
		}
		last = uint64(on.Dev)
		held, err := os.Open(dir) // so that its number is not given out again
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
		if err := c.do(dir); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		n.retire(k)
	}
	if len(n.idle[7]) != 1 {
		t.Errorf("%v are kept", n.idle[7])
	}
	n.removeJob(n.jobDir(7))
	if left, _ := os.ReadDir(n.Dir); len(left) > 0 {
		t.Errorf("%d things are left", len(left))
	}
}

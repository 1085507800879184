package host

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLayer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root mounts")
	}
	dir := t.TempDir()
	for _, name := range []string{"lower", "upper", "work", "at"} {
		os.Mkdir(filepath.Join(dir, name), 0o755)
	}
	path := func(name string) string { return filepath.Join(dir, name) }
	os.WriteFile(path("lower/file"), []byte("old"), 0o644)
	if err := Layer(path("lower"), path("upper"), path("work"), path("at")); err != nil {
		t.Skip(err) // not on every file system
	}
	defer Unlayer(path("at"))
	os.WriteFile(path("at/file"), []byte("new"), 0o644)
	for name, want := range map[string]string{"at/file": "new", "upper/file": "new", "lower/file": "old"} {
		if got, err := os.ReadFile(path(name)); string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if err := UnlayerBelow(dir); err != nil {
		t.Error(err)
	}
	if list, _ := os.ReadDir(path("at")); len(list) != 0 {
		t.Error("still there:", list)
	}
	if err := Unlayer(path("at")); err != nil {
		t.Error("nothing there:", err)
	}
}

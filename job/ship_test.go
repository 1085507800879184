package job

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// What was there before the allocation's command began came with the job, whatever date it claims.
func TestCame(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the time at which a file changed is not known here")
	}
	dir := t.TempDir()
	in := Inside{Socket: filepath.Join(dir, "0.1"+doorSuffix), Dir: dir}
	program := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(name), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	before := program("before")
	if c, err := in.cargo(before); c == nil || err != nil {
		t.Errorf("nothing was noted of the allocation, and it is taken to have come: %v, %v", c, err)
	}
	time.Sleep(20 * time.Millisecond) // the kernel's clock for files ticks every few milliseconds
	if err := os.WriteFile(filepath.Join(dir, "0.1"+holdSuffix), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
	after, changed := program("after"), program("changed")
	long := time.Now().Add(-time.Hour)
	for _, path := range []string{after, changed} {
		if err := os.Chtimes(path, long, long); err != nil {
			t.Fatal(err)
		}
	}
	if c, err := in.cargo(before); c != nil || err != nil {
		t.Errorf("what came with the job would travel again: %v, %v", c, err)
	}
	for _, path := range []string{after, changed} {
		if c, err := in.cargo(path); c == nil || err != nil || c.to != filepath.Base(path) {
			t.Errorf("%s would not travel: %v, %v", path, c, err)
		}
	}
	program("before")
	if c, err := in.cargo(before); c == nil || err != nil {
		t.Errorf("what has changed since would not travel: %v, %v", c, err)
	}
}

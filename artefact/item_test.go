package artefact

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"bramble/fault"
)

// meddler does something each time its context is looked at, as every copy does before each read.
type meddler struct {
	context.Context
	meddle func()
}

func (m meddler) Err() error {
	m.meddle()
	return m.Context.Err()
}

func TestFileChangesWhileItIsRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	if err := os.WriteFile(path, make([]byte, 4*bufferSize), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, c := range []struct {
		reads int // before the writer rests
		code  fault.Code
	}{{0, ""}, {3, ""}, {1000, fault.Conflict}} {
		info, err := root.Lstat("log")
		if err != nil {
			t.Fatal(err)
		}
		left := c.reads
		grow := func() {
			if left--; left < 0 {
				return
			}
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			f.WriteString("more")
		}
		x := &item{root: root, at: "log", info: info}
		err = x.hash(meddler{t.Context(), grow})
		if (err == nil) != (c.code == "") || err != nil && fault.Of(err).Code != c.code {
			t.Errorf("a writer that rests after %d reads: %v", c.reads, err)
		}
		data, _ := os.ReadFile(path)
		if err == nil && (x.Ref != RefOf(data) || x.Size != int64(len(data))) {
			t.Errorf("a writer that rests after %d reads: %d bytes of %d", c.reads, x.Size, len(data))
		}
	}
}

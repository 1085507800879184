package artefact

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
)

// Who comes while a flush is under way shares the next with all others that do, and hears how that one went.
func TestFlusher(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	synctest.Test(t, func(t *testing.T) {
		begun, goOn := make(chan struct{}), make(chan error)
		flushes := 0
		f := &flusher{all: func(*os.File) error { flushes++; begun <- struct{}{}; return <-goOn }}
		f.busy = true // as while the first is at work
		var wg sync.WaitGroup
		batch := func(n int) (told []error) {
			told = make([]error, n)
			for i := range n {
				wg.Go(func() { told[i] = f.sync(file) })
			}
			synctest.Wait()
			return told
		}
		first := batch(3)
		f.follow()
		<-begun
		second := batch(5)
		broken := errors.New("the disk is broken")
		goOn <- broken
		<-begun
		synctest.Wait()
		for _, err := range first {
			if err != broken {
				t.Errorf("of a flush that failed is told %v", err)
			}
		}
		goOn <- nil
		wg.Wait()
		for _, err := range second {
			if err != nil {
				t.Error(err)
			}
		}
		if flushes != 2 {
			t.Errorf("%d flushes for 8 files in two batches", flushes)
		}
		synctest.Wait()
		if err := f.sync(file); err != nil || f.busy || f.next != nil || flushes != 2 { // alone it needs no flush of everything
			t.Errorf("alone: %v, busy %v, %d flushes", err, f.busy, flushes)
		}
		f.all = func(*os.File) error { return errors.ErrUnsupported }
		if err := f.write([]*os.File{file, file}); err != nil {
			t.Errorf("where a file system cannot be flushed: %v", err)
		}
	})
}

package artefact

import (
	"errors"
	"os"
	"sync"

	"bramble/host"
)

// flusher has files and folders survive a power cut. Those that come while a flush is under way share the next one: of many
// small blobs, which would each wait for the disk twice, a card writes dozens at a time.
type flusher struct {
	mu   sync.Mutex
	busy bool
	next *flush
	all  func(*os.File) error // flushes the file system; nil: host.SyncFS
}

// flush is what the files of a batch wait for.
type flush struct {
	files []*os.File
	done  chan struct{}
	err   error
}

// sync returns when the file, which stays open meanwhile, would survive.
func (f *flusher) sync(file *os.File) error {
	f.mu.Lock()
	if !f.busy {
		f.busy = true
		f.mu.Unlock()
		defer f.follow()
		return file.Sync()
	}
	if f.next == nil {
		f.next = &flush{done: make(chan struct{})}
	}
	mine := f.next
	mine.files = append(mine.files, file)
	f.mu.Unlock()
	<-mine.done
	return mine.err
}

// follow has the next batch flushed, if somebody waits for it.
func (f *flusher) follow() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.busy = f.next != nil; f.busy {
		batch := f.next
		f.next = nil
		go f.flush(batch) // ends once nobody waits any more
	}
}

func (f *flusher) flush(batch *flush) {
	batch.err = f.write(batch.files)
	close(batch.done)
	f.follow()
}

// write flushes files of one file system.
func (f *flusher) write(files []*os.File) error {
	if len(files) > 1 {
		all := f.all
		if all == nil {
			all = host.SyncFS
		}
		if err := all(files[0]); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	for _, file := range files {
		if err := file.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// syncDir makes the names in a folder survive.
func (f *flusher) syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.sync(d), d.Close())
}

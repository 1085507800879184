package artefact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"bramble/fault"
)

// bufferSize is the most that one copy holds in memory.
const bufferSize = 256 << 10

// copyBytes copies src to dst until its end or ctx's; size is a hint, -1 when not known.
func copyBytes(ctx context.Context, dst io.Writer, src io.Reader, size int64) (int64, error) {
	n := int64(bufferSize)
	if size >= 0 {
		n = min(n, size+1)
	}
	return io.CopyBuffer(onlyWriter{dst}, &contextReader{ctx, src}, make([]byte, n))
}

// onlyWriter hides an io.ReaderFrom, which would bring a buffer of its own.
type onlyWriter struct{ io.Writer }

// contextReader fails once its context has ended.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// parallel calls do for 0…count-1 in at most width goroutines and returns the first error after all have ended.
func parallel(ctx context.Context, width, count int, do func(ctx context.Context, i int) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	next := make(chan int)
	var crew sync.WaitGroup
	for range min(width, count) {
		crew.Go(func() {
			for i := range next {
				if err := do(ctx, i); err != nil {
					stop(err)
				}
			}
		})
	}
	for i := 0; i < count && ctx.Err() == nil; i++ {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	crew.Wait()
	return context.Cause(ctx)
}

// syncDir makes the names in a folder survive a power cut.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// replaceFile puts data at path so that a crash leaves the old or the new content; temp is a folder of the same file system.
func replaceFile(temp, path string, data []byte) error {
	if err := putFile(temp, path, data, (*os.File).Sync); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// putFile puts data at path at once, so that another process sees the old or the new content; what a power cut leaves, settle decides.
func putFile(temp, path string, data []byte, settle func(*os.File) error) error {
	f, err := os.CreateTemp(temp, "file-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err := errors.Join(err, settle(f), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// unsettled leaves it to the kernel when a file gets to the disk, where its reader finds out what is wrong with it.
func unsettled(*os.File) error { return nil }

// lockFile takes a lock that ends with the process; fault.Conflict when another one has it.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fault.New(fault.Conflict, "another process uses %s: %w", filepath.Dir(path), err).
			Hint("stop that one, or name another state folder with --state")
	}
	return f, nil
}

func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// blame wraps err with what was being done and gives it the code that its cause deserves.
func blame(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	text := fmt.Sprintf(format, args...)
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return fmt.Errorf("%s: %w", text, err)
	}
	switch {
	case diskFull(err):
		return fault.New(fault.Full, "%s: %w", text, err).Hint("free some room on this disk")
	case errors.Is(err, fs.ErrPermission):
		return fault.New(fault.Denied, "%s: %w", text, err)
	case errors.Is(err, fs.ErrNotExist):
		return fault.New(fault.NotFound, "%s: %w", text, err)
	case errors.Is(err, fs.ErrExist):
		return fault.New(fault.Conflict, "%s: %w", text, err)
	}
	return fmt.Errorf("%s: %w", text, err)
}

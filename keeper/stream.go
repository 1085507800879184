package keeper

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// bufferSize is a pipe's usual capacity.
	bufferSize = 64 << 10
	// pipeSize is the largest capacity that a task may give its pipe.
	pipeSize = 1 << 20
)

// stream keeps one output stream of a running task: in memory while it is small, then in a file.
type stream struct {
	dir  *os.Root
	name string
	cap  int64
	copy *copied // nil: none

	mu      sync.Mutex
	mem     []byte
	file    *os.File
	closed  bool
	kept    int64
	dropped int64
}

// outputName is the file of a task's stream; the underscore is in no task ID.
func outputName(id, stream string) string { return id + "_" + stream }

// fill keeps what comes out of the pipe until its writers are gone, or until its read deadline has
// passed and it is empty. A buffer is held only while there is something to read.
func (s *stream) fill(pipe *os.File, buffers *sync.Pool) {
	defer pipe.Close()
	raw, err := pipe.SyscallConn()
	if err != nil {
		return
	}
	for {
		var more, ended bool
		late := raw.Read(func(fd uintptr) bool {
			more, ended = s.read(int(fd), buffers)
			return more || ended
		})
		if ended {
			return
		}
		if late != nil {
			break
		}
	}
	pipe.SetReadDeadline(time.Time{})
	raw.Read(func(fd uintptr) bool {
		s.empty(int(fd), buffers)
		return true
	})
}

// empty keeps what is in the pipe now, and reports whether its writers are gone.
func (s *stream) empty(fd int, buffers *sync.Pool) bool {
	for left := pipeSize; left > 0; left -= bufferSize {
		if more, ended := s.read(fd, buffers); !more {
			return ended
		}
	}
	return false
}

// read moves one buffer from a pipe that does not block to the stream. There may be more to read,
// or the pipe has ended, or neither: it is empty for now.
func (s *stream) read(fd int, buffers *sync.Pool) (more, ended bool) {
	b := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(b)
	for {
		n, err := syscall.Read(fd, b[:])
		switch {
		case n > 0:
			s.keep(b[:n])
			s.copy.write(b[:n])
			return true, false
		case err == syscall.EINTR:
		default:
			return false, err != syscall.EAGAIN
		}
	}
}

// keep takes what fits under the cap and counts the rest.
func (s *stream) keep(p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fits := p[:min(int64(len(p)), s.cap-s.kept)]
	n := s.store(fits)
	s.kept += int64(n)
	s.dropped += int64(len(p) - n)
	if n < len(fits) {
		s.cap = s.kept // the disk is full: what comes later would leave a hole
	}
}

// store returns how much of p it could keep.
func (s *stream) store(p []byte) int {
	if s.file == nil && len(s.mem)+len(p) <= SmallOutput {
		s.mem = append(s.mem, p...)
		return len(p)
	}
	if err := s.spill(); err != nil {
		return 0
	}
	n, _ := s.file.Write(p)
	return max(n, 0)
}

// spill moves what is in memory to the file.
func (s *stream) spill() error {
	if s.file != nil {
		return nil
	}
	file, err := s.dir.OpenFile(s.name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := file.Write(s.mem); err != nil {
		return errors.Join(err, file.Close(), s.dir.Remove(s.name))
	}
	s.file, s.mem = file, nil
	return nil
}

// readAt reads what is kept so far; it reports false when the stream is closed.
func (s *stream) readAt(offset int64, max int) ([]byte, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, false, nil
	}
	if s.file != nil {
		b, err := readRange(s.file, offset, max, s.kept)
		return b, true, err
	}
	return cut(s.mem, offset, max), true, nil
}

// counts tells how much was kept and dropped so far.
func (s *stream) counts() (kept, dropped int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept, s.dropped
}

// settle puts a stream that is too large to ride along durably into its file, as far as there is room.
func (s *stream) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.spill(); err != nil {
		s.dropped, s.kept, s.mem = s.dropped+s.kept, 0, nil
		return
	}
	s.file.Sync()
}

// close frees the file's descriptor, and the file itself when it holds nothing or is not wanted.
func (s *stream) close(discard bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.file == nil {
		return
	}
	s.file.Close()
	if discard || s.kept == 0 {
		s.dir.Remove(s.name)
	}
}

// cut is the part of b that a read of max bytes from offset sees.
func cut(b []byte, offset int64, max int) []byte {
	if offset >= int64(len(b)) {
		return nil
	}
	b = b[offset:]
	return append([]byte(nil), b[:min(len(b), max)]...)
}

// readRange reads up to max bytes of a file that holds size bytes.
func readRange(file io.ReaderAt, offset int64, max int, size int64) ([]byte, error) {
	if offset >= size {
		return nil, nil
	}
	b := make([]byte, min(int64(max), size-offset))
	n, err := file.ReadAt(b, offset)
	if err == io.EOF {
		err = nil
	}
	return b[:n], err
}

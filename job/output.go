package job

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
)

// outputStore keeps what tasks wrote, one append-only file a job, so that an array of a million small outputs
// is one file and one flush a batch. A file is a sequence of
//
//	uvarint index, uvarint attempt, uvarint length and text of the returned artefact's ref,
//	uvarint length and bytes of stdout, uvarint length and bytes of stderr
//
// Of an index that comes twice the later one counts; a torn end is passed over.
type outputStore struct {
	dir string
	log *slog.Logger

	mu sync.Mutex
}

// stored is where a task's output is in its job's file.
type stored struct {
	attempt        int
	returns        string
	out, err       int64 // offsets
	outLen, errLen int64
}

func (o *outputStore) path(id ID) string {
	return filepath.Join(o.dir, strconv.FormatInt(int64(id)/1000, 10), strconv.FormatInt(int64(id), 10))
}

// store appends the output of final results and flushes it.
func (o *outputStore) store(finals []Result) error {
	byJob := map[ID][]byte{}
	for i := range finals {
		r := &finals[i]
		if len(r.Stdout) == 0 && len(r.Stderr) == 0 && r.Returns == "" {
			continue
		}
		b := binary.AppendUvarint(byJob[r.Job], uint64(r.Index))
		b = binary.AppendUvarint(b, uint64(r.Attempt))
		b = appendBytes(appendBytes(appendBytes(b, []byte(r.Returns)), r.Stdout), r.Stderr)
		byJob[r.Job] = b
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, data := range byJob {
		if err := o.append(id, data); err != nil {
			return fmt.Errorf("keep output of job %d: %w", id, err)
		}
	}
	return nil
}

// append writes to a job's file; on an error nothing of it stays.
func (o *outputStore) append(id ID, data []byte) error {
	path := o.path(id)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Truncate(end))
	}
	return f.Sync()
}

// index reads where each task's output is.
func (o *outputStore) index(f *os.File) map[int]stored {
	found := map[int]stored{}
	r := &offsetReader{r: bufio.NewReaderSize(f, 64<<10)}
	for {
		var s stored
		index, err := binary.ReadUvarint(r)
		if err != nil {
			return found
		}
		attempt, _ := binary.ReadUvarint(r)
		s.attempt = int(attempt)
		n, err := binary.ReadUvarint(r)
		if err != nil || n > 1<<10 {
			return found
		}
		ref := make([]byte, n)
		if _, err := io.ReadFull(r, ref); err != nil {
			return found
		}
		s.returns = string(ref)
		if s.out, s.outLen, err = r.skip(); err != nil {
			return found
		}
		if s.err, s.errLen, err = r.skip(); err != nil {
			return found
		}
		found[int(index)] = s
	}
}

// open opens a job's output and says where each task's is; no file is no output.
func (o *outputStore) open(id ID) (*os.File, map[int]stored, error) {
	f, err := os.Open(o.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read output of job %d: %w", id, err)
	}
	return f, o.index(f), nil
}

// offsetReader counts where it is.
type offsetReader struct {
	r  *bufio.Reader
	at int64
}

func (r *offsetReader) ReadByte() (byte, error) {
	b, err := r.r.ReadByte()
	if err == nil {
		r.at++
	}
	return b, err
}

func (r *offsetReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.at += int64(n)
	return n, err
}

// skip passes over a length and so many bytes and says where they are; an error when they are not all there.
func (r *offsetReader) skip() (at, n int64, err error) {
	size, err := binary.ReadUvarint(r)
	if err != nil {
		return 0, 0, err
	}
	at, n = r.at, int64(size)
	k, err := io.CopyN(io.Discard, r, n)
	if err == nil && k < n {
		err = io.ErrUnexpectedEOF
	}
	return at, n, err
}

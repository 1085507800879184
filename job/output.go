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
//	uvarint index, uvarint attempt, uvarint length and text REF@NODE: the returned artefact, if any, and where the task ran,
//	uvarint length and bytes of stdout, uvarint length and bytes of stderr
//
// Of an index that comes twice the later one counts. No attempt is 0, so zeros that a power cut left are no
// record. What an interrupted write left is cut off before the next one.
type outputStore struct {
	dir string
	log *slog.Logger
	// keep sees to it that what came back stays as long as the output; nil: nobody does
	keep func(name string, refs []string) error

	mu   sync.Mutex
	ends map[ID]int64 // of the files written to since the start
}

// stored is where a task's output is in its job's file.
type stored struct {
	attempt        int
	returns, node  string
	others         []Return
	out, err       int64 // offsets
	outLen, errLen int64
}

func (o *outputStore) path(id ID) string {
	return filepath.Join(o.dir, strconv.FormatInt(int64(id)/1000, 10), strconv.FormatInt(int64(id), 10))
}

// leaves reports whether a task left anything that is to be kept.
func (r *Result) leaves() bool {
	return len(r.Stdout) > 0 || len(r.Stderr) > 0 || r.Returns != "" || len(r.Others) > 0
}

// leaving is the results of tasks that left something.
func leaving(all []Result) (some []Result) {
	for i := range all {
		if all[i].leaves() {
			some = append(some, all[i])
		}
	}
	return some
}

// store appends the output of final results and flushes it.
func (o *outputStore) store(finals []Result) error {
	o.keepReturned(finals)
	byJob := map[ID][]byte{}
	for i := range finals {
		r := &finals[i]
		b := binary.AppendUvarint(byJob[r.Job], uint64(r.Index))
		b = binary.AppendUvarint(b, uint64(r.Attempt))
		b = appendBytes(appendBytes(appendBytes(b, []byte(r.returnedText())), r.Stdout), r.Stderr)
		byJob[r.Job] = b
	}
	if len(byJob) == 0 {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	fresh := map[string]bool{}
	for id, data := range byJob {
		if err := o.append(id, data, fresh); err != nil {
			return fmt.Errorf("keep output of job %d: %w", id, err)
		}
	}
	for dir := range fresh {
		if err := syncDir(dir); err != nil {
			return fmt.Errorf("keep output: %w", err)
		}
	}
	return nil
}

// keepReturned keeps what tasks made. That some of it is lost must not stop the others.
func (o *outputStore) keepReturned(finals []Result) {
	refs, name := map[ID][]string{}, map[ID]string{}
	for i := range finals {
		r := &finals[i]
		if r.Returns != "" {
			refs[r.Job] = append(refs[r.Job], r.Returns)
		}
		for _, other := range r.Others {
			refs[r.Job] = append(refs[r.Job], other.Ref)
		}
		if r.Returns != "" || len(r.Others) > 0 {
			name[r.Job] = pinName(r.Job) + fmt.Sprintf(".%d.%d", r.Index, r.Attempt)
		}
	}
	for id, list := range refs {
		if o.keep == nil {
			return
		}
		if err := o.keep(name[id], list); err != nil {
			o.log.Error("files that came back are not kept", "job", id, "error", err)
		}
	}
}

// append writes to a job's file; on an error nothing of it stays. It notes the folder of a file that is new.
func (o *outputStore) append(id ID, data []byte, fresh map[string]bool) error {
	path := o.path(id)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	end, known := o.ends[id]
	if !known {
		if end, err = o.mend(f); err != nil {
			return err
		}
	}
	if end == 0 {
		fresh[filepath.Dir(path)] = true
	}
	_, err = f.WriteAt(data, end)
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return errors.Join(err, f.Truncate(end))
	}
	if o.ends == nil {
		o.ends = map[ID]int64{}
	}
	o.ends[id] = end + int64(len(data))
	return nil
}

// mend cuts off what an interrupted write left at a file's end.
func (o *outputStore) mend(f *os.File) (end int64, err error) {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return 0, err
	}
	end = each(f, 0, info.Size(), func(int, stored) {})
	if end < info.Size() {
		o.log.Warn("a torn output was cut off", "file", f.Name(), "bytes", info.Size()-end)
		err = f.Truncate(end)
	}
	return end, err
}

// rest forgets where a job's file ends.
func (o *outputStore) rest(id ID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.ends, id)
}

// remove deletes a job's output.
func (o *outputStore) remove(id ID) {
	o.rest(id)
	if err := os.Remove(o.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		o.log.Warn("output not removed", "job", id, "error", err)
	}
}

// sweep deletes the output of jobs that are not known any more.
func (o *outputStore) sweep(known func(ID) bool) {
	files, _ := filepath.Glob(filepath.Join(o.dir, "*", "*"))
	for _, path := range files {
		if id, err := strconv.ParseInt(filepath.Base(path), 10, 64); err == nil && !known(ID(id)) {
			os.Remove(path)
		}
	}
}

// open opens a job's output and says how much of it is whole; no file is no output.
func (o *outputStore) open(id ID) (*os.File, int64, error) {
	f, err := os.Open(o.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read output of job %d: %w", id, err)
	}
	o.mu.Lock() // no write is half done
	defer o.mu.Unlock()
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("read output of job %d: %w", id, err)
	}
	return f, info.Size(), nil
}

// each tells where the output of tasks is between two offsets of a file, and returns the end of the last whole record.
func each(f io.ReaderAt, from, to int64, found func(index int, where stored)) (end int64) {
	r := &offsetReader{f: f, at: from, to: to}
	for r.start(from); ; {
		end = r.at
		var s stored
		index, err := binary.ReadUvarint(r)
		if err != nil {
			return end
		}
		attempt, err := binary.ReadUvarint(r)
		if err != nil || attempt == 0 {
			return end
		}
		s.attempt = int(attempt)
		n, err := binary.ReadUvarint(r)
		if err != nil || n > maxReturned+1<<10 {
			return end
		}
		ref := make([]byte, n)
		if _, err := io.ReadFull(r, ref); err != nil {
			return end
		}
		came := readReturned(string(ref))
		s.returns, s.node, s.others = came[0].Ref, came[0].Node, came[1:]
		if s.out, s.outLen, err = r.skip(); err != nil {
			return end
		}
		if s.err, s.errLen, err = r.skip(); err != nil {
			return end
		}
		found(int(index), s)
	}
}

// offsetReader reads a part of a file and knows where it is.
type offsetReader struct {
	f      io.ReaderAt
	r      *bufio.Reader
	at, to int64
}

func (r *offsetReader) start(at int64) {
	section := io.NewSectionReader(r.f, at, r.to-at)
	if r.r == nil {
		r.r = bufio.NewReaderSize(section, 64<<10)
	} else {
		r.r.Reset(section)
	}
	r.at = at
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
	switch {
	case n < 0 || n > r.to-at:
		return 0, 0, io.ErrUnexpectedEOF
	case n <= int64(r.r.Buffered()):
		r.r.Discard(int(n))
		r.at += n
	default:
		r.start(at + n)
	}
	return at, n, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

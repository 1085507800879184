package bus

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// logFile is the plain copy of a journal: batches one after the other, flushed at each append.
type logFile struct {
	path string
	f    *os.File
	size int64 // end of the last whole batch
}

// openLog opens or makes the file and reads it. A torn end is cut off; damage in the middle is
// passed over up to the next batch. Both are told in words.
func openLog(path string) (*logFile, []batch, []string, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, nil, nil, err
	}
	os.Remove(path + ".new")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, nil, err
	}
	l := &logFile{path: path, f: f}
	data, err := io.ReadAll(f)
	if err != nil {
		f.Close()
		return nil, nil, nil, err
	}
	batches, damage, end := scanLog(data)
	if err := l.truncate(int64(end)); err != nil {
		f.Close()
		return nil, nil, nil, err
	}
	return l, batches, damage, nil
}

// scanLog reads the batches of a log and says where the last one ends.
func scanLog(data []byte) (batches []batch, damage []string, end int) {
	for at := 0; at < len(data); {
		b, err := decodeBatch(data[at:])
		if err == nil {
			n, _ := batchLen(data[at:])
			at += n
			end = at
			batches = append(batches, b)
			continue
		}
		next := nextBatch(data, at+1)
		if next < 0 {
			damage = append(damage, fmt.Sprintf("log from byte %d to its end: %v", at, err))
			break
		}
		damage = append(damage, fmt.Sprintf("log bytes %d to %d: %v", at, next-1, err))
		at = next
	}
	return batches, damage, end
}

// nextBatch finds the next offset at which a whole batch with a right checksum begins, or -1.
func nextBatch(data []byte, from int) int {
	for at := from; at+batchHeader <= len(data); at++ {
		if data[at] == 'B' && data[at+1] == 'J' {
			if _, err := decodeBatch(data[at:]); err == nil {
				return at
			}
		}
	}
	return -1
}

// append writes one batch and returns where it began once it is on disk; on an error nothing is left of it.
func (l *logFile) append(data []byte) (int64, error) {
	at := l.size
	if _, err := l.f.WriteAt(data, at); err != nil {
		return at, errors.Join(err, l.truncate(at))
	}
	if err := l.f.Sync(); err != nil {
		return at, errors.Join(err, l.truncate(at))
	}
	l.size = at + int64(len(data))
	return at, nil
}

func (l *logFile) truncate(size int64) error {
	if err := l.f.Truncate(size); err != nil {
		return err
	}
	l.size = size
	return l.f.Sync()
}

func (l *logFile) batches() ([]batch, error) {
	data := make([]byte, l.size)
	if _, err := l.f.ReadAt(data, 0); err != nil && err != io.EOF {
		return nil, err
	}
	found, _, _ := scanLog(data)
	return found, nil
}

// replace makes the file hold exactly these batches, atomically.
func (l *logFile) replace(batches []batch) error {
	f, err := os.OpenFile(l.path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	fresh := &logFile{path: l.path, f: f}
	for _, b := range batches {
		data := b.encode()
		if _, err := f.WriteAt(data, fresh.size); err != nil {
			f.Close()
			return err
		}
		fresh.size += int64(len(data))
	}
	if err := errors.Join(f.Sync(), os.Rename(l.path+".new", l.path), syncDir(filepath.Dir(l.path))); err != nil {
		f.Close()
		return err
	}
	l.f.Close()
	*l = *fresh
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (l *logFile) close() error { return l.f.Close() }

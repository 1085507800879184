package accesslog

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// MostKept is how many bytes a log gets before another is begun; one older is kept, behind the same name with .1.
const MostKept = 8 << 20

// File is the path of a log to which is written.
type File string

// Write is io.Writer's, for one goroutine at a time.
func (f File) Write(lines []byte) (int, error) { return Append(string(f), lines) }

// Remove removes a log and the one before it.
func Remove(path string) (err error) {
	for _, name := range []string{path, path + ".1"} {
		if e := os.Remove(name); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// Append adds lines to a log, after which it may become the older one, and returns how many bytes of them it has.
func Append(path string, lines []byte) (written int, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
			f, err = os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
		}
	}
	if err != nil {
		return 0, err
	}
	info, err := f.Stat()
	if err == nil {
		err = endLine(f, info.Size())
	}
	if err == nil {
		written, err = f.Write(lines)
	}
	if err = errors.Join(err, f.Close()); err == nil && info.Size()+int64(written) >= MostKept {
		err = os.Rename(path, path+".1")
	}
	return written, err
}

// endLine ends the last line of a log, which was cut off when the disk was full or the machine stopped.
func endLine(f *os.File, size int64) error {
	last := []byte{'\n'}
	if size > 0 {
		if _, err := f.ReadAt(last, size-1); err != nil {
			return err
		}
	}
	if last[0] == '\n' {
		return nil
	}
	_, err := f.WriteString("\n")
	return err
}

// Last are the last n lines of a log, and of the one before it.
func Last(path string, n int) ([]byte, error) {
	var all []byte
	for _, name := range []string{path, path + ".1"} {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(io.LimitReader(f, MostKept+MostWaiting))
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		all = append(data, all...)
		if bytes.Count(all, []byte{'\n'}) > n {
			break
		}
	}
	at := len(all)
	for range n + 1 { // the newline at the end is none between lines
		if at = bytes.LastIndexByte(all[:at], '\n'); at < 0 {
			break
		}
	}
	return all[at+1:], nil
}

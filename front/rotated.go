package front

import (
	"os"
	"path/filepath"
)

// rotated is a file that is begun anew when it is long, with the one before beside it.
type rotated struct {
	name string
	file *os.File
	size int64
}

// mostNoted is how long a file gets.
const mostNoted = 16 << 20

// Write is called by one goroutine at a time.
func (r *rotated) Write(p []byte) (int, error) {
	if r.file != nil && r.size > mostNoted {
		r.file.Close()
		r.file = nil
		if err := os.Rename(r.name, r.name+".1"); err != nil {
			return 0, err
		}
	}
	if r.file == nil {
		if err := os.MkdirAll(filepath.Dir(r.name), 0o700); err != nil {
			return 0, err
		}
		f, err := os.OpenFile(r.name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return 0, err
		}
		info, err := f.Stat()
		if err != nil {
			f.Close()
			return 0, err
		}
		r.file, r.size = f, info.Size()
	}
	n, err := r.file.Write(p)
	r.size += int64(n)
	return n, err
}

// Close closes the file.
func (r *rotated) Close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

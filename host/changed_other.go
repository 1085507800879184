//go:build !linux

package host

import (
	"io/fs"
	"time"
)

// Changed is when the contents of a file were last changed, as far as that is known.
func Changed(file fs.FileInfo) time.Time { return file.ModTime() }

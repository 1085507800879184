package host

import (
	"io/fs"
	"syscall"
	"time"
)

// Changed is when the contents or the rights of a file were last changed, which programs cannot set; the time of its contents where that is
// not known.
func Changed(file fs.FileInfo) time.Time {
	if st, ok := file.Sys().(*syscall.Stat_t); ok {
		return time.Unix(st.Ctim.Unix())
	}
	return file.ModTime()
}

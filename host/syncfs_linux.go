package host

import (
	"os"

	"golang.org/x/sys/unix"
)

// SyncFS makes everything that was written to the file system that f is on survive a power cut.
func SyncFS(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.Syncfs(int(fd)) }); err != nil {
		return err
	}
	return os.NewSyscallError("syncfs", failed)
}

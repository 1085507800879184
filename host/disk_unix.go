//go:build linux || darwin

package host

import (
	"fmt"
	"syscall"
)

// DiskFree is how many bytes an unprivileged process may still write to the file system of dir.
func DiskFree(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}

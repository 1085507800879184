package host

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// BoundProcesses bounds how many processes and threads each account may have that root starts tasks as: control groups
// of version 1, and of version 2 where pids is not handed down, would let a task without a memory limit fill the
// machine. Tasks inherit it; root itself, and who is not root, is not bound.
func BoundProcesses() error {
	if os.Geteuid() != 0 {
		return nil
	}
	most := uint64(mostPlain)
	if text, err := os.ReadFile("/proc/sys/kernel/threads-max"); err == nil {
		if n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil {
			most = min(most, n/2) // a small board's
		}
	}
	return unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: most, Max: most})
}

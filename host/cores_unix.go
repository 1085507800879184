//go:build unix

package host

import "syscall"

// NoCores keeps this process and those that it starts from writing core files, which would come back with a task's
// results; a task may still allow itself some.
func NoCores() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &limit); err != nil {
		return err
	}
	limit.Cur = 0
	return syscall.Setrlimit(syscall.RLIMIT_CORE, &limit)
}

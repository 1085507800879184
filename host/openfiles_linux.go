package host

import (
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// openFiles is how many files a program may open that we start: Go raises our own limit when it begins, and
// restores the first one in the children of its own fork only. So one of those is stopped before it does
// anything, asked, and ended.
func openFiles() (limit unix.Rlimit, known bool) {
	runtime.LockOSThread() // the tracer is a thread
	defer runtime.UnlockOSThread()
	pid, err := syscall.ForkExec("/proc/self/exe", []string{"bramble"}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{Ptrace: true}})
	if err != nil {
		return limit, false
	}
	var status syscall.WaitStatus
	syscall.Wait4(pid, &status, 0, nil)
	if status.Stopped() {
		limit, known = limitOf(pid)
		syscall.Kill(pid, syscall.SIGKILL)
		syscall.Wait4(pid, &status, 0, nil)
	}
	return limit, known
}

// limitOf reads a process's limit of open files.
func limitOf(pid int) (limit unix.Rlimit, known bool) {
	err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &limit)
	return limit, err == nil
}

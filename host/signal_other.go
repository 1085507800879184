//go:build !linux

package host

import "syscall"

// SignalNumber knows the signals that a client may be told of.
func SignalNumber(name string) syscall.Signal {
	return map[string]syscall.Signal{"SIGHUP": syscall.SIGHUP, "SIGINT": syscall.SIGINT, "SIGQUIT": syscall.SIGQUIT,
		"SIGKILL": syscall.SIGKILL, "SIGTERM": syscall.SIGTERM, "SIGSEGV": syscall.SIGSEGV, "SIGABRT": syscall.SIGABRT}[name]
}

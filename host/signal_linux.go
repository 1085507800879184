package host

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// SignalNumber is the number of a signal named as in Exit, such as "SIGKILL"; 0 when there is none of that name.
func SignalNumber(name string) syscall.Signal { return unix.SignalNum(name) }

package host

import "golang.org/x/sys/unix"

// On 32 bits the plain calls know small account numbers only.
const (
	sysSetgroups = unix.SYS_SETGROUPS32
	sysSetgid    = unix.SYS_SETGID32
	sysSetuid    = unix.SYS_SETUID32
)

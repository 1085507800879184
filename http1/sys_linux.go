package http1

import (
	"syscall"
	"unsafe"
)

// The calls below never block, so they spare the runtime's preparations for one that does.

// read reads what is there on a socket; 0 is the end, an error also EAGAIN. Calls for sockets spare what the kernel does for files.
func read(fd int, b []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
			continue
		}
		return 0, errno
	}
}

// send writes what fits of two pieces, the first of which is not empty; more says that something else follows at once.
// After EAGAIN and the like, n is 0.
func send(fd int, first, second []byte, more bool) (int, error) {
	flags := syscall.MSG_NOSIGNAL | syscall.MSG_DONTWAIT
	if more {
		flags |= syscall.MSG_MORE
	}
	if len(second) == 0 {
		return sendOne(fd, first, flags)
	}
	pieces := [2]syscall.Iovec{{Base: unsafe.SliceData(first)}, {Base: unsafe.SliceData(second)}}
	pieces[0].SetLen(len(first))
	pieces[1].SetLen(len(second))
	message := syscall.Msghdr{Iov: &pieces[0]}
	message.Iovlen = 2
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&message)), uintptr(flags))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
			continue
		}
		return 0, errno
	}
}

// sendOne is send of one piece, which costs the kernel less.
func sendOne(fd int, piece []byte, flags int) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(piece))), uintptr(len(piece)), uintptr(flags), 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
			continue
		}
		return 0, errno
	}
}

// poll takes events that are there, without waiting.
func poll(epoll int, events []syscall.EpollEvent) int {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// eventfd is a descriptor by which another thread wakes a loop.
func eventfd() (int, error) {
	fd, _, errno := syscall.RawSyscall(syscall.SYS_EVENTFD2, 0, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// ended are the events after which no more than what is there can be read.
const ended = syscall.EPOLLRDHUP | syscall.EPOLLHUP | syscall.EPOLLERR

const edge = syscall.EPOLLIN | syscall.EPOLLOUT | syscall.EPOLLRDHUP | 1<<31 // EPOLLET, whose constant is negative

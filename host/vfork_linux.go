package host

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// step is one system call of a child on its way to its program; assembly knows its layout.
type step struct {
	trap uintptr
	args [5]uintptr
}

// script is what a child does before and when it executes its program. It begins with what assembly
// writes when a step fails.
type script struct {
	errno uintptr
	at    uintptr // address of the step

	steps    []step
	keep     []any // what the steps point to
	pidfd    int32
	all, old uint64 // signal masks
	clone    cloneArgs
}

// cloneArgs is what clone3 takes, as clone(2) lays it out up to Linux 5.7.
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

// vfork makes a child that shares this memory and takes its steps, of which the last executes a program or
// fails, while this thread sleeps. A pid below zero is the number of an error: there is no child.
//
// It is here because syscall.ForkExec lets one fork through at a time, gives each child three score more
// calls to make, and asks it over a pipe how it went. What it is given must not lie on a stack, which may
// move; that it lacks go:noescape sees to that.
func vfork(trap, a1, a2, a3 uintptr, steps *step, s *script) (pid uintptr)

func (s *script) call(trap uintptr, args ...uintptr) {
	next := step{trap: trap}
	copy(next.args[:], args)
	s.steps = append(s.steps, next)
}

// execute is the last step.
func (s *script) execute(path string, args, env []string) error {
	name, err := syscall.BytePtrFromString(path)
	if err != nil {
		return err
	}
	argv, err := syscall.SlicePtrFromStrings(args)
	if err != nil {
		return err
	}
	envv, err := syscall.SlicePtrFromStrings(env)
	if err != nil {
		return err
	}
	s.keep = append(s.keep, name, argv, envv)
	s.call(unix.SYS_EXECVE, address(name), address(&argv[0]), address(&envv[0]))
	return nil
}

// enter changes the folder.
func (s *script) enter(dir string) error {
	name, err := syscall.BytePtrFromString(dir)
	if err != nil {
		return err
	}
	s.keep = append(s.keep, name)
	s.call(unix.SYS_CHDIR, address(name))
	return nil
}

// files puts three descriptors into the first three places.
func (s *script) files(files [3]uintptr) {
	spare := max(files[0], files[1], files[2], 2) + 1
	for i, fd := range files {
		if fd < 3 && fd != uintptr(i) { // out of the way first
			s.call(unix.SYS_DUP3, fd, spare, unix.O_CLOEXEC)
			files[i] = spare
			spare++
		}
	}
	for i, fd := range files {
		if fd == uintptr(i) {
			s.call(unix.SYS_FCNTL, fd, unix.F_SETFD, 0)
		} else {
			s.call(unix.SYS_DUP3, fd, uintptr(i), 0)
		}
	}
}

// become changes the account.
func (s *script) become(a *Account) {
	groups := make([]uint32, len(a.Groups)+1) // never empty, so that it has an address
	copy(groups, a.Groups)
	s.keep = append(s.keep, groups)
	s.call(sysSetgroups, uintptr(len(a.Groups)), address(&groups[0]))
	s.call(sysSetgid, uintptr(a.GID))
	s.call(sysSetuid, uintptr(a.UID))
}

// join moves the child into version 1 groups by their open "tasks" files.
func (s *script) join(tasks []int) {
	zero := &[1]byte{'0'}
	s.keep = append(s.keep, zero)
	for _, fd := range tasks {
		s.call(unix.SYS_WRITE, uintptr(fd), address(&zero[0]), 1)
	}
}

// limitFiles sets how many files may be open.
func (s *script) limitFiles(limit unix.Rlimit) {
	kept := new(unix.Rlimit)
	*kept = limit
	s.keep = append(s.keep, kept)
	s.call(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, address(kept), 0)
}

// unmask lets signals through again, which play has held back. It comes right before execute.
func (s *script) unmask() {
	s.call(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, address(&s.old), 0, 8)
}

// forgetHandlers is what CLONE_CLEAR_SIGHAND does on newer kernels: a handler of ours must not run in the
// child, and a signal that we ignore stays ignored.
func (s *script) forgetHandlers() {
	const sigIgnore, signals = 1, 64
	none := new([4]uint64) // as large as any kernel's sigaction; zeros are the default
	s.keep = append(s.keep, none)
	for n := uintptr(1); n <= signals; n++ {
		var now struct {
			handler uintptr
			rest    [3]uint64
		}
		_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, n, 0, uintptr(unsafe.Pointer(&now)), 8, 0, 0)
		if errno == 0 && now.handler > sigIgnore {
			s.call(unix.SYS_RT_SIGACTION, n, address(none), 0, 8)
		}
	}
}

// How a child is made, the best way first; kernels, and what guards or emulates them, may lack one.
const (
	byClone3 = iota
	byClone
	withoutPidfd
	ways
)

// play makes the child, in the open version 2 group unless that is below zero. The error is a
// syscall.Errno; at is the number of the step that failed, -1 when no child could be made.
func (s *script) play(way int32, group int) (pid, at int, err error) {
	flags := uintptr(unix.CLONE_VM | unix.CLONE_VFORK | unix.CLONE_PIDFD)
	if way == withoutPidfd {
		flags &^= unix.CLONE_PIDFD
	}
	s.all, s.pidfd, s.errno = ^uint64(0), -1, 0
	s.clone = cloneArgs{flags: uint64(flags) | unix.CLONE_CLEAR_SIGHAND, pidfd: uint64(address(&s.pidfd)), exitSignal: uint64(unix.SIGCHLD)}
	if group >= 0 {
		s.clone.flags |= unix.CLONE_INTO_CGROUP
		s.clone.cgroup = uint64(group)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, address(&s.all), address(&s.old), 8, 0, 0)
	var made uintptr
	if way == byClone3 {
		made = vfork(unix.SYS_CLONE3, address(&s.clone), unsafe.Sizeof(s.clone), 0, &s.steps[0], s)
	} else {
		made = vfork(unix.SYS_CLONE, flags|uintptr(unix.SIGCHLD), 0, address(&s.pidfd), &s.steps[0], s)
	}
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, address(&s.old), 0, 8, 0, 0)
	runtime.KeepAlive(s)
	if pid = int(made); pid < 0 {
		return 0, -1, syscall.Errno(-pid)
	}
	if s.errno == 0 {
		return pid, 0, nil
	}
	s.clear(pid)
	for at < len(s.steps) && address(&s.steps[at]) != s.at {
		at++
	}
	return 0, at, syscall.Errno(s.errno)
}

// clear takes away what is left of a child that got nowhere.
func (s *script) clear(pid int) {
	if s.pidfd >= 0 {
		unix.Close(int(s.pidfd))
	}
	for {
		if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
			return
		}
	}
}

// address is where something lies that a script holds on to.
func address[T any](p *T) uintptr { return uintptr(unsafe.Pointer(p)) }

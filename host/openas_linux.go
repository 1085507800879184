package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"bramble/fault"

	"golang.org/x/sys/unix"
)

// OpenAs opens a file for writing as an account would, with that account's rights alone: "" is our own.
func (s *starter) OpenAs(name string, w Writing) (f *os.File, err error) {
	account, err := s.runAs(name)
	if err != nil {
		return nil, err
	}
	if account == nil {
		return w.open()
	}
	err = account.do(func() error {
		f, err = w.open()
		return err
	})
	return f, err
}

// do calls f on a thread that reaches files as the account does: of all that root may, the kernel leaves such a thread nothing
// that has to do with files.
func (a *Account) do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good, unless it is ours again: the thread then ends with this goroutine
		groups, err := unix.Getgroups()
		if err == nil {
			err = assume(int(a.UID), int(a.GID), a.groups())
		}
		if err == nil {
			err = f()
		}
		if assume(os.Geteuid(), os.Getegid(), groups) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

func (a *Account) groups() []int {
	list := make([]int, len(a.Groups))
	for i, g := range a.Groups {
		list[i] = int(g)
	}
	return list
}

// assume changes whose files this thread may open. Who is to be root again is it first, as only root may change the rest.
func assume(uid, gid int, groups []int) error {
	if uid == 0 {
		unix.SetfsuidRetUid(0)
	}
	if err := unix.Setgroups(groups); err != nil {
		return fmt.Errorf("take on an account's groups: %w", err)
	}
	unix.SetfsgidRetGid(gid)
	unix.SetfsuidRetUid(uid)
	isUID, _ := unix.SetfsuidRetUid(-1) // such a change does not say that it failed
	isGID, _ := unix.SetfsgidRetGid(-1)
	if isUID != uid || isGID != gid {
		return fault.New(fault.Denied, "this process cannot open files as another account")
	}
	return nil
}

func (w Writing) open() (*os.File, error) {
	if err := w.makeFolders(); err != nil {
		return nil, err
	}
	flags := unix.O_WRONLY | unix.O_CREAT | unix.O_APPEND | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	mode := uint32(0o666 &^ w.Umask)
	fd, err := openPath(w.Path, flags|unix.O_EXCL, mode)
	fresh := err == nil
	if errors.Is(err, unix.EEXIST) {
		fd, err = openPath(w.Path, flags, mode)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: w.Path, Err: err}
	}
	if err := w.check(fd); err != nil {
		unix.Close(fd)
		return nil, err
	}
	if fresh && w.Umask > 0 { // our own took something away
		unix.Fchmod(fd, mode)
	}
	if !w.Append {
		err = unix.Ftruncate(fd, 0)
	}
	if err == nil {
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		unix.Close(fd)
		return nil, &fs.PathError{Op: "open", Path: w.Path, Err: err}
	}
	return os.NewFile(uintptr(fd), w.Path), nil
}

// openPath follows no link into what a process has open, which is for that process.
func openPath(path string, flags int, mode uint32) (fd int, err error) {
	for {
		fd, err = unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{Flags: uint64(flags), Mode: uint64(mode), Resolve: unix.RESOLVE_NO_MAGICLINKS})
		if err == unix.ENOSYS { // before Linux 5.6
			fd, err = unix.Open(path, flags, mode)
		}
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// kernels are file systems in which to write is to command the kernel, which asks who writes and not who has opened.
var kernels = []uint32{unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.DEBUGFS_MAGIC,
	unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC, unix.SELINUX_MAGIC, unix.SMACK_MAGIC, unix.BPF_FS_MAGIC, unix.EFIVARFS_MAGIC, unix.BINFMTFS_MAGIC}

// check refuses what is no file to keep something in.
func (w Writing) check(fd int) error {
	var info unix.Stat_t
	var on unix.Statfs_t
	if err := errors.Join(unix.Fstat(fd, &info), unix.Fstatfs(fd, &on)); err != nil {
		return &fs.PathError{Op: "open", Path: w.Path, Err: err}
	}
	if info.Mode&unix.S_IFMT != unix.S_IFREG || slices.Contains(kernels, uint32(on.Type)) {
		return fault.New(fault.Misused, "%s is no ordinary file", w.Path)
	}
	return nil
}

func (w Writing) makeFolders() error {
	dir := filepath.Dir(w.Path)
	if w.Below == "" || !strings.HasPrefix(dir, strings.TrimSuffix(w.Below, "/")+"/") {
		return nil
	}
	if _, err := os.Stat(w.Below); err != nil {
		return err
	}
	return os.MkdirAll(dir, os.FileMode(0o777&^w.Umask))
}

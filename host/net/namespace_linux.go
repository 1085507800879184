package hostnet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"bramble/fault"
)

const (
	namespaceDir = "/run/netns" // where `ip netns` looks
	ourMount     = "bramble"    // the source of the mount there, when it is ours to take away
)

// space is a network namespace held open, with a netlink socket inside it.
type space struct {
	*netlink.Handle
	ns netns.NsHandle
}

// openSpace opens a namespace that is there.
func openSpace(name string) (space, error) {
	ns, err := netns.GetFromName(name)
	if err != nil {
		return space{}, fmt.Errorf("opening network namespace %s: %w", name, err)
	}
	defer ns.Close()
	var s space
	err = onLostThread(func() (err error) {
		if err = netns.Set(ns); err == nil {
			s, err = thisSpace()
		}
		return err
	})
	if err != nil {
		return space{}, fmt.Errorf("entering network namespace %s: %w", name, err)
	}
	return s, nil
}

// newSpace makes a namespace under a name and leaves the calling thread in it: call it within onLostThread.
func newSpace(name string) (space, error) {
	ns, err := netns.NewNamed(name)
	if err != nil {
		return space{}, fmt.Errorf("making network namespace %s: %w", name, err)
	}
	ns.Close()
	return thisSpace()
}

// thisSpace is the one that the calling thread is in.
func thisSpace() (space, error) {
	ns, err := netns.Get()
	if err != nil {
		return space{}, err
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		ns.Close()
		return space{}, err
	}
	return space{h, ns}, nil
}

// close lets go of the namespace, which stays.
func (s space) close() {
	s.Handle.Close()
	s.ns.Close()
}

// onLostThread runs f on a thread that ends with it, so f may leave it in any namespace.
// It is never the main thread, which cannot end and by which the kernel tells where a process is.
func onLostThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread with the goroutine
		if unix.Gettid() == unix.Getpid() {
			err := onLostThread(f) // on another one, since this is taken
			runtime.UnlockOSThread()
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// namespacesOf lists the names of a lab's namespaces, also unfinished ones; "" means every lab's.
func namespacesOf(lab string) ([]string, error) {
	entries, err := os.ReadDir(namespaceDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if at := labOf(entry.Name()); at != "" && (lab == "" || at == lab) {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

// removeName unmounts a namespace's name and takes it away; the namespace ends with its last process.
func removeName(name string) error {
	path := filepath.Join(namespaceDir, name)
	for { // once for every mount on it; EINVAL says that there is none left
		err := unix.Unmount(path, unix.MNT_DETACH)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break
		}
		if err != nil {
			return &os.PathError{Op: "unmount", Path: path, Err: err}
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// mountNames makes the folder of names a shared mount, as `ip netns` also does:
// then a name that is removed is removed in every mount namespace.
func mountNames() error {
	if err := os.MkdirAll(namespaceDir, 0o755); err != nil {
		return err
	}
	if source, err := mountedNames(); err != nil || source != "" {
		return err
	}
	others, err := os.ReadDir(namespaceDir)
	if err != nil {
		return err
	}
	if len(others) > 0 { // somebody's names, which must stay visible
		err = unix.Mount(namespaceDir, namespaceDir, "", unix.MS_BIND|unix.MS_REC, "")
	} else {
		err = unix.Mount(ourMount, namespaceDir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=755")
	}
	if err != nil {
		return &os.PathError{Op: "mount", Path: namespaceDir, Err: err}
	}
	return unix.Mount("", namespaceDir, "", unix.MS_SHARED|unix.MS_REC, "")
}

// unmountNames takes the mount and the folder away if they are ours and nobody uses them.
func unmountNames() error {
	names, err := os.ReadDir(namespaceDir)
	if err != nil || len(names) > 0 {
		return ignore(err, os.ErrNotExist)
	}
	if source, err := mountedNames(); err != nil || source != ourMount {
		return err
	}
	if err := unix.Unmount(namespaceDir, unix.MNT_DETACH); err != nil {
		return &os.PathError{Op: "unmount", Path: namespaceDir, Err: err}
	}
	return ignore(os.Remove(namespaceDir), unix.EEXIST, unix.ENOTEMPTY, unix.EBUSY)
}

// mountedNames is the source of the mount that the folder of names is the top of, "" when there is none.
// One that another mount on the way to it hides does not count.
func mountedNames() (source string, err error) {
	var at unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, namespaceDir, 0, unix.STATX_MNT_ID, &at); err != nil {
		return "", &os.PathError{Op: "statx", Path: namespaceDir, Err: err}
	}
	file, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return "", err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() { // proc_pid_mountinfo(5): the id is field 1, the mount point field 5, the source the second after the dash
		fields := strings.Fields(lines.Text())
		if dash := slices.Index(fields, "-"); dash > 4 && len(fields) > dash+2 && fields[4] == namespaceDir &&
			fields[0] == strconv.FormatUint(at.Mnt_id, 10) {
			source = fields[dash+2]
		}
	}
	return source, lines.Err()
}

// lockMachine keeps two labs from choosing one subnet or taking the folder of names
// from each other. It leaves nothing behind: what is locked is the folder /run itself.
func lockMachine(ctx context.Context) (unlock func(), err error) {
	run, err := os.Open(filepath.Dir(namespaceDir))
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(run.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { run.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			run.Close()
			return nil, &os.PathError{Op: "lock", Path: run.Name(), Err: err}
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			run.Close()
			return nil, fmt.Errorf("waiting for another lab to be made or removed: %w", err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// ignore is err unless it is one of those that are expected.
func ignore(err error, expected ...error) error {
	for _, e := range expected {
		if errors.Is(err, e) {
			return nil
		}
	}
	return err
}

// explain turns the kernel's refusal into one that says what a person can do.
func explain(err error) error {
	if err != nil && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)) {
		return fault.New(fault.Denied, "%w (a lab with networks of its own needs root)", err).Hint("sudo bramble lab …, or bramble lab up --no-netns")
	}
	return err
}

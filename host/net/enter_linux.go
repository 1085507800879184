package hostnet

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"bramble/fault"
)

const tmpDir = "/tmp"

// Enter turns this process into the program of an Entry that Argv wrote down. It returns only when that failed.
//
// It needs nothing from its parent: one locked thread leaves the process's namespaces
// and then executes the program, at which the kernel ends all other threads and gives
// that one the process id. So whoever starts it, nothing can happen to the machine's own
// host name or mounts; they were left behind before the first of them is touched.
func Enter(text string) error {
	var e Entry
	if err := json.Unmarshal([]byte(text), &e); err != nil || len(e.Args) == 0 {
		return fault.New(fault.Misused, "%s is for bramble's own use", EnterVerb).Hint("bramble lab --help")
	}
	runtime.LockOSThread()
	if err := e.leave(); err != nil {
		return fmt.Errorf("entering %s: %w", e.Hostname, explain(err))
	}
	program, err := e.arrive()
	if err != nil {
		return fmt.Errorf("furnishing %s: %w", e.Hostname, err)
	}
	if err := syscall.Exec(program, e.Args, os.Environ()); err != nil {
		return fault.New(fault.Failed, "cannot execute %s on %s: %w", program, e.Hostname, err)
	}
	return nil
}

// leave takes the thread out of the machine's namespaces. Mounts stay slaves of the
// machine's, so that what is unmounted there is not kept busy here.
func (e Entry) leave() error {
	ns, err := netns.GetFromName(e.Namespace)
	if errors.Is(err, os.ErrNotExist) {
		return fault.New(fault.NotFound, "there is no network namespace %s", e.Namespace).Hint("bramble lab up")
	}
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWUTS); err != nil {
		return fmt.Errorf("leaving the machine's mounts: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("taking mounts apart: %w", err)
	}
	return netns.Set(ns)
}

// arrive gives the thread the node's name, files and /tmp, and returns the program's path.
func (e Entry) arrive() (program string, err error) {
	if err := unix.Sethostname([]byte(e.Hostname)); err != nil {
		return "", fmt.Errorf("setting the host name: %w", err)
	}
	for _, name := range []string{"hosts", "hostname"} {
		err := bind(e.file(name), filepath.Join("/etc", name))
		if err != nil && !errors.Is(err, os.ErrNotExist) { // a machine need not have either
			return "", err
		}
	}
	program, err = exec.LookPath(e.Args[0])
	if err != nil {
		return "", fault.New(fault.NotFound, "no program %s: %w", e.Args[0], err)
	}
	if program, err = filepath.Abs(program); err != nil {
		return "", err
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	keep, err := openKept(append(slices.Clone(e.Keep), e.Home, self, program, dir))
	if err != nil {
		return "", err
	}
	if err := bind(e.tmp(), tmpDir); err != nil {
		return "", err
	}
	if err := ownMemory(append(slices.Clone(e.Keep), e.Home, self, program, dir)); err != nil {
		return "", err
	}
	for _, k := range keep {
		if err := k.attach(); err != nil {
			return "", err
		}
	}
	return program, os.Chdir(dir)
}

// memoryDir is where programs of one machine share memory.
const memoryDir = "/dev/shm"

// ownMemory gives the node an empty memoryDir, as one machine has it for itself; not where something that it needs lies there.
func ownMemory(needed []string) error {
	if info, err := os.Stat(memoryDir); err != nil || !info.IsDir() {
		return nil
	}
	if slices.ContainsFunc(needed, func(path string) bool { return strings.HasPrefix(path, memoryDir+"/") }) {
		return nil
	}
	if err := unix.Mount("bramble", memoryDir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
		return &os.PathError{Op: "mount memory", Path: memoryDir, Err: err}
	}
	return nil
}

func bind(from, to string) error {
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return &os.PathError{Op: "bind over", Path: to, Err: err}
	}
	return nil
}

// kept is a file or folder below /tmp, held while the node's own /tmp covers it.
type kept struct {
	path  string
	isDir bool
	tree  int // a detached copy of the mounts there
}

// openKept takes hold of those paths that lie below /tmp, leaving out what a folder among them contains.
func openKept(paths []string) (all []kept, err error) {
	for _, path := range paths {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			paths = append(paths, real)
		}
	}
	slices.Sort(paths)
	for _, path := range paths {
		inside := func(k kept) bool { return path == k.path || strings.HasPrefix(path, k.path+"/") }
		if !strings.HasPrefix(path, tmpDir+"/") || slices.ContainsFunc(all, inside) {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		tree, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			return nil, &os.PathError{Op: "keep", Path: path, Err: err}
		}
		all = append(all, kept{path: path, isDir: info.IsDir(), tree: tree})
	}
	return all, nil
}

// attach makes it visible again at its own path in the node's /tmp.
func (k kept) attach() error {
	dir := k.path
	if !k.isDir {
		dir = filepath.Dir(k.path)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if !k.isDir {
		if err := os.WriteFile(k.path, nil, 0o644); err != nil {
			return err
		}
	}
	if err := unix.MoveMount(k.tree, "", unix.AT_FDCWD, k.path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return &os.PathError{Op: "keep", Path: k.path, Err: err}
	}
	return nil
}

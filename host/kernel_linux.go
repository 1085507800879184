package host

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// diskSize is the size of the file system that holds dir and what is free to us, in bytes; 0 when unknown.
func diskSize(dir string) (total, free int64) {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return 0, 0
	}
	block := int64(s.Frsize)
	if block == 0 { // file systems that know only one size
		block = int64(s.Bsize)
	}
	return int64(s.Blocks) * block, int64(s.Bavail) * block
}

func writable(path string) bool { return unix.Access(path, unix.W_OK) == nil }

// Subreaper makes this process the parent of its descendants' orphans, so that daemons
// of a task stay within sight; the keeper's main calls it once. A Real reaps what ends.
func Subreaper() error {
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
}

// inheritsOrphans reports whether orphans come to us: as subreaper, or as the machine's init.
func inheritsOrphans() bool {
	if os.Getpid() == 1 {
		return true
	}
	var on int32
	err := unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&on)), 0, 0, 0)
	return err == nil && on == 1
}

// readProc reads /proc/PID/stat: pid (name) state ppid pgrp session …, the start time 22nd; the name
// may hold blanks and brackets.
func readProc(pid int) (proc, bool) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return proc{}, false
	}
	text := string(data)
	f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(f) < 20 {
		return proc{}, false
	}
	p := proc{pid: pid, state: f[0][0], began: f[19]}
	p.parent, _ = strconv.Atoi(f[1])
	p.group, _ = strconv.Atoi(f[2])
	p.session, _ = strconv.Atoi(f[3])
	return p, true
}

// CommandLine is what a process was started with, and which process did; none for one that is gone.
func CommandLine(pid int) (args []string, parent int) {
	p, ok := readProc(pid)
	if !ok {
		return nil, 0
	}
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil || len(data) == 0 {
		return nil, p.parent
	}
	return strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00"), p.parent
}

// processes lists every process in sight.
func processes() []proc {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var all []proc
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			if p, ok := readProc(pid); ok {
				all = append(all, p)
			}
		}
	}
	return all
}

// markOf is the value of BRAMBLE_TASK in a process's first environment; "" when it has none
// or may not be read. It is unsettled in the middle of exec and of exit, when a process has no
// memory and so no environment.
func markOf(pid int) (mark string, settled bool) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	for v := range strings.SplitSeq(string(data), "\x00") {
		if mark, ok := strings.CutPrefix(v, markName+"="); ok {
			return mark, true
		}
	}
	gone := errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrNotExist)
	return "", !gone && (err != nil || len(data) > 0)
}

// prey are the processes of a task that were seen once, by number, with their start: in the
// middle of its exit a process bears no mark any more, but is not dead yet.
type prey map[int]string

// add notes what was found.
func (k prey) add(all []proc, found []int) {
	for _, p := range all {
		if slices.Contains(found, p.pid) {
			k[p.pid] = p.began
		}
	}
}

// alive are those that still live.
func (k prey) alive(all []proc) []int {
	var pids []int
	for _, p := range all {
		if began, known := k[p.pid]; known && began == p.began && p.alive() {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

// SocketPair makes two sockets that pass packets to each other, which no program that is started here inherits.
func SocketPair() (near, far *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "socket"), os.NewFile(uintptr(fds[1]), "socket"), nil
}

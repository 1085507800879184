package hostnet

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Processes lists the process ids on every node that has any, by its name and in rising order.
func (n *Network) Processes() (map[string][]int, error) {
	names := map[identity]string{}
	for _, node := range n.Nodes {
		id, err := namespaceAt(filepath.Join(namespaceDir, node.Namespace))
		if err != nil {
			return nil, err
		}
		names[id] = node.Name
	}
	found := map[string][]int{}
	return found, eachProcess(func(pid int, at identity) {
		if name, ok := names[at]; ok {
			found[name] = append(found[name], pid)
		}
	})
}

// Signal sends a signal to every process on a node and returns how many there were.
// After SIGKILL it returns when all have ended, after SIGSTOP when all stand still,
// those included that were being forked meanwhile. All stop before the first is killed, so that
// none sees another die, as when a machine loses its power.
func (n *Network) Signal(ctx context.Context, node string, sig syscall.Signal) (int, error) {
	at, _, err := n.node(node)
	if err != nil {
		return 0, err
	}
	if sig == unix.SIGKILL {
		_, err = signalAll(ctx, at.Namespace, unix.SIGSTOP)
	}
	count := 0
	if err == nil {
		count, err = signalAll(ctx, at.Namespace, sig)
	}
	if err != nil {
		return count, fmt.Errorf("signalling %s: %w", node, err)
	}
	return count, nil
}

// signalAll looks again until all that it knew were at rest before a look that found
// nobody new: only then can no fork be under way.
func signalAll(ctx context.Context, namespace string, sig syscall.Signal) (int, error) {
	id, err := namespaceAt(filepath.Join(namespaceDir, namespace))
	if err != nil {
		return 0, err
	}
	seen := map[int]bool{}
	for atRest := false; ; {
		pids, err := processesIn(id)
		if err != nil {
			return len(seen), err
		}
		fresh := false
		for _, pid := range pids {
			if !seen[pid] && signalIn(pid, id, sig) {
				seen[pid], fresh = true, true
			}
		}
		if !fresh && atRest || sig != unix.SIGKILL && sig != unix.SIGSTOP {
			return len(seen), nil
		}
		atRest = !fresh && resting(pids, sig)
		if err := pause(ctx, time.Millisecond); err != nil {
			return len(seen), fmt.Errorf("%d processes neither end nor stop: %w", len(pids), err)
		}
	}
}

// resting reports whether processes that got SIGKILL or SIGSTOP did as they were told.
func resting(pids []int, sig syscall.Signal) bool {
	if sig == unix.SIGKILL {
		return len(pids) == 0
	}
	return !slices.ContainsFunc(pids, Active)
}

// Active reports whether any thread of a process has neither ended nor stopped. One that sleeps
// uninterruptibly counts as at rest: so does a parent in vfork(2) whose child was stopped.
func Active(pid int) bool {
	stats, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/stat")
	return slices.ContainsFunc(stats, func(path string) bool {
		stat, err := os.ReadFile(path)
		if err != nil {
			return false // it has ended
		}
		_, after, _ := bytes.Cut(stat[bytes.LastIndexByte(stat, ')'):], []byte(" ")) // proc_pid_stat(5): the name may contain anything
		return len(after) == 0 || !strings.ContainsRune("TtZXD", rune(after[0]))
	})
}

// processesIn are the processes in a namespace, but never this one.
func processesIn(id identity) (pids []int, err error) {
	err = eachProcess(func(pid int, at identity) {
		if at == id && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	})
	return pids, err
}

// signalIn signals a process if it is in the namespace still, never another that got its id meanwhile.
func signalIn(pid int, id identity, sig syscall.Signal) bool {
	p, err := os.FindProcess(pid) // holds the process, not the number
	if err != nil {
		return false
	}
	defer p.Release()
	at, err := namespaceOfProcess(pid)
	return err == nil && at == id && p.Signal(sig) == nil
}

// eachProcess calls f with every process that has not ended and its network namespace.
// It leaves out those that even root may not look into; they are not a lab's.
func eachProcess(f func(pid int, at identity)) error {
	proc, err := os.Open("/proc")
	if err != nil {
		return err
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1) // the kernel lists processes in the order of their ids
	if err != nil {
		return err
	}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if at, err := namespaceOfProcess(pid); err == nil {
			f(pid, at)
		}
	}
	return nil
}

func namespaceOfProcess(pid int) (identity, error) {
	return namespaceAt("/proc/" + strconv.Itoa(pid) + "/ns/net")
}

// identity is what tells a namespace from all others.
type identity struct{ device, inode uint64 }

func namespaceAt(path string) (identity, error) {
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return identity{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return identity{uint64(stat.Dev), stat.Ino}, nil
}

package hostnet

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
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

// Signal sends a signal to every process on a node, those included that are being forked
// meanwhile, and returns how many there were. After SIGKILL it waits until all have ended.
func (n *Network) Signal(ctx context.Context, node string, sig syscall.Signal) (int, error) {
	at, _, err := n.node(node)
	if err != nil {
		return 0, err
	}
	count, err := signalAll(ctx, at.Namespace, sig)
	if err != nil {
		return count, fmt.Errorf("signalling %s: %w", node, err)
	}
	return count, nil
}

// signalAll looks again until it finds nobody new: a process that has a signal pending
// cannot fork, so when one look finds only those that were signalled, these were all.
func signalAll(ctx context.Context, namespace string, sig syscall.Signal) (int, error) {
	id, err := namespaceAt(filepath.Join(namespaceDir, namespace))
	if err != nil {
		return 0, err
	}
	seen := map[int]bool{}
	for {
		alive, fresh := 0, 0
		err := eachProcess(func(pid int, at identity) {
			if at != id || pid == os.Getpid() {
				return
			}
			if alive++; !seen[pid] && signalIn(pid, id, sig) {
				seen[pid] = true
				fresh++
			}
		})
		if err != nil || fresh == 0 && (alive == 0 || sig != unix.SIGKILL) {
			return len(seen), err
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return len(seen), fmt.Errorf("%d processes do not end: %w", alive, err)
		}
	}
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

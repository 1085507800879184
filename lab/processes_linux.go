package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"bramble/host"
	hostnet "bramble/host/net"
)

// name tells a process from all others for good.
func (p process) name() string { return strconv.Itoa(p.pid) + "-" + p.began }

// processes lists all that have not ended, in the order of their ids. What may not be looked into has no mark.
func processes() ([]process, error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer proc.Close()
	entries, err := proc.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var all []process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry)
		if err != nil {
			continue
		}
		if p, ok := readProcess(pid); ok {
			all = append(all, p)
		}
	}
	return all, nil
}

func readProcess(pid int) (process, bool) {
	dir := "/proc/" + strconv.Itoa(pid)
	p, ok := readStat(pid)
	if !ok {
		return p, false
	}
	if text, err := os.ReadFile(dir + "/environ"); err == nil {
		for v := range strings.SplitSeq(string(text), "\x00") {
			if mark, ok := strings.CutPrefix(v, markName+"="); ok {
				p.mark = mark
			}
			if task, ok := strings.CutPrefix(v, taskMark+"="); ok {
				p.task = task
			}
		}
	}
	if text, err := os.ReadFile(dir + "/cmdline"); err == nil && p.mark != "" {
		p.args = strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
	}
	return p, true
}

// readStat reads /proc/PID/stat as proc(5) lays it out; false for one that has ended.
func readStat(pid int) (process, bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return process{}, false
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return process{}, false
	}
	parent, err := strconv.Atoi(fields[1])
	return process{pid: pid, parent: parent, began: fields[19]}, err == nil
}

// marked are the machines of the lab in a state folder, known by what stands in their processes' environment.
type marked struct{ state string }

func (m marked) look() (map[int]string, map[int]process, error) {
	all, err := processes()
	if err != nil {
		return nil, nil, err
	}
	known := map[int]process{}
	for _, p := range all {
		known[p.pid] = p
	}
	nodes := assign(all, m.state)
	delete(nodes, os.Getpid())
	return nodes, known, nil
}

func (m marked) Processes() (map[string][]int, error) {
	nodes, _, err := m.look()
	found := map[string][]int{}
	for pid, node := range nodes {
		found[node] = append(found[node], pid)
	}
	for _, pids := range found {
		slices.Sort(pids)
	}
	return found, err
}

// Signal stops before it kills: a stopped process forks no more and sees no other die, and one that is dead no longer tells
// whose its children are.
func (m marked) Signal(ctx context.Context, node string, sig syscall.Signal) (int, error) {
	first := sig
	if sig == syscall.SIGKILL {
		first = syscall.SIGSTOP
	}
	seen := map[string]process{}
	for fresh := true; fresh; {
		fresh = false
		nodes, known, err := m.look()
		if err != nil {
			return len(seen), err
		}
		for pid, at := range nodes {
			p := known[pid]
			if _, again := seen[p.name()]; at == node && !again && p.signal(first) {
				seen[p.name()], fresh = p, true
			}
		}
	}
	if sig != syscall.SIGKILL {
		return len(seen), nil
	}
	for _, p := range seen {
		if err := until(ctx, func() bool { return !p.alive() || !hostnet.Active(p.pid) }); err != nil {
			return len(seen), fmt.Errorf("process %d does not stop: %w", p.pid, err)
		}
	}
	for _, p := range seen {
		p.signal(sig)
	}
	for _, p := range seen {
		if err := p.gone(ctx); err != nil {
			return len(seen), err
		}
	}
	return len(seen), m.sweep(node)
}

// sweep ends what tasks of agents and keepers that are dead have left behind.
func (m marked) sweep(node string) error {
	machine := host.NewReal(host.RealOptions{StateDir: m.state + "/" + node})
	defer machine.Close()
	left, err := machine.Leftovers("")
	if err != nil {
		return err
	}
	for _, id := range left {
		task, err := machine.Adopt(id)
		if err != nil {
			continue // it ended meanwhile
		}
		if err := task.Kill(); err != nil {
			return err
		}
	}
	return nil
}

// signal reports whether the process was there still; never another that got its id meanwhile.
func (p process) signal(sig syscall.Signal) bool {
	held, err := os.FindProcess(p.pid)
	if err != nil {
		return false
	}
	defer held.Release()
	return p.alive() && held.Signal(sig) == nil
}

func (p process) alive() bool {
	now, ok := readStat(p.pid)
	return ok && now.began == p.began
}

// gone waits until a process that was killed has ended.
func (p process) gone(ctx context.Context) error {
	if err := until(ctx, func() bool { return !p.alive() }); err != nil {
		return fmt.Errorf("process %d does not end: %w", p.pid, err)
	}
	return nil
}

// until looks again and again whether something is so; an error when ctx ends before it is.
func until(ctx context.Context, is func() bool) error {
	for pause := time.Millisecond; !is(); pause = min(2*pause, 50*time.Millisecond) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
	return nil
}

// end ends everything of every node: tasks at once, agents and keepers in good order, who does not follow at last too.
// names are nodes that may have left something though no process of theirs is there.
func (m marked) end(ctx context.Context, names ...string) error {
	nodes, known, err := m.look()
	if err != nil {
		return err
	}
	for pid, node := range nodes {
		names = append(names, node)
		p := known[pid]
		if p.mark == "" {
			p.signal(syscall.SIGKILL)
			continue
		}
		p.signal(syscall.SIGTERM)
		p.signal(syscall.SIGCONT)
	}
	patient, cancel := context.WithTimeout(ctx, downPatience)
	defer cancel()
	for pid := range nodes {
		known[pid].gone(patient)
	}
	slices.Sort(names)
	for _, node := range slices.Compact(names) {
		if _, err := m.Signal(ctx, node, syscall.SIGKILL); err != nil {
			return err
		}
	}
	return nil
}

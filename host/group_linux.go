package host

import (
	"bytes"
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"bramble/fault"

	"golang.org/x/sys/unix"
)

// period is the span, in microseconds, over which CPU shares are counted; it is the kernel's own default.
const period = 100_000

// quota is the CPU time of a period for a number of cores; the kernel wants at least a millisecond.
func quota(cpus float64) string { return strconv.Itoa(max(1000, int(cpus*period))) }

func (gr *group) inVersion2() bool { return gr != nil && gr.dir != "" }

// removed reports whether somebody has removed the group's folder.
func (gr *group) removed() bool {
	if !gr.inVersion2() {
		return false
	}
	_, err := os.Stat(gr.dir)
	return err != nil
}

// limit sets those limits that are offered.
func (gr *group) limit(l Limits, offered []string) error {
	has := func(name string) bool { return slices.Contains(offered, name) }
	if len(gr.v1) > 0 {
		return gr.limitV1(l)
	}
	var errs []error
	set := func(file, value string) { errs = append(errs, writeFile(filepath.Join(gr.dir, file), value)) }
	if l.CPUs > 0 && has("cpu") {
		set("cpu.max", quota(l.CPUs)+" "+strconv.Itoa(period))
	}
	if l.Memory > 0 && has("memory") {
		set("memory.max", strconv.FormatInt(l.Memory, 10))
		// Kernels without swap lack the first, those before 4.19 the second.
		writeFile(filepath.Join(gr.dir, "memory.swap.max"), "0")
		writeFile(filepath.Join(gr.dir, "memory.oom.group"), "1")
	}
	if l.PIDs > 0 && has("pids") {
		set("pids.max", strconv.Itoa(l.PIDs))
	}
	return errors.Join(errs...)
}

func (gr *group) limitV1(l Limits) error {
	var errs []error
	set := func(controller, file, value string) {
		if dir := gr.v1[controller]; dir != "" {
			errs = append(errs, writeFile(filepath.Join(dir, file), value))
		}
	}
	if l.CPUs > 0 {
		set("cpu", "cpu.cfs_period_us", strconv.Itoa(period))
		set("cpu", "cpu.cfs_quota_us", quota(l.CPUs))
	}
	if l.Memory > 0 {
		set("memory", "memory.limit_in_bytes", strconv.FormatInt(l.Memory, 10))
		if dir := gr.v1["memory"]; dir != "" { // absent where swap is not accounted
			writeFile(filepath.Join(dir, "memory.memsw.limit_in_bytes"), strconv.FormatInt(l.Memory, 10))
		}
	}
	if l.PIDs > 0 {
		set("pids", "pids.max", strconv.Itoa(l.PIDs))
	}
	return errors.Join(errs...)
}

// open opens what a child writes to in order to join the version 1 groups.
func (gr *group) open() (tasks []int, err error) {
	if gr == nil {
		return nil, nil
	}
	for _, dir := range gr.folders() {
		fd, err := unix.Open(filepath.Join(dir, "tasks"), unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			closeAll(tasks)
			return nil, err
		}
		tasks = append(tasks, fd)
	}
	return tasks, nil
}

// folders are the version 1 ones, each once.
func (gr *group) folders() []string {
	var dirs []string
	for _, dir := range gr.v1 {
		dirs = append(dirs, dir)
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// members are the processes in the group; those that have died already are not among them.
func (gr *group) members() []int {
	if gr.dir != "" {
		if valueOf(gr.read(gr.events, "cgroup.events", make([]byte, 512)), "populated") == 0 {
			return nil
		}
		return groupPids(gr.dir)
	}
	var pids []int
	for _, dir := range gr.folders() {
		pids = append(pids, groupPids(dir)...)
	}
	slices.Sort(pids)
	return slices.Compact(pids)
}

// kill sends SIGKILL to all members at once, so that none can fork out of it.
func (gr *group) kill() {
	gr.struck = true
	if gr.dir != "" && writeFile(filepath.Join(gr.dir, "cgroup.kill"), "1") == nil {
		return
	}
	gr.freeze(true)
	for _, pid := range gr.members() {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	gr.freeze(false)
}

func (gr *group) freeze(on bool) {
	switch freezer := gr.v1["freezer"]; {
	case gr.dir != "": // kernels before 5.14 have no cgroup.kill
		writeFile(filepath.Join(gr.dir, "cgroup.freeze"), map[bool]string{true: "1", false: "0"}[on])
	case freezer != "" && on:
		state := filepath.Join(freezer, "freezer.state")
		for range 50 { // FREEZING until every process has stopped; a signal reaches them either way
			writeFile(state, "FROZEN")
			if now, _ := os.ReadFile(state); string(now) == "FROZEN\n" {
				return
			}
			time.Sleep(time.Millisecond)
		}
	case freezer != "":
		writeFile(filepath.Join(freezer, "freezer.state"), "THAWED")
	}
}

// usage reads what the group counted since it was taken.
func (gr *group) usage() usage {
	var u usage
	if gr.dir != "" {
		stat := gr.read(gr.stat, "cpu.stat", make([]byte, 1024))
		u.user = time.Duration(valueOf(stat, "user_usec"))*time.Microsecond - gr.base.user
		u.system = time.Duration(valueOf(stat, "system_usec"))*time.Microsecond - gr.base.system
	}
	if dir := gr.v1["cpuacct"]; dir != "" {
		u.user = time.Duration(number(dir, "cpuacct.usage_user"))
		u.system = time.Duration(number(dir, "cpuacct.usage_sys"))
	}
	if dir := gr.v1["memory"]; dir != "" {
		u.peak = number(dir, "memory.max_usage_in_bytes")
		u.oom = valueOf(content(dir, "memory.oom_control"), "oom_kill") > 0
	} else if gr.dir != "" && !gr.plain {
		u.peak = number(gr.dir, "memory.peak")
		u.oom = valueOf(content(gr.dir, "memory.events"), "oom_kill") > 0
	}
	return u
}

// read reads a file of the group, which is open while the group is ours, into a buffer that holds all of it.
func (gr *group) read(fd int, file string, buffer []byte) []byte {
	if !gr.ours {
		return content(gr.dir, file)
	}
	n, _ := unix.Pread(fd, buffer, 0)
	return buffer[:max(n, 0)]
}

func content(dir, file string) []byte {
	data, _ := os.ReadFile(filepath.Join(dir, file))
	return data
}

// valueOf is the number behind a key in lines of "key number", 0 when there is none. It makes nothing on the heap:
// it is called for every task.
func valueOf(lines []byte, key string) (n int64) {
	for len(lines) > 0 {
		line, rest, _ := bytes.Cut(lines, []byte{'\n'})
		lines = rest
		if len(line) <= len(key) || string(line[:len(key)]) != key || line[len(key)] != ' ' {
			continue
		}
		for _, c := range bytes.TrimSpace(line[len(key):]) {
			if c < '0' || c > '9' {
				return 0
			}
			n = 10*n + int64(c-'0')
		}
		return n
	}
	return 0
}

func number(dir, file string) int64 {
	data, _ := os.ReadFile(filepath.Join(dir, file))
	n, _ := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	return n
}

// stuck is what Kill says of processes that would not die.
func stuck(id string, pids []int) error {
	texts := make([]string, len(pids))
	for i, pid := range pids {
		texts[i] = strconv.Itoa(pid)
	}
	return fault.New(fault.Failed, "task %s: processes %s do not die", id, cmp.Or(strings.Join(texts, ", "), "of its group")).
		Hint("they wait inside the kernel, often for a disk or an NFS server: ps -o pid,stat,wchan,cmd -p %s", strings.Join(texts, ","))
}

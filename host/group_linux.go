package host

import (
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
		if gr.numbers(gr.dir, "cgroup.events")["populated"] == 0 {
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
		stat := gr.numbers(gr.dir, "cpu.stat")
		u.user = time.Duration(stat["user_usec"])*time.Microsecond - gr.base.user
		u.system = time.Duration(stat["system_usec"])*time.Microsecond - gr.base.system
	}
	if dir := gr.v1["cpuacct"]; dir != "" {
		u.user = time.Duration(number(dir, "cpuacct.usage_user"))
		u.system = time.Duration(number(dir, "cpuacct.usage_sys"))
	}
	if dir := gr.v1["memory"]; dir != "" {
		u.peak = number(dir, "memory.max_usage_in_bytes")
		u.oom = gr.numbers(dir, "memory.oom_control")["oom_kill"] > 0
	} else if gr.dir != "" && !gr.plain {
		u.peak = number(gr.dir, "memory.peak")
		u.oom = gr.numbers(gr.dir, "memory.events")["oom_kill"] > 0
	}
	return u
}

// numbers reads a file of "key number" lines.
func (gr *group) numbers(dir, file string) map[string]int64 {
	var data []byte
	switch {
	case gr.ours && file == "cgroup.events":
		data = again(gr.events)
	case gr.ours && file == "cpu.stat":
		data = again(gr.stat)
	default:
		data, _ = os.ReadFile(filepath.Join(dir, file))
	}
	found := map[string]int64{}
	for key, value := range pairs(string(data), " ") {
		found[key], _ = strconv.ParseInt(value, 10, 64)
	}
	return found
}

// again reads an open kernel's file from its beginning.
func again(fd int) []byte {
	data := make([]byte, 4096)
	n, _ := unix.Pread(fd, data, 0)
	return data[:max(n, 0)]
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

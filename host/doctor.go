package host

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"bramble/term"
)

// Check is one thing that doctor looked at.
type Check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Text string `json:"text"`          // what was found
	Try  string `json:"try,omitempty"` // what to type when it is not OK
}

// Doctor judges the machine under root ("/" for this one) by its facts and a sample of it.
func Doctor(root string, f Facts, s Sample) []Check {
	t := newTree(root)
	return []Check{
		checkTime(t, s),
		checkCgroups(t, f),
		checkPower(s),
		checkTemperature(s),
		checkDisk(f, s),
		checkFiles(t),
		checkAccount(t),
		checkFacts(f),
	}
}

// clockFloor is before the first release: an earlier clock is one that nobody has set.
var clockFloor = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// checkTime knows of systemd-timesyncd's mark, and of the last time that timesyncd or
// fake-hwclock left for boards without a clock of their own.
func checkTime(t *tree, s Sample) Check {
	c := Check{Name: "time", OK: true, Text: s.At.UTC().Format("2006-01-02 15:04 UTC")}
	floor := clockFloor
	if last, err := time.Parse("2006-01-02 15:04:05", t.maybe("etc/fake-hwclock.data")); err == nil && last.After(floor) {
		floor = last
	}
	switch {
	case s.At.Before(floor):
		c.OK = false
		c.Text += ": the clock is wrong, for it was " + floor.Format("2006-01-02 15:04") + " already"
		c.Try = "timedatectl set-ntp true"
	case t.has("run/systemd/timesync/synchronized"):
		c.Text += ", synchronised"
	default:
		c.Text += ", plausible; whether it is synchronised is not known"
	}
	return c
}

func checkCgroups(t *tree, f Facts) Check {
	c := Check{Name: "limits", Text: "cpu, memory and the number of processes can be limited"}
	var missing []string
	for _, name := range limitNames {
		if !slices.Contains(f.Limits, name) {
			missing = append(missing, name)
		}
	}
	switch {
	case f.Cgroup != 0 && len(missing) == 0:
		c.OK = true
		c.Text += fmt.Sprintf(" (cgroup version %d)", f.Cgroup)
	case f.Cgroup == 0 && !isRoot(t):
		c.Text = "no limits can be set, for the control groups belong to root"
		c.Try = "run bramble's agent as root: sudo bramble service install"
	case slices.Contains(missing, "memory") && strings.Contains(f.Board, "Raspberry Pi"):
		c.Text = "memory cannot be limited: Raspberry Pi's firmware switches its controller off"
		c.Try = "sed -i '1s/$/ cgroup_enable=memory/' " + cmdline(t) + " && reboot"
	default:
		c.Text = "cannot limit " + strings.Join(missing, ", ") + ": the kernel offers no control group for it"
		c.Try = "mount -t cgroup2 cgroup2 /sys/fs/cgroup"
	}
	return c
}

// cmdline is the kernel's command line on the boot partition: in /boot/firmware since Debian 12.
func cmdline(t *tree) string {
	if !t.has("boot/firmware/cmdline.txt") && t.has("boot/cmdline.txt") {
		return "/boot/cmdline.txt"
	}
	return "/boot/firmware/cmdline.txt"
}

func checkPower(s Sample) Check {
	c := Check{Name: "power", OK: true, Text: "no under-voltage seen"}
	const advice = "use the board's own power supply and a short, thick cable"
	switch {
	case s.Throttled&underVoltage != 0:
		c.OK, c.Text, c.Try = false, "the voltage is too low now", advice
	case s.Throttled&(underVoltage<<sinceBoot) != 0:
		c.OK, c.Text, c.Try = false, "the voltage was too low at times since boot", advice
	}
	return c
}

// hot is where Raspberry Pis begin to slow down, in °C.
const hot = 80

func checkTemperature(s Sample) Check {
	c := Check{Name: "temperature", OK: true, Text: "no sensor"}
	if s.Temp > 0 {
		c.Text = fmt.Sprintf("%.0f °C", s.Temp)
	}
	const now = frequencyCap | throttledNow | softTempLimit
	heat := uint32(now)
	if s.Throttled&underVoltage != 0 { // that throttles too, and is told by power
		heat = softTempLimit
	}
	switch {
	case s.Temp >= hot, s.Throttled&heat != 0:
		c.OK, c.Text = false, c.Text+": the processor is slowed down"
		c.Try = "give it air: a heat sink, a fan, space between the boards"
	case s.Throttled&(softTempLimit<<sinceBoot) != 0:
		c.Text += "; it was slowed down for heat since boot"
	}
	return c
}

// Below either of these a disk is called full: the head keeps 64 MB in reserve, and work needs more.
const (
	diskFloor = 512 << 20
	diskShare = 20 // one part in
)

func checkDisk(f Facts, s Sample) Check {
	c := Check{Name: "disk", OK: true}
	c.Text = term.Bytes(s.DiskFree) + " of " + term.Bytes(f.Disk) + " free"
	if f.Disk > 0 && (s.DiskFree < diskFloor || s.DiskFree < f.Disk/diskShare) {
		c.OK, c.Try = false, "apt clean; du -xh / | sort -h | tail -20"
	}
	return c
}

// filesFloor is enough open files for a node; a head with a thousand nodes wants some 10,000.
const filesFloor = 4096

// checkFiles reads the hard limit, for Go raises the soft one to it by itself.
func checkFiles(t *tree) Check {
	c := Check{Name: "open files", OK: true, Text: "limit not known"}
	for line := range strings.Lines(t.maybe("proc/self/limits")) {
		rest, ok := strings.CutPrefix(line, "Max open files")
		if f := strings.Fields(rest); ok && len(f) >= 2 {
			n, err := strconv.Atoi(f[1])
			c.Text = f[1] + " at most"
			if err == nil && n < filesFloor { // else unlimited
				c.OK, c.Try = false, "ulimit -Hn 20000, or LimitNOFILE=20000 in the service"
			}
		}
	}
	return c
}

func checkAccount(t *tree) Check {
	c := Check{Name: "account", OK: true, Text: "without root, all work runs as the agent's own account"}
	if !isRoot(t) {
		return c
	}
	a, ok := parseAccounts(t.maybe("etc/passwd"), "")[brambleAccount]
	c.OK = ok && a.UID != 0
	c.Text = "work of users without an account here runs as bramble"
	if !c.OK {
		c.Text = "work of users without an account here runs as nobody, which has no home folder"
		c.Try = "useradd --system --create-home --shell /bin/sh bramble"
	}
	return c
}

func isRoot(t *tree) bool {
	uids := strings.Fields(pairs(t.maybe("proc/self/status"), ":")["Uid"])
	return len(uids) >= 2 && uids[1] == "0" // the effective one
}

func checkFacts(f Facts) Check {
	c := Check{Name: "board", OK: true, Text: cmp.Or(f.Board, "unknown board") + ", " + f.Arch}
	if len(f.Missing) > 0 {
		c.OK = false
		c.Text = "could not read " + strings.Join(f.Missing, ", ")
		c.Try = "mount | grep -E 'proc|sysfs'"
	}
	return c
}

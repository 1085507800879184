package host

import (
	"context"
	"strconv"
	"strings"
	"time"
)

// Sample reads how the machine is doing. It never fails: what could not be read is zero.
// CPU counts from boot in the first sample.
func (h *Real) Sample(context.Context) (Sample, error) {
	t := newTree(h.opts.Root)
	memory := pairs(t.maybe("proc/meminfo"), ":")
	s := Sample{
		At:        time.Now(),
		Load:      float(firstField(t.maybe("proc/loadavg"))),
		CPU:       h.busyShare(parseCPUTimes(t.maybe("proc/stat"))),
		MemTotal:  kilobytes(memory["MemTotal"]),
		Temp:      hottest(t),
		Throttled: throttled(t),
		Uptime:    int64(float(firstField(t.maybe("proc/uptime")))),
	}
	s.MemUsed = s.MemTotal - available(memory)
	s.RxBytes, s.TxBytes = traffic(t)
	_, s.DiskFree = diskSize(h.stateFolder())
	return s, nil
}

// cpuTimes are clock ticks since boot, of all cores together.
type cpuTimes struct{ busy, total uint64 }

func (h *Real) busyShare(now cpuTimes) float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.busy
	h.busy = now
	if now.total <= before.total || now.busy < before.busy {
		return 0
	}
	return float64(now.busy-before.busy) / float64(now.total-before.total)
}

// parseCPUTimes reads the first line of /proc/stat: user nice system idle iowait irq softirq
// steal; what follows is counted in user already.
func parseCPUTimes(stat string) cpuTimes {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 5 || fields[0] != "cpu" {
		return cpuTimes{}
	}
	var t cpuTimes
	for i, field := range fields[1:min(len(fields), 9)] {
		n, _ := strconv.ParseUint(field, 10, 64)
		t.total += n
		if i != 3 && i != 4 { // idle, iowait
			t.busy += n
		}
	}
	return t
}

// available is MemAvailable, or the old estimate on kernels before 3.14.
func available(memory map[string]string) int64 {
	if text, ok := memory["MemAvailable"]; ok {
		return kilobytes(text)
	}
	return kilobytes(memory["MemFree"]) + kilobytes(memory["Buffers"]) + kilobytes(memory["Cached"])
}

// hottest is the temperature of the hottest thermal zone, or else hardware sensor, in °C.
func hottest(t *tree) float64 {
	for _, pattern := range []string{"sys/class/thermal/thermal_zone*/temp", "sys/class/hwmon/hwmon*/temp*_input"} {
		var most float64
		for _, path := range t.glob(pattern) {
			// Zones without a sensor behind them read as 0, -127 or absurdly high.
			if c := float64(t.integer(path)) / 1000; c > most && c < 150 {
				most = c
			}
		}
		if most > 0 {
			return most
		}
	}
	return 0
}

// The bits of the firmware's get_throttled: now, and 16 higher since boot.
const (
	underVoltage  = 1 << 0
	frequencyCap  = 1 << 1
	throttledNow  = 1 << 2
	softTempLimit = 1 << 3
	sinceBoot     = 16
)

// throttled is the firmware's word; a kernel without Raspberry Pi's own file still
// has the alarm of its rpi_volt sensor, which is the under-voltage bit.
func throttled(t *tree) uint32 {
	for _, path := range t.glob("sys/devices/platform/soc*/*firmware/get_throttled") {
		if bits, err := strconv.ParseUint(strings.TrimPrefix(t.maybe(path), "0x"), 16, 32); err == nil {
			return uint32(bits)
		}
	}
	for _, path := range t.glob("sys/class/hwmon/hwmon*/in0_lcrit_alarm") {
		if t.maybe(path) == "1" && t.maybe(strings.TrimSuffix(path, "in0_lcrit_alarm")+"name") == "rpi_volt" {
			return underVoltage
		}
	}
	return 0
}

// traffic sums /proc/net/dev over all links but loopback. Bridges, and virtual members
// of one, are left out: their bytes were counted on the way in.
func traffic(t *tree) (rx, tx uint64) {
	for line := range strings.Lines(t.maybe("proc/net/dev")) {
		name, rest, ok := strings.Cut(line, ":")
		name = strings.TrimSpace(name)
		f := strings.Fields(rest)
		if !ok || len(f) < 9 || name == "lo" {
			continue
		}
		sys := "sys/class/net/" + name + "/"
		if t.has(sys+"bridge") || t.has(sys+"brport") && !t.has(sys+"device") {
			continue
		}
		in, _ := strconv.ParseUint(f[0], 10, 64)
		out, _ := strconv.ParseUint(f[8], 10, 64)
		rx, tx = rx+in, tx+out
	}
	return rx, tx
}

func firstField(text string) string {
	field, _, _ := strings.Cut(text, " ")
	return field
}

func float(text string) float64 {
	n, _ := strconv.ParseFloat(text, 64)
	return n
}

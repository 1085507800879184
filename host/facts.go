package host

import (
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"bramble/sorts"
)

// Facts reads what the machine is. It never fails: what could not be read stays
// empty and is named in Missing.
func (h *Real) Facts(context.Context) (Facts, error) {
	t := newTree(h.opts.Root)
	info := t.text("proc/cpuinfo")
	e := gather(t, pairs(info, ":"))
	b := identify(e)
	f := Facts{
		Hostname: t.text("proc/sys/kernel/hostname"),
		Model:    b.family,
		Board:    b.name,
		Revision: b.revision,
		Serial:   b.serial,
		Arch:     archOf(h.opts.GOARCH, h.opts.GOARM, e.cpu),
		OS:       osName(t),
		Kernel:   t.text("proc/sys/kernel/osrelease"),
		Cores:    h.cores(info),
		Memory:   kilobytes(pairs(t.text("proc/meminfo"), ":")["MemTotal"]),
		BootID:   t.text("proc/sys/kernel/random/boot_id"),
		Links:    h.links(t),
	}
	f.Disk, _ = diskSize(h.stateFolder())
	if f.Disk == 0 {
		t.missing = append(t.missing, h.stateFolder())
	}
	f.Cgroup, f.Limits = h.limits(t)
	f.Missing = t.missing
	return f, nil
}

func gather(t *tree, cpu map[string]string) evidence {
	const dt = "proc/device-tree/"
	e := evidence{
		cpu:    cpu,
		model:  t.maybe(dt + "model"),
		serial: t.maybe(dt + "serial-number"),
		product: strings.TrimSpace(t.maybe("sys/class/dmi/id/sys_vendor") + " " +
			t.maybe("sys/class/dmi/id/product_name")),
	}
	if c := t.maybe(dt + "compatible"); c != "" {
		e.compatible = strings.Split(c, "\x00")
	}
	// The device tree's numbers are big-endian words.
	if code, err := fs.ReadFile(t.fs, dt+"system/linux,revision"); err == nil && len(code) == 4 {
		e.revision = fmt.Sprintf("%04x", binary.BigEndian.Uint32(code))
	}
	return e
}

// cores counts the processors of /proc/cpuinfo, or fewer where we may not use all of them.
func (h *Real) cores(info string) int {
	n := 0
	for line := range strings.Lines(info) {
		if strings.HasPrefix(line, "processor") {
			n++
		}
	}
	if h.opts.Root == "/" && (n == 0 || runtime.NumCPU() < n) {
		return runtime.NumCPU()
	}
	return max(n, 1) // kernels of the first Pis printed no number for their only core
}

func osName(t *tree) string {
	text := t.maybe("etc/os-release")
	if text == "" {
		text = t.text("usr/lib/os-release")
	}
	name := pairs(text, "=")["PRETTY_NAME"]
	if plain, err := strconv.Unquote(name); err == nil {
		return plain
	}
	return strings.Trim(name, "'")
}

// links adds speed and default route to the interfaces, and leaves out the members of a bridge.
func (h *Real) links(t *tree) []Link {
	found, err := h.opts.Links()
	if err != nil {
		t.missing = append(t.missing, "network interfaces")
	}
	defaults := defaultRoutes(t.maybe("proc/net/route"), t.maybe("proc/net/ipv6_route"))
	links := []Link{}
	for _, l := range found {
		sys := "sys/class/net/" + l.Name + "/"
		if t.has(sys + "brport") {
			continue
		}
		l.Mbits = max(0, int(t.integer(sys+"speed"))) // -1 while there is no carrier
		l.Default = slices.Contains(defaults, l.Name)
		links = append(links, l)
	}
	sorts.By(links, func(a, b Link) int { return strings.Compare(a.Name, b.Name) })
	return links
}

// defaultRoutes names the interfaces that carry a default route, from /proc/net/route
// (interface first, destination second, mask eighth) and ipv6_route (destination and
// its length first, interface last).
func defaultRoutes(v4, v6 string) []string {
	var names []string
	for line := range strings.Lines(v4) {
		if f := strings.Fields(line); len(f) >= 8 && f[1] == "00000000" && f[7] == "00000000" {
			names = append(names, f[0])
		}
	}
	for line := range strings.Lines(v6) {
		f := strings.Fields(line)
		if len(f) >= 10 && strings.Trim(f[0], "0") == "" && f[1] == "00" && f[9] != "lo" {
			names = append(names, f[9])
		}
	}
	return names
}

// kilobytes is the bytes of a text such as "3884360 kB".
func kilobytes(text string) int64 {
	number, _, _ := strings.Cut(text, " ")
	n, _ := strconv.ParseInt(number, 10, 64)
	return n << 10
}

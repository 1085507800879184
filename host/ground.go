package host

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// selfGroup is where bramble's own processes move to below a group that was delegated to them.
const selfGroup = "/bramble/self"

// limitNames are the controllers that carry Limits.
var limitNames = []string{"cpu", "memory", "pids"}

// ground says where on this machine control groups can be made. Version 2 wants only a
// writable folder to hold a tree together; its controllers, where they are bound to
// version 1 instead, are used there.
type ground struct {
	unified string            // version 2 folder that our groups go under; "" when it cannot be used
	v2      []string          // limits that version 2 offers there
	v1      map[string]string // version 1: controller → folder that our groups go under
	home    map[string]string // version 1: controller → the group we are in
}

// limits is the version that sets limits, 0 for none, and which ones.
func (g ground) limits() (version int, names []string) {
	if len(g.v2) > 0 {
		return 2, g.v2
	}
	for _, name := range limitNames {
		if g.v1[name] != "" {
			version, names = 1, append(names, name)
		}
	}
	return version, names
}

// findGround reads where the hierarchies are mounted. Root works at their top, as container
// engines do, so that tasks outlive the service that started them; others work in
// their own group if that was delegated to them.
func findGround(t *tree, root string, privileged bool, writable func(path string) bool) ground {
	own := parseOwnGroups(t.maybe("proc/self/cgroup"))
	g := ground{v1: map[string]string{}, home: map[string]string{}}
	for _, m := range parseCgroupMounts(t.maybe("proc/self/mountinfo")) {
		top := filepath.Join(root, m.point)
		for _, controller := range m.controllers {
			home := filepath.Join(top, own[controller])
			if !t.has(strings.TrimPrefix(filepath.Join(m.point, own[controller]), "/")) {
				home = top // seen from inside a container
			}
			base := home
			if privileged {
				base = top
			}
			switch {
			case !writable(base):
			case controller != "":
				g.v1[controller], g.home[controller] = base, home
			case canCloneInto(t.maybe("proc/sys/kernel/osrelease")):
				rel, _ := filepath.Rel(root, base)
				g.unified, g.v2 = base, offered(t.maybe(rel+"/cgroup.controllers"))
			}
		}
	}
	return g
}

func offered(controllers string) []string {
	have := strings.Fields(controllers)
	return slices.DeleteFunc(slices.Clone(limitNames), func(name string) bool { return !slices.Contains(have, name) })
}

// cgroupMount is a mounted hierarchy; version 2 has the one controller "".
type cgroupMount struct {
	point       string
	controllers []string
}

// parseCgroupMounts reads /proc/self/mountinfo: the mount point is the fifth field, type,
// source and the hierarchy's own options follow a lone dash.
func parseCgroupMounts(mountinfo string) []cgroupMount {
	var mounts []cgroupMount
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		f, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(kind) < 3 {
			continue
		}
		switch kind[0] {
		case "cgroup2":
			mounts = append(mounts, cgroupMount{f[4], []string{""}})
		case "cgroup":
			mounts = append(mounts, cgroupMount{f[4], v1Controllers(kind[2])})
		}
	}
	return mounts
}

func v1Controllers(options string) []string {
	var names []string
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "cpu", "cpuacct", "memory", "pids", "freezer":
			names = append(names, option)
		}
	}
	return names
}

// parseOwnGroups reads /proc/self/cgroup, "id:controller,controller:/path"; version 2 has the controller "".
func parseOwnGroups(text string) map[string]string {
	own := map[string]string{}
	for line := range strings.Lines(text) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, path, ok := strings.Cut(rest, ":")
		if !ok {
			continue
		}
		for c := range strings.SplitSeq(controllers, ",") {
			own[c] = strings.TrimSuffix(path, selfGroup) // where a predecessor has moved us from it
		}
	}
	return own
}

// canCloneInto reports whether a kernel can start a process inside a version 2 group, as Linux 5.7 and later can.
func canCloneInto(release string) bool {
	major, rest, _ := strings.Cut(release, ".")
	minor, _, _ := strings.Cut(rest, ".")
	ma, err1 := strconv.Atoi(major)
	mi, err2 := strconv.Atoi(strings.TrimRight(minor, "+-abcdefghijklmnopqrstuvwxyz"))
	return err1 == nil && err2 == nil && (ma > 5 || ma == 5 && mi >= 7)
}

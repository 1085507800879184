package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"bramble/fault"

	"golang.org/x/sys/unix"
)

// groups makes the control groups of one host's tasks, under
// bramble/SCOPE/OWNER/{plain,limited} of each hierarchy it uses.
//
// What a group costs was measured with `true`, 490 µs by itself, on Linux 6.18 (x86-64, two
// cores): a new version 2 group 110 µs (mkdir, clone into it, rmdir), one kept and used
// again 12 µs, a version 1 freezer group joined by the forking thread 90 µs. So every task
// is put into a kept version 2 group without controllers, which is enough to kill its whole
// tree; a group with limits is made for its task alone; and where there is only
// version 1, a task without limits gets no group and its tree is found by session and mark.
type groups struct {
	scope, owner string

	mu     sync.Mutex
	found  bool
	ground ground
	kept   []*group // version 2 groups without processes, to use again
	made   int
}

// group is one task's control group, in version 2, in version 1, or in both.
type group struct {
	dir    string            // version 2 folder; "" for none
	fd     int               // the same, open for clone while the group is ours
	events int               // its cgroup.events, open
	stat   int               // its cpu.stat, open
	ours   bool              // made here, with the three files open
	plain  bool              // without controllers, to be kept
	struck bool              // by cgroup.kill: Linux 6.18 kills whatever is cloned into such a group ever after
	base   usage             // of a kept group, whose counters go on
	v1     map[string]string // version 1: controller → folder
}

// usage is what a group counted.
type usage struct {
	user, system time.Duration
	peak         int64 // bytes, page cache included; 0 when not counted
	oom          bool
}

// taskAttr is the extended attribute that names the task a kept group is lent to.
const taskAttr = "user.bramble.task"

func (g *groups) limits(t *tree, root string) (version int, names []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.found {
		return g.ground.limits()
	}
	return findGround(t, root, os.Geteuid() == 0, writable).limits()
}

// take lends a group for the task; nil when none is to be had or none is worth its cost.
func (g *groups) take(id string, l Limits) (*group, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.prepare()
	version, offered := g.ground.limits()
	wanted := slices.DeleteFunc(l.names(), func(name string) bool { return !slices.Contains(offered, name) })
	var taken *group
	var err error
	switch {
	case len(wanted) > 0 && version == 2:
		_, limited := g.v2Folders()
		if _, err := os.Stat(limited); err != nil { // somebody tidied up
			g.layOut()
		}
		taken, err = g.makeV2(filepath.Join(limited, id))
	case g.ground.unified != "":
		taken, err = g.takePlain(id)
	case len(wanted) > 0:
		taken = &group{}
	default:
		return nil, nil
	}
	if err == nil && len(wanted) > 0 && version == 1 {
		err = g.addV1(taken, id, wanted)
	}
	if err == nil && len(wanted) > 0 {
		err = taken.limit(l, offered)
	}
	if err != nil {
		g.drop(taken)
		return nil, fmt.Errorf("make the control group of task %s: %w", id, err)
	}
	return taken, nil
}

// names are the limits that are set.
func (l Limits) names() []string {
	var names []string
	for i, set := range []bool{l.CPUs > 0, l.Memory > 0, l.PIDs > 0} {
		if set {
			names = append(names, limitNames[i])
		}
	}
	return names
}

// release takes an empty group back.
func (g *groups) release(gr *group) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !gr.plain || gr.struck {
		g.drop(gr)
		return
	}
	removeAll(gr.v1)
	gr.v1 = nil
	g.kept = append(g.kept, gr)
}

// drop removes a group for good.
func (g *groups) drop(gr *group) {
	if gr == nil {
		return
	}
	if gr.ours {
		for _, fd := range []int{gr.fd, gr.events, gr.stat} {
			unix.Close(fd)
		}
	}
	if gr.dir != "" {
		os.Remove(gr.dir)
	}
	removeAll(gr.v1)
}

func removeAll(folders map[string]string) {
	for _, dir := range folders {
		os.Remove(dir)
	}
}

// disable gives up version 2, on a kernel that turned out not to clone into a group.
func (g *groups) disable() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ground.unified, g.ground.v2 = "", nil
}

func (g *groups) takePlain(id string) (*group, error) {
	var gr *group
	if last := len(g.kept) - 1; last >= 0 {
		gr, g.kept = g.kept[last], g.kept[:last]
	} else {
		g.made++
		var err error
		plain, _ := g.v2Folders()
		gr, err = g.makeV2(filepath.Join(plain, strconv.Itoa(g.made)))
		if err != nil {
			return nil, err
		}
		gr.plain = true
	}
	unix.Setxattr(gr.dir, taskAttr, []byte(id), 0) // without it the tasks' own mark remains
	return gr, nil
}

func (g *groups) makeV2(dir string) (*group, error) {
	if err := makeFresh(dir); err != nil {
		return nil, err
	}
	gr := &group{dir: dir, ours: true}
	var errs [3]error
	gr.fd, errs[0] = unix.Open(dir, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	gr.events, errs[1] = unix.Open(filepath.Join(dir, "cgroup.events"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	gr.stat, errs[2] = unix.Open(filepath.Join(dir, "cpu.stat"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err := errors.Join(errs[:]...); err != nil {
		g.drop(gr)
		return nil, err
	}
	return gr, nil
}

// addV1 makes version 1 groups for the wanted limits; without version 2 also those that
// count CPU time and hold the tree.
func (g *groups) addV1(gr *group, id string, wanted []string) error {
	gr.v1 = map[string]string{}
	if gr.dir == "" {
		wanted = append(wanted, "cpuacct", "freezer")
	}
	for _, controller := range wanted {
		base := g.ground.v1[controller]
		if base == "" {
			continue
		}
		dir := filepath.Join(g.folder(base), id)
		if err := makeFresh(dir); err != nil { // of controllers that share a hierarchy the last one makes it
			return err
		}
		gr.v1[controller] = dir
	}
	return nil
}

// makeFresh makes a folder, in place of an empty group of that name.
func makeFresh(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrNotExist) { // somebody tidied up above it
		makeAll(filepath.Dir(dir))
		err = os.Mkdir(dir, 0o755)
	}
	if errors.Is(err, fs.ErrExist) {
		if os.Remove(dir) != nil {
			return fault.New(fault.Conflict, "a task of that name is still running: %w", err)
		}
		err = os.Mkdir(dir, 0o755)
	}
	return err
}

// folder is where our groups are in a hierarchy.
func (g *groups) folder(base string) string {
	return filepath.Join(base, "bramble", g.scope, g.owner)
}

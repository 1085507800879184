package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// prepare finds the ground once and lays out the version 2 folders; what cannot be made
// there is given up, and limits fall back to version 1 or to none.
func (g *groups) prepare() {
	if g.found {
		return
	}
	g.found = true
	g.ground = findGround(newTree("/"), "/", os.Geteuid() == 0, writable)
	if g.ground.unified == "" {
		return
	}
	g.sweep()
	g.layOut()
}

// mostPlain is how many processes and threads all tasks without limits of their own may have together.
const mostPlain = 16 << 10

// layOut makes the version 2 folders and gives up what cannot be had.
func (g *groups) layOut() {
	plain, limited := g.v2Folders()
	if makeAll(plain) != nil || makeAll(limited) != nil {
		g.ground.unified, g.ground.v2 = "", nil
		return
	}
	defer func() { writeFile(filepath.Join(plain, "pids.max"), strconv.Itoa(mostPlain)) }() // where pids is handed down
	if len(g.ground.v2) > 0 && !vacate(g.ground.unified) {
		g.ground.v2 = nil
	}
	g.ground.v2 = slices.DeleteFunc(g.ground.v2, func(controller string) bool {
		return g.enable(controller, limited) != nil
	})
}

// vacate makes a group fit to hand controllers down, for which it must hold no processes itself:
// cpu and pids could be handed down all the same, but the groups below would then take no processes.
// The top of a machine is exempt, and has no cgroup.events.
func vacate(dir string) bool {
	if _, err := os.Stat(filepath.Join(dir, "cgroup.events")); err != nil {
		return true
	}
	moveInto(dir, dir+selfGroup)
	return len(groupPids(dir)) == 0
}

// makeAll is os.MkdirAll beside another process that sweeps empty folders away under it.
func makeAll(dir string) (err error) {
	for range 10 {
		if err = os.MkdirAll(dir, 0o755); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return err
}

// v2Folders hold the groups without controllers and those with.
func (g *groups) v2Folders() (plain, limited string) {
	ours := g.folder(g.ground.unified)
	return filepath.Join(ours, "plain"), filepath.Join(ours, "limited")
}

// enable hands a controller down from our ground to the groups in folder.
func (g *groups) enable(controller, folder string) error {
	rel, err := filepath.Rel(g.ground.unified, folder)
	if err != nil {
		return err
	}
	dir := g.ground.unified
	err = handDown(dir, controller)
	for part := range strings.SplitSeq(rel, "/") {
		if err != nil {
			return err
		}
		dir = filepath.Join(dir, part)
		err = handDown(dir, controller)
	}
	return err
}

func handDown(dir, controller string) error {
	return writeFile(filepath.Join(dir, "cgroup.subtree_control"), "+"+controller)
}

// moveInto moves our own processes, agent and keeper, from one group into a leaf below it;
// where others live in it too, such as a login's shell, nothing is moved.
func moveInto(from, leaf string) {
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return
	}
	pids := groupPids(from)
	for _, pid := range pids {
		exe, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/exe")
		if err != nil || !os.SameFile(self, exe) {
			return
		}
	}
	if os.MkdirAll(leaf, 0o755) != nil {
		return
	}
	for _, pid := range pids {
		writeFile(filepath.Join(leaf, "cgroup.procs"), strconv.Itoa(pid))
	}
}

// sweep removes the empty groups of owners that have died, those of other state folders
// too: a demo's folder does not come back. A group with processes in it cannot be removed.
func (g *groups) sweep() {
	for _, base := range g.bases() {
		owners, _ := filepath.Glob(filepath.Join(base, "bramble", "*", "*-*"))
		for _, owner := range owners {
			if !ownerAlive(filepath.Base(owner)) {
				removeTree(owner)
				os.Remove(filepath.Dir(owner))
			}
		}
		scopes, _ := filepath.Glob(filepath.Join(base, "bramble", "????????"))
		for _, scope := range scopes {
			os.Remove(scope) // those without owners
		}
	}
}

// bases are all hierarchies we may have groups in.
func (g *groups) bases() []string {
	bases := []string{g.ground.unified}
	for _, base := range g.ground.v1 {
		bases = append(bases, base)
	}
	slices.Sort(bases)
	bases = slices.Compact(bases)
	return slices.DeleteFunc(bases, func(base string) bool { return base == "" })
}

// removeTree removes the groups at and below dir that hold no process.
func removeTree(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			removeTree(filepath.Join(dir, e.Name()))
		}
	}
	os.Remove(dir)
}

// close removes what is empty of our folders, and of dead predecessors'.
func (g *groups) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, gr := range g.kept {
		g.drop(gr)
	}
	g.kept = nil
	g.sweep()
	for _, base := range g.bases() {
		removeTree(g.folder(base))
		os.Remove(filepath.Join(base, "bramble", g.scope)) // stays while another owner is in it
	}
}

// writeFile writes one value to a kernel's file, which must be there already.
func writeFile(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

func groupPids(dir string) []int {
	data, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	var pids []int
	for line := range strings.FieldsSeq(string(data)) {
		if pid, err := strconv.Atoi(line); err == nil && pid > 0 { // 0 is a process of another PID namespace
			pids = append(pids, pid)
		}
	}
	return pids
}

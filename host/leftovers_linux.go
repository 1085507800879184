package host

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"bramble/fault"

	"golang.org/x/sys/unix"
)

// Leftovers lists the tasks that a dead predecessor on the same state folder left
// running, those whose ID begins with prefix.
func (s *starter) Leftovers(prefix string) ([]string, error) {
	found := map[string]bool{}
	for id := range s.leftoverGroups() {
		found[id] = true
	}
	for _, id := range s.leftoverMarks(processes()) {
		found[id] = true
	}
	var ids []string
	for id := range found {
		if strings.HasPrefix(id, prefix) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// Adopt takes over a task that Leftovers named. Its exit status is lost: Wait
// returns Code -1 when its last process has ended.
func (s *starter) Adopt(id string) (Process, error) {
	o := &orphan{starter: s, id: id, groups: s.leftoverGroups()[id], began: time.Now(), seen: prey{}}
	if len(o.members()) == 0 {
		return nil, fault.New(fault.NotFound, "no task %s was left running", id)
	}
	return o, nil
}

// leftoverGroups are the groups with processes that owners now dead made on our state folder, by task.
func (s *starter) leftoverGroups() map[string][]*group {
	s.groups.mu.Lock()
	s.groups.prepare()
	bases, scope := s.groups.bases(), s.groups.scope
	s.groups.mu.Unlock()
	found := map[string][]*group{}
	note := func(id string, gr *group) {
		if id != "" && len(gr.members()) > 0 {
			found[id] = append(found[id], gr)
		}
	}
	for _, base := range bases {
		owners, _ := filepath.Glob(filepath.Join(base, "bramble", scope, "*-*"))
		for _, owner := range owners {
			if ownerAlive(filepath.Base(owner)) {
				continue
			}
			for _, dir := range folders(filepath.Join(owner, "plain")) {
				note(attribute(dir, taskAttr), &group{dir: dir, plain: true})
			}
			for _, dir := range folders(filepath.Join(owner, "limited")) {
				note(filepath.Base(dir), &group{dir: dir})
			}
			for _, dir := range folders(owner) { // version 1
				note(filepath.Base(dir), &group{v1: map[string]string{v1Kind(dir): dir}})
			}
		}
	}
	return found
}

// v1Kind tells a freezer's folder from another controller's.
func v1Kind(dir string) string {
	if _, err := os.Stat(filepath.Join(dir, "freezer.state")); err == nil {
		return "freezer"
	}
	return "other"
}

func folders(dir string) []string {
	entries, _ := os.ReadDir(dir)
	var dirs []string
	for _, e := range entries {
		if e.IsDir() {
			dirs = append(dirs, filepath.Join(dir, e.Name()))
		}
	}
	return dirs
}

func attribute(path, name string) string {
	value := make([]byte, 256)
	n, err := unix.Getxattr(path, name, value)
	if err != nil {
		return ""
	}
	return string(value[:n])
}

// leftoverMarks tells the task of each living process that a dead owner on our state
// folder started. What is in the middle of exec is looked at again.
func (s *starter) leftoverMarks(all []proc) map[int]string {
	tasks := map[int]string{}
	for range execLooks {
		var unsettled []proc
		for _, p := range all {
			if !p.alive() || p.group == 0 || p.pid == os.Getpid() { // group 0 is the kernel's own
				continue
			}
			mark, settled := markOf(p.pid)
			if !settled {
				unsettled = append(unsettled, p)
			}
			id, scope, owner, ok := parseMark(mark)
			if ok && scope == s.groups.scope && !ownerAlive(owner) {
				tasks[p.pid] = id
			}
		}
		if all = unsettled; len(all) == 0 {
			break
		}
		time.Sleep(execPause)
	}
	return tasks
}

// ownerAlive reports whether the process that an owner's name stands for still runs.
func ownerAlive(owner string) bool {
	pid, began, _ := strings.Cut(owner, "-")
	began, _, _ = strings.Cut(began, "-")
	n, err := strconv.Atoi(pid)
	if err != nil {
		return true // not of our making: leave it alone
	}
	p, ok := readProc(n)
	return ok && p.alive() && p.began == began
}

// orphan is a task whose parent has died.
type orphan struct {
	starter *starter
	id      string
	groups  []*group
	began   time.Time

	mu   sync.Mutex
	seen prey
}

// orphanPause is how often an orphan is looked at, which has no parent to be told by.
const orphanPause = 100 * time.Millisecond

func (o *orphan) members() []int {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := processes()
	var found []int
	for _, gr := range o.groups {
		found = append(found, gr.members()...)
	}
	tasks := o.starter.leftoverMarks(all)
	found = append(found, treeOf(all, 0, os.Getpid(), true, func(pid int) bool { return tasks[pid] == o.id })...)
	o.seen.add(all, found)
	return o.seen.alive(all)
}

// Pid is the lowest one left, 0 when none is.
func (o *orphan) Pid() int {
	if pids := o.members(); len(pids) > 0 {
		return pids[0]
	}
	return 0
}

func (o *orphan) Terminal() io.ReadWriter { return nil }

func (o *orphan) Resize(Size) error { return nil }

func (o *orphan) Signal(sig os.Signal) error {
	number, ok := sig.(syscall.Signal)
	if !ok {
		return fmt.Errorf("no such signal here: %v", sig)
	}
	pids := o.members()
	for _, pid := range pids {
		syscall.Kill(pid, number)
	}
	if len(pids) == 0 {
		return os.ErrProcessDone
	}
	return nil
}

func (o *orphan) EndsWithin(time.Duration) bool { return false }

func (o *orphan) Kill() error {
	_, err := killAll(func() []int {
		for _, gr := range o.groups {
			gr.kill()
		}
		left := o.members()
		for _, pid := range left {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		return left
	}, o.id)
	o.clean()
	return err
}

func (o *orphan) Wait() Exit {
	for len(o.members()) > 0 {
		time.Sleep(orphanPause)
	}
	o.clean()
	return Exit{Code: -1, Wall: time.Since(o.began)}
}

// clean removes the groups if they are empty.
func (o *orphan) clean() {
	for _, gr := range o.groups {
		o.starter.groups.drop(gr)
	}
}

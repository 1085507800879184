package host

// proc is a process as /proc/PID/stat shows it.
type proc struct {
	pid, parent, group, session int
	state                       byte
	began                       string // ticks after boot: with the pid it names a process for good
}

func (p proc) alive() bool { return p.state != 'Z' && p.state != 'X' }

// treeOf finds the living processes of a task without a control group: the leader's group and
// session, those that bear the task's mark, and the descendants of all these. Once the
// leader has been reaped its number may name somebody else; the kernel does not
// give it out again while it still names a session, so a living process of that number
// means that the session is not ours. A leader of 0 stands for none: it is never taken for
// the session 0 of init and the kernel, and neither init nor self is part of any tree.
func treeOf(all []proc, leader, self int, reaped bool, marked func(pid int) bool) []int {
	children := map[int][]int{}
	alive := map[int]bool{}
	foreign := leader <= 1
	for _, p := range all {
		children[p.parent] = append(children[p.parent], p.pid)
		alive[p.pid] = p.alive()
		foreign = foreign || reaped && p.pid == leader
	}
	in := map[int]bool{}
	var add func(pid int)
	add = func(pid int) {
		if in[pid] || pid <= 1 || pid == self {
			return
		}
		in[pid] = true
		for _, child := range children[pid] {
			add(child)
		}
	}
	for _, p := range all {
		ours := !foreign && (p.session == leader || p.group == leader)
		if ours || p.alive() && marked(p.pid) {
			add(p.pid)
		}
	}
	var pids []int
	for _, p := range all {
		if in[p.pid] && alive[p.pid] {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

package lab

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	hostnet "bramble/host/net"
)

// machines find and signal all processes of a node. A lab's network does it by namespace.
type machines interface {
	// Processes lists those of every node that has any, in rising order.
	Processes() (map[string][]int, error)
	// Signal reaches those too that are being forked meanwhile; after SIGKILL it waits until all have ended.
	Signal(ctx context.Context, node string, sig syscall.Signal) (int, error)
}

// machines of a lab that is up.
func (l *Lab) machines(r *record) (machines, error) {
	if !r.Netns {
		return marked{l.State}, nil
	}
	n, err := hostnet.Open(r.ID)
	if err != nil {
		return nil, err
	}
	return n, nil
}

// markName is the environment variable by which an agent and its keeper are known: the node's state folder.
const markName = "BRAMBLE_LAB"

// taskMark is the variable that host gives to tasks: ID@SCOPE.PID-STARTED-RANDOM, the pid being the
// agent's or keeper's that started it.
const taskMark = "BRAMBLE_TASK"

// process is what the kernel says of one.
type process struct {
	pid, parent int
	began       string // clock ticks since boot: with pid, it names a process for good
	args        []string
	mark        string // its BRAMBLE_LAB
	task        string // its BRAMBLE_TASK
}

// owner is the PID-STARTED that a task's mark names.
func (p process) owner() string {
	_, rest, _ := strings.Cut(p.task, "@")
	_, owner, _ := strings.Cut(rest, ".")
	pid, rest, _ := strings.Cut(owner, "-")
	began, _, _ := strings.Cut(rest, "-")
	return pid + "-" + began
}

// assign tells which of all processes belong to which node of the lab in state: those that bear the node's mark, all
// that descend from them, and the tasks that left their parents but bear the mark of one of them.
func assign(all []process, state string) map[int]string {
	nodes := map[int]string{}
	owners := map[string]string{}
	for changed := true; changed; {
		changed = false
		for _, p := range all {
			if nodes[p.pid] != "" {
				continue
			}
			node := nodes[p.parent]
			if dir, name := filepath.Split(p.mark); filepath.Clean(dir) == state && name != "" {
				node = name
			}
			if node == "" && p.task != "" {
				node = owners[p.owner()]
			}
			if node != "" {
				nodes[p.pid], changed = node, true
				owners[p.name()] = node
			}
		}
	}
	return nodes
}

// Processes of a node, by what they are.
type Processes struct {
	Node   string `json:"node"`
	Agent  int    `json:"agent,omitempty"`
	Keeper int    `json:"keeper,omitempty"`
	Tasks  []int  `json:"tasks"` // and whatever they started
	Faults
}

// sort tells agent and keeper from tasks: they bear the lab's mark.
func (p *Processes) sort(pids []int, known map[int]process) {
	p.Tasks = []int{}
	for _, pid := range pids {
		at := known[pid]
		isBramble := at.mark != "" && len(at.args) > 1
		switch {
		case isBramble && at.args[1] == "keeper" && p.Keeper == 0:
			p.Keeper = pid
		case isBramble && slices.Contains([]string{"up", "join", hostnet.EnterVerb}, at.args[1]) && p.Agent == 0:
			p.Agent = pid
		default:
			p.Tasks = append(p.Tasks, pid)
		}
	}
}

// PS lists the processes of every node.
func (l *Lab) PS() ([]Processes, error) {
	r, err := l.read()
	if err != nil {
		return nil, err
	}
	m, err := l.machines(&r)
	if err != nil {
		return nil, err
	}
	found, err := m.Processes()
	if err != nil {
		return nil, err
	}
	all, err := processes()
	if err != nil {
		return nil, err
	}
	known := map[int]process{}
	for _, p := range all {
		known[p.pid] = p
	}
	list := make([]Processes, len(r.Nodes))
	for i, n := range r.Nodes {
		list[i] = Processes{Node: n.Name, Faults: n.Faults}
		list[i].sort(found[n.Name], known)
	}
	return list, nil
}

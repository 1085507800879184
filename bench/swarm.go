package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"bramble/fleet"
	"bramble/sim"
)

// commandsLimit is how long commands are repeated at the most.
const commandsLimit = 20 * time.Second

// spare are the open files that a process needs beyond one for each simulated node.
const spare = 500

// swarm measures a command on simulated nodes, whose work takes no time: what is left is the bus's.
func (b *bench) swarm(ctx context.Context, s *section, nodes int, target time.Duration) error {
	s.title = fmt.Sprintf("A command on %s simulated nodes", count(nodes))
	s.how = fmt.Sprintf("%s agents over a simulated host in one process, joined over TLS to a real head in another, all on this machine. `true` takes them no time, so what is measured, from the request until a client with an open connection has the last node's answer, is the bus's. The peer is the bare engine: NATS over TLS with nothing of bramble's, one message that as many connections in another process hear and answer at once.", count(nodes))
	if limit := openFiles(); limit < uint64(nodes+spare) {
		return fmt.Errorf("a process may open %d files here; try: ulimit -n %d", limit, nodes+spare)
	}
	b.say("%s: the bare engine with %s nodes", s.id, count(nodes))
	bare, err := b.bareEngine(ctx, nodes)
	if err != nil {
		return err
	}
	r, err := b.raise(ctx, fmt.Sprintf("swarm%d", nodes), 1, false)
	if err != nil {
		return err
	}
	defer r.down(ctx)
	b.say("%s: joining %s simulated nodes", s.id, count(nodes))
	begun := time.Now()
	simulated, err := b.simulate(ctx, r, nodes)
	if err != nil {
		return err
	}
	defer simulated.stop()
	joined := time.Since(begun)
	s.add(row{what: "all have joined and are up", figure: fmt.Sprintf("%s (%.0f/s)", seconds(joined), perSecond(nodes, joined))})
	names, err := r.simulated(ctx)
	if err != nil {
		return err
	}
	b.say("%s: a command on all, %d times", s.id, b.commands)
	head, err := r.head()
	if err != nil {
		return err
	}
	both := effort{head, simulated.cmd.Process.Pid}
	idle := both.during(func() error { return pause(ctx, idleLooked) })
	var took []time.Duration
	busy := both.during(func() error { took, err = fanOutFor(ctx, r, names, b.commands); return err })
	if len(took) > 0 {
		s.add(lastAnswer("median", 0.5, took, bare))
		p99 := lastAnswer("p99", 0.99, took, bare)
		p99.target, p99.verdict = "≤ "+duration(target), judge(sim.Percentile(took, 0.99) <= target)
		s.add(p99)
		each := busy.over(len(took) + 1)
		s.note("%d commands, after one that does not count. Each took %s of processor time in the head and %s in the simulated nodes, with what they do all the time, which alone takes %s and %s a second. They share %d cores here, so it could not take less than %s; real boards bring their own.",
			len(took), duration(each.head), duration(each.nodes), duration(idle.second().head), duration(idle.second().nodes),
			runtime.NumCPU(), duration((each.head+each.nodes)/time.Duration(runtime.NumCPU())))
	}
	if err != nil {
		return err
	}
	return headMemory(s, r, fmt.Sprintf("the head's memory with %s nodes", count(nodes)), 0)
}

// lastAnswer is a row about when the last node had answered.
func lastAnswer(what string, share float64, took, bare []time.Duration) row {
	ours, theirs := sim.Percentile(took, share), sim.Percentile(bare, share)
	return row{what: "last answer, " + what, figure: duration(ours), peer: "the bare engine: " + duration(theirs), ratio: times(float64(ours), float64(theirs))}
}

// idleLooked is how long it is looked at what head and nodes take without a command.
const idleLooked = 3 * time.Second

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// effort are the processes of the head and of the nodes.
type effort struct{ headPID, nodesPID int }

// used is processor time, taken while so long went by.
type used struct{ head, nodes, while time.Duration }

func (e effort) during(f func() error) used {
	begun, head, nodes := time.Now(), cpuOf(e.headPID), cpuOf(e.nodesPID)
	f()
	return used{cpuOf(e.headPID) - head, cpuOf(e.nodesPID) - nodes, time.Since(begun)}
}

// second is what was used in one.
func (u used) second() used {
	share := func(d time.Duration) time.Duration {
		return time.Duration(float64(d) * float64(time.Second) / float64(u.while))
	}
	return used{share(u.head), share(u.nodes), time.Second}
}

func (u used) over(n int) used {
	return used{u.head / time.Duration(n), u.nodes / time.Duration(n), u.while / time.Duration(n)}
}

// simulate returns once all simulated nodes are up. Their memberships stay, for the head ends with them.
func (b *bench) simulate(ctx context.Context, r *rack, nodes int) (*child, error) {
	c, err := b.start(nil, b.exe, "sim", "--cluster", r.State, "--nodes", fmt.Sprint(nodes), "--keep")
	if err != nil {
		return nil, err
	}
	up := make(chan error, 1)
	go func() { up <- c.await(context.WithoutCancel(ctx), "simulated nodes are up") }()
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	begun := time.Now()
	for {
		select {
		case err := <-up:
			if err != nil {
				c.stop()
				return nil, err
			}
			return c, nil
		case <-tick.C:
			b.say("about %s of %s nodes are connected", count(c.connections()), count(nodes))
		case <-ctx.Done():
			err := fmt.Errorf("only about %s of %s nodes had joined after %s: %w", count(c.connections()), count(nodes), seconds(time.Since(begun)), ctx.Err())
			c.cmd.Process.Signal(syscall.SIGTERM)
			<-up
			c.stop()
			return nil, err
		}
	}
}

// connections are the open sockets of the program.
func (c *child) connections() int {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", c.cmd.Process.Pid))
	n := 0
	for _, path := range files {
		if to, err := os.Readlink(path); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// simulated are the names of the nodes that are not the rack's own.
func (r *rack) simulated(ctx context.Context) ([]string, error) {
	all, err := r.cluster.Fleet.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	own := map[string]bool{"head": true}
	for _, name := range r.names() {
		own[name] = true
	}
	var names []string
	for _, n := range all {
		if !own[n.Name] && n.State == fleet.Up {
			names = append(names, n.Name)
		}
	}
	return names, nil
}

// fanOutFor runs a command on all nodes so many times, or fewer when time runs out.
func fanOutFor(ctx context.Context, r *rack, names []string, times int) ([]time.Duration, error) {
	short, cancel := context.WithTimeout(ctx, commandsLimit)
	defer cancel()
	if _, err := sim.FanOut(short, r.cluster.Fan, names, 1); err != nil {
		return nil, err
	}
	took, err := sim.FanOut(short, r.cluster.Fan, names, times)
	if short.Err() != nil && len(took) > 0 {
		return took, ctx.Err()
	}
	return took, err
}

// openFiles is how many files a process may have open once it has raised its own limit, as bramble does.
func openFiles() uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return uint64(limit.Max)
}

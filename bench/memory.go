package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"bramble/trust"
)

const (
	nodeAnonTarget = 12 * mebi // bytes, agent and keeper
	nodeTarget     = 30 * mebi
	headAnonTarget = 64 * mebi
	headNodes      = 100 // nodes of the head that is measured
)

// memory of a process, in bytes.
type memory struct {
	anon, rss int64
	pss       int64 // a page that n processes map counts as an n-th
}

func (m memory) plus(o memory) memory {
	return memory{m.anon + o.anon, m.rss + o.rss, m.pss + o.pss}
}

// memoryOf reads what the kernel says of a process.
func memoryOf(pid int) (memory, error) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	m := memory{anon: kilobytes(dir+"status", "RssAnon"), rss: kilobytes(dir+"smaps_rollup", "Rss"), pss: kilobytes(dir+"smaps_rollup", "Pss")}
	if m.anon == 0 || m.rss == 0 {
		return m, fmt.Errorf("the kernel does not tell the memory of process %d", pid)
	}
	return m, nil
}

func kilobytes(path, name string) int64 {
	n, _ := strconv.ParseInt(strings.TrimSuffix(field(path, name), " kB"), 10, 64)
	return n * 1024
}

// headMemory adds a row about the head's process; target 0 is none.
func headMemory(s *section, r *rack, what string, target int64) error {
	pid, err := r.head()
	if err != nil {
		return err
	}
	m, err := memoryOf(pid)
	if err != nil {
		return err
	}
	line := row{what: what, figure: fmt.Sprintf("%s RssAnon (RSS %s)", mebibytes(m.anon), mebibytes(m.rss))}
	if target > 0 {
		line.target, line.verdict = "≤ "+mebibytes(target)+" RssAnon", judge(m.anon <= target)
	}
	s.add(line)
	return nil
}

// idleNode is a node with a copy of the binary to itself: the pages of that file are mapped by its agent and its keeper
// only, so the sum of their PSS is what the two take together, with a page that both map counted once.
type idleNode struct {
	agent  *child
	keeper int
}

func (b *bench) startIdle(ctx context.Context, r *rack) (*idleNode, error) {
	exe := filepath.Join(b.dir, "bramble-idle")
	if err := copyFile(b.exe, exe); err != nil {
		return nil, err
	}
	token, _, err := r.cluster.Fleet.CreateToken(ctx, trust.TokenSpec{Kind: trust.KindNode, TTL: time.Hour, Max: 1})
	if err != nil {
		return nil, err
	}
	agent, err := b.start([]string{"BRAMBLE_TOKEN=" + token}, exe, "join", r.cluster.File.Join, "--name", "idle", "--state", filepath.Join(b.dir, "idle"), "--metrics", "")
	if err != nil {
		return nil, err
	}
	n := &idleNode{agent: agent}
	if err := agent.await(ctx, "is a node of"); err != nil {
		agent.stop()
		return nil, err
	}
	if n.keeper, err = keeperOf(agent.cmd.Process.Pid); err != nil {
		agent.stop()
		return nil, err
	}
	return n, nil
}

// keeperOf finds the keeper among an agent's children.
func keeperOf(agent int) (int, error) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", agent))
	for _, path := range tasks {
		text, _ := os.ReadFile(path)
		for _, word := range strings.Fields(string(text)) {
			args, _ := os.ReadFile("/proc/" + word + "/cmdline")
			if strings.Contains(string(args), "\x00keeper\x00") {
				return strconv.Atoi(word)
			}
		}
	}
	return 0, fmt.Errorf("agent %d has no keeper", agent)
}

// stop ends the agent and then the keeper, which outlives it.
func (n *idleNode) stop() {
	keeper, err := os.FindProcess(n.keeper)
	n.agent.stop()
	if err == nil {
		keeper.Signal(syscall.SIGTERM)
	}
}

// measure adds what agent and keeper take.
func (n *idleNode) measure(s *section) error {
	agent, err := memoryOf(n.agent.cmd.Process.Pid)
	if err != nil {
		return err
	}
	keeper, err := memoryOf(n.keeper)
	if err != nil {
		return err
	}
	both := agent.plus(keeper)
	s.add(row{what: "agent and keeper, RssAnon", figure: mebibytes(both.anon), target: "≤ " + mebibytes(nodeAnonTarget), verdict: judge(both.anon <= nodeAnonTarget)})
	s.add(row{what: "agent and keeper, pages that both map counted once", figure: mebibytes(both.pss), target: "≤ " + mebibytes(nodeTarget), verdict: judge(both.pss <= nodeTarget)})
	s.add(row{what: "agent and keeper, plain sum of RSS", figure: mebibytes(both.rss)})
	s.note("agent: RssAnon %s, RSS %s, PSS %s; keeper: %s, %s, %s. The node runs from a copy of the binary that no other process maps, so the sum of both PSS is their memory with shared pages counted once.",
		mebibytes(agent.anon), mebibytes(agent.rss), mebibytes(agent.pss), mebibytes(keeper.anon), mebibytes(keeper.rss), mebibytes(keeper.pss))
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if closed := out.Close(); err == nil {
		err = closed
	}
	return err
}

// ticks of the kernel's clock a second, in which it counts a process's time; 100 on every Linux machine that Go knows.
const ticks = 100

// cpuOf is the processor time that a process has taken so far.
func cpuOf(pid int) time.Duration {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * time.Second / ticks
}

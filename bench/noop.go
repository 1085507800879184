package main

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"time"

	"bramble/fleet"
	"bramble/job"
)

const (
	noopRate    = 100_000    // tasks a second
	noopHead    = 256 * mebi // bytes, RssAnon of the head meanwhile
	submitRate  = 500        // a second, one after the other
	submissions = 1000
	processes   = 20 // of bramble submit
)

// noop measures an array of tasks that do nothing over simulated nodes: what is left is the head's work, the bus's and
// the disk's. Beside it the peers start as many real processes as make a second or so.
func (b *bench) noop(ctx context.Context, s *section) error {
	s.title = fmt.Sprintf("%s no-op tasks", count(b.noops))
	s.how = fmt.Sprintf("`submit --array 1-%d -- true` over %s simulated nodes in one process, joined over TLS to a real head in another, all on this machine: from the request until the last result is in the journal, which is flushed in both copies. A simulated `true` takes no time; the peers start real processes, for they know no other kind.", b.noops, count(b.nodes))
	r, err := b.raise(ctx, "noop", 1, false)
	if err != nil {
		return err
	}
	defer r.down(ctx)
	b.say("noop: joining %s simulated nodes", count(b.nodes))
	simulated, err := b.simulate(ctx, r, b.nodes)
	if err != nil {
		return err
	}
	defer simulated.stop()
	names, err := r.simulated(ctx)
	if err != nil {
		return err
	}
	on := fleet.Fold(names)
	if err := b.manyTasks(ctx, s, r, simulated, on); err != nil {
		return err
	}
	return b.submitting(ctx, s, r, on)
}

// manyTasks runs the array once; the head's memory is looked at all the while.
func (b *bench) manyTasks(ctx context.Context, s *section, r *rack, simulated *child, on string) error {
	head, err := r.head()
	if err != nil {
		return err
	}
	b.say("noop: an array of %s", count(b.noops))
	peers := []*contender{
		{name: fmt.Sprintf("`xargs -P%d`", runtime.NumCPU()), run: fed(forkTasks, "xargs", "-P", fmt.Sprint(runtime.NumCPU()), "-n", "1", "true")},
		{name: "GNU `parallel`", run: fed(parallelTasks, "parallel", "-j", fmt.Sprint(runtime.NumCPU()), "true")},
	}
	headBefore, nodesBefore := cpuOf(head), cpuOf(simulated.cmd.Process.Pid)
	peak := peakOf(ctx, head)
	took, err := timed(func() error { return r.array(ctx, on, b.noops) })
	most := peak()
	if err != nil {
		return err
	}
	rate := perSecond(b.noops, took)
	first := row{what: "an array of " + count(b.noops) + ", " + seconds(took), figure: fmt.Sprintf("%.0f tasks/s", rate), target: fmt.Sprintf("≥ %s/s", count(noopRate)), verdict: judge(rate >= noopRate)}
	for i, n := range []int{forkTasks, parallelTasks} {
		c := peers[i]
		if err := interleave(ctx, 1, c); err != nil {
			s.note("%s", err)
			continue
		}
		first.peer, first.ratio = fmt.Sprintf("%s: %.0f/s", c.name, c.rate(n)), times(rate, c.rate(n))
		s.add(first)
		first = row{what: "likewise", figure: first.figure}
	}
	if first.what != "likewise" {
		s.add(first)
	}
	s.add(row{what: "the head's memory meanwhile, at its peak", figure: mebibytes(most) + " RssAnon", target: "≤ " + mebibytes(noopHead), verdict: judge(most <= noopHead)})
	each := func(d time.Duration) string {
		return fmt.Sprintf("%.1f µs", float64(d)/float64(time.Microsecond)/float64(b.noops))
	}
	ofHead, ofNodes := cpuOf(head)-headBefore, cpuOf(simulated.cmd.Process.Pid)-nodesBefore
	s.note("A task took %s of processor time in the head and %s in the simulated nodes, which share %d cores here; real boards bring their own.", each(ofHead), each(ofNodes), runtime.NumCPU())
	return nil
}

// submitting measures submissions one after the other, by one connection and by one process each.
func (b *bench) submitting(ctx context.Context, s *section, r *rack, on string) error {
	n := min(submissions, b.noops)
	b.say("noop: %s submissions one after the other", count(n))
	spec := job.Spec{Args: []string{"true"}, On: on, CPUs: 1, Patience: time.Minute}
	one := &contender{name: "submit", run: func(ctx context.Context) (time.Duration, error) {
		return timed(func() error {
			for range n {
				if _, err := r.cluster.Jobs.Submit(ctx, spec); err != nil {
					return err
				}
			}
			return nil
		})
	}}
	few := min(processes, n)
	cli := &contender{name: "bramble submit", run: repeat(few, 1, func() error {
		return exec.CommandContext(ctx, b.exe, "submit", "--cluster", r.State, "--on", on, "--", "true").Run()
	})}
	bare := &contender{name: "bramble --help", run: repeat(few, 1, func() error { return exec.CommandContext(ctx, b.exe, "--help").Run() })}
	if err := interleave(ctx, min(b.runs, enough), one, cli, bare); err != nil {
		return err
	}
	rate := one.rate(n)
	s.add(row{what: fmt.Sprintf("%s submissions one after the other, %s", count(n), seconds(median(one.took))), figure: fmt.Sprintf("%.0f/s", rate),
		target: fmt.Sprintf("≥ %d/s", submitRate), verdict: judge(rate >= submitRate)})
	s.add(row{what: "`bramble submit`, a process each time", figure: fmt.Sprintf("%.0f/s", cli.rate(few)),
		peer: fmt.Sprintf("`bramble --help`: %.0f/s", bare.rate(few)), ratio: times(cli.rate(few), bare.rate(few))})
	return nil
}

// peakOf looks at a process's RssAnon until the function it returns is called, which tells the most that was seen.
func peakOf(ctx context.Context, pid int) func() int64 {
	ctx, stop := context.WithCancel(ctx)
	found := make(chan int64)
	go func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for most := int64(0); ; {
			most = max(most, kilobytes(fmt.Sprintf("/proc/%d/status", pid), "RssAnon"))
			select {
			case <-tick.C:
			case <-ctx.Done():
				found <- most
				return
			}
		}
	}()
	return func() int64 { stop(); return <-found }
}

package main

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"bramble/fault"
	"bramble/job"
)

// The peers run fewer tasks than bramble, enough for a second or more.
const (
	forkTasks     = 1000
	parallelTasks = 200
	slurmTasks    = 300 // several of its rounds
	untunedTasks  = 8   // of a Slurm that starts two every three seconds
)

// How many times as many tasks a second as its peers bramble is meant to run, and how soon one is meant to start.
const (
	boundTarget    = 0.9
	parallelTarget = 5
	slurmTarget    = 50
	startTarget    = 20 * time.Millisecond
)

//go:embed programs/spawn.c
var spawn []byte

// starter is a peer that starts processes: how many in a run, and how many times as fast bramble is meant to be.
type starter struct {
	contender
	n      int
	target float64 // 0: none
}

func (p *starter) rate() float64 { return p.contender.rate(p.n) }

// jobs measures an array of tasks that do nothing beside what else starts processes.
func (b *bench) jobs(ctx context.Context, s *section) error {
	s.title = "Tasks of a job"
	s.how = fmt.Sprintf("`submit --array 1-%d -- true` on a node on loopback with a slot per core, from the request until the last result is on the head's disk; beside it, other ways to start `true` on %d cores. The bound is a bare loop of vfork and execve in C, one or one on each core, whichever is faster. Slurm is Debian's slurm-wlm with the faster of two configurations, an array whose script is `true` itself.", b.tasks, runtime.NumCPU())
	r, err := b.raise(ctx, "jobs", 1, false)
	if err != nil {
		return err
	}
	defer r.down(ctx)
	b.say("jobs: latency of %d single tasks", b.latency)
	if err := b.submitLatency(ctx, s, r); err != nil {
		return err
	}
	bounds, task, err := b.bounds(ctx)
	if err != nil {
		return err
	}
	peers, absent := b.lineStarters()
	if slurm, err := b.tunedSlurm(ctx, s); err != nil {
		absent = append(absent, err)
	} else {
		defer slurm.stop()
		n := min(slurmTasks, b.tasks)
		peers = slices.Insert(peers, 0, &starter{contender{name: "Slurm", run: slurm.array(n)}, n, slurmTarget}) // what has targets goes first
	}
	b.say("jobs: arrays of %s tasks and their peers in turns", count(b.tasks))
	array := &contender{name: "bramble submit", run: func(ctx context.Context) (time.Duration, error) {
		return timed(func() error { return r.array(ctx, "", b.tasks) })
	}}
	all := []*contender{array}
	for _, p := range slices.Concat(bounds, []*starter{task}, peers) {
		all = append(all, &p.contender)
	}
	err = interleave(ctx, min(b.runs, enough), all...)
	bound := slices.MaxFunc(bounds, func(a, b *starter) int { return cmp.Compare(a.rate(), b.rate()) })
	for _, p := range append([]*starter{bound, task}, peers...) {
		if len(array.took) == 0 || len(p.took) == 0 {
			continue
		}
		ours, theirs := array.rate(b.tasks), p.rate()
		next := row{what: "an array of " + count(b.tasks), figure: fmt.Sprintf("%.0f tasks/s", ours), peer: p.name + ": " + fmt.Sprintf("%.3g/s", theirs), ratio: times(ours, theirs)}
		if p.target > 0 {
			next.target, next.verdict = fmt.Sprintf("≥ %g×", p.target), judge(ours >= p.target*theirs)
		}
		s.add(next)
	}
	return errors.Join(append(absent, err)...)
}

// bounds are the least that starting a process costs here: as many loops as cores, and one alone, which is faster where
// cores stand in each other's way; then a loop that gives each process what a task has.
func (b *bench) bounds(ctx context.Context) (all []*starter, task *starter, err error) {
	if not := missing("cc"); len(not) > 0 {
		return nil, nil, fmt.Errorf("the bound needs cc; try: scripts/setup")
	}
	source, program := filepath.Join(b.dir, "spawn.c"), filepath.Join(b.dir, "spawn")
	if err := os.WriteFile(source, spawn, 0o600); err != nil {
		return nil, nil, err
	}
	if err := command(ctx, nil, "cc", "-O2", "-o", program, source); err != nil {
		return nil, nil, err
	}
	truePath, err := exec.LookPath("true")
	if err != nil {
		return nil, nil, err
	}
	n := min(forkTasks, b.tasks)
	loop := func(name string, loops int, target float64, more ...string) *starter {
		args := append([]string{fmt.Sprint(loops), fmt.Sprint(n), truePath}, more...)
		return &starter{contender{name: fmt.Sprintf("%s, %d at a time", name, loops), run: process(program, args...)}, n, target}
	}
	for _, loops := range slices.Compact([]int{1, runtime.NumCPU()}) {
		all = append(all, loop("the bound", loops, boundTarget))
	}
	return all, loop("the same with a session, an environment and pipes", runtime.NumCPU(), 0, "task"), nil
}

// lineStarters start a process for each line that they read.
func (b *bench) lineStarters() (all []*starter, absent []error) {
	cores := fmt.Sprint(runtime.NumCPU())
	add := func(label string, n int, target float64, name string, args ...string) {
		if len(missing(name)) > 0 {
			absent = append(absent, fmt.Errorf("%s is not installed; try: scripts/setup bench", name))
			return
		}
		all = append(all, &starter{contender{name: label, run: fed(min(n, b.tasks), name, args...)}, min(n, b.tasks), target})
	}
	add("GNU `parallel`", parallelTasks, parallelTarget, "parallel", "-j", cores, "true")
	add("`xargs -P"+cores+"`", forkTasks, 0, "xargs", "-P", cores, "-n", "1", "true")
	return all, absent
}

// fed times a program that starts a process for each of n lines.
func fed(n int, name string, args ...string) func(context.Context) (time.Duration, error) {
	lines := strings.Repeat("x\n", n)
	return func(ctx context.Context) (time.Duration, error) {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Stdin = strings.NewReader(lines)
		return timed(cmd.Run)
	}
}

// array runs a job of n tasks on selected nodes, "" for all, to its end.
func (r *rack) array(ctx context.Context, on string, n int) error {
	sum, err := r.job(ctx, job.Spec{Args: []string{"true"}, Array: fmt.Sprintf("1-%d", n), On: on, CPUs: 1, Patience: time.Minute})
	if err == nil && sum.Counts.Done != n {
		err = fault.New(fault.Failed, "only %d of %d tasks are done", sum.Counts.Done, n)
	}
	return err
}

// job submits and waits for the end.
func (r *rack) job(ctx context.Context, spec job.Spec) (job.Summary, error) {
	id, err := r.cluster.Jobs.Submit(ctx, spec)
	if err != nil {
		return job.Summary{}, err
	}
	var last job.Summary
	for sum, err := range r.cluster.Jobs.Watch(ctx, id) {
		if err != nil {
			return last, err
		}
		last = sum
	}
	return last, ctx.Err()
}

// submitLatency measures from a submission until its only task has started, on an idle cluster.
func (b *bench) submitLatency(ctx context.Context, s *section, r *rack) error {
	latency := &contender{name: "submit", run: func(ctx context.Context) (time.Duration, error) {
		begun := time.Now()
		sum, err := r.job(ctx, job.Spec{Args: []string{"true"}, CPUs: 1, Patience: time.Minute})
		return sum.Usage.First.Sub(begun), err
	}}
	if err := warmUp(ctx, latency); err != nil {
		return err
	}
	if err := interleave(ctx, b.latency, latency); err != nil {
		return err
	}
	s.add(row{what: "from submitting to the start of the task, median", figure: latency.figure(),
		target: "< " + duration(startTarget), verdict: judge(median(latency.took) < startTarget)})
	return nil
}

package main

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"bramble/fault"
	"bramble/job"
)

// The peers run fewer tasks than bramble, enough for a second or more.
const (
	forkTasks     = 2000
	parallelTasks = 500
)

// jobs measures an array of tasks that do nothing beside what else starts processes.
func (b *bench) jobs(ctx context.Context, s *section) error {
	cores := runtime.NumCPU()
	s.title = "Tasks of a job"
	s.how = fmt.Sprintf("`submit --array 1-%d -- true` on a node on loopback with a slot per core, from the request until the last result is on the head's disk; beside it, other ways to start `true` on %d cores. No target yet.", b.tasks, cores)
	r, err := b.raise(ctx, "jobs", 1, false)
	if err != nil {
		return err
	}
	defer r.down(ctx)
	b.say("jobs: latency of %d single tasks", b.latency)
	if err := b.submitLatency(ctx, s, r); err != nil {
		return err
	}
	b.say("jobs: arrays of %s tasks beside fork+exec, xargs and parallel", count(b.tasks))
	array := &contender{name: "bramble submit", run: func(ctx context.Context) (time.Duration, error) {
		return timed(func() error { return r.array(ctx, "", b.tasks) })
	}}
	few := min(forkTasks, b.tasks)
	fork := &contender{name: "fork+exec", run: repeat(few, cores, func() error { return exec.Command("true").Run() })}
	all := []*contender{array, fork}
	peers := map[string]*contender{}
	for name, n := range map[string]int{"xargs": few, "parallel": min(parallelTasks, b.tasks)} {
		if len(missing(name)) > 0 {
			s.note("`%s` is not installed here.", name)
			continue
		}
		args := []string{"-P", fmt.Sprint(cores), "-n", "1", "true"}
		if name == "parallel" {
			args = []string{"-j", fmt.Sprint(cores), "true"}
		}
		peers[name] = &contender{name: name, run: fed(n, name, args...)}
		all = append(all, peers[name])
	}
	err = interleave(ctx, min(b.runs, enough), all...)
	if len(array.took) == 0 || len(fork.took) == 0 {
		return err
	}
	rate := array.rate(b.tasks)
	add := func(name string, peer float64) {
		s.add(row{what: "an array of " + count(b.tasks), figure: fmt.Sprintf("%.0f tasks/s", rate), peer: fmt.Sprintf("%s: %.0f/s", name, peer), ratio: times(rate, peer)})
	}
	add("a bare loop of fork and exec", fork.rate(few))
	if c := peers["xargs"]; c != nil && len(c.took) > 0 {
		add(fmt.Sprintf("`xargs -P%d`", cores), c.rate(few))
	}
	if c := peers["parallel"]; c != nil && len(c.took) > 0 {
		add("GNU `parallel`", c.rate(min(parallelTasks, b.tasks)))
	}
	return err
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
	s.add(row{what: "from submitting to the start of the task, median", figure: latency.figure()})
	return nil
}

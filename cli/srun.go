package cli

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"time"

	"bramble/apps/slurm"
	"bramble/fault"
	"bramble/fleet"
	"bramble/host"
	"bramble/job"
)

const srunHelp = `Usage: srun [OPTIONS] COMMAND [ARGS]
Inside a job it starts the command once for each of the job's tasks; elsewhere it waits for an
allocation of its own first. The options are Slurm's: -n, -N, --ntasks-per-node, -c, -w, -l, -K,
-i, -o, -e, -D, --export, --pty; what cannot be honoured is named in a warning. Outside of a
job, standard input is read to its end first, up to 256 MiB; -i none if the command reads none.
`

// srun starts the ranks of a step, or inside no job a job that does.
func srun(e *env, words []string) error {
	in, outside := job.Enter(os.Getenv)
	alone := os.Getenv("BRAMBLE_JOB_ID") != "" // or in an allocation
	r, err := slurm.ReadRun(words, alone || outside == nil, time.Now())
	if err != nil {
		return err
	}
	if answered, err := preamble(e, "srun", r.Batch, srunHelp); answered || err != nil {
		return err
	}
	switch {
	case outside == nil:
		return srunStep(e, in, r)
	case alone:
		return srunHere(e, r)
	}
	return srunJob(e, r)
}

// srunStep starts the ranks in the allocation of this process.
func srunStep(e *env, in job.Inside, r *slurm.Run) error {
	ranks := job.Ranks{Count: r.Spec.Ranks, Nodes: r.Spec.Nodes, PerNode: r.Spec.RanksPerNode, Dir: r.Dir, KeepGoing: r.KeepGoing,
		Env: slurm.Exported(os.Environ(), cmp.Or(r.Export, "ALL"))}
	var err error
	if cores, _ := strconv.Atoi(os.Getenv("BRAMBLE_CPUS")); r.Spec.CPUs > 0 && cores > 0 {
		ranks.Each = (r.Spec.CPUs + cores - 1) / cores
		ranks.Env = append(ranks.Env, fmt.Sprintf("SLURM_CPUS_PER_TASK=%d", r.Spec.CPUs))
	}
	if r.Spec.On != "" {
		if ranks.On, err = fleet.Expand(r.Spec.On); err != nil {
			return err
		}
	}
	if r.Pty {
		restore, err := terminal(&ranks)
		if err != nil {
			return err
		}
		defer restore()
	}
	peers, err := in.Nodes(e.ctx)
	if err != nil {
		return err
	}
	nodes, err := ranks.Place(peers)
	if err != nil {
		return err
	}
	number, err := in.StepNumber(e.ctx)
	if fault.Is(err, fault.Misused) { // the leader's agent is of an earlier version
		number, err = os.Getpid(), nil
	}
	if err != nil {
		return err
	}
	ranks.Program = r.Command[0]
	ranks.Args = slurm.RankCommand(nodes, r.Command, number)
	files, finish, err := srunFiles(r, nodes, io.NopCloser(os.Stdin))
	if err != nil {
		return err
	}
	ends, err := in.RunRanks(e.ctx, ranks, func(rank int, _ string) job.StepFiles { return files[rank] })
	if err := cmp.Or(err, finish()); err != nil {
		return err
	}
	return srunStatus(e, ends)
}

// srunHere runs the only rank of a job that is not spread over nodes, which is where it is.
func srunHere(e *env, r *slurm.Run) error {
	node := os.Getenv("BRAMBLE_NODE")
	if want := max(r.Spec.Ranks, r.Spec.Nodes, r.Spec.RanksPerNode); want > 1 {
		return fault.New(fault.Misused, "this job has one task, and srun wants more").Hint("#SBATCH --ntasks=%d", want)
	}
	files, finish, err := srunFiles(r, []string{node}, os.Stdin)
	if err != nil {
		return err
	}
	number, err := job.CountStep(os.Getenv(job.StepsVar))
	if err != nil { // an agent of an earlier version made no file for it
		number = os.Getpid()
	}
	args := slurm.RankCommand([]string{node}, r.Command, number)
	c := exec.CommandContext(e.ctx, args[0], args[1:]...)
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.Dir, c.Stdin, c.Stdout, c.Stderr = r.Dir, files[0].Stdin, files[0].Stdout, files[0].Stderr
	if !r.Label && r.Spec.Output == "" && r.Spec.Error == "" {
		c.Stdout, c.Stderr = os.Stdout, os.Stderr // ours, which may be a terminal
	}
	c.Env = slices.Concat(slurm.Settled(os.Environ()), slurm.Exported(os.Environ(), cmp.Or(r.Export, "ALL")))
	c.Env = append(c.Env, "BRAMBLE_RANK=0", "BRAMBLE_LOCAL_RANK=0", "BRAMBLE_NODE="+node)
	err = c.Run()
	end := job.RankEnd{Node: node}
	switch state := c.ProcessState; {
	case state == nil:
		end.Err = err
	case state.ExitCode() < 0:
		end.Exit.Code = 128 // and the signal, as a shell says it
		if status, ok := state.Sys().(syscall.WaitStatus); ok {
			end.Exit.Code += int(status.Signal())
		}
	default:
		end.Exit.Code = state.ExitCode()
	}
	if err := finish(); err != nil {
		return err
	}
	return srunStatus(e, []job.RankEnd{end})
}

// srunStatus tells of each rank that failed, and is the highest of their statuses.
func srunStatus(e *env, ends []job.RankEnd) error {
	highest := 0
	for _, end := range ends {
		code, how := end.Exit.Code, ""
		switch {
		case end.OK():
			continue
		case end.Err != nil:
			code, how = 1, end.Err.Error()
		case end.Exit.OOM:
			code, how = 128+9, "out of memory"
		case end.Exit.Signal != "":
			code, how = 128+int(host.SignalNumber(end.Exit.Signal)), "was ended by "+end.Exit.Signal
		default:
			how = fmt.Sprintf("exited with exit code %d", code)
		}
		fmt.Fprintf(e.out.Stderr, "srun: error: %s: task %d: %s\n", end.Node, end.Rank, how)
		highest = max(highest, code)
	}
	if highest > 0 {
		return exitStatus(highest)
	}
	return nil
}

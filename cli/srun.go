package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
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
-o, -e, -D, --export, --pty; what cannot be honoured is named in a warning.
`

// srun starts the ranks of a step, or inside no job a job that does.
func srun(e *env, words []string) error {
	r, err := slurm.ReadRun(words, time.Now())
	if err != nil {
		return err
	}
	if answered, err := preamble(e, "srun", r.Batch, srunHelp); answered || err != nil {
		return err
	}
	if in, err := job.Enter(os.Getenv); err == nil {
		return srunStep(e, in, r)
	}
	if os.Getenv("BRAMBLE_JOB_ID") != "" {
		return srunHere(e, r)
	}
	return srunJob(e, r)
}

// srunStep starts the ranks in the allocation of this process.
func srunStep(e *env, in job.Inside, r *slurm.Run) error {
	ranks := job.Ranks{Count: r.Spec.Ranks, Nodes: r.Spec.Nodes, PerNode: r.Spec.RanksPerNode, Dir: r.Dir, KeepGoing: r.KeepGoing,
		Env: slurm.Exported(os.Environ(), cmp.Or(r.Export, "ALL"))}
	var err error
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
	ranks.Program = r.Command[0]
	ranks.Args = slurm.RankCommand(nodes, r.Command, os.Getpid()) // no other step of the job has that number meanwhile
	files, finish, err := srunFiles(r, nodes)
	if err != nil {
		return err
	}
	ends, err := in.RunRanks(e.ctx, ranks, os.Stdin, func(rank int, _ string) job.StepFiles { return files[rank] })
	if err := cmp.Or(err, finish()); err != nil {
		return err
	}
	return srunStatus(e, ends)
}

// srunHere runs the only rank of a job that is not spread over nodes, which is where it is.
func srunHere(e *env, r *slurm.Run) error {
	node := os.Getenv("BRAMBLE_NODE")
	if r.Spec.Ranks > 1 || r.Spec.Nodes > 1 {
		return fault.New(fault.Misused, "this job has one task, and srun wants more").Hint("#SBATCH --ntasks=%d", max(r.Spec.Ranks, r.Spec.Nodes))
	}
	files, finish, err := srunFiles(r, []string{node})
	if err != nil {
		return err
	}
	args := slurm.RankCommand([]string{node}, r.Command, os.Getpid())
	c := exec.CommandContext(e.ctx, args[0], args[1:]...)
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.Dir, c.Stdin, c.Stdout, c.Stderr = r.Dir, os.Stdin, files[0].Stdout, files[0].Stderr
	if !r.Label && r.Spec.Output == "" && r.Spec.Error == "" {
		c.Stdout, c.Stderr = os.Stdout, os.Stderr // ours, which may be a terminal
	}
	c.Env = append(slurm.Exported(os.Environ(), cmp.Or(r.Export, "ALL")), "BRAMBLE_RANK=0", "BRAMBLE_LOCAL_RANK=0", "BRAMBLE_NODE="+node)
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

// srunFiles is where each rank's output goes, in order of rank: to ours, or to files that -o and -e name, each opened
// once. finish comes when the ranks have ended.
func srunFiles(r *slurm.Run, nodes []string) (list []job.StepFiles, finish func() error, err error) {
	files := map[string]*os.File{}
	closed := func() (err error) {
		for _, f := range files {
			err = cmp.Or(err, f.Close())
		}
		return err
	}
	file := func(pattern string, w job.Writer, to *io.Writer) {
		name := job.FileName(pattern, w)
		if err != nil || pattern == "" {
			return
		}
		if files[name] == nil {
			var f *os.File
			if f, err = os.Create(name); err != nil {
				err = fault.New(fault.Failed, "the output of rank %d cannot be written: %w", w.Rank, err).Hint("-o with another path")
				return
			}
			files[name] = f
		}
		*to = files[name]
	}
	id, _ := strconv.ParseInt(os.Getenv("BRAMBLE_JOB_ID"), 10, 64)
	direct, flush := stepFiles(r.Label)
	at := map[string]int{}
	for rank, node := range nodes {
		if _, known := at[node]; !known {
			at[node] = len(at)
		}
		to := direct(rank, node)
		w := job.Writer{Job: job.ID(id), Name: os.Getenv("SLURM_JOB_NAME"), User: os.Getenv("USER"), Node: node, Rank: rank, Place: at[node]}
		file(r.Spec.Output, w, &to.Stdout)
		file(cmp.Or(r.Spec.Error, r.Spec.Output), w, &to.Stderr)
		list = append(list, to)
	}
	if err != nil {
		closed()
		return nil, nil, err
	}
	return list, func() error { return cmp.Or(flush(), closed()) }, nil
}

// srunJob hands in a job that does the same inside, shows what it writes, and ends it when it is interrupted.
func srunJob(e *env, r *slurm.Run) error {
	if r.Pty {
		return fault.New(fault.Misused, "srun --pty needs an allocation, and this is in none").Hint("bramble shell NODE, or srun --pty in a script that sbatch was given")
	}
	spec := r.Spec
	spec.Name = cmp.Or(spec.Name, filepath.Base(r.Command[0]))
	spec.Env = slurm.Exported(os.Environ(), cmp.Or(r.Export, "ALL"))
	spec.NoRequeue, spec.Output, spec.Error = true, "", ""
	spec.Args = []string{"srun"}
	if r.Label {
		spec.Args = append(spec.Args, "--label")
	}
	if !r.KeepGoing {
		spec.Args = append(spec.Args, "--kill-on-bad-exit")
	}
	for flag, value := range map[string]string{"--output=": r.Spec.Output, "--error=": r.Spec.Error, "--chdir=": r.Dir} {
		if value != "" {
			spec.Args = append(spec.Args, flag+value)
		}
	}
	spec.Args = append(append(spec.Args, "--"), r.Command...)
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	folder := carryFlags{FolderLimit: defaultFolderLimit}
	if err := folder.carry(e, cl, &spec); err != nil {
		return err
	}
	id, err := cl.Jobs.Submit(e.ctx, spec)
	if err != nil {
		return err
	}
	sum, err := stay(e, cl, id, spec, "")
	if e.ctx.Err() != nil {
		end, cancel := context.WithTimeout(context.WithoutCancel(e.ctx), 10*time.Second)
		defer cancel()
		if _, err := cl.Jobs.Cancel(end, id); err == nil {
			fmt.Fprintf(e.out.Stderr, "srun: job %d is cancelled\n", id)
		}
	}
	if err != nil {
		return err
	}
	return highest(e, cl, sum)
}

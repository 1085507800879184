package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"bramble/apps/slurm"
	"bramble/fault"
	"bramble/term"
)

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
	pattern := ""
	if strings.Contains(r.InputFile(), "%") { // each rank reads its own, there
		pattern = r.InputFile()
	} else if only := r.InputRank(); only >= 0 {
		pattern = r.Input
	}
	for flag, value := range map[string]string{"--input=": pattern, "--output=": r.Spec.Output, "--error=": r.Spec.Error, "--chdir=": r.Dir} {
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
	stdin, done, err := srunStdin(e, r)
	if err != nil {
		return err
	}
	defer done()
	folder := carryFlags{FolderLimit: defaultFolderLimit}
	if stdin != "" {
		folder.beside = []string{stdin}
		spec.Args = append([]string{"/bin/sh", "-c", `exec "$0" "$@" <` + stdinName}, spec.Args...)
	}
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

const (
	// stdinName is the file in a job's folder that holds what srun read outside of it.
	stdinName = ".srun-stdin"
	// maxStdin is how much that may be, in bytes.
	maxStdin = 256 << 20
)

// srunStdin keeps what the job's ranks shall read, to its end, in a file that travels: the job may begin late, and goes on
// when the head is away. name is "" when there is nothing to read, as from a terminal.
func srunStdin(e *env, r *slurm.Run) (name string, done func(), err error) {
	from, done := os.Stdin, func() {}
	switch name := r.InputFile(); {
	case r.Input == slurm.InputNone || strings.Contains(name, "%"):
		return "", done, nil
	case name != "":
		if from, err = os.Open(name); err != nil {
			return "", done, fault.New(fault.NotFound, "the input cannot be read: %w", err).Hint("-i with another path, or -i none")
		}
		defer from.Close()
	default:
		if info, err := from.Stat(); err != nil || info.Mode()&os.ModeCharDevice != 0 || info.IsDir() {
			return "", done, nil
		}
	}
	dir, err := os.MkdirTemp("", "srun")
	if err != nil {
		return "", done, err
	}
	done = func() { os.RemoveAll(dir) }
	name = filepath.Join(dir, stdinName)
	n, err := keepInput(e, from, name)
	switch {
	case err == nil && n > maxStdin:
		err = fault.New(fault.Full, "the input has more than %s, too much to be sent ahead of a job", term.Bytes(maxStdin)).Hint("have the command read a file of the folder that travels")
	case err == nil && n > 0:
		return name, done, nil
	}
	done()
	return "", func() {}, err
}

// keepInput reads to the end, one byte beyond maxStdin or an interruption into a new file, and says so when that takes long.
func keepInput(e *env, from io.Reader, name string) (int64, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	late := time.AfterFunc(3*time.Second, func() {
		fmt.Fprintln(e.out.Stderr, "srun: standard input is read to its end before the job is handed in; -i none, or </dev/null, if the command reads none")
	})
	defer late.Stop()
	type end struct {
		n   int64
		err error
	}
	over := make(chan end, 1)
	go func() { // it ends with its reader, which nobody can interrupt
		n, err := io.Copy(f, io.LimitReader(from, maxStdin+1))
		over <- end{n, cmp.Or(err, f.Close())}
	}()
	select {
	case all := <-over:
		return all.n, all.err
	case <-e.ctx.Done():
		return 0, fault.New(fault.Interrupted, "interrupted")
	}
}

package cli

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bramble/apps/slurm"
	"bramble/cluster"
	"bramble/fault"
	"bramble/job"
)

// slurmCmd is one of Slurm's commands, which reads its own options.
type slurmCmd struct {
	Words []string `arg:"" optional:"" passthrough:"all" help:"The command and its own words."`
}

func (slurmCmd) Examples() string {
	return "bramble slurm squeue -u ann\nbramble slurm sbatch --parsable job.sh\n"
}

// slurmVerbs is each command by name.
func slurmVerbs() map[string]func(*env, []string) error {
	return map[string]func(*env, []string) error{
		"sbatch": sbatch, "squeue": asking((*slurm.Tool).Squeue), "sinfo": asking((*slurm.Tool).Sinfo), "sacct": asking((*slurm.Tool).Sacct),
		"srun": srun, "scancel": asking((*slurm.Tool).Scancel), "scontrol": scontrol,
	}
}

func slurmNames() []string {
	var names []string
	for name := range slurmVerbs() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (c *slurmCmd) Run(e *env) error {
	if len(c.Words) == 0 {
		return fault.New(fault.Misused, "slurm needs a command: %s", strings.Join(slurmNames(), ", ")).Hint("bramble slurm squeue")
	}
	run := slurmVerbs()[c.Words[0]]
	if run == nil {
		return fault.New(fault.Misused, "there is no command %q of Slurm's here; there is %s", c.Words[0], strings.Join(slurmNames(), ", ")).
			Hint("bramble slurm squeue")
	}
	return run(e, c.Words[1:])
}

type slurmShimsCmd struct {
	Dir string `arg:"" help:"Folder to put them in; have it in PATH."`
}

func (slurmShimsCmd) Examples() string {
	return "bramble slurm-shims ~/slurm/bin\nPATH=~/slurm/bin:$PATH squeue\n"
}

// Run writes one small script for each command; what is there already and is not ours stays.
func (c *slurmShimsCmd) Run(e *env) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return fault.New(fault.Failed, "%s: %w", c.Dir, err).Hint("a folder that you may write to")
	}
	where := ""
	if e.cluster != "" {
		path, err := filepath.Abs(e.cluster)
		if err != nil {
			return err
		}
		where = " --cluster " + shellWord(path)
	}
	for _, name := range slurmNames() {
		path := filepath.Join(c.Dir, name)
		text := "#!/bin/sh\n" + shimMark + "\nexec " + shellWord(self) + where + " slurm " + name + " \"$@\"\n"
		if old, err := os.ReadFile(path); err == nil && !strings.Contains(string(old), shimMark) {
			return fault.New(fault.Conflict, "%s is there already, and is not bramble's", path).Hint("another folder")
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			return fault.New(fault.Failed, "%w", err).Hint("a folder that you may write to")
		}
	}
	fmt.Fprintf(e.out.Stdout, "%s are in %s\n", strings.Join(slurmNames(), " "), c.Dir)
	return nil
}

const shimMark = "# made by bramble slurm-shims"

// sbatch queues a script as Slurm's command of that name does.
func sbatch(e *env, words []string) error {
	b, err := readBatch(words)
	if err != nil {
		return err
	}
	if answered, err := preamble(e, "sbatch", b, sbatchHelp); answered || err != nil {
		return err
	}
	b.Spec.Output = cmp.Or(b.Spec.Output, defaultOutput(b.Spec))
	return submitBatch(e, b)
}

const sbatchHelp = `Usage: sbatch [OPTIONS] SCRIPT [ARGS]
The options are Slurm's own. What cannot be honoured is named in a warning, and one that
Slurm does not have is an error. The job's output: bramble logs -f JOB.
`

// preamble answers --help and --version, and tells what cannot be honoured.
func preamble(e *env, name string, b *slurm.Batch, help string) (answered bool, err error) {
	switch {
	case b.Help:
		_, err = io.WriteString(e.out.Stdout, help)
		return true, err
	case b.Version:
		return true, slurmVersion(e)
	}
	for _, w := range b.Warnings {
		fmt.Fprintf(e.out.Stderr, "%s: warning: %s\n", name, w)
	}
	return false, nil
}

func slurmVersion(e *env) error {
	_, err := fmt.Fprintf(e.out.Stdout, "slurm-bramble %s\n", e.version)
	return err
}

// maxScript is the largest script that is read, in bytes.
const maxScript = 256 << 10

// readBatch reads sbatch's words, and the script that they name or that comes on standard input.
func readBatch(words []string) (*slurm.Batch, error) {
	in := slurm.Input{Environ: os.Environ(), Options: append([]string{}, words...), Now: time.Now()}
	first, err := slurm.Read(in) // which word is the script
	if err != nil || first.Help || first.Version {
		return first, err
	}
	args := first.Args
	if first.Wrap != "" {
		if len(args) > 0 {
			return nil, fault.New(fault.Misused, "--wrap takes the place of a script, and %s is one", args[0]).Hint("sbatch --wrap 'COMMAND'")
		}
		first.Spec.Script = []byte("#!/bin/sh\n" + first.Wrap + "\n")
		first.Spec.Name = cmp.Or(first.Spec.Name, "wrap")
	} else {
		if in.Path, in.Script, err = readScript(args); err != nil {
			return nil, err
		}
		if first, err = slurm.Read(in); err != nil {
			return nil, err
		}
		first.Spec.Script = in.Script
		first.Spec.Name = cmp.Or(first.Spec.Name, filepath.Base(in.Path))
		if len(args) > 0 {
			first.Spec.Args = args[1:]
		}
	}
	first.Spec.Env = slurm.Exported(os.Environ(), cmp.Or(first.Export, "ALL"))
	return first, nil
}

// readScript reads a script's file, or standard input where no file is named.
func readScript(args []string) (path string, text []byte, err error) {
	if len(args) == 0 || args[0] == "-" {
		path = "sbatch"
		text, err = io.ReadAll(io.LimitReader(os.Stdin, maxScript+1))
	} else {
		path = args[0]
		var f *os.File
		if f, err = os.Open(path); err == nil {
			defer f.Close()
			text, err = io.ReadAll(io.LimitReader(f, maxScript+1))
		}
	}
	switch {
	case err != nil:
		return path, nil, fault.New(fault.NotFound, "the script cannot be read: %w", err).Hint("sbatch --wrap 'COMMAND', if it is a command")
	case len(text) > maxScript:
		return path, nil, fault.New(fault.Misused, "%s has more than %d KiB, too much for a script", path, maxScript>>10).Hint("have a small script call the large one")
	}
	return path, text, checkScript(path, text)
}

// defaultOutput is the file that Slurm writes to when nobody said.
func defaultOutput(s job.Spec) string {
	if s.Array != "" {
		return "slurm-%A_%a.out"
	}
	return "slurm-%j.out"
}

// submitBatch hands a batch in, says so as sbatch does, and waits if it was asked to.
func submitBatch(e *env, b *slurm.Batch) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	if b.TestOnly {
		return testOnly(e, cl, b)
	}
	folder := carryFlags{FolderLimit: defaultFolderLimit}
	if err := folder.carry(e, cl, &b.Spec); err != nil {
		return err
	}
	id, err := cl.Jobs.Submit(e.ctx, b.Spec)
	if err != nil {
		return err
	}
	switch {
	case b.Parsable:
		fmt.Fprintf(e.out.Stdout, "%d\n", id)
	case !b.Quiet:
		fmt.Fprintf(e.out.Stdout, "Submitted batch job %d\n", id)
	}
	if !b.Wait {
		if b.Named && !b.Quiet {
			fmt.Fprintf(e.out.Stderr, "sbatch: bramble wait %d writes its output files when it has ended; bramble logs -f %[1]d shows it now\n", id)
		}
		return nil
	}
	sum, err := cl.Jobs.Wait(e.ctx, id, nil)
	if err != nil {
		return left(e, id, err)
	}
	if err := bring(e, cl, sum, -1, ""); err != nil {
		return err
	}
	return highest(e, cl, sum)
}

// highest is the exit status of who waited: the highest of the job's tasks, as Slurm has it.
func highest(e *env, cl *cluster.Cluster, sum job.Summary) error {
	if sum.State != job.Failed {
		return jobStatus(e.ctx, cl, sum)
	}
	d, err := cl.Jobs.Job(e.ctx, sum.ID)
	if err != nil {
		return err
	}
	code := 0
	for _, f := range d.Failures {
		code = max(code, f.Code)
	}
	if code == 0 {
		return jobStatus(e.ctx, cl, sum)
	}
	return exitStatus(code)
}

// place notes where a job was submitted.
func place(s *job.Spec) {
	s.SubmitDir, _ = os.Getwd()
	s.SubmitHost, _ = os.Hostname()
}

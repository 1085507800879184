package mpi

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"bramble/fault"
	"bramble/host"
	"bramble/job"
)

// ParseAgent reads the arguments that a launcher gives to what it takes for ssh: options, a host, and a command
// whose words the far shell joins.
func ParseAgent(args []string) (node, line string, err error) {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		word := args[0]
		args = args[1:]
		if word == "--" {
			break
		}
		if len(word) == 2 && strings.Contains(valued, word[1:]) && len(args) > 0 {
			args = args[1:]
		}
	}
	if len(args) < 2 {
		return "", "", fault.New(fault.Misused, "mpi-agent needs a node and a command").Hint("mpirun calls it by itself, inside a job: bramble mpi -n 4 PROGRAM")
	}
	node = args[0]
	if _, name, found := strings.Cut(node, "@"); found {
		node = name
	}
	return node, strings.Join(args[1:], " "), nil
}

// valued are ssh's options that a value follows.
const valued = "BbcDEeFIiJLlmOopQRSWw"

// scratchVar names a place in memory where several of the nodes are one machine.
const scratchVar = "BRAMBLE_MPI_SCRATCH"

// Passed is what of the environment of mpirun its processes on another node are to have, which it does not send: how they
// look at their machine, and where several nodes are one, a place for each by itself: Open MPI's daemons fail when two make
// the same folder at the same moment.
func Passed(environ []string, node string) (passed []string) {
	for _, v := range environ {
		if strings.HasPrefix(v, "HWLOC_") {
			passed = append(passed, v)
		}
		if place, ok := strings.CutPrefix(v, scratchVar+"="); ok {
			passed = append(passed, "OMPI_MCA_orte_tmpdir_base="+place+"."+node, "PRTE_MCA_prte_tmpdir_base="+place+"."+node)
		}
	}
	return passed
}

// toldVar names the file in which those that mpirun calls leave why a command of theirs did not run or was lost.
const toldVar = "BRAMBLE_MPI_TOLD"

// generations is how many processes there may be between the agent and the mpirun that somebody typed.
const generations = 4

// Ship brings the programs that mpirun is about to start on a node there: its launcher names only a daemon, so they
// are found in the words of the processes which have called us. Of those only files of the job's travel.
func Ship(ctx context.Context, in job.Inside, node string) error {
	pid := os.Getppid()
	for range generations {
		args, parent := host.CommandLine(pid)
		for _, word := range args[min(1, len(args)):] {
			if !isProgram(word) {
				continue
			}
			if err := in.Ship(ctx, word, []string{node}); err != nil {
				return err
			}
		}
		if parent <= 1 {
			break
		}
		pid = parent
	}
	return nil
}

// isProgram reports whether a word is the path of a file that may be executed.
func isProgram(word string) bool {
	info, err := os.Stat(word)
	return strings.Contains(word, "/") && err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// Tell says why a launcher's command did not run on a node, or was lost: to the job, whose error it becomes, and to the
// Launch that waits for the launcher. It comes before anything is written to the launcher, which may have ended for the same
// reason, so that writing to it ends us.
func Tell(ctx context.Context, in job.Inside, why error) {
	explain(ctx, in, why)
	if f, err := os.OpenFile(os.Getenv(toldVar), os.O_WRONLY|os.O_APPEND, 0); err == nil {
		fmt.Fprintf(f, "bramble: %s\n", fault.Of(why).Text)
		f.Close()
	}
}

// NotStarted ends MPICH's mpiexec, which has called us and would wait for its proxy for ever.
func NotStarted(line string) {
	if parent := os.Getppid(); strings.Contains(line, "hydra_pmi_proxy") && parent > 1 {
		syscall.Kill(parent, syscall.SIGTERM)
	}
}

// explain has the job's error say why, with the hint on a line of its own.
func explain(ctx context.Context, in job.Inside, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	f := fault.Of(why)
	text := f.Text
	if f.Try != "" {
		text += "\ntry: " + f.Try
	}
	return in.Explain(ctx, text)
}

package cli

import (
	"os"

	"bramble/apps/mpi"
	"bramble/fault"
	"bramble/job"
)

// mpiAgentCmd is called by mpirun as if it were ssh.
type mpiAgentCmd struct {
	Args []string `arg:"" optional:"" passthrough:"all"`
}

func (mpiAgentCmd) Examples() string { return "bramble mpi-agent node2 hostname   # inside a job\n" }

func (c *mpiAgentCmd) Run(e *env) error {
	host, line, err := mpi.ParseAgent(c.Args)
	if err != nil {
		return err
	}
	in, err := job.Enter(os.Getenv)
	if err != nil {
		return err
	}
	exit, err := in.Run(e.ctx, job.StepCommand{Node: host, Args: []string{"/bin/sh", "-c", line}},
		job.StepFiles{Stdout: os.Stdout, Stderr: os.Stderr})
	switch {
	case err != nil:
		return err
	case exit.Signal != "":
		return fault.New(fault.Failed, "%s on %s was ended by %s", firstWord(line), host, exit.Signal)
	case exit.Code != 0:
		return exitStatus(exit.Code)
	}
	return nil
}

func firstWord(line string) string {
	for i := range line {
		if line[i] == ' ' {
			return line[:i]
		}
	}
	return line
}

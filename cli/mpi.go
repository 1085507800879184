package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"bramble/apps/mpi"
	"bramble/fault"
	"bramble/host"
	"bramble/job"
	"bramble/term"
)

type mpiCmd struct {
	Run    mpiRunCmd    `cmd:"" default:"withargs" help:"Run a program of MPI over the nodes."`
	Doctor mpiDoctorCmd `cmd:"" help:"Measure every pair of nodes, so that a bad cable or a slow port stands out."`
}

type mpiRunCmd struct {
	Ranks    int      `short:"n" name:"ranks" help:"How many ranks." default:"2" placeholder:"N" env:"-"`
	Nodes    int      `help:"Over exactly so many nodes; as few as hold the ranks without." placeholder:"N" env:"-"`
	PerNode  int      `name:"ntasks-per-node" help:"At most so many ranks on one node." placeholder:"K" env:"-"`
	Library  string   `name:"mpi" help:"openmpi or mpich; what the program is linked to without." placeholder:"LIBRARY"`
	On       string   `help:"Which nodes may run it (default all workers)." placeholder:"SEL"`
	Name     string   `help:"A name for people."`
	Timeout  string   `help:"End it after so long." placeholder:"D"`
	Env      []string `help:"A variable for the ranks; repeat." placeholder:"K=V" sep:"none"`
	Transfer []string `help:"A file or folder that arrives beside the program; repeat." placeholder:"FILE" sep:"none"`
	Return   []string `help:"Files that come back from every node; what differs is kept as FILE.JOB.NODE; repeat." placeholder:"GLOB" sep:"none"`
	To       string   `help:"Folder for the files that come back." default:"." placeholder:"DIR"`
	Label    bool     `short:"l" help:"Begin each line with the rank that wrote it."`
	Args     []string `arg:"" optional:"" passthrough:"" help:"The program with its arguments."`
}

func (mpiRunCmd) Examples() string {
	return `bramble mpi -n 16 ./solve input.dat          # ./solve travels; mpirun, ssh keys and lists of hosts are not your concern
bramble mpi -n 8 --ntasks-per-node 1 --transfer hpccinf.txt --return hpccoutf.txt -- /usr/bin/hpcc
bramble mpi doctor
`
}

func (c *mpiRunCmd) Run(e *env) error {
	args := c.Args
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return fault.New(fault.Misused, "mpi needs a program").Hint("bramble mpi -n 4 ./PROGRAM")
	}
	if c.Library != "" && c.Library != string(mpi.OpenMPI) && c.Library != string(mpi.MPICH) {
		return fault.New(fault.Misused, "--mpi %s is no library that is known here", c.Library).Hint("--mpi openmpi, --mpi mpich, or leave it out")
	}
	if c.Ranks < 1 {
		return fault.New(fault.Misused, "%d ranks can do nothing", c.Ranks).Hint("bramble mpi -n 4 %s", args[0])
	}
	transfer := c.Transfer
	if strings.Contains(args[0], "/") && !filepath.IsAbs(args[0]) {
		if info, err := os.Stat(args[0]); err != nil || info.IsDir() {
			return fault.New(fault.NotFound, "no program is called %s here", args[0]).Hint("bramble mpi -n %d -- /PATH/%s, if it is on the nodes", c.Ranks, filepath.Base(args[0]))
		}
		transfer = append([]string{args[0]}, transfer...)
		args = append([]string{"./" + filepath.Base(args[0])}, args[1:]...)
	}
	launch := []string{"mpi-launch"}
	if c.Library != "" {
		launch = append(launch, "--mpi", c.Library)
	}
	if c.Label {
		launch = append(launch, "--label")
	}
	sub := submitCmd{CPUs: 1, On: c.On, Name: c.Name, Timeout: c.Timeout, Patience: "60s", Env: c.Env, To: c.To, Wait: true,
		carryFlags:  carryFlags{Transfer: transfer, Return: c.Return, NoFolder: true},
		spreadFlags: spreadFlags{Nodes: c.Nodes, Ranks: c.Ranks, PerNode: c.PerNode}}
	if sub.Name == "" {
		sub.Name = filepath.Base(args[0])
	}
	sub.NoRequeue = true
	sub.Args = append([]string{"--", "sh", "-c", `exec "$BRAMBLE_EXE" "$@"`, "mpi"}, append(append(launch, "--"), args...)...)
	return sub.Run(e)
}

// mpiLaunchCmd runs on the first node of an allocation.
type mpiLaunchCmd struct {
	Library string   `name:"mpi" env:"-"`
	Label   bool     `env:"-"`
	Args    []string `arg:"" passthrough:""`
}

func (mpiLaunchCmd) Examples() string { return "bramble mpi-launch -- ./solve   # inside a job\n" }

func (c *mpiLaunchCmd) Run(e *env) error {
	in, err := job.Enter(os.Getenv)
	if err != nil {
		return err
	}
	args := c.Args
	if args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return fault.New(fault.Misused, "mpi-launch needs a program").Hint("bramble mpi -n 4 ./PROGRAM")
	}
	status, err := mpi.Launch{Inside: in, Library: mpi.Library(c.Library), Label: c.Label, Args: args, Stdout: os.Stdout, Stderr: os.Stderr}.Run(e.ctx)
	if err == nil && status != 0 {
		err = exitStatus(status)
	}
	return err
}

// mpiLookCmd says what a node has for a program.
type mpiLookCmd struct {
	Program string `arg:""`
}

func (mpiLookCmd) Examples() string { return "bramble mpi-look ./solve   # inside a job\n" }

func (c *mpiLookCmd) Run(e *env) error {
	return json.NewEncoder(os.Stdout).Encode(mpi.Look(e.ctx, os.Getenv("BRAMBLE_NODE"), c.Program))
}

// mpiAgentCmd is called by mpirun as if it were ssh.
type mpiAgentCmd struct {
	Args []string `arg:"" optional:"" passthrough:"all"`
}

func (mpiAgentCmd) Examples() string { return "bramble mpi-agent node2 hostname   # inside a job\n" }

func (c *mpiAgentCmd) Run(e *env) error {
	node, line, err := mpi.ParseAgent(c.Args)
	if err != nil {
		return err
	}
	in, err := job.Enter(os.Getenv)
	if err != nil {
		return err
	}
	var exit host.Exit
	if err = mpi.Ship(e.ctx, in, node); err == nil {
		exit, err = in.Run(e.ctx, job.StepCommand{Node: node, Args: []string{"/bin/sh", "-c", line}, Env: mpi.Passed(os.Environ(), node)},
			job.StepFiles{Stdout: os.Stdout, Stderr: os.Stderr})
	}
	switch {
	case err != nil:
		mpi.Tell(e.ctx, in, err)
		status := term.Report(e.out, err) // as long as mpirun reads it
		mpi.NotStarted(line)
		return exitStatus(status)
	case exit.Signal != "":
		word, _, _ := strings.Cut(line, " ")
		return fault.New(fault.Failed, "%s on %s was ended by %s", word, node, exit.Signal)
	case exit.Code != 0:
		return exitStatus(exit.Code)
	}
	return nil
}

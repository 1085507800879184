package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"

	"bramble/fault"
	"bramble/fleet"
	"bramble/host"
	"bramble/job"

	xterm "golang.org/x/term"
)

type stepCmd struct {
	Count   int      `short:"n" name:"ranks" help:"How many processes; as many as the allocation has without." placeholder:"N" env:"-"`
	Nodes   int      `short:"N" help:"On the first so many nodes of the allocation." placeholder:"N" env:"-"`
	PerNode int      `name:"ranks-per-node" help:"So many on each node." placeholder:"N" env:"-"`
	On      string   `help:"Only on these nodes of the allocation." placeholder:"NODES" env:"-"`
	Label   bool     `short:"l" help:"Begin each line with the rank that wrote it." env:"-"`
	Pty     bool     `help:"One process, on a terminal." env:"-"`
	Keep    bool     `name:"keep-going" help:"A rank that fails or is lost does not end the others." env:"-"`
	Dir     string   `help:"Where they run (default the folder of the task on each node)." placeholder:"DIR" env:"-"`
	Args    []string `arg:"" optional:"" passthrough:"" help:"-- and a command."`
}

func (stepCmd) Examples() string {
	return `bramble step -- hostname              # inside a job, once for each of its ranks
bramble step -n 4 -l -- ./work
bramble step -N 2 --ranks-per-node 1 -- df -h /
`
}

func (c *stepCmd) Run(e *env) error {
	in, err := job.Enter(os.Getenv)
	if err != nil {
		return err
	}
	r := job.Ranks{Count: c.Count, Nodes: c.Nodes, PerNode: c.PerNode, Env: os.Environ(), Dir: c.Dir, KeepGoing: c.Keep, Args: c.Args}
	if len(r.Args) > 0 && r.Args[0] == "--" {
		r.Args = r.Args[1:]
	}
	if len(r.Args) == 0 {
		return fault.New(fault.Misused, "there is nothing to run").Hint("bramble step -- COMMAND")
	}
	if c.On != "" {
		if r.On, err = fleet.Expand(c.On); err != nil {
			return err
		}
	}
	files := stepFiles(c.Label)
	if c.Pty {
		r.Count = 1
		restore, err := terminal(&r)
		if err != nil {
			return err
		}
		defer restore()
	}
	ends, err := in.RunRanks(e.ctx, r, os.Stdin, files)
	if err != nil {
		return err
	}
	return rankStatus(e, ends)
}

// terminal gives the step a terminal of the size of ours, and ours over to it.
func terminal(r *job.Ranks) (restore func(), err error) {
	stdin := int(os.Stdin.Fd())
	r.TTY = &host.Size{Rows: 24, Cols: 80}
	if !xterm.IsTerminal(stdin) {
		return func() {}, nil
	}
	if size, err := windowSize(stdin); err == nil {
		r.TTY = &size
	}
	before, err := xterm.MakeRaw(stdin)
	if err != nil {
		return nil, fmt.Errorf("raw terminal: %w", err)
	}
	return func() { xterm.Restore(stdin, before) }, nil
}

// rankStatus is the exit status of a step: that of its only rank, or of the first that failed by itself.
func rankStatus(e *env, ends []job.RankEnd) error {
	err := job.FailedRank(ends)
	if err == nil {
		return nil
	}
	for _, end := range ends {
		if end.Err == nil && end.Exit.Code > 0 {
			fmt.Fprintln(e.out.Stderr, "bramble:", err)
			return exitStatus(end.Exit.Code)
		}
	}
	return err
}

// stepFiles sends what ranks write to our own output, with Label line by line under the rank's number.
func stepFiles(label bool) func(rank int, node string) job.StepFiles {
	var mu sync.Mutex
	return func(rank int, _ string) job.StepFiles {
		if !label {
			return job.StepFiles{Stdout: locked{&mu, os.Stdout}, Stderr: locked{&mu, os.Stderr}}
		}
		prefix := fmt.Sprintf("%d: ", rank)
		return job.StepFiles{Stdout: &liner{to: locked{&mu, os.Stdout}, prefix: prefix}, Stderr: &liner{to: locked{&mu, os.Stderr}, prefix: prefix}}
	}
}

type locked struct {
	mu *sync.Mutex
	to io.Writer
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.to.Write(p)
}

// liner passes on whole lines, each with a prefix; what has no end yet waits for it.
type liner struct {
	to     io.Writer
	prefix string
	begun  []byte
}

func (l *liner) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		line, more, whole := bytes.Cut(rest, []byte("\n"))
		l.begun, rest = append(l.begun, line...), more
		if whole || len(l.begun) > 64<<10 {
			l.flush()
		}
	}
	return len(p), nil
}

func (l *liner) flush() {
	if _, err := fmt.Fprintf(l.to, "%s%s\n", l.prefix, l.begun); err == nil || len(l.begun) > 0 {
		l.begun = l.begun[:0]
	}
}

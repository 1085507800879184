package cli

import (
	"bytes"
	"cmp"
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
	r.Program = r.Args[0]
	if c.On != "" {
		if r.On, err = fleet.Expand(c.On); err != nil {
			return err
		}
	}
	if c.Pty {
		restore, err := terminal(&r)
		if err != nil {
			return err
		}
		defer restore()
	}
	files, finish := stepFiles(c.Label)
	ends, err := in.RunRanks(e.ctx, r, func(rank int, node string) job.StepFiles {
		its := files(rank, node)
		if rank == 0 {
			its.Stdin = io.NopCloser(os.Stdin)
		}
		return its
	})
	if err := cmp.Or(err, finish()); err != nil {
		return err
	}
	return rankStatus(ends)
}

// terminal makes the step one process on a terminal of the size of ours, and gives ours over to it.
func terminal(r *job.Ranks) (restore func(), err error) {
	stdin := int(os.Stdin.Fd())
	r.Count = 1
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
func rankStatus(ends []job.RankEnd) error {
	err := job.FailedRank(ends)
	if err == nil {
		return nil
	}
	for _, end := range ends {
		if end.Err == nil && end.Exit.Code > 0 {
			return withStatus{err, end.Exit.Code}
		}
	}
	return err
}

// stepFiles sends what ranks write to our own output, with label line by line under the rank's number. finish, when
// the ranks have ended, sends what they left of a line.
func stepFiles(label bool) (files func(rank int, node string) job.StepFiles, finish func() error) {
	var mu sync.Mutex
	out, errs := locked{&mu, os.Stdout}, locked{&mu, os.Stderr}
	var begun []*liner
	files = func(rank int, _ string) job.StepFiles {
		if !label {
			return job.StepFiles{Stdout: out, Stderr: errs}
		}
		prefix := fmt.Sprintf("%d: ", rank)
		first, second := &liner{to: out, prefix: prefix}, &liner{to: errs, prefix: prefix}
		begun = append(begun, first, second)
		return job.StepFiles{Stdout: first, Stderr: second}
	}
	return files, func() (err error) {
		for _, l := range begun {
			if len(l.begun) > 0 {
				err = cmp.Or(err, l.flush())
			}
		}
		return err
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
			if err := l.flush(); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}

func (l *liner) flush() error {
	_, err := fmt.Fprintf(l.to, "%s%s\n", l.prefix, l.begun)
	l.begun = l.begun[:0]
	return err
}

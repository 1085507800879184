package cli

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"bramble/sim"
	"bramble/term"
)

type simCmd struct {
	Nodes  int    `help:"How many nodes." default:"1000"`
	Model  string `help:"What they are: pi1 pizero pi2 pi3 pi4 pi5 odroid orangepi x86." default:"pi4"`
	Prefix string `help:"Begins their names." default:"sim"`
	Seed   uint64 `help:"Makes them the same each time." default:"1"`
	Keep   bool   `help:"Leave them members, as down ones, at the end."`
	Report bool   `help:"Measure how fast all of them answer a command, print it, and end."`
	Runs   int    `help:"How many commands --report runs." default:"20"`
}

func (simCmd) Examples() string {
	return `bramble sim --nodes 1000 --cluster /tmp/lab   # until Ctrl-C
bramble sim --nodes 1000 --report             # how fast is a command on all of them?
`
}

func (c *simCmd) Run(e *env) error {
	debug.SetGCPercent(400) // thousands of nodes in one process: memory is cheaper than collections
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	progress := term.NewProgress(e.ctx, e.out)
	defer progress.Stop()
	bar := progress.Bar("nodes up", int64(c.Nodes), term.Items)
	ctx, end := context.WithCancel(e.ctx)
	defer end()
	return sim.Run(ctx, sim.Options{Cluster: cl, Nodes: c.Nodes, Model: c.Model, Prefix: c.Prefix, Seed: c.Seed, Keep: c.Keep,
		Version: e.version, Log: logger("error"), Up: func() { bar.Add(1) },
		Ready: func(ctx context.Context, s sim.Summary) error {
			progress.Stop()
			out := e.out.Stdout
			fmt.Fprintf(out, "%s simulated nodes are up, after %s; each takes %s of heap and %s of stacks here.\n",
				term.Count(int64(c.Nodes)), term.Duration(s.Took), term.Bytes(s.Heap), term.Bytes(s.Stack))
			if !c.Report {
				fmt.Fprintln(out, "Ctrl-C ends them.")
				return nil
			}
			defer end()
			times, err := sim.FanOut(ctx, cl.Fan, s.Names, c.Runs)
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "%d commands on all of them: last answer after p50 %s, p99 %s.\n", len(times),
				milliseconds(sim.Percentile(times, 0.5)), milliseconds(sim.Percentile(times, 0.99)))
			return nil
		}})
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

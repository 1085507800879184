package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bramble/apps/each"
	"bramble/artefact"
	"bramble/cluster"
	"bramble/fault"
	"bramble/fleet"
	"bramble/job"
	"bramble/term"
)

type eachCmd struct {
	Arg          []string `short:"a" name:"arg-file" help:"Read inputs from this file; repeat for more sources." placeholder:"FILE" sep:"none"`
	Null         bool     `short:"0" help:"Inputs end with a zero byte, as find -print0 has them."`
	Colsep       string   `short:"C" help:"Split each input into {1} {2} … here." placeholder:"TEXT"`
	MaxArgs      int      `short:"n" aliases:"max-replace-args" help:"So many inputs for one run." placeholder:"N"`
	Link         bool     `help:"The sources go side by side, not in all combinations."`
	Jobs         int      `short:"j" help:"At the same time on the whole cluster (default all that fit)." placeholder:"N"`
	KeepOrder    bool     `short:"k" help:"Output in the order of the inputs."`
	Halt         string   `help:"Stop early: soon,fail=1 now,fail=30% now,success=1 now,done=3." placeholder:"WHEN,WHY"`
	Joblog       string   `help:"Note each run in this file, in GNU parallel's format." placeholder:"FILE"`
	Resume       bool     `help:"Leave out what the joblog has."`
	ResumeFailed bool     `help:"Leave out what succeeded by the joblog."`
	Bar          bool     `aliases:"eta,progress" help:"Show how far it is, and when it will have ended."`
	Tag          bool     `help:"Put the inputs before each line of output."`
	DryRun       bool     `aliases:"dryrun" help:"Print the commands and run nothing."`
	Transferfile []string `name:"transferfile" aliases:"tf" help:"A file that travels to the run, such as {}; repeat." placeholder:"TEMPLATE" sep:"none"`
	Transfer     bool     `help:"The inputs are files that travel: --transferfile {}."`
	Return       []string `help:"A file that comes back, such as {.}.mp3; repeat." placeholder:"TEMPLATE" sep:"none"`
	Cleanup      bool     `help:"Nothing stays on the nodes, with or without this."`
	Trc          []string `name:"trc" help:"--transfer --return TEMPLATE --cleanup." placeholder:"TEMPLATE" sep:"none"`
	Basefile     []string `help:"A file that travels to every run; repeat." placeholder:"FILE" sep:"none"`
	Timeout      string   `help:"End a run after so long." placeholder:"D"`
	Retries      int      `help:"Run again so many times when it fails."`
	Delay        string   `help:"Wait between two submissions." placeholder:"D"`
	On           string   `help:"Which nodes (default all workers)." placeholder:"SEL"`
	CPUs         int      `name:"cpus" help:"Cores of each run." default:"1"`
	Mem          string   `help:"Memory of each run; more ends it." placeholder:"SIZE"`
	Partition    string   `short:"p" help:"A named part of the cluster." placeholder:"NAME"`
	Words        []string `arg:"" optional:"" passthrough:"" name:"command" help:"The command with {} {.} {/} {//} {/.} {#} {1} {2.}, then sources: ::: VALUE…, :::: FILE…, :::+ and ::::+. Without sources, inputs are the lines of standard input."`
}

func (eachCmd) Examples() string {
	return `bramble each echo hello {} ::: ann bob
ls *.wav | bramble each --transfer --return {.}.mp3 -- lame {} {.}.mp3
bramble each -k --bar --joblog runs.log ./simulate --seed {1} --size {2} ::: 1 2 3 ::: 10 100
`
}

func (c *eachCmd) Run(e *env) error {
	r, err := c.runner(e)
	if err != nil {
		return err
	}
	if c.DryRun {
		_, err := r.Run(e.ctx)
		return err
	}
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	if r.Slots, err = slots(e.ctx, cl, c.On); err != nil {
		return err
	}
	r.Jobs = cl.Jobs
	r.Pack = func(ctx context.Context, paths []string) (string, error) { return packFiles(ctx, cl, paths) }
	r.Unpack = func(ctx context.Context, ref string) error { return unpackFiles(ctx, cl, ref) }
	if c.Bar {
		p := term.NewProgress(e.ctx, e.out)
		defer p.Stop()
		bar := p.Bar("runs", 0, term.Items)
		r.Seen = func(done, failed, total int) { bar.Total(int64(total)); bar.Set(int64(done)) }
	}
	status, err := r.Run(e.ctx)
	if err == nil && status != 0 {
		return exitStatus(status)
	}
	return err
}

// runner is the flags as what is to be run.
func (c *eachCmd) runner(e *env) (*each.Runner, error) {
	o := each.Options{Null: c.Null, Colsep: c.Colsep, MaxArgs: c.MaxArgs, Link: c.Link, Jobs: c.Jobs, KeepOrder: c.KeepOrder, Joblog: c.Joblog,
		Tag: c.Tag, DryRun: c.DryRun, Transfer: c.Transferfile, Return: slices.Concat(c.Return, c.Trc), Basefile: c.Basefile}
	if c.Transfer || len(c.Trc) > 0 {
		o.Transfer = append(o.Transfer, "{}")
	}
	switch {
	case c.ResumeFailed:
		o.Resume = each.ResumeFailed
	case c.Resume:
		o.Resume = each.ResumeAll
	}
	if c.Jobs < 0 || c.MaxArgs < 0 {
		return nil, fault.New(fault.Misused, "--jobs and --max-args can't be negative").Hint("leave out what you don't need")
	}
	if err := someCores(c.CPUs); err != nil {
		return nil, err
	}
	var err error
	if o.Halt, err = each.ParseHalt(c.Halt); err != nil {
		return nil, err
	}
	words := c.Words
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	o.Command, o.Sources = each.Split(words)
	for _, file := range c.Arg {
		o.Sources = append(o.Sources, each.Source{File: file})
	}
	o.Spec = job.Spec{Name: "each", On: c.On, CPUs: c.CPUs, Retries: c.Retries, Partition: c.Partition, Patience: job.DefaultPatience}
	if o.Spec.Timeout, err = optionalDuration("--timeout", c.Timeout); err != nil {
		return nil, err
	}
	if o.Delay, err = optionalDuration("--delay", c.Delay); err != nil {
		return nil, err
	}
	if c.Mem != "" {
		if o.Spec.Memory, err = term.ParseBytes(c.Mem); err != nil {
			return nil, fmt.Errorf("--mem: %w", err)
		}
	}
	if len(o.Command) > 0 {
		o.Spec.Name = filepath.Base(strings.Fields(o.Command[0] + " each")[0])
	}
	return &each.Runner{Options: o, Stdin: os.Stdin, Out: os.Stdout, Err: os.Stderr}, nil
}

// slots is how many cores the nodes have that may run the work.
func slots(ctx context.Context, cl *cluster.Cluster, on string) (int, error) {
	nodes, err := cl.Fleet.Select(ctx, on)
	n := 0
	for _, node := range nodes {
		if slices.Contains(node.Roles, fleet.RoleWorker) && node.State == fleet.Up {
			n += node.Cores
		}
	}
	return n, err
}

// packFiles sends files under the current folder, which keep their places below it.
func packFiles(ctx context.Context, cl *cluster.Cluster, paths []string) (string, error) {
	root, err := os.OpenRoot(".")
	if err != nil {
		return "", err
	}
	defer root.Close()
	var inside []string
	for _, p := range paths {
		clean := filepath.Clean(p)
		if !filepath.IsLocal(clean) {
			return "", fault.New(fault.Misused, "%s is not below the current folder, so it has no place on a node", p).Hint("cd to a folder that holds all the files")
		}
		if _, err := root.Lstat(clean); err != nil {
			return "", fault.New(fault.NotFound, "no file is called %q here", p).Hint("--transferfile with a template that names files, such as {}")
		}
		if !slices.Contains(inside, clean) {
			inside = append(inside, clean)
		}
	}
	tree, err := artefact.ScanRoot(ctx, root, inside)
	if err != nil {
		return "", err
	}
	defer tree.Close()
	ref, err := cl.Files().Upload(ctx, tree, tree.Manifest, nil)
	return string(ref), err
}

// unpackFiles lays out below the current folder what came back.
func unpackFiles(ctx context.Context, cl *cluster.Cluster, ref string) error {
	temp, err := os.MkdirTemp("", "bramble-return-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	store, err := artefact.OpenStore(temp, artefact.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	m, err := cl.Files().FetchTree(ctx, store, artefact.Ref(ref), nil)
	if err != nil {
		return err
	}
	return artefact.Place(ctx, store, m, ".", artefact.PlaceOptions{Overwrite: true})
}

package cli

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"bramble/apps/slurm"
	"bramble/artefact"
	"bramble/cluster"
	"bramble/fault"
	"bramble/job"
	"bramble/term"
)

type submitCmd struct {
	Array         string   `help:"Many tasks: A-B, A-B:STEP, A-B%CAP, with commas." placeholder:"A-B[:S][%K]"`
	CPUs          int      `name:"cpus" help:"Cores of each task." default:"1"`
	Mem           string   `help:"Memory of each task, such as 512M; more ends it." placeholder:"SIZE"`
	Timeout       string   `help:"End a task after so long." placeholder:"D"`
	Signal        string   `help:"Before --timeout ends it, send a signal: USR1@60, or B:USR1@60 to the command alone." placeholder:"[B:]NAME@S"`
	On            string   `help:"Which nodes may run it (default all workers)." placeholder:"SEL"`
	Name          string   `help:"A name for people."`
	Retries       int      `help:"Run a task again so many times when it fails."`
	Patience      string   `help:"How long a dead node's tasks wait for it before they move." default:"60s" placeholder:"D"`
	Env           []string `help:"A variable for the tasks; repeat." placeholder:"K=V" sep:"none"`
	As            string   `help:"root: run as root (admins)." placeholder:"root"`
	spreadFlags   `embed:""`
	scheduleFlags `embed:"" group:"when"`
	carryFlags    `embed:"" group:"files"`
	Wait          bool   `help:"Stay until it has ended, print its output, and end with its status."`
	To            string `help:"With --wait: folder for the files that come back, in the place of the one that travelled." placeholder:"DIR"`
	JSON          bool   `help:"Print JSON."`
	warnings      []string
	Args          []string `arg:"" optional:"" passthrough:"" help:"A script file with its arguments, or -- and a command."`
}

func (submitCmd) Examples() string {
	return `bramble submit -- hostname
bramble submit --array 1-100 --name count -- sh -c 'echo task $BRAMBLE_TASK_ID on $BRAMBLE_NODE'
bramble submit --nodes 2 --ranks 4 -- sh -c 'echo $BRAMBLE_RANKS ranks on $BRAMBLE_NODES'
bramble submit --wait -- ./analyse data.csv       # this folder travels, and what is new in it comes back
bramble submit --wait --transfer data.csv --return 'out*.csv' ./analyse.sh data.csv
`
}

func (c *submitCmd) Run(e *env) error {
	spec, err := c.spec()
	if err != nil {
		return err
	}
	for _, w := range c.warnings {
		fmt.Fprintf(e.out.Stderr, "warning: %s\n", w)
	}
	if err := sound(spec); err != nil { // before anything travels
		return err
	}
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := writable(spec); err != nil {
		return err
	}
	if err := c.carry(e, cl, &spec); err != nil {
		return err
	}
	id, err := cl.Jobs.Submit(e.ctx, spec)
	if err != nil {
		return err
	}
	switch {
	case c.JSON:
		err = term.JSON(e.out.Stdout, map[string]any{"job": id})
	case c.Wait:
		_, err = fmt.Fprintf(e.out.Stderr, "job %d\n", id)
	default:
		_, err = fmt.Fprintf(e.out.Stdout, "job %d\n", id)
	}
	if err != nil || !c.Wait {
		return err
	}
	spec.User = cl.Cred.Identity().Name
	sum, err := stay(e, cl, id, spec, c.To)
	if err != nil {
		return left(e, id, err)
	}
	return jobStatus(e.ctx, cl, sum)
}

// stay prints a job's output as it comes, waits for its end and brings files back.
func stay(e *env, cl *cluster.Cluster, id job.ID, spec job.Spec, to string) (sum job.Summary, err error) {
	files, err := openOutputs(cl, spec, id)
	if err != nil {
		return sum, err
	}
	show := logShower(e.out, spec.Array != "")
	_, err = show.all(files.tee(cl.Jobs.Logs(e.ctx, job.LogRequest{ID: id, All: true, Follow: true})))
	if files != nil {
		err = cmp.Or(err, files.close())
	}
	if err == nil {
		sum, err = cl.Jobs.Wait(e.ctx, id, nil)
	}
	if err == nil {
		err = bring(e, cl, sum, -1, to)
	}
	return sum, err
}

// left says how to come back to a job that somebody stops waiting for.
func left(e *env, id job.ID, err error) error {
	if e.ctx.Err() != nil {
		fmt.Fprintf(e.out.Stderr, "job %d goes on.\ntry: bramble wait %d, bramble logs -f %d, or bramble cancel %d\n", id, id, id, id)
	}
	return err
}

// spec reads the flags into what is handed in.
func (c *submitCmd) spec() (job.Spec, error) {
	spec := job.Spec{Name: c.Name, As: c.As, On: c.On, Array: c.Array, CPUs: c.CPUs, Retries: c.Retries, Env: c.Env}
	c.spread(&spec)
	if err := someCores(c.CPUs); err != nil {
		return spec, err
	}
	err := errors.Join(c.scheduleFlags.apply(&spec, time.Now()), c.carryFlags.apply(&spec))
	if err != nil {
		return spec, err
	}
	if c.Mem != "" {
		if spec.Memory, err = term.ParseBytes(c.Mem); err != nil {
			return spec, fmt.Errorf("--mem: %w", err)
		}
	}
	if spec.Timeout, err = timeout(c.Timeout); err != nil {
		return spec, err
	}
	if c.Signal != "" {
		if err := slurm.Signal(c.Signal, &spec); err != nil {
			return spec, err
		}
	}
	if spec.Patience, err = optionalDuration("--patience", c.Patience); err != nil {
		return spec, err
	}
	if c.As != "" && c.As != "root" {
		return spec, fault.New(fault.Misused, "--as %s is not possible: work runs as its user's own account, or as root", c.As).Hint("--as root, or leave --as out")
	}
	for _, v := range c.Env {
		switch name, _, given := strings.Cut(v, "="); {
		case name == "":
			return spec, fault.New(fault.Misused, "--env %q has no name", v).Hint("--env NAME=VALUE")
		case !given:
			return spec, fault.New(fault.Misused, "--env %s has no value", v).Hint("--env %s=VALUE", v)
		}
	}
	if len(c.Args) > 0 && c.Args[0] == "--" {
		spec.Args = c.Args[1:]
		return spec, nil
	}
	return spec, c.script(&spec)
}

// sound refuses what can be seen to be wrong without the cluster.
func sound(spec job.Spec) error {
	if spec.Signal != "" && spec.Timeout == 0 && !spec.Slurm { // a script of Slurm's is warned
		return fault.New(fault.Misused, "--signal is sent before the time is up, and there is no limit").Hint("--timeout 10m --signal USR1@60")
	}
	spec.WorkDir = "" // carry has yet to settle it
	_, err := spec.Validate()
	return err
}

// someCores refuses a number of cores with which nothing could run.
func someCores(n int) error {
	if n < 1 {
		return fault.New(fault.Misused, "--cpus %d leaves a task no core", n).Hint("--cpus 1, the usual")
	}
	return nil
}

// timeout reads a time limit, which no task could keep if it were 0.
func timeout(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := term.ParseDuration(text)
	if err != nil && strings.Trim(text, "0") != "" {
		return 0, fmt.Errorf("--timeout: %w", err)
	}
	if d <= 0 {
		return 0, fault.New(fault.Misused, "--timeout %s leaves a task no time", text).Hint("leave --timeout out for no limit, or --timeout 10m")
	}
	return d, nil
}

func optionalDuration(flag, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	if strings.Trim(text, "0") == "" {
		return 0, fault.New(fault.Misused, "%s 0 leaves no time at all", flag).Hint("leave %s out for the usual", flag)
	}
	d, err := term.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", flag, err)
	}
	return d, nil
}

// upload brings files to the head's store and returns the manifest's ref.
func upload(e *env, cl *cluster.Cluster, paths []string) (string, error) {
	for _, path := range paths {
		if _, err := os.Stat(path); path == "" || err != nil {
			return "", fault.New(fault.NotFound, "--transfer: no file is called %q here", path).Hint("--transfer FILE with the path of a file or folder on this machine")
		}
	}
	tree, err := artefact.Scan(e.ctx, paths)
	if err != nil {
		return "", err
	}
	defer tree.Close()
	for _, s := range tree.Skipped {
		fmt.Fprintf(e.out.Stderr, "%s is left out: %s\n", s.Path, s.Why)
	}
	p := term.NewProgress(e.ctx, e.out)
	defer p.Stop()
	bar := p.Bar("upload", 0, term.Data)
	ref, err := cl.Files().Upload(e.ctx, tree, tree.Manifest, func(done, total int64) { bar.Total(total); bar.Set(done) })
	if err != nil {
		return "", err
	}
	bar.Done("done")
	return string(ref), nil
}

package cli

import (
	"fmt"

	"bramble/cluster"
	"bramble/job"
	"bramble/term"
)

type waitCmd struct {
	IDs []string `arg:"" help:"Numbers of the jobs."`
	To  string   `help:"Folder for the files that come back (default: the one that was submitted)." placeholder:"DIR"`
}

func (waitCmd) Examples() string { return "bramble wait 7\nbramble wait 7 8 --to results\n" }

func (c *waitCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	p := term.NewProgress(e.ctx, e.out)
	defer p.Stop()
	var verdict error
	for _, text := range c.IDs {
		id, _, err := parseTask(text)
		if err != nil {
			return err
		}
		sum, err := waitFor(e, cl, p, id)
		if err != nil {
			return err
		}
		if err := bring(e, cl, sum, -1, c.To); err != nil {
			return err
		}
		if err := jobStatus(e.ctx, cl, sum); err != nil && verdict == nil {
			verdict = err
		}
	}
	return verdict
}

// waitFor shows a job's progress until it has ended.
func waitFor(e *env, cl *cluster.Cluster, p *term.Progress, id job.ID) (job.Summary, error) {
	bar := p.Bar(fmt.Sprintf("job %d", id), 0, term.Items)
	last, err := cl.Jobs.Wait(e.ctx, id, func(sum job.Summary) {
		bar.Total(int64(sum.Tasks))
		bar.Set(int64(sum.Counts.Done + sum.Counts.Failed + sum.Counts.Cancelled))
	})
	if err != nil {
		return last, err
	}
	if last.State == job.Done {
		bar.Done("done")
	} else {
		bar.Fail(string(last.State))
	}
	return last, nil
}

type cancelCmd struct {
	IDs []string `arg:"" help:"Numbers of the jobs, or JOB.INDEX for one task of an array."`
}

func (cancelCmd) Examples() string { return "bramble cancel 7\nbramble cancel 7.3\n" }

func (c *cancelCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	for _, text := range c.IDs {
		id, index, err := parseTask(text)
		what := fmt.Sprintf("job %d", id)
		switch {
		case err != nil:
		case index >= 0:
			what = fmt.Sprintf("task %d of job %d", index, id)
			_, err = cl.Jobs.CancelTask(e.ctx, id, index)
		default:
			_, err = cl.Jobs.Cancel(e.ctx, id)
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(e.out.Stdout, "%s is cancelled\n", what)
	}
	return nil
}

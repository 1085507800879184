package cli

import "bramble/fault"

type attachCmd struct {
	ID string `arg:"" help:"Number of the job."`
	To string `help:"Folder for the files that come back, in the place of the one that travelled." placeholder:"DIR"`
}

func (attachCmd) Examples() string {
	return "bramble attach 7               # as if it had been submitted with --wait: its output comes, it reads nothing; Ctrl-C leaves it running\n"
}

// Run does for a job what submit --wait does from the start.
func (c *attachCmd) Run(e *env) error {
	cl, d, index, err := openJob(e, c.ID)
	if err != nil {
		return err
	}
	defer cl.Close()
	if index >= 0 {
		return fault.New(fault.Misused, "%s is one task; a job is attached to as a whole", c.ID).Hint("bramble attach %d, or bramble logs -f %s", d.ID, c.ID)
	}
	sum, err := stay(e, cl, d.ID, d.Spec, c.To)
	if err != nil {
		return left(e, d.ID, err)
	}
	return jobStatus(e.ctx, cl, sum)
}

package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"bramble/cluster"
	"bramble/fault"
	"bramble/job"
	"bramble/term"
)

// jobStatus is the exit status of who waited: the task's own for a single one.
func jobStatus(ctx context.Context, cl *cluster.Cluster, sum job.Summary) error {
	switch {
	case sum.State == job.Done:
		return nil
	case sum.State == job.Cancelled:
		return fault.New(fault.Failed, "job %d was cancelled by %s", sum.ID, sum.CancelledBy)
	}
	d, err := cl.Jobs.Job(ctx, sum.ID)
	if err != nil {
		return err
	}
	if len(d.Failures) == 1 && sum.Tasks == 1 {
		f := d.Failures[0]
		err := fault.New(fault.Failed, "job %d failed on %s: %s", sum.ID, f.Node, failureText(f)).Hint("%s", failureHint(sum, f))
		switch {
		case f.Code <= 0 || f.Timeout:
			return err
		case f.Error == "":
			return exitStatus(f.Code)
		}
		return withStatus{err, f.Code}
	}
	return fault.New(fault.Failed, "job %d: %d of %d tasks failed", sum.ID, sum.Counts.Failed, sum.Tasks).Hint("bramble job %d", sum.ID)
}

// failureText says how a task failed.
func failureText(f job.Failure) string {
	switch {
	case f.Timeout:
		return "its time was up"
	case f.Error != "":
		text, _, _ := strings.Cut(f.Error, "\ntry: ")
		return text
	case f.OOM:
		return "it needed more memory than --mem allows"
	case f.Signal != "":
		return "ended by " + f.Signal
	}
	return fmt.Sprintf("exit status %d", f.Code)
}

// failureHint is what to type after a single task failed.
func failureHint(sum job.Summary, f job.Failure) string {
	if _, hint, ok := strings.Cut(f.Error, "\ntry: "); ok {
		return hint
	}
	switch {
	case f.Timeout:
		return fmt.Sprintf("--timeout with more than %s", cmp.Or(term.Duration(sum.Spec.Timeout), "it had"))
	case f.Error == "" && f.OOM:
		return fmt.Sprintf("--mem with more than %s", term.Bytes(sum.Spec.Memory))
	case f.Error == "":
		return fmt.Sprintf("bramble logs %d", sum.ID)
	}
	return fmt.Sprintf("bramble job %d", sum.ID)
}

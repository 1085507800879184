package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"time"

	"bramble/apps/slurm"
	"bramble/cluster"
	"bramble/fault"
	"bramble/fleet"
	"bramble/job"
)

// asking runs one of Slurm's commands against the cluster.
func asking(run func(*slurm.Tool, context.Context, []string) error) func(*env, []string) error {
	return func(e *env, words []string) error {
		t, done, err := slurmTool(e)
		if err != nil {
			return err
		}
		defer done()
		return slurmFailed(e, run(t, e.ctx, words))
	}
}

// scontrol needs no cluster to take host lists apart, which scripts have it do inside jobs.
func scontrol(e *env, words []string) error {
	if text := slurm.HostNames(words, os.Getenv); text != nil {
		list, err := text()
		if err == nil {
			_, err = fmt.Fprint(e.out.Stdout, list)
		}
		return err
	}
	return asking((*slurm.Tool).Scontrol)(e, words)
}

// slurmTool is a command's way to the cluster.
func slurmTool(e *env) (t *slurm.Tool, done func(), err error) {
	cl, err := e.open()
	if err != nil {
		return nil, nil, err
	}
	return &slurm.Tool{
		Cluster: slurmCluster{cl}, Me: cl.Cred.Identity().Name, Version: e.version,
		Out: e.out.Stdout, Err: e.out.Stderr, Getenv: os.Getenv, Now: time.Now,
	}, cl.Close, nil
}

// slurmFailed keeps the words of Slurm's own errors, which scripts look for, as the whole line.
func slurmFailed(e *env, err error) error {
	var f *fault.Error
	if !errors.As(err, &f) || f.Code != fault.Failed {
		return err
	}
	fmt.Fprintln(e.out.Stderr, f.Text)
	return exitStatus(1)
}

// slurmCluster is a cluster as Slurm's commands ask it.
type slurmCluster struct{ *cluster.Cluster }

func (c slurmCluster) Jobs(ctx context.Context, req job.ListRequest) iter.Seq2[job.Summary, error] {
	return c.Cluster.Jobs.List(ctx, req)
}

func (c slurmCluster) Job(ctx context.Context, id job.ID) (job.Detail, error) {
	return c.Cluster.Jobs.Job(ctx, id)
}

func (c slurmCluster) Nodes(ctx context.Context) ([]fleet.Node, error) { return c.Fleet.Nodes(ctx) }

func (c slurmCluster) Loads(ctx context.Context) ([]job.Load, error) {
	return c.Cluster.Jobs.Loads(ctx)
}

func (c slurmCluster) Partitions(ctx context.Context) ([]job.Partition, error) {
	return c.Cluster.Jobs.Partitions(ctx)
}

func (c slurmCluster) CancelTask(ctx context.Context, id job.ID, index int) error {
	_, err := c.Cluster.Jobs.CancelTask(ctx, id, index)
	return err
}

func (c slurmCluster) Cancel(ctx context.Context, id job.ID) error {
	_, err := c.Cluster.Jobs.Cancel(ctx, id)
	return err
}

func (c slurmCluster) Signal(ctx context.Context, id job.ID, index *int, signal string, leader bool) error {
	_, err := c.Cluster.Jobs.Signal(ctx, id, index, signal, leader)
	return err
}

func (c slurmCluster) Hold(ctx context.Context, id job.ID) error {
	_, err := c.Cluster.Jobs.Hold(ctx, id)
	return err
}

func (c slurmCluster) Release(ctx context.Context, id job.ID) error {
	_, err := c.Cluster.Jobs.Release(ctx, id)
	return err
}

func (c slurmCluster) Requeue(ctx context.Context, id job.ID, index *int) error {
	_, err := c.Cluster.Jobs.Requeue(ctx, id, index)
	return err
}

func (c slurmCluster) Alter(ctx context.Context, id job.ID, set job.Alteration) error {
	_, err := c.Cluster.Jobs.Alter(ctx, id, set)
	return err
}

func (c slurmCluster) Drain(ctx context.Context, names []string, why string) error {
	return c.Fleet.Drain(ctx, names, why)
}

func (c slurmCluster) Undrain(ctx context.Context, names []string) error {
	return c.Fleet.Undrain(ctx, names)
}

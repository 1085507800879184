package slurm

import (
	"context"
	"io"
	"iter"
	"time"

	"bramble/fleet"
	"bramble/job"
)

// Cluster is what the commands ask and tell a cluster.
type Cluster interface {
	Jobs(ctx context.Context, req job.ListRequest) iter.Seq2[job.Summary, error]
	Job(ctx context.Context, id job.ID) (job.Detail, error)
	Nodes(ctx context.Context) ([]fleet.Node, error)
	Loads(ctx context.Context) ([]job.Load, error)
	Partitions(ctx context.Context) ([]job.Partition, error)

	Cancel(ctx context.Context, id job.ID) error
	CancelTask(ctx context.Context, id job.ID, index int) error
	Signal(ctx context.Context, id job.ID, index *int, signal string, leader bool) error // no index: all that runs of it
	Hold(ctx context.Context, id job.ID) error
	Release(ctx context.Context, id job.ID) error
	Requeue(ctx context.Context, id job.ID, index *int) error
	Alter(ctx context.Context, id job.ID, set job.Alteration) error
	Drain(ctx context.Context, names []string, why string) error
	Undrain(ctx context.Context, names []string) error
}

// Tool is one run of one of the commands.
type Tool struct {
	Cluster Cluster
	Name    string // of the cluster
	Me      string // who asks
	Version string
	Out     io.Writer
	Err     io.Writer
	Getenv  func(string) string
	Now     func() time.Time
}

func (t *Tool) now() time.Time { return t.Now() }

func (t *Tool) complain(command, format string, args ...any) {
	io.WriteString(t.Err, errorText(command, format, args...))
}

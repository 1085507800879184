package job

import (
	"context"
	"crypto/rand"
	"iter"
	"time"

	"bramble/bus"
	"bramble/fault"
)

// Client asks a head about jobs.
type Client struct{ Conn *bus.Conn }

// submitPatience is how long Submit asks again when the answer does not come.
const submitPatience = 30 * time.Second

// Submit hands in a job and returns its number once it is on the head's disk. When the answer is lost it
// asks again: the spec's Token, made up here if there is none, keeps the head from taking one job for two.
func (c Client) Submit(ctx context.Context, spec Spec) (ID, error) {
	if spec.Token == "" {
		spec.Token = rand.Text()
	}
	var r receipt
	for begun := time.Now(); ; {
		err := c.Conn.Call(ctx, "job.do.submit", Submission{spec}, &r)
		if !fault.Is(err, fault.Unreachable) || time.Since(begun) > submitPatience {
			return r.ID, err
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return 0, err
		}
	}
}

// Cancel ends a job.
func (c Client) Cancel(ctx context.Context, id ID) (Summary, error) {
	return c.change(ctx, "job.do.cancel", cancelRequest{ID: id})
}

// CancelTask ends one task of a job.
func (c Client) CancelTask(ctx context.Context, id ID, index int) (Summary, error) {
	return c.change(ctx, "job.do.cancel", cancelRequest{ID: id, Index: &index})
}

// Hold keeps what has not started of a job from starting.
func (c Client) Hold(ctx context.Context, id ID) (Summary, error) {
	return c.change(ctx, "job.do.hold", holdRequest{ID: id, On: true})
}

// Release lets a held job start.
func (c Client) Release(ctx context.Context, id ID) (Summary, error) {
	return c.change(ctx, "job.do.hold", holdRequest{ID: id})
}

// Requeue stops what runs of a job, or with an index one of its tasks, and has it wait again.
func (c Client) Requeue(ctx context.Context, id ID, index *int) (Summary, error) {
	return c.change(ctx, "job.do.requeue", requeueRequest{ID: id, Index: index})
}

// Signal sends a signal, such as "USR1", to what runs of a job, or with an index to one of its tasks; with leader
// to the command alone, not to what it has started.
func (c Client) Signal(ctx context.Context, id ID, index *int, signal string, leader bool) (Summary, error) {
	return c.change(ctx, "job.do.signal", signalRequest{ID: id, Index: index, Signal: signal, Leader: leader})
}

// Alter changes what was asked for.
func (c Client) Alter(ctx context.Context, id ID, set Alteration) (Summary, error) {
	return c.change(ctx, "job.do.alter", alterRequest{ID: id, Set: set})
}

func (c Client) change(ctx context.Context, subject string, req any) (sum Summary, err error) {
	err = c.Conn.Call(ctx, subject, req, &sum)
	return sum, err
}

// Loads tells what nodes do; all of them for no names.
func (c Client) Loads(ctx context.Context, names ...string) (list []Load, err error) {
	err = c.Conn.Call(ctx, "job.read.loads", names, &list)
	return list, err
}

// Uses tells who has used how much lately, most first.
func (c Client) Uses(ctx context.Context) (list []Use, err error) {
	err = c.Conn.Call(ctx, "job.read.uses", none{}, &list)
	return list, err
}

// Partitions lists the partitions by name.
func (c Client) Partitions(ctx context.Context) (list []Partition, err error) {
	err = c.Conn.Call(ctx, "job.read.partitions", none{}, &list)
	return list, err
}

// SetPartition makes a partition or changes it.
func (c Client) SetPartition(ctx context.Context, p Partition) error {
	return c.Conn.Call(ctx, "job.admin.partition-set", p, nil)
}

// RemovePartition ends a partition that no open job is in.
func (c Client) RemovePartition(ctx context.Context, name string) error {
	return c.Conn.Call(ctx, "job.admin.partition-remove", name, nil)
}

// Job tells everything about one job.
func (c Client) Job(ctx context.Context, id ID) (Detail, error) {
	var d Detail
	err := c.Conn.Call(ctx, "job.read.job", idRequest{id}, &d)
	return d, err
}

// List yields jobs by number.
func (c Client) List(ctx context.Context, req ListRequest) iter.Seq2[Summary, error] {
	return bus.Ask[Summary](ctx, c.Conn, "job.read.list", req)
}

// Watch yields a job's summary now and at each change; the last one is of the ended job.
func (c Client) Watch(ctx context.Context, id ID) iter.Seq2[Summary, error] {
	return bus.Ask[Summary](ctx, c.Conn, "job.read.watch", idRequest{id})
}

// Wait returns a job's summary when it has ended; seen, unless nil, is called with it at each change. When the
// connection to the head is lost it asks again until ctx ends.
func (c Client) Wait(ctx context.Context, id ID, seen func(Summary)) (Summary, error) {
	for {
		var last Summary
		var broken error
		for sum, err := range c.Watch(ctx, id) {
			if err != nil {
				broken = err
				break
			}
			if last = sum; seen != nil {
				seen(sum)
			}
		}
		switch {
		case ctx.Err() != nil:
			return last, fault.New(fault.Interrupted, "interrupted; job %d goes on", id).Hint("bramble wait %d, or bramble logs -f %d", id, id)
		case broken != nil && !fault.Is(broken, fault.Unreachable):
			return last, broken
		case !last.Ended.IsZero():
			return last, nil
		}
		select { // the head is away, or about to be
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// Logs yields output of a job's tasks. With Follow it goes on where it was when the connection to the head
// was lost for a while.
func (c Client) Logs(ctx context.Context, req LogRequest) iter.Seq2[Line, error] {
	if !req.Follow {
		return bus.Ask[Line](ctx, c.Conn, "job.read.logs", req)
	}
	return func(yield func(Line, error) bool) {
		had := map[output]int64{}
		for {
			var broken error
			again := map[output]int64{} // told by this connection
			for line, err := range bus.Ask[Line](ctx, c.Conn, "job.read.logs", req) {
				if broken = err; err != nil {
					break
				}
				if line = fresh(line, had, again); len(line.Data) > 0 && !yield(line, nil) {
					return
				}
			}
			if broken == nil {
				return
			}
			if !fault.Is(broken, fault.Unreachable) || ctx.Err() != nil {
				yield(Line{}, broken)
				return
			}
			select {
			case <-time.After(500 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
}

// output is one stream of an attempt, or the remarks about it.
type output struct {
	index, attempt int
	stderr, note   bool
}

// fresh leaves of a line what an earlier connection has not told.
func fresh(line Line, had, again map[output]int64) Line {
	of := output{line.Index, line.Attempt, line.Stderr, line.Note}
	from := again[of]
	again[of] += int64(len(line.Data))
	old := min(int64(len(line.Data)), max(0, had[of]-from))
	line.Data = line.Data[old:]
	had[of] = max(had[of], again[of])
	return line
}

// Returns yields what files came back, by index.
func (c Client) Returns(ctx context.Context, id ID) iter.Seq2[Returned, error] {
	return bus.Ask[Returned](ctx, c.Conn, "job.read.returns", idRequest{id})
}

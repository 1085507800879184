package job

import (
	"context"
	"encoding/json"
	"iter"

	"bramble/bus"
	"bramble/fault"
)

// Client asks a head about jobs.
type Client struct{ Conn *bus.Conn }

// Submit hands in a job and returns its number once it is on the head's disk.
func (c Client) Submit(ctx context.Context, spec Spec) (ID, error) {
	var r receipt
	err := c.Conn.Call(ctx, "job.do.submit", Submission{spec}, &r)
	return r.ID, err
}

// Cancel ends a job.
func (c Client) Cancel(ctx context.Context, id ID) (Summary, error) {
	var sum Summary
	err := c.Conn.Call(ctx, "job.do.cancel", idRequest{id}, &sum)
	return sum, err
}

// Job tells everything about one job.
func (c Client) Job(ctx context.Context, id ID) (Detail, error) {
	var d Detail
	err := c.Conn.Call(ctx, "job.read.job", idRequest{id}, &d)
	return d, err
}

// List yields jobs by number.
func (c Client) List(ctx context.Context, req ListRequest) iter.Seq2[Summary, error] {
	return messages[Summary](ctx, c.Conn, "job.read.list", req)
}

// Watch yields a job's summary now and at each change; the last one is of the ended job.
func (c Client) Watch(ctx context.Context, id ID) iter.Seq2[Summary, error] {
	return messages[Summary](ctx, c.Conn, "job.read.watch", idRequest{id})
}

// Wait returns a job's summary when it has ended.
func (c Client) Wait(ctx context.Context, id ID) (Summary, error) {
	var last Summary
	for sum, err := range c.Watch(ctx, id) {
		if err != nil {
			return last, err
		}
		last = sum
	}
	if last.Ended.IsZero() {
		return last, fault.New(fault.Unreachable, "the head stopped telling about job %d", id).Hint("bramble wait %d", id)
	}
	return last, nil
}

// Logs yields output of a job's tasks.
func (c Client) Logs(ctx context.Context, req LogRequest) iter.Seq2[Line, error] {
	return messages[Line](ctx, c.Conn, "job.read.logs", req)
}

// Returns yields what files came back, by index.
func (c Client) Returns(ctx context.Context, id ID) iter.Seq2[Returned, error] {
	return messages[Returned](ctx, c.Conn, "job.read.returns", idRequest{id})
}

// messages opens a stream and yields its messages.
func messages[T any](ctx context.Context, conn *bus.Conn, subject string, req any) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		s, err := conn.Open(ctx, subject, req)
		if err != nil {
			yield(zero, err)
			return
		}
		defer s.Close()
		for data, err := range s.Messages() {
			var v T
			if err == nil {
				err = json.Unmarshal(data, &v)
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}

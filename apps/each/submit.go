package each

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"bramble/fault"
	"bramble/host"
	"bramble/job"
)

// maxOutstanding is how many runs are submitted ahead of those that have ended.
const maxOutstanding = 4 * maxChunk

// gather is how long inputs are waited for that could share a job with those that are there.
const gather = 10 * time.Millisecond

func bytesOf(chunk []Run) (n int) {
	for _, run := range chunk {
		n += len(run.Line)
	}
	return n
}

// submit makes a job of runs and follows it.
func (r *Runner) submit(ctx context.Context, chunk []Run, events chan<- event) error {
	spec := r.Spec
	spec.Script = script(chunk, r.log != nil)
	spec.Array = indices(chunk)
	var send []string
	for _, run := range chunk {
		send = append(send, run.Send...)
		spec.Return = append(spec.Return, run.Receive...)
	}
	if send = append(send, r.Basefile...); len(send) > 0 {
		var err error
		if spec.Inputs, err = r.Pack(ctx, send); err != nil {
			return err
		}
	}
	id, err := r.Jobs.Submit(ctx, spec)
	if err != nil {
		return err
	}
	r.jobs++
	r.open[id] = true
	r.outstanding += len(chunk)
	runs := map[int]Run{}
	for _, run := range chunk {
		runs[run.Seq] = run
	}
	r.ended.Go(func() { r.follow(ctx, id, runs, events) })
	if r.Delay > 0 {
		select {
		case <-time.After(r.Delay):
		case <-ctx.Done():
		}
	}
	return nil
}

func indices(chunk []Run) string {
	parts := make([]string, len(chunk))
	for i, run := range chunk {
		parts[i] = strconv.Itoa(run.Seq)
	}
	return strings.Join(parts, ",")
}

// follow hears how the runs of a job end, also across restarts of the head.
func (r *Runner) follow(ctx context.Context, id job.ID, runs map[int]Run, events chan<- event) {
	say := func(ev event) bool {
		ev.id = id
		select {
		case events <- ev:
			return true
		case <-ctx.Done():
			return false
		}
	}
	for len(runs) > 0 {
		var broken error
		for end, err := range r.Jobs.Endings(ctx, job.EndingsRequest{ID: id, Follow: true}) {
			if broken = err; err != nil {
				break
			}
			run, ours := runs[end.Index]
			if !ours {
				continue
			}
			delete(runs, end.Index)
			out, err := r.outcome(ctx, id, run, end)
			if !say(event{out: out, err: err}) {
				return
			}
		}
		if broken != nil && !fault.Is(broken, fault.Unreachable) {
			say(event{err: broken})
			return
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
	say(event{over: true})
}

// outcome is how a run ended, with all that it wrote and the files that came back.
func (r *Runner) outcome(ctx context.Context, id job.ID, run Run, end job.Ending) (*Outcome, error) {
	o := &Outcome{Run: run, Stdout: end.Stdout, Stderr: end.Stderr}
	if int64(len(end.Stdout)) < end.OutSize || int64(len(end.Stderr)) < end.ErrSize {
		var out, errs bytes.Buffer
		for l, err := range r.Jobs.Logs(ctx, job.LogRequest{ID: id, Index: end.Index}) {
			switch {
			case err != nil:
				return o, err
			case l.Note || l.Attempt != end.Attempt && end.Attempt > 0:
			case l.Stderr:
				errs.Write(l.Data)
			default:
				out.Write(l.Data)
			}
		}
		o.Stdout, o.Stderr = out.Bytes(), errs.Bytes()
	}
	o.readStamp()
	switch f := end.Failure; {
	case f != nil:
		o.Host, o.Code, o.Problem = f.Node, f.Code, f.Error
		if f.Timeout {
			o.Problem = "its time was up"
		}
		if f.Signal != "" {
			o.Signal = int(host.SignalNumber(f.Signal))
			o.Code = 0
		}
	case end.State == job.Cancelled:
		o.Problem = "it was cancelled"
	case end.State == job.Failed:
		o.Code = 1
	}
	if end.Returns != "" && len(run.Receive) > 0 {
		return o, r.Unpack(ctx, end.Returns)
	}
	return o, nil
}

// readStamp takes off the line that tells a run's node and times.
func (o *Outcome) readStamp() {
	at := bytes.LastIndex(o.Stderr, []byte(stampMark))
	if at < 0 {
		return
	}
	var begin, end float64
	if n, _ := fmt.Sscanf(string(o.Stderr[at+len(stampMark):]), "%s %f %f", &o.Host, &begin, &end); n == 3 {
		o.Started = time.UnixMicro(int64(begin * 1e6))
		o.Took = time.Duration((end - begin) * float64(time.Second))
		o.Stderr = o.Stderr[:at]
	}
}

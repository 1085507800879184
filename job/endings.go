package job

import (
	"context"
	"io"
	"iter"
	"maps"
	"os"
	"slices"
	"time"

	"bramble/bus"
	"bramble/fault"
)

// Ending is how one task ended.
type Ending struct {
	Index   int       `json:"index"`
	State   TaskState `json:"state"`             // Done, Failed or Cancelled
	Attempt int       `json:"attempt,omitempty"` // where that is known
	Failure *Failure  `json:"failure,omitempty"` // of the first 1,000 failed tasks
	Returns string    `json:"returns,omitempty"` // artefact manifest ref of what came back
	Stdout  []byte    `json:"stdout,omitempty"`  // at most MaxEndingOutput of each; Logs has all
	Stderr  []byte    `json:"stderr,omitempty"`
	OutSize int64     `json:"out_size,omitempty"` // bytes that the head keeps
	ErrSize int64     `json:"err_size,omitempty"`
}

// MaxEndingOutput is how much of each of a task's streams an Ending carries, in bytes.
const MaxEndingOutput = 64 << 10

const (
	endingsEvery = 50 * time.Millisecond // the least time between two looks for news
	endingsBatch = 256                   // in one message
	endingsBytes = 256 << 10             // about the most in one message
)

// EndingsRequest asks how a job's tasks ended, in the order in which that became known.
type EndingsRequest struct {
	ID     ID     `json:"id"`
	Had    string `json:"had,omitempty"`    // indices not to tell again, as an array
	Follow bool   `json:"follow,omitempty"` // go on until the job has ended
	Bare   bool   `json:"bare,omitempty"`   // without what they wrote
}

// endings sends how tasks ended; what is told is on the head's disk.
func (s *Service) endings(ctx context.Context, who bus.Caller, req EndingsRequest, out *bus.Stream) error {
	sum, err := s.lookUp(ctx, req.ID)
	if err == nil {
		err = mine(who, sum, "read the results of")
	}
	if err != nil {
		return err
	}
	e := endings{s: s, out: out, req: req, left: map[int]stored{}}
	if e.array, err = ParseArray(sum.Spec.Array); err != nil {
		return err
	}
	if err := e.skip(req.Had); err != nil {
		return err
	}
	return e.run(ctx)
}

// endings is one who hears how a job's tasks end.
type endings struct {
	s     *Service
	out   *bus.Stream
	req   EndingsRequest
	array Array
	told  Ranges         // positions
	read  int64          // how far the job's file was read
	left  map[int]stored // read, of tasks not known to be final yet
	batch []Ending
	bytes int
}

// finals is which tasks are final.
type finals struct {
	done, failed, cancelled Ranges
	failures                []Failure
	over                    bool
}

func (e *endings) skip(had string) error {
	if had == "" {
		return nil
	}
	array, err := ParseArray(had)
	if err != nil {
		return err
	}
	for index := range array.All() {
		if at, ok := e.array.Position(index); ok {
			e.told.Add(at)
		}
	}
	return nil
}

func (e *endings) run(ctx context.Context) error {
	for {
		changed := e.s.changes()
		now, err := e.look(ctx)
		if err != nil {
			return err
		}
		if err := e.tell(now); err != nil {
			return err
		}
		if !e.req.Follow || now.over {
			return nil
		}
		select {
		case <-time.After(endingsEvery):
		case <-ctx.Done():
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// look is which tasks are final, once that is on disk.
func (e *endings) look(ctx context.Context) (now finals, err error) {
	written := make(chan struct{})
	known := false
	err = e.s.ask(ctx, func(st *State) {
		j := st.jobs[e.req.ID]
		if known = j != nil; !known {
			return
		}
		now = finals{done: j.done.Clone(), failed: j.failed.Clone(), cancelled: j.cancelled.Clone(),
			failures: slices.Clone(j.failures), over: !j.ended.IsZero()}
		e.s.when(st.Seq(), func() { close(written) })
	})
	if err == nil && !known {
		err = unknownJob(e.req.ID, e.req.ID)
	}
	if err != nil {
		return now, err
	}
	select {
	case <-written:
		return now, nil
	case <-ctx.Done():
		return now, ctx.Err()
	}
}

// tell sends those that were not told before: first those that wrote something, in the order that the head kept it.
func (e *endings) tell(now finals) error {
	failures := make(map[int]*Failure, len(now.failures))
	for i := range now.failures {
		failures[now.failures[i].Index] = &now.failures[i]
	}
	var sending error
	say := func(file *os.File, at int, where stored) {
		if sending == nil && !e.told.Contains(at) {
			e.told.Add(at)
			sending = e.send(e.ending(file, at, where, &now, failures))
		}
	}
	file, size, err := e.s.output.open(e.req.ID)
	if err != nil {
		return err
	}
	if file != nil {
		defer file.Close()
		for _, index := range slices.Sorted(maps.Keys(e.left)) {
			if at, _ := e.array.Position(index); now.has(at) {
				say(file, at, e.left[index])
				delete(e.left, index)
			}
		}
		e.read = each(file, e.read, size, func(index int, where stored) {
			if at, ok := e.array.Position(index); ok && now.has(at) {
				say(file, at, where)
			} else if ok {
				e.left[index] = where
			}
		})
	}
	for _, tasks := range []*Ranges{&now.done, &now.failed, &now.cancelled} {
		tasks.RemoveAll(&e.told)
		for at := range tasks.All() {
			if sending == nil {
				sending = e.send(e.ending(nil, at, stored{}, &now, failures))
			}
		}
		e.told.AddAll(tasks)
	}
	if sending != nil {
		return sending
	}
	return e.flush()
}

func (f *finals) has(at int) bool {
	return f.done.Contains(at) || f.failed.Contains(at) || f.cancelled.Contains(at)
}

// ending is how the task at a position ended; file has what it wrote, if it did.
func (e *endings) ending(file *os.File, at int, where stored, now *finals, failures map[int]*Failure) Ending {
	end := Ending{Index: e.array.At(at), State: Done, Attempt: where.attempt, Returns: where.returns, OutSize: where.outLen, ErrSize: where.errLen}
	switch {
	case now.failed.Contains(at):
		end.State, end.Failure = Failed, failures[end.Index]
		if end.Failure != nil {
			end.Attempt = end.Failure.Attempt
		}
	case now.cancelled.Contains(at):
		end.State = Cancelled
	}
	if file != nil && !e.req.Bare {
		end.Stdout, end.Stderr = piece(file, where.out, where.outLen), piece(file, where.err, where.errLen)
	}
	return end
}

// piece is the beginning of a stream in a job's file.
func piece(file io.ReaderAt, at, n int64) []byte {
	if n == 0 {
		return nil
	}
	b := make([]byte, min(n, MaxEndingOutput))
	got, _ := file.ReadAt(b, at)
	return b[:got]
}

// send adds to the next message, and sends it when it is large enough.
func (e *endings) send(end Ending) error {
	e.batch = append(e.batch, end)
	if e.bytes += len(end.Stdout) + len(end.Stderr) + 64; len(e.batch) < endingsBatch && e.bytes < endingsBytes {
		return nil
	}
	return e.flush()
}

func (e *endings) flush() error {
	if len(e.batch) == 0 {
		return nil
	}
	err := e.out.SendJSON(e.batch)
	e.batch, e.bytes = e.batch[:0], 0
	return err
}

// Endings yields how tasks ended, each once. With Follow it goes on until the job has ended, also when the
// connection to the head was lost for a while.
func (c Client) Endings(ctx context.Context, req EndingsRequest) iter.Seq2[Ending, error] {
	return func(yield func(Ending, error) bool) {
		var had Ranges
		for {
			var broken error
			for batch, err := range bus.Ask[[]Ending](ctx, c.Conn, "job.read.endings", req) {
				if broken = err; err != nil {
					break
				}
				for _, end := range batch {
					if had.Add(end.Index) && !yield(end, nil) {
						return
					}
				}
			}
			if broken == nil {
				return
			}
			if !req.Follow || !fault.Is(broken, fault.Unreachable) || ctx.Err() != nil {
				yield(Ending{}, broken)
				return
			}
			select {
			case <-time.After(500 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
}

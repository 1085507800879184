package job

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"bramble/bus"
)

const (
	stdout = "stdout"
	stderr = "stderr"
	// maxTails is how many running tasks one follower hears at the same time.
	maxTails = 64
	// maxStored is how much of one of a task's streams the head keeps, in bytes.
	maxStored = 16 << 20
)

// fetch brings output that was too large for a report, then lets the result count. It runs in the loop.
func (s *Service) fetch(node string, r Result) {
	of := s.fetching[node]
	if of == nil {
		of = map[Key]Attempt{}
		s.fetching[node] = of
	}
	if _, already := of[r.Key()]; already {
		return
	}
	spec, _ := s.state.Spec(r.Job)
	of[r.Key()] = Attempt{Key: r.Key(), CPUs: spec.CPUs, Memory: spec.Memory}
	s.ended.Go(func() {
		var err error
		if r.Stdout, err = s.collect(node, r.Key(), stdout, r.OutSize); err == nil {
			r.Stderr, err = s.collect(node, r.Key(), stderr, r.ErrSize)
		}
		s.do(s.life, func() {
			delete(of, r.Key())
			if err == nil {
				s.happen(Ended{Node: node, Results: []Result{r}})
				return
			}
			s.Log.Warn("output not fetched; the node is asked again", "task", r.Key().String(), "node", node, "error", err)
			s.courier(node).resync()
		})
	})
}

// collect reads an ended attempt's stream from its node.
func (s *Service) collect(node string, k Key, stream string, size int64) ([]byte, error) {
	if size == 0 {
		return nil, nil
	}
	var all bytes.Buffer
	in, err := s.Conn.Open(s.life, bus.Node("job", node, "output"), outputRequest{Key: k, Stream: stream})
	if err != nil {
		return nil, err
	}
	defer in.Close()
	for data, err := range in.Messages() {
		if err != nil {
			return nil, err
		}
		all.Write(data[:min(len(data), maxStored-all.Len())])
	}
	if int64(all.Len()) < min(size, maxStored) {
		return nil, fmt.Errorf("%s of %s: %d bytes of %d came", stream, k, all.Len(), size)
	}
	return all.Bytes(), nil
}

// logs sends the output of one task or of all, and with Follow goes on until the job has ended.
func (s *Service) logs(ctx context.Context, who bus.Caller, req LogRequest, out *bus.Stream) error {
	sum, err := s.lookUp(ctx, req.ID)
	if err != nil {
		return err
	}
	if err := mine(who, sum, "read the output of"); err != nil {
		return err
	}
	if !req.All {
		var known bool
		if err := s.ask(ctx, func(st *State) { _, known = st.TaskState(req.ID, req.Index) }); err != nil {
			return err
		}
		if !known {
			return noTask(req.ID, req.Index, sum.Spec.Array)
		}
	}
	f := follower{s: s, out: out, req: req, told: map[int]told{}, tails: map[Key]bool{}}
	defer f.running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return f.run(ctx)
}

// follower is one reader of logs.
type follower struct {
	s       *Service
	out     *bus.Stream
	req     LogRequest
	running sync.WaitGroup

	mu    sync.Mutex
	told  map[int]told // by index
	tails map[Key]bool // under way
}

// told is what of a task the reader has had.
type told struct {
	attempt  int
	out, err int64
	whole    bool
}

func (f *follower) run(ctx context.Context) error {
	for {
		changed := f.s.changes()
		var sum Summary
		var placed []Placement
		if err := f.s.ask(ctx, func(st *State) { sum, _ = st.Job(f.req.ID); placed = st.Placements(f.req.ID) }); err != nil {
			return err
		}
		if err := f.stored(); err != nil {
			return err
		}
		f.tail(ctx, placed)
		if !f.req.Follow || !sum.Ended.IsZero() {
			f.running.Wait()
			return f.stored()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
}

// stored sends what the head keeps and the reader has not had, in order of index.
func (f *follower) stored() error {
	file, index, err := f.s.output.open(f.req.ID)
	if err != nil || file == nil {
		return err
	}
	defer file.Close()
	for _, i := range slices.Sorted(maps.Keys(index)) {
		if f.req.All || i == f.req.Index {
			if err := f.rest(file, i, index[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// rest sends what is still due of one ended task.
func (f *follower) rest(file *os.File, i int, where stored) error {
	f.mu.Lock()
	had := f.told[i]
	busy := f.tails[Key{Job: f.req.ID, Index: i, Attempt: where.attempt}]
	f.mu.Unlock()
	if had.whole || busy {
		return nil
	}
	if had.attempt != where.attempt {
		if had.attempt > 0 {
			if err := f.note(i, where.attempt, "started again"); err != nil {
				return err
			}
		}
		had = told{attempt: where.attempt}
	}
	if err := f.copy(file, i, where.attempt, false, where.out+min(had.out, where.outLen), where.out+where.outLen); err != nil {
		return err
	}
	if err := f.copy(file, i, where.attempt, true, where.err+min(had.err, where.errLen), where.err+where.errLen); err != nil {
		return err
	}
	had.whole = true
	f.mu.Lock()
	f.told[i] = had
	f.mu.Unlock()
	return nil
}

func (f *follower) note(i, attempt int, text string) error {
	return f.out.SendJSON(Line{Index: i, Attempt: attempt, Note: true, Data: []byte(text)})
}

func (f *follower) copy(file *os.File, i, attempt int, isErr bool, from, to int64) error {
	buf := make([]byte, 32<<10)
	for from < to {
		n, err := file.ReadAt(buf[:min(int64(len(buf)), to-from)], from)
		if n == 0 && err != nil {
			return cmp.Or(err, io.ErrUnexpectedEOF)
		}
		if err := f.out.SendJSON(Line{Index: i, Attempt: attempt, Stderr: isErr, Data: buf[:n]}); err != nil {
			return err
		}
		from += int64(n)
	}
	return nil
}

// tail begins to follow the running tasks that are not followed yet.
func (f *follower) tail(ctx context.Context, placed []Placement) {
	for _, p := range placed {
		if p.Waiting || !f.req.All && p.Index != f.req.Index {
			continue
		}
		f.mu.Lock()
		had := f.told[p.Index]
		skip := f.tails[p.Key] || had.attempt == p.Attempt || len(f.tails) >= maxTails
		if !skip {
			f.tails[p.Key] = true
			if had.attempt > 0 {
				f.note(p.Index, p.Attempt, "started again on "+p.Node)
			}
			f.told[p.Index] = told{attempt: p.Attempt}
		}
		f.mu.Unlock()
		if skip {
			continue
		}
		f.running.Go(func() {
			var both sync.WaitGroup
			both.Go(func() { f.pull(ctx, p, stdout) })
			both.Go(func() { f.pull(ctx, p, stderr) })
			both.Wait()
			f.mu.Lock()
			delete(f.tails, p.Key)
			f.mu.Unlock()
		})
	}
}

// pull passes on one stream of a running task; what is missing when it breaks comes from the store later.
func (f *follower) pull(ctx context.Context, p Placement, stream string) {
	in, err := f.s.Conn.Open(ctx, bus.Node("job", p.Node, "output"), outputRequest{Key: p.Key, Stream: stream, Follow: f.req.Follow})
	if err != nil {
		return
	}
	defer in.Close()
	for data, err := range in.Messages() {
		if err != nil || f.out.SendJSON(Line{Index: p.Index, Attempt: p.Attempt, Stderr: stream == stderr, Data: data}) != nil {
			return
		}
		f.mu.Lock()
		had := f.told[p.Index]
		if stream == stdout {
			had.out += int64(len(data))
		} else {
			had.err += int64(len(data))
		}
		f.told[p.Index] = had
		f.mu.Unlock()
	}
}

// returns sends what came back of a job's tasks.
func (s *Service) returns(ctx context.Context, who bus.Caller, req idRequest, out *bus.Stream) error {
	sum, err := s.lookUp(ctx, req.ID)
	if err == nil {
		err = mine(who, sum, "take the files of")
	}
	if err != nil {
		return err
	}
	file, index, err := s.output.open(req.ID)
	if err != nil || file == nil {
		return err
	}
	file.Close()
	for _, i := range slices.Sorted(maps.Keys(index)) {
		if ref := index[i].returns; ref != "" {
			if err := out.SendJSON(Returned{Index: i, Ref: ref}); err != nil {
				return err
			}
		}
	}
	return nil
}

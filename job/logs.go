package job

import (
	"cmp"
	"context"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"bramble/bus"
)

const (
	// maxTails is how many running tasks one follower hears at the same time.
	maxTails = 64
	// followEvery is the least time between two looks for news, for one who follows.
	followEvery = 50 * time.Millisecond
)

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
	f := follower{s: s, out: out, req: req, told: map[int]told{}, tails: map[Key]bool{}, idle: make(chan struct{}, 1)}
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
	idle    chan struct{}  // a tail has ended
	read    int64          // how far the job's file was read
	left    map[int]stored // read, and not told to the end

	mu    sync.Mutex
	whole Ranges       // indices of which all was told
	told  map[int]told // of the others
	tails map[Key]bool // under way
}

// told is what of an attempt the reader has had.
type told struct {
	attempt  int
	out, err int64
	deaf     bool // the node did not let it be followed, perhaps because it does not have it yet
}

func (f *follower) run(ctx context.Context) error {
	for {
		changed := f.s.changes()
		var ended bool
		var placed []Placement
		if err := f.s.ask(ctx, func(st *State) {
			sum, known := st.Job(f.req.ID)
			ended = !known || !sum.Ended.IsZero() && f.s.settled(f.req.ID)
			placed = st.Placements(f.req.ID)
		}); err != nil {
			return err
		}
		if err := f.stored(); err != nil {
			return err
		}
		f.tail(ctx, placed)
		if !f.req.Follow || ended {
			f.running.Wait()
			return f.stored()
		}
		select {
		case <-time.After(followEvery):
		case <-ctx.Done():
			return nil
		}
		select {
		case <-changed:
		case <-f.idle:
		case <-ctx.Done():
			return nil
		}
	}
}

// stored sends what the head keeps and the reader has not had; what has come since the last look in order of index.
func (f *follower) stored() error {
	file, size, err := f.s.output.open(f.req.ID)
	if err != nil || file == nil {
		return err
	}
	defer file.Close()
	if f.left == nil {
		f.left = map[int]stored{}
	}
	f.read = each(file, f.read, size, func(i int, where stored) {
		if f.req.All || i == f.req.Index {
			f.left[i] = where
		}
	})
	for _, i := range slices.Sorted(maps.Keys(f.left)) {
		done, err := f.rest(file, i, f.left[i])
		if err != nil {
			return err
		}
		if done {
			delete(f.left, i)
		}
	}
	return nil
}

// rest sends what is still due of one ended task; false while a tail sends it.
func (f *follower) rest(file *os.File, i int, where stored) (done bool, err error) {
	f.mu.Lock()
	had, whole := f.told[i], f.whole.Contains(i)
	busy := f.tails[Key{Job: f.req.ID, Index: i, Attempt: where.attempt}]
	f.mu.Unlock()
	if whole || busy {
		return whole, nil
	}
	if had.attempt != where.attempt {
		if had.attempt > 0 {
			if err := f.note(i, where.attempt, "started again"); err != nil {
				return false, err
			}
		}
		had = told{}
	}
	if err := f.copy(file, i, where, false, where.out+min(had.out, where.outLen), where.out+where.outLen); err != nil {
		return false, err
	}
	if err := f.copy(file, i, where, true, where.err+min(had.err, where.errLen), where.err+where.errLen); err != nil {
		return false, err
	}
	f.mu.Lock()
	f.whole.Add(i)
	delete(f.told, i)
	f.mu.Unlock()
	return true, nil
}

func (f *follower) note(i, attempt int, text string) error {
	return f.out.SendJSON(Line{Index: i, Attempt: attempt, Note: true, Data: []byte(text)})
}

func (f *follower) copy(file *os.File, i int, of stored, isErr bool, from, to int64) error {
	buf := make([]byte, min(outputChunk, max(0, to-from)))
	for from < to {
		n, err := file.ReadAt(buf[:min(int64(len(buf)), to-from)], from)
		if n == 0 && err != nil {
			return cmp.Or(err, io.ErrUnexpectedEOF)
		}
		if err := f.out.SendJSON(Line{Index: i, Attempt: of.attempt, Node: of.node, Stderr: isErr, Data: buf[:n]}); err != nil {
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
		again, begin := f.begin(p)
		if !begin {
			continue
		}
		if again && f.note(p.Index, p.Attempt, "started again on "+p.Node) != nil {
			return
		}
		f.running.Go(func() {
			var both sync.WaitGroup
			both.Go(func() { f.pull(ctx, p, stderr) })
			heard := f.pull(ctx, p, stdout)
			both.Wait()
			f.mu.Lock()
			delete(f.tails, p.Key)
			if had := f.told[p.Index]; !heard && had == (told{attempt: p.Attempt}) {
				had.deaf = true
				f.told[p.Index] = had
			}
			f.mu.Unlock()
			signal(f.idle)
		})
	}
}

// begin notes that a running task is followed, unless it is or was; again when an earlier attempt was told of.
func (f *follower) begin(p Placement) (again, begin bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	had := f.told[p.Index]
	same := had.attempt == p.Attempt
	if f.tails[p.Key] || same && !had.deaf || f.whole.Contains(p.Index) || len(f.tails) >= maxTails {
		return false, false
	}
	f.tails[p.Key] = true
	f.told[p.Index] = told{attempt: p.Attempt}
	return had.attempt > 0 && !same, true
}

// pull passes on one stream of a running task and reports whether it came to its end; what is missing when it
// breaks comes from the store later.
func (f *follower) pull(ctx context.Context, p Placement, stream string) bool {
	in, err := f.s.Conn.Open(ctx, bus.Node("job", p.Node, "output"), outputRequest{Key: p.Key, Stream: stream, Follow: f.req.Follow})
	if err != nil {
		return false
	}
	defer in.Close()
	for data, err := range in.Messages() {
		if err != nil || f.out.SendJSON(Line{Index: p.Index, Attempt: p.Attempt, Node: p.Node, Stderr: stream == stderr, Data: data}) != nil {
			return false
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
	return true
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
	file, size, err := s.output.open(req.ID)
	if err != nil || file == nil {
		return err
	}
	defer file.Close()
	last := map[int]stored{}
	each(file, 0, size, func(i int, where stored) { last[i] = where })
	for _, i := range slices.Sorted(maps.Keys(last)) {
		for _, r := range append([]Return{{last[i].node, last[i].returns}}, last[i].others...) {
			if r.Ref == "" {
				continue
			}
			if err := out.SendJSON(Returned{Index: i, Node: r.Node, Ref: r.Ref}); err != nil {
				return err
			}
		}
	}
	return nil
}

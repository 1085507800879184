package job

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"bramble/bus"
)

// When the journal is cut: after so many records or bytes since the last snapshot.
const (
	cutRecords = 50_000
	cutBytes   = 32 << 20
)

// commit is one Step's work for the disk: output first, then the record.
type commit struct {
	seq      uint64
	record   []byte
	finals   []Result // those that left something
	snapshot []byte   // of the state right after this record, when the journal is to be cut
	patient  bool     // nobody waits for it but nodes, which keep results until then
}

// A commit takes two flushes at the same time, as long as one. So what nobody waits for lets others that come soon go
// with it: else whoever submits one job after the other would wait each time for the results of the one before.
const (
	moreWithin = time.Millisecond
	fullCommit = 200
)

// writer puts records and output on disk behind the loop's back. What arrives while it is busy is its next batch.
type writer struct {
	journal *bus.Journal
	output  *outputStore
	revive  func() error
	log     *slog.Logger
	news    chan struct{}
	urgent  chan struct{} // somebody waits for what was added

	mu      sync.Mutex
	queue   []commit
	records int   // since the last cut
	bytes   int   // likewise
	failing error // why the last attempt did not succeed; nil when all is well
}

func newWriter(j *bus.Journal, out *outputStore, records int, revive func() error, log *slog.Logger) *writer {
	return &writer{journal: j, output: out, records: records, revive: revive, log: log, news: make(chan struct{}, 1), urgent: make(chan struct{}, 1)}
}

func (w *writer) add(e commit) {
	w.mu.Lock()
	w.queue = append(w.queue, e)
	w.records++
	w.bytes += len(e.record)
	if e.snapshot != nil {
		w.records, w.bytes = 0, 0
	}
	hurry := !e.patient || len(w.queue) >= fullCommit
	w.mu.Unlock()
	signal(w.news)
	if hurry {
		signal(w.urgent)
	}
}

// due reports whether the next record should bring a snapshot.
func (w *writer) due() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.records >= cutRecords || w.bytes >= cutBytes
}

// trouble is why records cannot be written now; nil when they can.
func (w *writer) trouble() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failing
}

// run writes until ctx ends, and tells each time up to which record all is on disk. What is still queued then
// was never acknowledged: nodes report it again.
func (w *writer) run(ctx context.Context, onDisk func(seq uint64)) {
	defer w.journal.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.news:
		}
		w.gather(ctx)
		for batch := w.take(); len(batch) > 0; batch = w.take() {
			if !w.untilWritten(ctx, batch) {
				return
			}
			onDisk(batch[len(batch)-1].seq)
			w.gather(ctx)
		}
	}
}

// gather waits a moment, unless somebody waits for what is there.
func (w *writer) gather(ctx context.Context) {
	w.mu.Lock()
	wait := len(w.queue) > 0 && len(w.queue) < fullCommit && !slices.ContainsFunc(w.queue, func(c commit) bool { return !c.patient })
	if wait {
		select { // what it was set for is written
		case <-w.urgent:
		default:
		}
	}
	w.mu.Unlock()
	if !wait {
		return
	}
	timer := time.NewTimer(moreWithin)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.urgent:
	case <-ctx.Done():
	}
}

// take removes as many entries as go into one commit: up to and including one with a snapshot.
func (w *writer) take() []commit {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, size := 0, 0
	for n < len(w.queue) && n < fullCommit && size < bus.MaxRecord/2 {
		size += len(w.queue[n].record)
		n++
		if w.queue[n-1].snapshot != nil {
			break
		}
	}
	if n > 1 && size > bus.MaxRecord {
		n--
	}
	batch := w.queue[:n:n]
	w.queue = w.queue[n:]
	return batch
}

// untilWritten tries until the disk has taken the batch, or ctx ends.
func (w *writer) untilWritten(ctx context.Context, batch []commit) bool {
	for {
		err := w.write(ctx, batch)
		w.mu.Lock()
		w.failing = err
		w.mu.Unlock()
		if err == nil {
			return true
		}
		w.log.Error("journal not written; trying again", "error", err)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(time.Second):
		}
		if w.revive != nil {
			if err := w.revive(); err != nil {
				w.log.Warn("journal not switched on", "error", err)
			}
		}
	}
}

func (w *writer) write(ctx context.Context, batch []commit) error {
	var finals []Result
	records := make([][]byte, 0, len(batch))
	for _, e := range batch {
		finals = append(finals, e.finals...)
		records = append(records, e.record)
	}
	if err := w.output.store(finals); err != nil {
		return err
	}
	if err := w.journal.Append(records...); err != nil {
		return err
	}
	last := batch[len(batch)-1]
	if last.snapshot == nil {
		return nil
	}
	if err := w.journal.Cut(ctx, last.snapshot); err != nil {
		w.log.Warn("journal not cut; it goes on growing", "error", err) // the records are safe, which is what counts
	}
	return nil
}

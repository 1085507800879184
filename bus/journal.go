package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bramble/fault"
)

// MaxRecord is the most bytes of one journal record.
const MaxRecord = 768 << 10

// maxBatch is how many records one commit takes at the most.
const maxBatch = 200

// Journal keeps a room's records in two places, a JetStream stream and a plain log file, each with
// a checksum per batch, so that either restores the other. A record is on disk in both when Append
// returns: at once when idle; what arrives during a commit forms the next one.
type Journal struct {
	name       string
	js         jetstream.JetStream
	log        *logFile
	generation int // of the stream; each rewrite makes a new one

	mu         sync.Mutex
	seq        uint64 // of the last batch committed
	waiting    []waiter
	committing bool
	busy       sync.WaitGroup
	broken     error // a commit that failed half-way; the next one mends the copies first
}

type waiter struct {
	records [][]byte
	done    chan error
}

// Recovered is what a journal held when it was opened.
type Recovered struct {
	Snapshot []byte   // the newest one; nil when none was taken
	Records  [][]byte // in order, those after the snapshot
	Damage   []string // what was found damaged or missing in one copy and taken from the other, in words
}

// Journal opens the room's journal, whose file is at path, and restores whichever copy is behind.
// It fails when a batch is lost in both copies, naming it.
func (c *Conn) Journal(ctx context.Context, room, path string) (*Journal, Recovered, error) {
	js, err := jetstream.New(c.nc)
	if err != nil {
		return nil, Recovered{}, fmt.Errorf("open journal %s: %w", room, err)
	}
	j := &Journal{name: room, js: js}
	var found Recovered
	streamed, damage, err := j.readStreams(ctx)
	if err != nil {
		return nil, found, fmt.Errorf("read journal %s: %w", room, err)
	}
	log, logged, more, err := openLog(path)
	if err != nil {
		return nil, found, fmt.Errorf("read journal %s: %w", room, err)
	}
	j.log = log
	found.Damage = append(damage, more...)
	merged, err := merge(streamed, logged, &found.Damage)
	if err != nil {
		log.close()
		return nil, found, fault.New(fault.Failed, "journal %s: %w", room, err).Hint("restore the head's folder from a backup, or start anew: bramble up --state NEW")
	}
	found.Snapshot, found.Records = unpack(merged)
	if len(merged) > 0 {
		j.seq = merged[len(merged)-1].seq
	}
	if len(found.Damage) > 0 || len(streamed) != len(logged) {
		if err := j.rewrite(ctx, merged); err != nil {
			log.close()
			return nil, found, fmt.Errorf("mend journal %s: %w", room, err)
		}
	}
	return j, found, nil
}

func (j *Journal) stream(generation int) string {
	return fmt.Sprintf("journal-%s-%d", j.name, generation)
}
func (j *Journal) subject() string { return fmt.Sprintf("_J.%s.%d", j.name, j.generation) }

// Append commits the records together and returns when they are on disk. After an error they are in
// neither copy, unless the head dies before its next commit.
func (j *Journal) Append(records ...[]byte) error {
	size := 0
	for _, r := range records {
		size += len(r)
	}
	if size > MaxRecord {
		return fault.New(fault.Full, "a journal record of %d bytes is over the limit of %d", size, MaxRecord)
	}
	w := waiter{records, make(chan error, 1)}
	j.mu.Lock()
	j.waiting = append(j.waiting, w)
	lead := !j.committing
	j.committing = true
	j.mu.Unlock()
	if lead {
		j.commitAll()
	}
	return <-w.done
}

// commitAll commits batches until nobody waits; whoever found the journal idle does it for all,
// and hands over to a goroutine when it is kept from returning.
func (j *Journal) commitAll() {
	j.commitNext()
	j.mu.Lock()
	more := len(j.waiting) > 0
	j.committing = more
	j.mu.Unlock()
	if more {
		j.busy.Go(j.commitAll)
	}
}

// commitNext commits the waiting records, as many as one batch may hold.
func (j *Journal) commitNext() {
	j.mu.Lock()
	var batch []waiter
	count, size := 0, 0
	for len(j.waiting) > 0 {
		w := j.waiting[0]
		for _, r := range w.records {
			size += len(r)
		}
		if len(batch) > 0 && (count+len(w.records) > maxBatch || size > MaxRecord) {
			break
		}
		count += len(w.records)
		batch = append(batch, w)
		j.waiting = j.waiting[1:]
	}
	j.mu.Unlock()
	var records [][]byte
	for _, w := range batch {
		records = append(records, w.records...)
	}
	err := j.commit(kindRecords, records)
	for _, w := range batch {
		w.done <- err
	}
}

// commit writes one batch to the log and to the stream, both at the same time, since each waits for its own flush;
// a record that was refused by one is in neither once the next commit has mended them.
func (j *Journal) commit(kind byte, records [][]byte) error {
	if j.broken != nil {
		if err := j.mend(); err != nil {
			return fmt.Errorf("journal %s: %w", j.name, err)
		}
	}
	b := batch{seq: j.seq + 1, kind: kind, records: records}
	data := b.encode()
	published := make(chan error, 1)
	go func() { published <- j.publish(data) }()
	at, err := j.log.append(data)
	streamed := <-published
	if err == nil && streamed == nil {
		j.seq++
		return nil
	}
	if err == nil {
		err = j.log.truncate(at)
	}
	j.broken = errors.Join(streamed, err)
	return fmt.Errorf("journal %s: %w", j.name, j.broken)
}

func (j *Journal) publish(data []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err := j.js.Publish(ctx, j.subject(), data)
	return err
}

// mend brings both copies back to the last batch that was acknowledged, after a commit that failed half-way.
func (j *Journal) mend() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	kept, err := j.log.batches()
	if err != nil {
		return err
	}
	for len(kept) > 0 && kept[len(kept)-1].seq > j.seq {
		kept = kept[:len(kept)-1]
	}
	j.seq = 0 // a cut that never got into the log has no number
	if len(kept) > 0 {
		j.seq = kept[len(kept)-1].seq
	}
	if err := j.rewrite(ctx, kept); err != nil {
		return err
	}
	j.broken = nil
	return nil
}

// Cut replaces everything so far by a snapshot of what it amounts to. No Append may be under way.
func (j *Journal) Cut(ctx context.Context, snapshot []byte) error {
	var batches []batch
	for len(snapshot) > MaxRecord {
		j.seq++
		batches = append(batches, batch{seq: j.seq, kind: kindSnapshotPart, records: [][]byte{snapshot[:MaxRecord]}})
		snapshot = snapshot[MaxRecord:]
	}
	j.seq++
	batches = append(batches, batch{seq: j.seq, kind: kindSnapshotEnd, records: [][]byte{snapshot}})
	if err := j.rewrite(ctx, batches); err != nil {
		j.broken = err
		return fmt.Errorf("cut journal %s: %w", j.name, err)
	}
	return nil
}

// rewrite makes both copies hold exactly these batches. The log goes first, as one atomic rename; the
// stream's next generation is whole before the old one is deleted.
func (j *Journal) rewrite(ctx context.Context, batches []batch) error {
	if err := j.log.replace(batches); err != nil {
		return err
	}
	old, err := j.generations(ctx)
	if err != nil {
		return err
	}
	j.generation++
	if err := j.createStream(ctx); err != nil {
		return err
	}
	for _, b := range batches {
		if err := j.publish(b.encode()); err != nil {
			return err
		}
	}
	for _, g := range old {
		if err := j.js.DeleteStream(ctx, j.stream(g)); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return err
		}
	}
	return nil
}

func (j *Journal) createStream(ctx context.Context) error {
	_, err := j.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: j.stream(j.generation), Subjects: []string{j.subject()}, DenyDelete: true,
	})
	return err
}

// generations are the numbers of the streams there are, oldest first: one, or two after a crash in rewrite.
func (j *Journal) generations(ctx context.Context) ([]int, error) {
	var found []int
	names := j.js.StreamNames(ctx)
	for name := range names.Name() {
		if text, ok := strings.CutPrefix(name, "journal-"+j.name+"-"); ok {
			if g, err := strconv.Atoi(text); err == nil {
				found = append(found, g)
			}
		}
	}
	slices.Sort(found)
	return found, names.Err()
}

// Close releases the log file; what was acknowledged is on disk already.
func (j *Journal) Close() error {
	j.busy.Wait()
	return j.log.close()
}

// readStreams returns the batches of every generation, and what was unreadable, in words.
func (j *Journal) readStreams(ctx context.Context) (batches []batch, damage []string, err error) {
	generations, err := j.generations(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, j.generation = range generations {
		found, unreadable, err := j.readStream(ctx)
		if err != nil {
			return nil, nil, err
		}
		batches = append(batches, found...)
		if unreadable != "" {
			damage = append(damage, unreadable)
		}
	}
	if len(generations) == 0 {
		j.generation = 1
		return nil, nil, j.createStream(ctx)
	}
	return batches, damage, nil
}

func (j *Journal) readStream(ctx context.Context) (batches []batch, damage string, err error) {
	stream, err := j.js.Stream(ctx, j.stream(j.generation))
	if err != nil {
		return nil, "", err
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return nil, "", err
	}
	var unreadable int
	var first error
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq && info.State.Msgs > 0; seq++ {
		m, err := stream.GetMsg(ctx, seq)
		if err == nil {
			var b batch
			if b, err = decodeBatch(m.Data); err == nil {
				batches = append(batches, b)
				continue
			}
		}
		if ctx.Err() != nil {
			return nil, "", ctx.Err()
		}
		if unreadable++; first == nil {
			first = fmt.Errorf("message %d: %w", seq, err)
		}
	}
	if unreadable > 0 {
		damage = fmt.Sprintf("%d stream messages cannot be read (%v)", unreadable, first)
	}
	return batches, damage, nil
}

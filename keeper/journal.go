package keeper

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"syscall"

	"bramble/fault"
)

const (
	journalName = "journal"
	// journalStep is how many bytes of zeros the journal grows by: to write over them costs the disk one write
	// where to append costs it several, for the file's size and place.
	journalStep = 64 << 10
)

// journal is the keeper's memory on disk. What append wrote survives the keeper;
// what sync returned for survives the machine.
type journal struct {
	dir *os.Root

	mu      sync.Mutex
	turn    *sync.Cond // syncing became false
	file    *os.File
	size    int64 // bytes of records; zeros may follow
	room    int64 // bytes of the file
	live    int64 // bytes of the records in index
	index   map[string]extent
	written uint64 // records appended
	durable uint64 // records on disk
	syncing bool   // one goroutine syncs for all that wait
	buf     []byte
}

// extent is where the last record of a task lies.
type extent struct {
	off        int64
	head, tail int32
}

func (e extent) size() int64 { return recordHeader + int64(e.head) + int64(e.tail) }

// damage is a stretch of the journal that held no record.
type damage struct {
	from, to int64
	torn     bool // it was the end, as a power cut leaves it
}

// openJournal replays the journal in dir, or begins one, and cuts a torn end.
func openJournal(dir *os.Root, each func(fact)) (*journal, []damage, error) {
	file, err := dir.OpenFile(journalName, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, err
	}
	j := &journal{dir: dir, file: file, index: map[string]extent{}}
	j.turn = sync.NewCond(&j.mu)
	found, err := j.load(each)
	if err != nil {
		file.Close()
		return nil, nil, fmt.Errorf("reading the journal: %w", err)
	}
	return j, found, nil
}

func (j *journal) load(each func(fact)) ([]damage, error) {
	info, err := j.file.Stat()
	if err != nil {
		return nil, err
	}
	end, start := info.Size(), int64(len(journalMagic))
	if end < start {
		return nil, j.begin()
	}
	magic := make([]byte, start)
	if _, err := j.file.ReadAt(magic, 0); err != nil {
		return nil, err
	}
	if string(magic) != journalMagic {
		return nil, fault.New(fault.Conflict, "%s is not a journal that this version knows", j.file.Name()).
			Hint("move it away; what it holds is lost to the head")
	}
	found, err := j.scan(start, end, each)
	if err == nil && j.size < end {
		err = j.file.Truncate(j.size)
	}
	j.room = j.size
	return found, err
}

// scan notes each record between two offsets, and goes on behind what is damaged.
func (j *journal) scan(off, end int64, each func(fact)) ([]damage, error) {
	var found []damage
	bad := int64(-1)
	j.size = off
	for off < end {
		r, err := readRecord(j.file, off, end)
		if err != nil && err != errDamaged {
			return nil, err
		}
		f, wrong := r.fact()
		if err != nil || wrong != nil {
			if bad < 0 {
				if empty(j.file, off, end) {
					break
				}
				bad = off
			}
			off++
			continue
		}
		if bad >= 0 {
			found = append(found, damage{from: bad, to: off})
			bad = -1
		}
		j.note(f, extent{off: off, head: int32(len(r.head)), tail: int32(len(r.tail))})
		each(f)
		off += r.size()
		j.size = off
	}
	if bad >= 0 {
		found = append(found, damage{from: bad, to: end, torn: true})
	}
	return found, nil
}

// empty reports whether a file holds nothing but zeros between two offsets.
func empty(file io.ReaderAt, off, end int64) bool {
	b := make([]byte, 4<<10)
	for off < end {
		n, err := file.ReadAt(b[:min(int64(len(b)), end-off)], off)
		if err != nil || len(bytes.Trim(b[:n], "\x00")) > 0 {
			return false
		}
		off += int64(n)
	}
	return true
}

func (j *journal) begin() error {
	if err := j.file.Truncate(0); err != nil {
		return err
	}
	if _, err := j.file.WriteAt([]byte(journalMagic), 0); err != nil {
		return err
	}
	j.size = int64(len(journalMagic))
	j.room = j.size
	return errors.Join(j.file.Sync(), syncDir(j.dir))
}

// note keeps the index of what still counts.
func (j *journal) note(f fact, at extent) {
	for _, id := range f.ids() {
		if old, ok := j.index[id]; ok {
			j.live -= old.size()
			delete(j.index, id)
		}
		if f.kind != kindForgotten {
			j.index[id] = at
			j.live += at.size()
		}
	}
}

// entry is a fact and the bytes that say it.
type entry struct {
	fact
	record
}

func begunEntry(b begun) entry {
	return entry{fact{kind: kindBegun, begun: b}, newRecord(kindBegun, b, nil)}
}

func endedEntry(s Status, tail []byte) entry {
	return entry{fact{kind: kindEnded, ended: s}, newRecord(kindEnded, s, tail)}
}

func forgottenEntry(ids []string) entry {
	return entry{fact{kind: kindForgotten, forgotten: ids}, newRecord(kindForgotten, forgotten{ids}, nil)}
}

// append writes the entries, all or none.
func (j *journal) append(entries ...entry) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.buf = j.buf[:0]
	for _, e := range entries {
		j.buf = e.record.appendTo(j.buf)
	}
	j.grow(j.size + int64(len(j.buf)))
	if _, err := j.file.WriteAt(j.buf, j.size); err != nil {
		j.file.Truncate(j.size)
		j.room = j.size
		return fullOr(err)
	}
	for _, e := range entries {
		j.note(e.fact, extent{off: j.size, head: int32(len(e.head)), tail: int32(len(e.tail))})
		j.size += e.record.size()
	}
	j.written += uint64(len(entries))
	if cap(j.buf) > 64<<10 {
		j.buf = nil
	}
	return nil
}

// grow makes room for records up to end, if there is any on the disk.
func (j *journal) grow(end int64) {
	if end <= j.room {
		return
	}
	zeros := make([]byte, end-j.room+journalStep)
	n, _ := j.file.WriteAt(zeros, j.room)
	j.room += int64(max(n, 0))
}

// sync returns when everything appended before it is on disk; those who wait meanwhile share the next fsync.
func (j *journal) sync() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for want := j.written; j.durable < want; {
		if j.syncing {
			j.turn.Wait()
			continue
		}
		j.syncing = true
		upto, file := j.written, j.file
		j.mu.Unlock()
		err := syncData(file)
		j.mu.Lock()
		if err != nil { // the kernel may have dropped what it could not write: write it anew
			err = j.rewrite()
			upto = j.written
		}
		j.syncing = false
		j.turn.Broadcast()
		if err != nil {
			return fullOr(err)
		}
		j.durable = max(j.durable, upto)
	}
	return nil
}

// tail reads the small output of an ended task.
func (j *journal) tail(id string) ([]byte, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	at, ok := j.index[id]
	if !ok {
		return nil, fault.New(fault.NotFound, "task %s is forgotten", id)
	}
	b := make([]byte, at.tail)
	_, err := j.file.ReadAt(b, at.off+recordHeader+int64(at.head))
	return b, err
}

// trim rewrites the journal when most of it has been forgotten.
func (j *journal) trim(idle bool) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.syncing {
		j.turn.Wait()
	}
	if !worthCutting(j.size, j.live, idle) {
		return nil
	}
	return j.rewrite()
}

// rewrite puts what still counts into a new file, durably, and takes its place. The caller holds mu.
func (j *journal) rewrite() error {
	const name = journalName + ".new"
	file, err := j.dir.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	index, size, err := j.copyTo(file)
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = j.dir.Rename(name, journalName)
	}
	if err != nil {
		file.Close()
		return errors.Join(err, j.dir.Remove(name))
	}
	j.file.Close()
	j.file, j.index, j.size, j.room, j.durable = file, index, size, size, j.written
	return syncDir(j.dir)
}

// copyTo copies the records of the index in their order.
func (j *journal) copyTo(file *os.File) (map[string]extent, int64, error) {
	ids := make([]string, 0, len(j.index))
	for id := range j.index {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int { return cmp.Compare(j.index[a].off, j.index[b].off) })
	out := bufio.NewWriterSize(file, 64<<10)
	out.WriteString(journalMagic)
	index, size := make(map[string]extent, len(ids)), int64(len(journalMagic))
	for _, id := range ids {
		at := j.index[id]
		if _, err := io.Copy(out, io.NewSectionReader(j.file, at.off, at.size())); err != nil {
			return nil, 0, err
		}
		index[id] = extent{off: size, head: at.head, tail: at.tail}
		size += at.size()
	}
	return index, size, out.Flush()
}

func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return errors.Join(j.file.Truncate(j.size), j.file.Close())
}

// fullOr gives a full disk its name.
func fullOr(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fault.New(fault.Full, "the keeper's disk is full: %w", err).Hint("make room, or wait until results are fetched")
	}
	return fmt.Errorf("writing the keeper's journal: %w", err)
}

func syncDir(dir *os.Root) error {
	d, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

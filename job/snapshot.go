package job

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	"bramble/fleet"
)

// snapshotVersion is the first byte of a snapshot. After it come uvarint seq, epoch and
// last job, uvarint count of jobs and each in the order of numbers, then uvarint count of
// ended jobs and their numbers in the order they ended. A job is uvarint id and epoch,
// varint submitted, text spec as JSON, the ranges done, failed, cancelled and stopping, uvarint count
// of failures and each as uvarint index and failure, uvarint count of spent and each as
// uvarint task, attempt, epoch and tries, byte 1 and text by and varint at when it was
// cancelled or byte 0, text of who holds it, uvarint count of dependencies and a byte for what
// came of each, uvarint attempts, text of the nodes that it ran on, usage, and varint ended.
// The pieces are those of a record.
const snapshotVersion = 2

// Snapshot is what the journal up to Seq says: everything that survives the head, and
// nothing of what nodes tell it. Equal states have equal snapshots.
func (s *State) Snapshot() []byte {
	b := binary.AppendUvarint([]byte{snapshotVersion}, s.seq)
	b = binary.AppendUvarint(b, uint64(s.epoch))
	b = binary.AppendUvarint(b, uint64(s.last))
	b = binary.AppendUvarint(b, uint64(len(s.jobs)))
	for _, j := range s.inOrder() {
		b = j.append(b)
	}
	b = binary.AppendUvarint(b, uint64(len(s.ended)))
	for _, id := range s.ended {
		b = binary.AppendUvarint(b, uint64(id))
	}
	return b
}

func (j *job) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(j.id))
	b = appendTime(binary.AppendUvarint(b, uint64(j.epoch)), j.submitted)
	b = appendBytes(b, marshal(j.spec))
	for _, set := range []*Ranges{&j.done, &j.failed, &j.cancelled, &j.stopping} {
		b = appendRanges(b, set)
	}
	b = binary.AppendUvarint(b, uint64(len(j.failures)))
	for _, f := range j.failures {
		b = appendFailure(binary.AppendUvarint(b, uint64(f.Index)), f)
	}
	b = binary.AppendUvarint(b, uint64(len(j.spent)))
	for _, task := range j.spentTasks() {
		s := j.spent[task]
		for _, n := range []int{task, s.attempt, s.epoch, s.tries} {
			b = binary.AppendUvarint(b, uint64(n))
		}
	}
	b = append(b, flag(j.stopped != nil, 1))
	if j.stopped != nil {
		b = appendTime(appendBytes(b, []byte(j.stopped.By)), j.stopped.At)
	}
	b = appendBytes(b, []byte(j.held))
	b = binary.AppendUvarint(b, uint64(len(j.met)))
	for _, m := range j.met {
		b = append(b, byte(m))
	}
	b = binary.AppendUvarint(b, uint64(j.attempts))
	b = appendBytes(b, []byte(j.ranOn()))
	return appendTime(appendUsage(b, j.usage), j.ended)
}

// Restore is the state that a snapshot was made of, before HeadStarted.
func Restore(snapshot []byte) (*State, error) {
	r := reader{data: snapshot}
	if v := r.byte(); v != snapshotVersion {
		return nil, fmt.Errorf("job snapshot has version %d; this bramble reads version %d", v, snapshotVersion)
	}
	s := NewState()
	s.seq, s.epoch, s.last = r.uint(), r.small(), ID(r.uint())
	for n := r.small(); n > 0 && !r.bad; n-- {
		j, err := r.job()
		if err != nil {
			return nil, fmt.Errorf("job snapshot: %w", err)
		}
		s.keep(j)
	}
	for n := r.small(); n > 0 && !r.bad; n-- {
		s.ended = append(s.ended, ID(r.uint()))
	}
	if r.bad || len(r.data) > 0 {
		return nil, fmt.Errorf("job snapshot: %w", errCutOff)
	}
	return s, nil
}

func (r *reader) job() (*job, error) {
	j := &job{id: ID(r.uint()), epoch: r.small(), submitted: r.time(), wall: -1}
	err := json.Unmarshal(r.bytes(), &j.spec)
	if err == nil {
		j.array, err = ParseArray(j.spec.Array)
	}
	if err != nil {
		return nil, fmt.Errorf("job %d: %w", j.id, err)
	}
	for _, set := range []*Ranges{&j.done, &j.failed, &j.cancelled, &j.stopping} {
		*set = r.ranges(j.array.Len())
	}
	for n := r.small(); n > 0 && !r.bad; n-- {
		index := r.small()
		f := r.failure()
		f.Index = index
		j.failures = append(j.failures, f)
	}
	for n := r.small(); n > 0 && !r.bad; n-- {
		if j.spent == nil {
			j.spent = map[int]spent{}
		}
		j.spent[r.task(j)] = spent{attempt: r.small(), epoch: r.small(), tries: r.small()}
	}
	if r.byte() == 1 {
		j.stopped = &stop{By: string(r.bytes()), At: r.time()}
	}
	j.held = string(r.bytes())
	for n := r.small(); n > 0 && !r.bad; n-- {
		j.met = append(j.met, outcome(r.byte()))
	}
	j.attempts = r.small()
	on := string(r.bytes())
	j.usage, j.ended = r.usage(), r.time()
	if j.ranText = on; j.ended.IsZero() {
		j.ran = map[string]bool{}
		names, _ := fleet.Expand(on)
		for _, name := range names {
			j.ran[name] = true
		}
	}
	return j, r.err()
}

package job

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"bramble/fleet"
)

// The journal. Each Step that changes what must survive writes one record; records
// are numbered without gaps. Restore of the last snapshot and Apply of the records
// after it give the state back. Applying a record twice changes nothing.
//
// A record is
//
//	version  byte, 2
//	seq      uvarint, the record's number
//	at       varint, the Step's time in nanoseconds since 1970
//	entries  until the end: a kind byte, uvarint job (but for a head entry), then
//	  1 head       uvarint epoch                              the head started
//	  2 submitted  text spec as JSON                          a job was accepted
//	  3 done       ranges, text node, usage                   tasks ended with status 0
//	  4 failed     uvarint task, failure, usage               a task failed for good
//	  5 spent      uvarint task, uvarint attempt, byte        an attempt is over and its task is not: 1 it failed by itself, 0 it was moved
//	  6 stopped    text by                                    somebody cancelled the job
//	  7 cancelled  ranges                                     open tasks of a cancelled job are final
//	  8 held       text by                                    somebody keeps the job from starting; "" lets it
//	 10 stopping   ranges                                     somebody cancelled these tasks of the job, which had been handed out
//	  9 altered    text alteration as JSON                    what was asked for was changed
//
// where text is uvarint length and bytes; ranges is uvarint count and for each run
// uvarint gap from the end of the one before and uvarint length less one; usage is
// uvarint wall, user, system (ns), uvarint max RSS (bytes) and varint first start and
// last end; failure is uvarint attempt, text node, varint code, text signal, byte
// flags (1 out of memory, 2 timed out), text error, varint end. A task is named by its position in the array.
//
// What must be on disk before what:
//   - a submission before it is acknowledged and before anything of it starts;
//   - results before their node may forget them and before the job is reported ended;
//   - the end of an attempt (spent) before the task's next attempt starts;
//   - a start of the head before that head starts anything;
//   - a cancellation before its tasks are killed, or their end would read as failure.
//
// Assignments are not in the journal: see nextAttempt.
const recordVersion = 2

const (
	entryHead = iota + 1
	entrySubmitted
	entryDone
	entryFailed
	entrySpent
	entryStopped
	entryCancelled
	entryHeld
	entryAltered
	entryStopping
)

// Apply brings the state up to date with a journal record. One that it has already
// changes nothing; one that skips a number, or can't be read, is an error and changes
// the state by nothing or by a part, so the state must then be thrown away.
func (s *State) Apply(record []byte) error {
	r := reader{data: record}
	if v := r.byte(); v != recordVersion {
		return fmt.Errorf("journal record has version %d; this bramble reads version %d", v, recordVersion)
	}
	seq, at := r.uint(), r.time()
	switch {
	case r.bad:
		return fmt.Errorf("journal record after %d is cut off", s.seq)
	case seq <= s.seq:
		return nil
	case seq > s.seq+1:
		return fmt.Errorf("journal record %d follows %d: records between them are missing", seq, s.seq)
	}
	for len(r.data) > 0 {
		if err := s.applyEntry(&r, at); err != nil {
			return fmt.Errorf("journal record %d: %w", seq, err)
		}
	}
	s.seq = seq
	return nil
}

func (s *State) applyEntry(r *reader, at time.Time) error {
	kind := r.byte()
	if kind == entryHead {
		s.applyHead(r.small())
		return r.err()
	}
	id := ID(r.uint())
	if kind == entrySubmitted {
		var spec Spec
		if err := cmp.Or(json.Unmarshal(r.bytes(), &spec), r.err()); err != nil {
			return fmt.Errorf("job %d: %w", id, err)
		}
		_, err := s.applySubmitted(id, spec, at)
		return err
	}
	j := s.jobs[id]
	if j == nil || !j.ended.IsZero() {
		return fmt.Errorf("entry of kind %d for job %d, which is not open", kind, id)
	}
	return s.applyToJob(j, kind, r, at)
}

func (s *State) applyToJob(j *job, kind byte, r *reader, at time.Time) error {
	switch kind {
	case entryDone:
		if tasks, node, usage := r.ranges(j.array.Len()), string(r.bytes()), r.usage(); !r.bad {
			s.applyDone(j, &tasks, node, usage, at)
		}
	case entryFailed:
		task, f, usage := r.task(j), r.failure(), r.usage()
		if f.Index = j.array.At(task); !r.bad {
			s.applyFailed(j, task, f, usage, at)
		}
	case entrySpent:
		if task, attempt, failed := r.task(j), r.small(), r.byte() == 1; !r.bad {
			s.applySpent(j, task, attempt, failed)
		}
	case entryStopped:
		j.applyStopped(string(r.bytes()), at)
	case entryCancelled:
		if tasks := r.ranges(j.array.Len()); !r.bad {
			s.applyCancelled(j, &tasks, at)
		}
	case entryStopping:
		if tasks := r.ranges(j.array.Len()); !r.bad {
			j.stopping.AddAll(&tasks)
		}
	case entryHeld:
		j.held = string(r.bytes())
	case entryAltered:
		var set Alteration
		if err := json.Unmarshal(r.bytes(), &set); err != nil && !r.bad {
			return err
		}
		j.applyAltered(set)
	default:
		return fmt.Errorf("unknown entry of kind %d", kind)
	}
	return r.err()
}

func (s *State) applyHead(epoch int) { s.epoch = epoch }

func (s *State) applySubmitted(id ID, spec Spec, at time.Time) (*job, error) {
	array, err := ParseArray(spec.Array)
	if err != nil {
		return nil, err
	}
	j := &job{id: id, spec: spec, array: array, submitted: at, epoch: s.epoch, wall: -1}
	if spec.Hold {
		j.held = spec.User
	}
	s.keep(j)
	s.last = max(s.last, id)
	return j, nil
}

// keep files a job under its number, its token, and the jobs that it waits for.
func (s *State) keep(j *job) {
	s.jobs[j.id] = j
	if j.ended.IsZero() {
		s.depends(j)
	}
	if token := tokenOf(j.spec); token != "" {
		s.tokens[token] = j.id
	}
}

// forget lets go of an ended job.
func (s *State) forget(id ID) {
	delete(s.tokens, tokenOf(s.jobs[id].spec))
	delete(s.jobs, id)
	s.forgot = append(s.forgot, id)
}

// tokenOf is what tells a submission from all others of all users; "" when it came without a token.
func tokenOf(spec Spec) string {
	if spec.Token == "" {
		return ""
	}
	return spec.User + "\n" + spec.Token
}

func (s *State) applyDone(j *job, tasks *Ranges, node string, usage Usage, at time.Time) {
	j.done.AddAll(tasks)
	j.over(node, tasks.Len())
	if len(j.spent) > 0 {
		for task := range tasks.All() {
			delete(j.spent, task)
		}
	}
	j.usage.add(usage)
	s.closeWhenFinal(j, at)
}

func (s *State) applyFailed(j *job, task int, f Failure, usage Usage, at time.Time) {
	j.failed.Add(task)
	j.over(f.Node, 1)
	delete(j.spent, task)
	if len(j.failures) < keptFailures {
		j.failures = append(j.failures, f)
	}
	j.usage.add(usage)
	s.closeWhenFinal(j, at)
}

func (s *State) applySpent(j *job, task, attempt int, failed bool) {
	had := j.spentBy(task)
	had.attempt, had.epoch = attempt, s.epoch
	if failed {
		had.tries++
	}
	if j.spent == nil {
		j.spent = map[int]spent{}
	}
	j.spent[task] = had
	j.attempts++
}

// ranOn is the nodes that tasks ended on, folded.
func (j *job) ranOn() string {
	if j.ran == nil {
		return j.ranText
	}
	return fleet.Fold(slices.Sorted(maps.Keys(j.ran)))
}

// over notes that attempts have ended on a node.
func (j *job) over(node string, attempts int) {
	j.attempts += attempts
	if j.ran == nil {
		j.ran = map[string]bool{}
	}
	j.ran[node] = true
}

func (j *job) applyStopped(by string, at time.Time) { j.stopped = &stop{By: by, At: at} }

func (s *State) applyCancelled(j *job, tasks *Ranges, at time.Time) {
	j.cancelled.AddAll(tasks)
	for task := range j.spent {
		if tasks.Contains(task) {
			delete(j.spent, task)
		}
	}
	s.closeWhenFinal(j, at)
}

// closeWhenFinal ends a job whose last task is final, and forgets the oldest ended one when too many are kept.
func (s *State) closeWhenFinal(j *job, at time.Time) {
	if j.open() > 0 {
		return
	}
	j.ended, j.spent, j.stopping = at, nil, Ranges{}
	j.spec.Script, j.spec.Env = nil, nil // what only its tasks needed; thousands of ended jobs are remembered
	j.ranText, j.ran = j.ranOn(), nil
	s.ended = append(s.ended, j.id)
	s.resolveDependents(j)
	if len(s.ended) > keptEnded {
		s.forget(s.ended[0])
		s.ended = s.ended[1:]
	}
}

func appendHeader(b []byte, seq uint64, at time.Time) []byte {
	b = append(b, recordVersion)
	return appendTime(binary.AppendUvarint(b, seq), at)
}

func appendEntry(b []byte, kind byte, id ID) []byte {
	return binary.AppendUvarint(append(b, kind), uint64(id))
}

func appendHead(b []byte, epoch int) []byte {
	return binary.AppendUvarint(append(b, entryHead), uint64(epoch))
}

func appendSubmitted(b []byte, id ID, spec Spec) []byte {
	return appendBytes(appendEntry(b, entrySubmitted, id), marshal(spec))
}

func appendDone(b []byte, id ID, tasks *Ranges, node string, usage Usage) []byte {
	return appendUsage(appendBytes(appendRanges(appendEntry(b, entryDone, id), tasks), []byte(node)), usage)
}

func appendStopping(b []byte, id ID, tasks *Ranges) []byte {
	return appendRanges(appendEntry(b, entryStopping, id), tasks)
}

func appendHeld(b []byte, id ID, by string) []byte {
	return appendBytes(appendEntry(b, entryHeld, id), []byte(by))
}

func appendAltered(b []byte, id ID, set Alteration) []byte {
	return appendBytes(appendEntry(b, entryAltered, id), marshal(set))
}

func appendFailed(b []byte, id ID, task int, f Failure, usage Usage) []byte {
	b = binary.AppendUvarint(appendEntry(b, entryFailed, id), uint64(task))
	return appendUsage(appendFailure(b, f), usage)
}

func appendSpent(b []byte, id ID, task, attempt int, failed bool) []byte {
	b = binary.AppendUvarint(appendEntry(b, entrySpent, id), uint64(task))
	return append(binary.AppendUvarint(b, uint64(attempt)), flag(failed, 1))
}

func appendStopped(b []byte, id ID, by string) []byte {
	return appendBytes(appendEntry(b, entryStopped, id), []byte(by))
}

func appendCancelled(b []byte, id ID, tasks *Ranges) []byte {
	return appendRanges(appendEntry(b, entryCancelled, id), tasks)
}

// marshal is a Spec or an Alteration as JSON, which have nothing that JSON can't hold.
func marshal(what any) []byte {
	data, err := json.Marshal(what)
	if err != nil {
		panic(fmt.Sprintf("job: %T as JSON: %v", what, err))
	}
	return data
}

// spentTasks is the tasks of j.spent in order.
func (j *job) spentTasks() []int {
	tasks := make([]int, 0, len(j.spent))
	for task := range j.spent {
		tasks = append(tasks, task)
	}
	slices.Sort(tasks)
	return tasks
}

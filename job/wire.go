package job

import (
	"encoding/binary"
	"errors"
	"math"
	"time"
)

// maxText is how much of an error or signal text a record keeps, in bytes.
const maxText = 500

func appendBytes(b, text []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// appendTime writes nanoseconds since 1970, 0 for the zero time.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return binary.AppendVarint(b, 0)
	}
	return binary.AppendVarint(b, t.UnixNano())
}

func appendRanges(b []byte, r *Ranges) []byte {
	b = binary.AppendUvarint(b, uint64(len(r.runs)))
	end := 0
	for first, last := range r.Runs() {
		b = binary.AppendUvarint(b, uint64(first-end))
		b = binary.AppendUvarint(b, uint64(last-first))
		end = last
	}
	return b
}

func appendUsage(b []byte, u Usage) []byte {
	for _, n := range []int64{int64(u.Wall), int64(u.User), int64(u.System), u.MaxRSS} {
		b = binary.AppendUvarint(b, uint64(max(0, n)))
	}
	return appendTime(appendTime(b, u.First), u.Last)
}

func appendFailure(b []byte, f Failure) []byte {
	b = appendBytes(binary.AppendUvarint(b, uint64(f.Attempt)), []byte(f.Node))
	b = appendBytes(binary.AppendVarint(b, int64(f.Code)), []byte(f.Signal))
	b = append(b, flag(f.OOM, 1)|flag(f.Timeout, 2))
	return appendTime(appendBytes(b, []byte(f.Error)), f.Ended)
}

func flag(on bool, bit byte) byte {
	if on {
		return bit
	}
	return 0
}

// usageOf is what one attempt used. A node's negative figures count as none.
func usageOf(r *Result) Usage {
	return Usage{
		Wall: max(0, r.Exit.Wall), User: max(0, r.Exit.User), System: max(0, r.Exit.System),
		MaxRSS: max(0, r.Exit.MaxRSS), First: r.Started, Last: r.Ended,
	}
}

// failureOf is what is remembered of a failed attempt.
func failureOf(r *Result, node string, now time.Time) Failure {
	return Failure{
		Index: r.Index, Attempt: r.Attempt, Node: node,
		Code: r.Exit.Code, Signal: cut(r.Exit.Signal), OOM: r.Exit.OOM,
		Timeout: r.Timeout, Error: cut(r.Error), Ended: now,
	}
}

func cut(text string) string { return text[:min(len(text), maxText)] }

// reader takes a record apart. After the first thing that is not there, bad is set and all else reads as zero.
type reader struct {
	data []byte
	bad  bool
}

var errCutOff = errors.New("is cut off or damaged")

func (r *reader) err() error {
	if r.bad {
		return errCutOff
	}
	return nil
}

func (r *reader) fail() {
	r.bad, r.data = true, nil
}

func (r *reader) byte() byte {
	if len(r.data) == 0 {
		r.fail()
		return 0
	}
	b := r.data[0]
	r.data = r.data[1:]
	return b
}

func (r *reader) uint() uint64 {
	n, size := binary.Uvarint(r.data)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.data = r.data[size:]
	return n
}

// small is a count or number that fits 32 bits.
func (r *reader) small() int {
	n := r.uint()
	if n > math.MaxInt32 {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) int() int64 {
	n, size := binary.Varint(r.data)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.data = r.data[size:]
	return n
}

func (r *reader) time() time.Time {
	if n := r.int(); n != 0 {
		return time.Unix(0, n).UTC()
	}
	return time.Time{}
}

func (r *reader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.data)) {
		r.fail()
		return nil
	}
	b := r.data[:n:n]
	r.data = r.data[n:]
	return b
}

// task is a position in the job's array.
func (r *reader) task(j *job) int {
	n := r.small()
	if n >= j.array.Len() {
		r.fail()
		return 0
	}
	return n
}

// ranges reads a set of numbers below limit.
func (r *reader) ranges(limit int) (set Ranges) {
	count := r.small()
	if count > len(r.data) {
		r.fail()
	}
	end := 0
	for i := 0; i < count && !r.bad; i++ {
		first := end + r.small()
		last := first + r.small()
		if first < end || last < first || last >= limit || i > 0 && first == end {
			r.fail()
			break
		}
		set.AddRange(first, last)
		end = last
	}
	return set
}

func (r *reader) usage() (u Usage) {
	u.Wall, u.User = time.Duration(r.uint()), time.Duration(r.uint())
	u.System, u.MaxRSS = time.Duration(r.uint()), int64(r.uint())
	u.First, u.Last = r.time(), r.time()
	return u
}

func (r *reader) failure() (f Failure) {
	f.Attempt, f.Node = r.small(), string(r.bytes())
	f.Code, f.Signal = int(r.int()), string(r.bytes())
	flags := r.byte()
	f.OOM, f.Timeout = flags&1 != 0, flags&2 != 0
	f.Error, f.Ended = string(r.bytes()), r.time()
	return f
}

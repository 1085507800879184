package job

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"time"

	"bramble/fault"
	"bramble/host"
)

// compactForm is the newest compact form of errands and reports that this bramble reads, their first byte.
// Head and node tell each other the newest that they read, and speak JSON to whoever tells none.
//
//	errand    byte form, text head, uvarint number, specs, orders, keys to forget
//	specs     uvarint job and text spec as JSON, until job 0
//	orders    byte 1 and attempts, 2 and keys to kill, 3 and keys to recall, until byte 0
//	report    byte form, results, keys started, keys rejected, text reason
//	keys      uvarint job, attempt, count and as many indices, until job 0
//	attempts  byte 1, uvarint job, attempt, count, cpus, memory and as many indices; or byte 2 and text one attempt
//	          as JSON, until byte 0
//	results   byte 1, uvarint job, attempt, count and as many: index, varint nanoseconds of its start since the one
//	          before's and of its end since its start, varint wall, user and system nanoseconds and bytes of memory;
//	          or byte 2 and text one result as JSON, until byte 0
//	index     varint, what to add to the one before in these few; to 0 for the first
//
// A text is uvarint length and bytes. What is alike stands once, so that a task that says nothing takes a dozen bytes.
const compactForm = 1

// maxGathered is how many keys, attempts or results a reader takes from one message.
const maxGathered = 20_000

const (
	orderStart  = 1
	orderKill   = 2
	orderRecall = 3

	manyAlike = 1
	oneAsJSON = 2
)

// pack is an errand's compact form.
func (e errand) pack() []byte {
	b := appendBytes([]byte{compactForm}, []byte(e.Stamp.Head))
	b = binary.AppendUvarint(b, e.Stamp.No)
	for id, spec := range e.Specs {
		b = appendBytes(binary.AppendUvarint(b, uint64(id)), marshal(spec))
	}
	b = append(b, 0)
	for _, o := range e.Orders {
		if o.Start != nil {
			b = appendAttempts(append(b, orderStart), o.Start)
		}
		if o.Kill != nil {
			b = appendKeys(append(b, orderKill), o.Kill)
		}
		if o.Recall != nil {
			b = appendKeys(append(b, orderRecall), o.Recall)
		}
	}
	return appendKeys(append(b, 0), e.Forget)
}

// readErrand reads an errand in either form.
func readErrand(data []byte) (e errand, err error) {
	if len(data) == 0 || data[0] == '{' {
		return e, json.Unmarshal(data, &e)
	}
	r := gatherer{reader: reader{data: data}}
	r.form()
	e.Stamp = stamp{Head: string(r.bytes()), No: r.uint(), Compact: compactForm}
	for id := r.uint(); id != 0; id = r.uint() {
		var spec Spec
		r.json(&spec)
		if e.Specs == nil {
			e.Specs = map[ID]Spec{}
		}
		e.Specs[ID(id)] = spec
	}
	for what := r.byte(); what != 0; what = r.byte() {
		switch what {
		case orderStart:
			e.Orders = append(e.Orders, order{Start: r.attempts()})
		case orderKill:
			e.Orders = append(e.Orders, order{Kill: r.keys()})
		case orderRecall:
			e.Orders = append(e.Orders, order{Recall: r.keys()})
		default:
			r.fail()
		}
	}
	e.Forget = r.keys()
	return e, r.whole()
}

// pack is a report's compact form.
func (p report) pack() []byte {
	b := appendResults([]byte{compactForm}, p.Results)
	b = appendKeys(appendKeys(b, p.Started), p.Rejected)
	return appendBytes(b, []byte(p.Reason))
}

// readReport reads a report in either form.
func readReport(data []byte) (p report, err error) {
	if len(data) == 0 || data[0] == '{' {
		return p, json.Unmarshal(data, &p)
	}
	r := gatherer{reader: reader{data: data}}
	r.form()
	p = report{Results: r.results(), Started: r.keys(), Rejected: r.keys(), Reason: string(r.bytes())}
	return p, r.whole()
}

// runs yields the longest pieces of a list whose items are all alike.
func runs[T any](list []T, alike func(a, b *T) bool) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		for from, i := 0, 1; i <= len(list); i++ {
			if i == len(list) || !alike(&list[from], &list[i]) {
				if !yield(list[from:i]) {
					return
				}
				from = i
			}
		}
	}
}

// appendMany begins a group of so many attempts of one job with the same number.
func appendMany(b []byte, k Key, count int) []byte {
	for _, n := range []int{int(k.Job), k.Attempt, count} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return b
}

func appendKeys(b []byte, keys []Key) []byte {
	for group := range runs(keys, func(a, b *Key) bool { return a.Job == b.Job && a.Attempt == b.Attempt }) {
		b = appendMany(b, group[0], len(group))
		last := 0
		for _, k := range group {
			b, last = binary.AppendVarint(b, int64(k.Index-last)), k.Index
		}
	}
	return append(b, 0)
}

// plain reports whether an attempt is nothing but a key, cores and memory.
func (a *Attempt) plain() bool { return len(a.Gres) == 0 && !a.Member && len(a.Shares) == 0 }

func appendAttempts(b []byte, list []Attempt) []byte {
	alike := func(a, b *Attempt) bool {
		return a.Job == b.Job && a.Key.Attempt == b.Key.Attempt && a.CPUs == b.CPUs && a.Memory == b.Memory && a.plain() && b.plain()
	}
	for group := range runs(list, alike) {
		first := &group[0]
		if !first.plain() {
			b = appendJSON(b, first)
			continue
		}
		b = appendMany(append(b, manyAlike), first.Key, len(group))
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(first.CPUs)), uint64(first.Memory))
		last := 0
		for i := range group {
			b, last = binary.AppendVarint(b, int64(group[i].Index-last)), group[i].Index
		}
	}
	return append(b, 0)
}

// quiet reports whether a result says nothing but when the task ran and what it used.
func (r *Result) quiet() bool {
	return r.OK() && !r.Exit.OOM && inNanoseconds(r.Started) && r.Node == "" && r.Returns == "" && len(r.Others) == 0 && len(r.Stdout) == 0 && len(r.Stderr) == 0 &&
		r.OutSize == 0 && r.ErrSize == 0 && r.Dropped == 0
}

// inNanoseconds reports whether a time has a number of nanoseconds since 1970.
func inNanoseconds(t time.Time) bool { return t.Year() > 1700 && t.Year() < 2200 }

func appendResults(b []byte, list []Result) []byte {
	alike := func(a, b *Result) bool { return a.Job == b.Job && a.Attempt == b.Attempt && a.quiet() && b.quiet() }
	for group := range runs(list, alike) {
		if first := &group[0]; !first.quiet() {
			b = appendJSON(b, first)
			continue
		}
		b = appendMany(append(b, manyAlike), group[0].Key(), len(group))
		last, began := 0, int64(0)
		for i := range group {
			r := &group[i]
			at := r.Started.UnixNano()
			for _, n := range [...]int64{int64(r.Index - last), at - began, int64(r.Ended.Sub(r.Started)),
				int64(r.Exit.Wall), int64(r.Exit.User), int64(r.Exit.System), r.Exit.MaxRSS} {
				b = binary.AppendVarint(b, n)
			}
			last, began = r.Index, at
		}
	}
	return append(b, 0)
}

func appendJSON(b []byte, v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		data = nil // there is nothing in it that JSON can't hold
	}
	return appendBytes(append(b, oneAsJSON), data)
}

// gatherer reads compact forms, of which it takes so much and no more.
type gatherer struct {
	reader
	taken int
}

// unreadable tells whoever sent a message.
func unreadable(what string, err error) error {
	return fault.New(fault.Misused, "%s cannot be read: %w", what, err)
}

var errForm = errors.New("is in a form that this bramble does not know")

func (r *gatherer) form() {
	if r.byte() != compactForm {
		r.fail()
	}
}

// whole is an error unless all was read and nothing is left.
func (r *gatherer) whole() error {
	if r.bad || len(r.data) > 0 {
		return errForm
	}
	return nil
}

func (r *gatherer) json(v any) {
	if json.Unmarshal(r.bytes(), v) != nil {
		r.fail()
	}
}

// many reads the beginning of a group.
func (r *gatherer) many() (k Key, count int) {
	k.Job, k.Attempt, count = ID(r.uint()), r.small(), r.small()
	return k, r.take(count)
}

// take is a count, or 0 when it is more than one message may bring.
func (r *gatherer) take(count int) int {
	if r.taken += count; r.taken > maxGathered {
		r.fail()
	}
	if r.bad {
		return 0
	}
	return count
}

func (r *gatherer) keys() (keys []Key) {
	for {
		if len(r.data) > 0 && r.data[0] == 0 {
			r.byte()
			return keys
		}
		k, count := r.many()
		if r.bad {
			return nil
		}
		for range count {
			k.Index += int(r.int())
			keys = append(keys, k)
		}
	}
}

func (r *gatherer) attempts() (list []Attempt) {
	for what := r.byte(); what != 0; what = r.byte() {
		if what == oneAsJSON {
			var a Attempt
			r.json(&a)
			list = append(list, a)
			r.take(1)
			continue
		}
		k, count := r.many()
		a := Attempt{Key: k, CPUs: r.small(), Memory: int64(r.uint())}
		count = r.alike(what, count)
		list = slices.Grow(list, min(count, len(r.data)))
		for range count {
			a.Index += int(r.int())
			list = append(list, a)
		}
	}
	return list
}

// resultBytes is the least that a result takes.
const resultBytes = 7

func (r *gatherer) results() (list []Result) {
	for what := r.byte(); what != 0; what = r.byte() {
		if what == oneAsJSON {
			var one Result
			r.json(&one)
			list = append(list, one)
			r.take(1)
			continue
		}
		k, count := r.many()
		began := int64(0)
		count = r.alike(what, count)
		list = slices.Grow(list, min(count, len(r.data)/resultBytes))
		for range count {
			k.Index += int(r.int())
			began += r.int()
			at := time.Unix(0, began).UTC()
			list = append(list, Result{Job: k.Job, Index: k.Index, Attempt: k.Attempt, Started: at, Ended: at.Add(time.Duration(r.int())),
				Exit: host.Exit{Wall: time.Duration(r.int()), User: time.Duration(r.int()), System: time.Duration(r.int()), MaxRSS: r.int()}})
		}
	}
	return list
}

// alike is how many follow, 0 when the group is of no known kind.
func (r *gatherer) alike(what byte, count int) int {
	if what != manyAlike {
		r.fail()
	}
	if r.bad {
		return 0
	}
	return count
}

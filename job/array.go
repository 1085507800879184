package job

import (
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"

	"bramble/fault"
	"bramble/sorts"
)

// Limits of an array.
const (
	MaxElements = 10_000_000
	MaxIndex    = math.MaxInt32

	// maxMixed bounds the elements of parts that overlap with steps, the only ones that are written out one by one.
	maxMixed = 200_000
)

// Array is the tasks of a job: their indices in ascending order. The state counts
// tasks by position, 0 to Len-1, so that a strided array is as compact as a plain one.
type Array struct {
	runs []stride // ascending, no two overlap
	n    int
	Cap  int // how many may run at the same time; 0: any number
}

// stride is first, first+step, … last; base is the position of first.
type stride struct{ first, last, step, base int }

func (s stride) len() int { return (s.last-s.first)/s.step + 1 }

// at is its i-th index, from 0.
func (s stride) at(i int) int { return s.first + i*s.step }

// trim makes last the last index that it reaches, and the step of a single one 1.
func (s stride) trim() stride {
	s.last = s.at(s.len() - 1)
	if s.first == s.last {
		s.step = 1
	}
	return s
}

// ParseArray reads A-B[:S][%K] with commas between parts, as Slurm has it:
// "1-10:2,50,60-70%5". "" is the single index 0. An index named twice counts once.
// The error is fault.Misused.
func ParseArray(text string) (Array, error) {
	if text == "" {
		return newArray([]stride{{step: 1}}, 0), nil
	}
	list, limit, capped := strings.Cut(text, "%")
	most := 0
	if capped {
		n, ok := number(limit)
		if !ok || n == 0 {
			return Array{}, misused(text, "%%%s is not a number of tasks to run at the same time", clip(limit))
		}
		most = n
	}
	var runs []stride
	total := 0
	for part := range strings.SplitSeq(list, ",") {
		run, problem := parsePart(part)
		if problem != "" {
			return Array{}, misused(text, "%s", problem)
		}
		if (run.last-run.first)/run.step >= MaxElements || total+run.len() > MaxElements {
			return Array{}, misused(text, "it has more than %d elements", MaxElements)
		}
		total += run.len()
		run = run.trim()
		runs = append(runs, run)
	}
	runs, ok := normal(runs)
	if !ok {
		return Array{}, misused(text, "parts with steps overlap in more than %d elements", maxMixed)
	}
	return newArray(runs, most), nil
}

func misused(text, problem string, args ...any) error {
	return fault.New(fault.Misused, "array %q: "+problem, append([]any{clip(text)}, args...)...).
		Hint("--array 1-100, or 0-9:3 for every third, or 1-50,60%%5 for at most five at a time")
}

// clip shortens what a person typed to what fits an error line.
func clip(text string) string {
	if len(text) > 60 {
		return text[:60] + "…"
	}
	return text
}

// parsePart reads A, A-B or A-B:S; problem says what is wrong with it.
func parsePart(part string) (run stride, problem string) {
	bounds, step, stepped := strings.Cut(part, ":")
	first, last, ranged := strings.Cut(bounds, "-")
	run.step = 1
	var ok bool
	if run.first, ok = number(first); !ok {
		if first == "" {
			first = bounds
		}
		return run, strconv.Quote(clip(first)) + " is not an index from 0 to 2147483647"
	}
	if run.last = run.first; ranged {
		if run.last, ok = number(last); !ok {
			return run, strconv.Quote(clip(last)) + " is not an index from 0 to 2147483647"
		}
	}
	if stepped {
		if run.step, ok = number(step); !ok || run.step == 0 || !ranged {
			return run, strconv.Quote(clip(part)) + " has a step that makes no sense"
		}
	}
	if run.last < run.first {
		return run, strconv.Quote(clip(part)) + " goes backwards"
	}
	return run, ""
}

// number reads decimal digits only: no sign, no spaces.
func number(text string) (int, bool) {
	n, err := strconv.ParseUint(text, 10, 31)
	return int(n), err == nil
}

// normal sorts the parts and merges those that overlap; ok is false when that takes too much memory.
func normal(parts []stride) (runs []stride, ok bool) {
	sorts.By(parts, func(a, b stride) int { return a.first - b.first })
	for i := 0; i < len(parts); {
		last, plain, k := parts[i].last, parts[i].step == 1, i+1
		for ; k < len(parts) && parts[k].first <= last; k++ {
			last, plain = max(last, parts[k].last), plain && parts[k].step == 1
		}
		switch {
		case k-i == 1:
			runs = append(runs, parts[i])
		case plain:
			runs = append(runs, stride{first: parts[i].first, last: last, step: 1})
		default:
			mixed := mix(parts[i:k])
			if mixed == nil {
				return nil, false
			}
			runs = append(runs, mixed...)
		}
		i = k
	}
	return join(runs), true
}

// mix writes overlapping parts out and finds strides in what they name; nil when they are too many.
func mix(parts []stride) []stride {
	total := 0
	for _, p := range parts {
		total += p.len()
	}
	if total > maxMixed {
		return nil
	}
	all := make([]int, 0, total)
	for _, p := range parts {
		for i := range p.len() {
			all = append(all, p.at(i))
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	var runs []stride
	for i := 0; i < len(all); {
		run, k := stride{first: all[i], last: all[i], step: 1}, i+1
		for k < len(all) && (k == i+1 || all[k]-all[k-1] == run.step) {
			run.last, run.step, k = all[k], all[k]-all[k-1], k+1
		}
		if k-i == 2 && run.step > 1 { // two numbers are no stride: the second may begin one
			run, k = stride{first: all[i], last: all[i], step: 1}, i+1
		}
		runs, i = append(runs, run), k
	}
	return join(runs)
}

// join merges neighbours that go on with the same step.
func join(runs []stride) []stride {
	out := runs[:0]
	for _, r := range runs {
		if len(out) > 0 && out[len(out)-1].extend(r) {
			continue
		}
		out = append(out, r)
	}
	return slices.Clip(out)
}

// extend makes s go on through next when the two are one stride, and reports whether they are.
func (s *stride) extend(next stride) bool {
	gap := next.first - s.last
	one, other := s.first == s.last, next.first == next.last
	switch {
	case one && other && gap > 1:
		return false // two numbers far apart read better as two numbers
	case !one && gap != s.step, !other && gap != next.step:
		return false
	}
	s.step, s.last = gap, next.last
	return true
}

func newArray(runs []stride, most int) Array {
	a := Array{runs: runs, Cap: most}
	for i := range a.runs {
		a.runs[i].base = a.n
		a.n += a.runs[i].len()
	}
	return a
}

// Len is how many tasks there are.
func (a *Array) Len() int { return a.n }

// At is the index of the task at a position from 0 to Len-1.
func (a *Array) At(position int) int {
	i, found := slices.BinarySearchFunc(a.runs, position, func(r stride, p int) int { return r.base - p })
	if !found {
		i--
	}
	return a.runs[i].at(position - a.runs[i].base)
}

// Position is where the task with an index stands; ok is false when there is none.
func (a *Array) Position(index int) (position int, ok bool) {
	i, found := slices.BinarySearchFunc(a.runs, index, func(r stride, x int) int { return r.first - x })
	if !found {
		i--
	}
	if i < 0 || index > a.runs[i].last || (index-a.runs[i].first)%a.runs[i].step != 0 {
		return 0, false
	}
	return a.runs[i].base + (index-a.runs[i].first)/a.runs[i].step, true
}

// All yields the indices in ascending order.
func (a *Array) All() iter.Seq[int] {
	return func(yield func(int) bool) {
		for _, r := range a.runs {
			for i := range r.len() {
				if !yield(r.at(i)) {
					return
				}
			}
		}
	}
}

// String is the shortest text that ParseArray reads as the same array.
func (a *Array) String() string {
	text := format(a.runs)
	if a.Cap > 0 {
		text += "%" + strconv.Itoa(a.Cap)
	}
	return text
}

// Indices writes the tasks at some positions as an array's text without a cap; "" for none.
func (a *Array) Indices(positions *Ranges) string {
	var runs []stride
	for first, last := range positions.Runs() {
		for _, r := range a.runs {
			from, to := max(first, r.base), min(last, r.base+r.len()-1)
			if from > to {
				continue
			}
			runs = append(runs, stride{first: r.at(from - r.base), last: r.at(to - r.base), step: r.step}.trim())
		}
	}
	return format(join(runs))
}

func format(runs []stride) string {
	var b strings.Builder
	for i, r := range runs {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(r.first))
		if r.last > r.first {
			b.WriteByte('-')
			b.WriteString(strconv.Itoa(r.last))
		}
		if r.step > 1 {
			b.WriteByte(':')
			b.WriteString(strconv.Itoa(r.step))
		}
	}
	return b.String()
}

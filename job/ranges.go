package job

import (
	"iter"
	"slices"
)

// Ranges is a sorted set of numbers from 0 to 2³¹-2, kept as runs of consecutive
// ones: its memory is 8 bytes a run, however many numbers the runs hold.
// The zero value is the empty set.
type Ranges struct {
	runs []run // sorted, with a gap of at least one number between neighbours
	n    int
}

type run struct{ first, last int32 }

// Len is how many numbers are in the set.
func (r *Ranges) Len() int { return r.n }

// Contains reports whether x is in the set.
func (r *Ranges) Contains(x int) bool {
	i := r.from(x)
	return i < len(r.runs) && int(r.runs[i].first) <= x
}

// Add puts x in the set and reports whether it was not there before.
func (r *Ranges) Add(x int) bool { return r.AddRange(x, x) == 1 }

// Remove takes x out of the set and reports whether it was there.
func (r *Ranges) Remove(x int) bool { return r.RemoveRange(x, x) == 1 }

// AddRange puts first to last, both included, in the set and returns how many of them are new.
func (r *Ranges) AddRange(first, last int) int {
	if first > last {
		return 0
	}
	i, k := r.from(first-1), r.after(last+1)
	all, had := run{int32(first), int32(last)}, 0
	if i < k {
		all.first = min(all.first, r.runs[i].first)
		all.last = max(all.last, r.runs[k-1].last)
		had = size(r.runs[i:k])
	}
	if k-i == 1 {
		r.runs[i] = all
	} else {
		r.runs = slices.Replace(r.runs, i, k, all)
	}
	added := size([]run{all}) - had
	r.n += added
	return added
}

// RemoveRange takes first to last, both included, out of the set and returns how many of them were there.
func (r *Ranges) RemoveRange(first, last int) int {
	i, k := r.from(first), r.after(last)
	if first > last || i >= k {
		return 0
	}
	var rest [2]run
	left := rest[:0]
	if head := r.runs[i]; int(head.first) < first {
		left = append(left, run{head.first, int32(first - 1)})
	}
	if tail := r.runs[k-1]; int(tail.last) > last {
		left = append(left, run{int32(last + 1), tail.last})
	}
	removed := size(r.runs[i:k]) - size(left)
	if i == 0 && len(left) == 0 {
		r.runs = r.runs[k:]
	} else {
		r.runs = slices.Replace(r.runs, i, k, left...)
	}
	r.n -= removed
	return removed
}

// Pop takes the smallest number out of the set; ok is false when it is empty.
func (r *Ranges) Pop() (x int, ok bool) {
	if r.n == 0 {
		return 0, false
	}
	x = int(r.runs[0].first)
	if r.runs[0].first++; r.runs[0].first > r.runs[0].last {
		r.runs = r.runs[1:]
	}
	r.n--
	return x, true
}

// AddAll puts every number of other in the set.
func (r *Ranges) AddAll(other *Ranges) {
	for first, last := range other.Runs() {
		r.AddRange(first, last)
	}
}

// RemoveAll takes every number of other out of the set.
func (r *Ranges) RemoveAll(other *Ranges) {
	for first, last := range other.Runs() {
		r.RemoveRange(first, last)
	}
}

// Common is the numbers that are in both.
func (r *Ranges) Common(other *Ranges) Ranges {
	both, rest := r.Clone(), r.Clone()
	rest.RemoveAll(other)
	both.RemoveAll(&rest)
	return both
}

// Clear empties the set and keeps its memory for the next numbers.
func (r *Ranges) Clear() { r.runs, r.n = r.runs[:0], 0 }

// Clone is an independent copy.
func (r *Ranges) Clone() Ranges { return Ranges{slices.Clone(r.runs), r.n} }

// All yields the numbers in order.
func (r *Ranges) All() iter.Seq[int] {
	return func(yield func(int) bool) {
		for first, last := range r.Runs() {
			for x := first; x <= last; x++ {
				if !yield(x) {
					return
				}
			}
		}
	}
}

// Runs yields the first and last number of each run of consecutive ones, in order.
func (r *Ranges) Runs() iter.Seq2[int, int] {
	return func(yield func(first, last int) bool) {
		for _, run := range r.runs {
			if !yield(int(run.first), int(run.last)) {
				return
			}
		}
	}
}

// from is the place of the first run that reaches x or lies beyond it.
func (r *Ranges) from(x int) int {
	low, high := 0, len(r.runs)
	for low < high {
		if mid := (low + high) / 2; int(r.runs[mid].last) < x {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// after is the place of the first run that lies wholly beyond x.
func (r *Ranges) after(x int) int {
	low, high := 0, len(r.runs)
	for low < high {
		if mid := (low + high) / 2; int(r.runs[mid].first) <= x {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

func size(runs []run) int {
	n := 0
	for _, run := range runs {
		n += int(run.last) - int(run.first) + 1
	}
	return n
}

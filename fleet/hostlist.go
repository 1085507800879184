package fleet

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"bramble/fault"
)

const (
	MaxNames = 65_536 // names that one expression may stand for
	MaxName  = 255    // bytes of one name in an expression

	maxDigits = 18 // of a number that can be counted on from: fits an int64
)

// Expand turns a hostlist, as pdsh and Slurm have it, into the names it stands for:
// node[01-16,20], several brackets (rack[1-2]n[01-03]), plain names, commas between.
// Zero padding is that of a range's first number. Names come in the order written,
// each once; an empty list has none. It is fault.Misused when the text is no hostlist,
// a name is longer than MaxName, or there are more than MaxNames.
func Expand(list string) ([]string, error) {
	r := &reader{text: list, left: MaxNames}
	r.space()
	if r.done() {
		return nil, nil
	}
	var all []string
	for {
		names, err := r.names()
		if err != nil {
			return nil, err
		}
		all = append(all, names...)
		if r.done() {
			return unique(all), nil
		}
		if !r.accept(',') {
			return nil, r.misread(r.at, "a comma goes between names, and %s is none", r.here())
		}
	}
}

// unique keeps the first of equal names, in place.
func unique(names []string) []string {
	seen := make(map[string]bool, len(names))
	return slices.DeleteFunc(names, func(name string) bool {
		again := seen[name]
		seen[name] = true
		return again
	})
}

// reader walks an expression and knows where it is, so that errors can point at the place.
type reader struct {
	text string
	at   int
	left int // names it may still produce
}

func (r *reader) done() bool { return r.at >= len(r.text) }

// peek returns the next byte, or 0 at the end.
func (r *reader) peek() byte {
	if r.done() {
		return 0
	}
	return r.text[r.at]
}

// accept steps over c and reports whether it was there.
func (r *reader) accept(c byte) bool {
	if r.done() || r.text[r.at] != c {
		return false
	}
	r.at++
	return true
}

// take steps over the bytes that are wanted and returns them.
func (r *reader) take(wanted func(byte) bool) string {
	start := r.at
	for !r.done() && wanted(r.text[r.at]) {
		r.at++
	}
	return r.text[start:r.at]
}

func (r *reader) space() { r.take(func(c byte) bool { return c == ' ' || c == '\t' }) }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLower(c byte) bool { return 'a' <= c && c <= 'z' }

func isWord(c byte) bool {
	return isLower(c) || 'A' <= c && c <= 'Z' || isDigit(c) || c == '.' || c == '_' || c == '-'
}

// names reads one name with its brackets and the space around it, and returns what it stands for.
func (r *reader) names() ([]string, error) {
	r.space()
	start, total, length := r.at, 1, 0
	var parts [][]string
	for r.peek() == '[' || isWord(r.peek()) {
		part := []string{r.take(isWord)}
		if part[0] == "" {
			var err error
			if part, err = r.bracket(); err != nil {
				return nil, err
			}
		}
		parts = append(parts, part)
		total *= len(part)
		length += len(slices.MaxFunc(part, func(a, b string) int { return len(a) - len(b) }))
		if total > r.left {
			return nil, r.tooMany(start)
		}
		if length > MaxName {
			return nil, r.misread(start, "the name is longer than %d bytes", MaxName)
		}
	}
	if len(parts) == 0 {
		return nil, r.misread(r.at, "expected a name, not %s", r.here())
	}
	r.space()
	r.left -= total
	return product(make([]string, 0, total), nil, parts), nil
}

// product appends to names every way to choose one of each part, the last part changing fastest.
func product(names []string, prefix []byte, parts [][]string) []string {
	if len(parts) == 0 {
		return append(names, string(prefix))
	}
	for _, s := range parts[0] {
		names = product(names, append(prefix, s...), parts[1:])
	}
	return names
}

// bracket reads [01-16,20] and returns its numbers, padded as they are written.
func (r *reader) bracket() ([]string, error) {
	open := r.at
	r.at++
	var numbers []string
	for {
		more, err := r.span()
		if err != nil {
			return nil, err
		}
		if numbers = append(numbers, more...); len(numbers) > r.left {
			return nil, r.tooMany(open)
		}
		switch {
		case r.accept(']'):
			return numbers, nil
		case r.done():
			return nil, r.misread(open, "the bracket is never closed")
		case !r.accept(','):
			return nil, r.misread(r.at, "expected a comma or ] after the number, not %s", r.here())
		}
	}
}

// span reads a number or a range of them.
func (r *reader) span() ([]string, error) {
	start := r.at
	lo := r.take(isDigit)
	if lo == "" {
		return nil, r.misread(r.at, "expected a number, not %s", r.here())
	}
	if !r.accept('-') {
		return []string{lo}, nil
	}
	hi := r.take(isDigit)
	switch {
	case hi == "":
		return nil, r.misread(r.at, "expected the number that ends the range, not %s", r.here())
	case len(lo) > maxDigits || len(hi) > maxDigits:
		return nil, r.misread(start, "the numbers of a range have at most %d digits", maxDigits)
	case len(hi) > len(lo) && hi[0] == '0':
		return nil, r.misread(start, "the range %s-%s is padded at its end only", lo, hi)
	}
	from, _ := strconv.ParseInt(lo, 10, 64)
	to, _ := strconv.ParseInt(hi, 10, 64)
	if from > to {
		return nil, r.misread(start, "the range %s-%s runs backwards", lo, hi)
	}
	if to-from >= int64(r.left) {
		return nil, r.tooMany(start)
	}
	numbers := make([]string, 0, to-from+1)
	for n := from; n <= to; n++ {
		numbers = append(numbers, pad(n, len(lo)))
	}
	return numbers, nil
}

// pad writes n with zeros in front up to width digits.
func pad(n int64, width int) string {
	s := strconv.FormatInt(n, 10)
	return strings.Repeat("0", max(0, width-len(s))) + s
}

func (r *reader) tooMany(at int) error {
	return r.misread(at, "that stands for more than %d names", MaxNames)
}

// misread is the error of an expression that cannot be read, with the place where.
func (r *reader) misread(at int, format string, args ...any) error {
	return fault.New(fault.Misused, "%s: %s", place(r.text, at), fmt.Sprintf(format, args...)).
		Hint("--on 'node[01-16,20]', --on 'model=pi4&!node3'")
}

// here names what stands at the present place.
func (r *reader) here() string {
	if r.done() {
		return "the end"
	}
	c, _ := utf8.DecodeRuneInString(r.text[r.at:])
	return strconv.Quote(string(c))
}

// place quotes an expression, or what is near the place in a long one, and counts characters from 1.
func place(text string, at int) string {
	const near = 40
	from, to := max(0, at-near), min(len(text), at+near)
	before, after := "", ""
	if from > 0 {
		before = "…"
	}
	if to < len(text) {
		after = "…"
	}
	return fmt.Sprintf("%s%q%s, character %d", before, text[from:to], after, utf8.RuneCountInString(text[:at])+1)
}

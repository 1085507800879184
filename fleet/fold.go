package fleet

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"bramble/sorts"
)

// Fold writes names as one compact hostlist in natural order, each name once, padding
// kept: node1, node2 and node10 make node[1-2,10]. Names that differ in several numbers
// share brackets where they fill them: rack[1-2]n[01-03]. Expand reads it back, given at
// most MaxNames names of the bytes that hostlists have.
func Fold(names []string) string {
	if text, ok := foldRun(names); ok {
		return text
	}
	groups := map[string][]box{}
	for _, name := range Natural(names) {
		b := boxOf(name)
		groups[b.shape()] = append(groups[b.shape()], b)
	}
	var boxes []box
	for _, group := range groups {
		for d := len(group[0].numbers) - 1; d >= 0; d-- {
			group = merge(group, d)
		}
		boxes = append(boxes, group...)
	}
	sorts.By(boxes, func(a, b box) int { return NaturalCompare(a.first, b.first) })
	items := make([]string, len(boxes))
	for i, b := range boxes {
		items[i] = b.String()
	}
	return strings.Join(items, ",")
}

// foldRun is Fold of names that already count up one by one at their end, which those of a cluster mostly do.
func foldRun(names []string) (text string, ok bool) {
	if len(names) < 2 {
		return "", false
	}
	prefix := strings.TrimRight(names[0], "0123456789")
	first := names[0][len(prefix):]
	last := first
	for _, name := range names[1:] {
		number, same := strings.CutPrefix(name, prefix)
		if !same || !follows(last, number) {
			return "", false
		}
		last = number
	}
	return prefix + "[" + first + "-" + last + "]", true
}

// follows reports whether next is the successor of number, both decimal digits.
func follows(number, next string) bool {
	if number == "" || len(next) > maxDigits {
		return false
	}
	n, bad := strconv.ParseUint(number, 10, 64)
	m, worse := strconv.ParseUint(next, 10, 64)
	return bad == nil && worse == nil && m == n+1 && (len(next) == len(number) || len(next) == len(number)+1 && next[0] != '0')
}

// box is a set of names of one shape: the texts between the numbers, and for each
// number what may stand there, either digits or a bracket.
type box struct {
	first   string // the first name in it, which gives it its place among the others
	texts   []string
	numbers []string // one fewer than texts
}

// shape is what names that differ only in their numbers have in common: texts hold no number that boxOf splits at, so a 0 between
// them makes no two shapes equal.
func (b box) shape() string { return strings.Join(b.texts, "0") }

func (b box) String() string {
	var s strings.Builder
	for i, text := range b.texts {
		s.WriteString(text)
		if i < len(b.numbers) {
			s.WriteString(b.numbers[i])
		}
	}
	return s.String()
}

// boxOf splits a name at its numbers; one too long to count with stays text.
func boxOf(name string) box {
	b := box{first: name}
	text := 0
	for i := 0; i < len(name); {
		if !isDigit(name[i]) {
			i++
			continue
		}
		number := digits(name[i:])
		if len(number) <= maxDigits {
			b.texts = append(b.texts, name[text:i])
			b.numbers = append(b.numbers, number)
			text = i + len(number)
		}
		i += len(number)
	}
	b.texts = append(b.texts, name[text:])
	return b
}

// unpadded is a name whose numbers have no zeros in front.
func unpadded(name string) string {
	b := boxOf(name)
	for i, n := range b.numbers {
		b.numbers[i] = cmp.Or(strings.TrimLeft(n, "0"), "0")
	}
	return b.String()
}

// merge makes one box of those that differ in number d only.
func merge(boxes []box, d int) []box {
	var merged []box
	var values [][]string
	index := map[string]int{}
	for _, b := range boxes {
		rest := strings.Join(b.numbers[:d], " ") + "|" + strings.Join(b.numbers[d+1:], " ")
		i, known := index[rest]
		if !known {
			i = len(merged)
			index[rest] = i
			merged = append(merged, b)
			values = append(values, nil)
		}
		values[i] = append(values[i], b.numbers[d])
	}
	for i := range merged {
		merged[i].numbers[d] = brackets(values[i])
	}
	return merged
}

// brackets writes numbers as ranges, each padded as its first number is; one number needs none.
func brackets(numbers []string) string {
	if len(numbers) == 1 {
		return numbers[0]
	}
	left := make(map[string]bool, len(numbers))
	for _, n := range numbers {
		left[n] = true
	}
	var ranges []string
	for _, lo := range Natural(numbers) {
		if !left[lo] {
			continue
		}
		hi := lo
		for next := lo; left[next]; next = successor(hi) {
			delete(left, next)
			hi = next
		}
		if hi != lo {
			lo += "-" + hi
		}
		ranges = append(ranges, lo)
	}
	return "[" + strings.Join(ranges, ",") + "]"
}

// successor is the next number at the same padding.
func successor(number string) string {
	n, _ := strconv.ParseInt(number, 10, 64) // has at most maxDigits
	return pad(n+1, len(number))
}

// Natural returns the names in natural order, each once.
func Natural(names []string) []string {
	return slices.Compact(slices.SortedFunc(slices.Values(names), NaturalCompare))
}

// NaturalLess reports whether a comes before b as people count: node2 before node10.
func NaturalLess(a, b string) bool { return NaturalCompare(a, b) < 0 }

// NaturalCompare orders names by bytes, but runs of digits by their value; where only
// padding differs, the padded name comes first. It returns 0 for equal names only.
func NaturalCompare(a, b string) int {
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		if !isDigit(a[i]) || !isDigit(b[j]) {
			if a[i] != b[j] {
				return cmp.Compare(a[i], b[j])
			}
			i, j = i+1, j+1
			continue
		}
		x, y := digits(a[i:]), digits(b[j:])
		if c := compareNumbers(x, y); c != 0 {
			return c
		}
		i, j = i+len(x), j+len(y)
	}
	return cmp.Or(cmp.Compare(len(a)-i, len(b)-j), strings.Compare(a, b))
}

// digits returns the digits that s begins with.
func digits(s string) string {
	return s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]
}

// compareNumbers compares decimal numbers of any length by value.
func compareNumbers(x, y string) int {
	x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
	return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y))
}

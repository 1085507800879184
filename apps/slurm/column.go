package slurm

import (
	"fmt"
	"strconv"
	"strings"
)

// field is one thing that a command can tell of a row R.
type field[R any] struct {
	letter byte   // in a %-format; 0: none
	name   string // in a list of names, lower case
	title  string
	width  int // in a list of names; below zero: to the left
	text   func(R) string
}

// cell is a field as a format asks for it.
type cell[R any] struct {
	field[R]
	size   int // 0: as long as it is
	right  bool
	auto   bool // as wide as the longest, size at least
	suffix string
}

// percent reads a format such as "%.18i %.9P %R". What stands in front of the first field is returned as well.
// A letter that stands for nothing is kept as it is, and told of.
func percent[R any](format string, fields []field[R], strange func(letter string)) (prefix string, cells []cell[R]) {
	literal := func(text string) {
		if len(cells) == 0 {
			prefix += text
		} else {
			cells[len(cells)-1].suffix += text
		}
	}
	for format != "" {
		i := strings.IndexByte(format, '%')
		if i < 0 {
			literal(format)
			break
		}
		literal(format[:i])
		end := i + 1
		c := cell[R]{}
		for end < len(format) && (format[end] == '.' || format[end] == '#') {
			c.right, c.auto = c.right || format[end] == '.', c.auto || format[end] == '#'
			end++
		}
		digits := end
		for end < len(format) && isDigit(format[end]) {
			end++
		}
		c.size, _ = strconv.Atoi(format[digits:end])
		c.size = min(c.size, maxWidth)
		letter := byte(0)
		if end < len(format) {
			letter = format[end]
			end++
		}
		known := false
		for _, f := range fields {
			if letter != 0 && f.letter == letter {
				c.field, known = f, true
				break
			}
		}
		if known {
			cells = append(cells, c)
		} else {
			strange(strings.Trim(string(letter), "\x00"))
			literal(format[i:end])
		}
		format = format[end:]
	}
	return prefix, cells
}

// maxWidth is the widest column.
const maxWidth = 1024

// named reads a list of names, each with an own width after a colon: "jobid,name:20,nodelist:.30".
func named[R any](list string, fields []field[R], strange func(name string)) (cells []cell[R]) {
	for item := range strings.SplitSeq(list, ",") {
		name, width, sized := strings.Cut(strings.TrimSpace(item), ":")
		known := false
		for _, f := range fields {
			if f.name != "" && strings.EqualFold(f.name, name) {
				c := cell[R]{field: f, size: 20}
				if sized {
					var digits string
					digits, c.right = strings.CutPrefix(width, ".")
					n := strings.TrimLeft(digits, "0123456789")
					c.size, _ = strconv.Atoi(digits[:len(digits)-len(n)])
					c.size, c.suffix = min(c.size, maxWidth), n
				}
				cells, known = append(cells, c), true
				break
			}
		}
		if !known {
			strange(name)
		}
	}
	return cells
}

// table writes a header, unless there is to be none, and rows.
func table[R any](prefix string, cells []cell[R], rows []R, header bool) string {
	for i, c := range cells {
		if !c.auto {
			continue
		}
		longest := len(c.title)
		for _, r := range rows {
			longest = max(longest, len([]rune(c.text(r))))
		}
		cells[i].size = max(c.size, longest)
	}
	var b strings.Builder
	if header {
		b.WriteString(prefix)
		for _, c := range cells {
			b.WriteString(c.fit(c.title) + c.suffix)
		}
		b.WriteByte('\n')
	}
	for _, r := range rows {
		b.WriteString(prefix)
		for _, c := range cells {
			b.WriteString(c.fit(plain(c.text(r))) + c.suffix)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// fit cuts or pads a text to the cell's size.
func (c cell[R]) fit(text string) string {
	runes := []rune(text)
	switch {
	case c.size == 0:
		return text
	case len(runes) > c.size:
		return string(runes[:c.size])
	case c.right:
		return strings.Repeat(" ", c.size-len(runes)) + text
	}
	return text + strings.Repeat(" ", c.size-len(runes))
}

// plain is a text without what would break a line or take a terminal over.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r <= 0x9f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '?'
		}
		return r
	}, text)
}

// errorText is a line that a command of Slurm's writes to its error stream.
func errorText(command, format string, args ...any) string {
	return command + ": error: " + plain(fmt.Sprintf(format, args...)) + "\n"
}

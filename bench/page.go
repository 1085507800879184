package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// row is one figure.
type row struct {
	what, figure, peer, ratio, target string
	verdict                           verdict
}

// verdict says whether a target was met.
type verdict string

const (
	noTarget verdict = ""
	met      verdict = "met"
	missed   verdict = "NOT met"
)

func judge(ok bool) verdict {
	if ok {
		return met
	}
	return missed
}

// section is what one part found out.
type section struct {
	id, title, how string
	rows           []row
	notes          []string
	failed         string // why it, or the rest of it, was not measured
}

func (s *section) add(r row) { s.rows = append(s.rows, r) }

func (s *section) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// page is docs/performance.md.
type page struct {
	machine  machine
	begun    time.Time
	took     time.Duration
	sections []section
}

func (p page) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Performance

Written by `+"`make bench`"+`; do not edit. Where a peer is named it ran in turns with bramble on the same machine, so
trust the ratios more than the figures. Times are medians, with the range of all runs behind them.

%s
%s
Repeat it with `+"`make bench`"+` (as root for the fan-out), or one part with `+"`go run ./bench -only PART`"+`.
`, p.machine.table(p.begun, p.took), p.verdict())
	for _, s := range p.sections {
		b.WriteString("\n" + s.String())
	}
	return b.String()
}

// verdict counts the targets.
func (p page) verdict() string {
	targets, failed := 0, []string{}
	for _, s := range p.sections {
		for _, r := range s.rows {
			if r.verdict != noTarget {
				targets++
			}
			if r.verdict == missed {
				failed = append(failed, fmt.Sprintf("- **%s**: %s, and the target is %s.\n", r.what, r.measured(), r.target))
			}
		}
		if s.failed != "" {
			failed = append(failed, fmt.Sprintf("- **%s** was not measured, or not all of it: %s.\n", s.title, s.failed))
		}
	}
	if len(failed) == 0 {
		return fmt.Sprintf("All %d targets are met.\n", targets)
	}
	return fmt.Sprintf("%d targets were measured. Of all, not met or not measured:\n\n%s", targets, strings.Join(failed, ""))
}

// measured is what the target is about: the ratio where there is one, and to what.
func (r row) measured() string {
	switch {
	case r.ratio != "" && r.peer != "":
		return r.ratio + " beside " + r.peer
	case r.ratio != "":
		return r.ratio
	}
	return r.figure
}

func (s section) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n", s.title)
	if s.how != "" {
		fmt.Fprintf(&b, "%s (`-only %s`)\n\n", s.how, s.id)
	}
	if len(s.rows) > 0 {
		b.WriteString(s.table() + "\n")
	}
	for _, n := range s.notes {
		fmt.Fprintf(&b, "- %s\n", n)
	}
	if s.failed != "" {
		fmt.Fprintf(&b, "- Not measured, or not all of it: %s.\n", s.failed)
	}
	return b.String()
}

func (s section) table() string {
	cells := [][]string{{"what", "figure", "peer", "ratio", "target", "verdict"}}
	for _, r := range s.rows {
		cells = append(cells, []string{r.what, r.figure, r.peer, r.ratio, r.target, string(r.verdict)})
	}
	return table(cells)
}

// table is Markdown that reads well in a terminal too; the first line is the head. Columns without
// content are left out.
func table(cells [][]string) string {
	widths := make([]int, len(cells[0]))
	filled := make([]bool, len(cells[0]))
	for i, line := range cells {
		for c, text := range line {
			widths[c] = max(widths[c], utf8.RuneCountInString(text))
			filled[c] = filled[c] || i > 0 && text != ""
		}
	}
	var b strings.Builder
	write := func(line []string) {
		for c, text := range line {
			if filled[c] {
				fmt.Fprintf(&b, "| %s%s ", text, strings.Repeat(" ", widths[c]-utf8.RuneCountInString(text)))
			}
		}
		b.WriteString("|\n")
	}
	write(cells[0])
	rule := make([]string, len(widths))
	for c, w := range widths {
		rule[c] = strings.Repeat("-", w)
	}
	write(rule)
	for _, line := range cells[1:] {
		write(line)
	}
	return b.String()
}

// duration is a time to three digits.
func duration(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%.3g µs", float64(d)/float64(time.Microsecond))
	case d < time.Second:
		return fmt.Sprintf("%.3g ms", float64(d)/float64(time.Millisecond))
	}
	return seconds(d)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// times says how much more a is than b.
func times(a, b float64) string {
	switch ratio := a / b; {
	case b == 0:
		return ""
	case ratio >= 10:
		return fmt.Sprintf("%.0f×", ratio)
	default:
		return fmt.Sprintf("%.2f×", ratio)
	}
}

// megabytes of a million bytes, as files are counted.
func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }

// mebibytes of 1024 × 1024 bytes, as memory is counted.
func mebibytes(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/mebi) }

const mebi = 1 << 20

// count is a number with commas between its thousands.
func count(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

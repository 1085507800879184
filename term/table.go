package term

import (
	"io"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"bramble/sorts"
)

// Column is one column of a Table.
type Column struct {
	Title    string
	Right    bool // align to the right, as numbers are
	Priority int  // how readily it gives way on a narrow terminal: the highest goes first, 0 last
	Min      int  // how far it may be shortened, in cells; 0: not at all
}

// Table is rows of text under titled columns.
type Table struct {
	Columns []Column
	rows    [][]string
}

// NewTable makes an empty table.
func NewTable(columns ...Column) *Table { return &Table{Columns: columns} }

// Row adds a row; cells may be dressed with the stream's Style.
func (t *Table) Row(cells ...string) { t.rows = append(t.rows, cells) }

// Len is the number of rows.
func (t *Table) Len() int { return len(t.rows) }

// Write prints the table: aligned under a header and never wider than a
// terminal, or as tab-separated values with no header and nothing left out.
func (t *Table) Write(s *Stream) error {
	var b strings.Builder
	for _, line := range t.Lines(s) {
		b.WriteString(line)
		b.WriteByte('\n')
	}
	_, err := io.WriteString(s, b.String())
	return err
}

// Lines is what Write prints, without line ends.
func (t *Table) Lines(s *Stream) []string {
	rows := t.clean(s.Colour > Plain)
	if !s.IsTerminal() {
		lines := make([]string, len(rows))
		for i, row := range rows {
			lines[i] = strings.Join(row, "\t")
		}
		return lines
	}
	widths := layout(t.Columns, t.natural(rows), s.Width())
	lines := []string{t.line(t.header(s.Style), widths, s.Style)}
	for _, row := range rows {
		lines = append(lines, t.line(row, widths, s.Style))
	}
	return lines
}

// clean is the rows with safe cells, each as long as there are columns.
func (t *Table) clean(colour bool) [][]string {
	rows := make([][]string, len(t.rows))
	for i, row := range t.rows {
		rows[i] = make([]string, len(t.Columns))
		for j := range min(len(row), len(t.Columns)) {
			rows[i][j] = cleanCell(row[j], colour)
		}
	}
	return rows
}

// natural is the width that each column would like to have.
func (t *Table) natural(rows [][]string) []int {
	widths := make([]int, len(t.Columns))
	for i, c := range t.Columns {
		widths[i] = cells(c.Title)
		for _, row := range rows {
			widths[i] = max(widths[i], cells(row[i]))
		}
	}
	return widths
}

func (t *Table) header(style Style) []string {
	titles := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		titles[i] = style.Bold(strings.ToUpper(c.Title))
	}
	return titles
}

// line aligns one row; a column of width 0 is left out.
func (t *Table) line(row []string, widths []int, style Style) string {
	var parts []string
	for i, width := range widths {
		if width == 0 {
			continue
		}
		cell := shorten(row[i], width, style)
		pad := strings.Repeat(" ", max(0, width-cells(cell)))
		if t.Columns[i].Right {
			cell = pad + cell
		} else {
			cell += pad
		}
		parts = append(parts, cell)
	}
	return strings.TrimRight(strings.Join(parts, columnGap), " ")
}

const columnGap = "  "

// layout decides each column's width on a terminal of the given width; 0 leaves a
// column out. Columns shorten first, the least important to its Min before the
// next; when that is not enough, the least important goes and the rest is tried again.
func layout(columns []Column, natural []int, width int) []int {
	keep := leastImportantFirst(columns)
	for len(keep) > 1 && !fits(columns, natural, keep, width) {
		keep = keep[1:]
	}
	widths := make([]int, len(columns))
	excess := len(columnGap)*(len(keep)-1) - width
	for _, i := range keep {
		widths[i] = natural[i]
		excess += natural[i]
	}
	for _, i := range keep {
		cut := max(0, min(excess, natural[i]-least(columns[i], natural[i])))
		widths[i] -= cut
		excess -= cut
	}
	if excess > 0 && len(keep) == 1 {
		widths[keep[0]] = width
	}
	return widths
}

// leastImportantFirst is the columns' numbers by falling priority, from the right among equals.
func leastImportantFirst(columns []Column) []int {
	order := make([]int, len(columns))
	for i := range order {
		order[i] = len(columns) - 1 - i
	}
	sorts.Stable(order, func(a, b int) int { return columns[b].Priority - columns[a].Priority })
	return order
}

func fits(columns []Column, natural, keep []int, width int) bool {
	need := len(columnGap) * (len(keep) - 1)
	for _, i := range keep {
		need += least(columns[i], natural[i])
	}
	return need <= width
}

func least(c Column, natural int) int {
	if c.Min == 0 {
		return natural
	}
	return min(c.Min, natural)
}

// cells is how many cells of a terminal s takes, escape sequences aside.
func cells(s string) int {
	if plainPrefix([]byte(s)) == len(s) {
		return len(s)
	}
	return ansi.StringWidth(s)
}

// shorten cuts s to width cells, marking the cut.
func shorten(s string, width int, style Style) string {
	if cells(s) <= width {
		return s
	}
	mark := style.Ellipsis()
	if cells(mark) > width {
		mark = ""
	}
	return ansi.Truncate(s, width, mark)
}

package term

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Block is a few lines at the end of a terminal's output that are drawn again in
// place. The cursor rests on its first cell and is never hidden: whatever ends
// the process leaves a usable terminal, and after a resize, which may have
// wrapped the old lines, everything from there on is drawn anew.
type Block struct {
	s          *Stream
	lines      []string // as last drawn; nil when nothing is
	cols, rows int      // when they were
}

// NewBlock makes a Block; see CanRedraw.
func NewBlock(s *Stream) *Block { return &Block{s: s} }

// CanRedraw reports whether lines can be drawn again in place: s is a terminal and not a dumb one.
func (s *Stream) CanRedraw() bool { return s.IsTerminal() && !s.Dumb }

// Draw shows the lines in place of the ones before, in one write. Lines are cut
// at the terminal's right edge, and those that would not fit its height are left out.
func (b *Block) Draw(lines []string) error {
	if len(lines) == 0 {
		return b.Clear()
	}
	cols, rows := b.s.Size()
	lines = lines[:min(len(lines), blockHeight(rows))]
	if cols == b.cols && rows == b.rows && slices.Equal(lines, b.lines) {
		return nil
	}
	var w strings.Builder
	w.WriteString("\r")
	if cols != b.cols {
		w.WriteString("\x1b[J")
	}
	for i, line := range lines {
		if i > 0 {
			w.WriteString("\r\n")
		}
		w.WriteString(shorten(line, max(cols-1, 1), b.s.Style)) // a full last cell would be erased by the next sequence
		w.WriteString("\x1b[K")
	}
	w.WriteString("\x1b[J\r")
	if up := len(lines) - 1; up > 0 {
		fmt.Fprintf(&w, "\x1b[%dA", up)
	}
	b.lines, b.cols, b.rows = slices.Clone(lines), cols, rows
	_, err := io.WriteString(b.s, w.String())
	return err
}

// Clear takes the lines off the screen and leaves the cursor where they began.
func (b *Block) Clear() error {
	if b.lines == nil {
		return nil
	}
	b.lines = nil
	_, err := io.WriteString(b.s, "\r\x1b[J")
	return err
}

// blockHeight is how many lines a block may have; one row is left for what came before.
func blockHeight(rows int) int { return max(rows-1, 1) }

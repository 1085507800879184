package term

import (
	"slices"
	"strconv"
	"strings"
	"sync"
)

// screen is as much of a terminal as Block and Progress use: it wraps, reflows
// when it is resized, and knows CSI K, J, A and m.
type screen struct {
	mu         sync.Mutex
	cols, rows int
	lines      [][]rune // logical lines: what lies between line ends
	line, at   int      // the cursor: a logical line and a place in it
	writes     int
}

func newScreen(cols, rows int) *screen {
	return &screen{cols: cols, rows: rows, lines: [][]rune{{}}}
}

func (s *screen) size() (int, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cols, s.rows
}

func (s *screen) resize(cols, rows int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cols, s.rows = cols, rows
}

// count is how many writes there were.
func (s *screen) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes
}

// text is what the screen shows, with empty lines at the end left out.
func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for _, line := range s.lines {
		lines = append(lines, strings.TrimRight(string(line), " "))
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	text := []rune(string(b))
	for i := 0; i < len(text); i++ {
		switch r := text[i]; r {
		case '\r':
			s.at -= s.at % s.cols
		case '\n':
			s.down()
		case '\x1b':
			i = s.sequence(text, i)
		default:
			s.put(r)
		}
	}
	return len(b), nil
}

// down moves to the next row; the line discipline of a terminal adds the carriage return.
func (s *screen) down() {
	if s.at = s.at - s.at%s.cols + s.cols; s.at < len(s.lines[s.line]) {
		return
	}
	s.line, s.at = s.line+1, 0
	if s.line == len(s.lines) {
		s.lines = append(s.lines, nil)
	}
}

func (s *screen) put(r rune) {
	line := s.lines[s.line]
	for len(line) <= s.at {
		line = append(line, ' ')
	}
	line[s.at] = r
	s.lines[s.line] = line
	s.at++
}

func (s *screen) sequence(text []rune, i int) int {
	end := i + 2
	for text[end] < '@' {
		end++
	}
	n, _ := strconv.Atoi(string(text[i+2 : end]))
	line := s.lines[s.line]
	switch text[end] {
	case 'm':
	case 'K': // the row is no longer continued on the next
		rowEnd := min(len(line), s.at-s.at%s.cols+s.cols)
		if rest := line[rowEnd:]; len(rest) > 0 {
			s.lines = slices.Insert(s.lines, s.line+1, slices.Clone(rest))
		}
		s.lines[s.line] = line[:min(len(line), s.at)]
	case 'J':
		s.lines[s.line] = line[:min(len(line), s.at)]
		s.lines = s.lines[:s.line+1]
	case 'A':
		for range n {
			s.up()
		}
	default:
		panic("unknown sequence " + string(text[i+1:end+1]))
	}
	return end
}

func (s *screen) up() {
	if s.at >= s.cols {
		s.at -= s.cols
		return
	}
	s.line--
	s.at = max(0, len(s.lines[s.line])-1) / s.cols * s.cols
}

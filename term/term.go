// Package term is what a person sees on a terminal: tables, colours, progress,
// units, errors and questions, and the guard that keeps a node's output from
// taking the terminal over.
package term

import (
	"io"
	"os"
	"strconv"
	"strings"

	xterm "golang.org/x/term"
)

// Out is a command's way to the person who typed it: results go to Stdout, all
// else to Stderr. It is built once, in main, and handed down.
type Out struct {
	Stdin       io.Reader
	Interactive bool // somebody sits at Stdin and can be asked
	Stdout      *Stream
	Stderr      *Stream
}

// Stream is one way out and what is known of its far end.
type Stream struct {
	io.Writer
	Style
	Size func() (cols, rows int) // a terminal's size now, in cells; nil when it is no terminal
	Dumb bool                    // a terminal whose cursor cannot be moved
}

// New finds out what the three files are; env is os.Getenv, or a table in tests.
func New(stdin, stdout, stderr *os.File, env func(string) string) *Out {
	return &Out{
		Stdin:       stdin,
		Interactive: xterm.IsTerminal(int(stdin.Fd())),
		Stdout:      newStream(stdout, env),
		Stderr:      newStream(stderr, env),
	}
}

// NewTest sends both streams to w as if it were a UTF-8 terminal of the given
// width and 24 rows, or a pipe when width is 0.
func NewTest(w io.Writer, width int, colour Level) *Out {
	stream := func() *Stream {
		s := &Stream{Writer: w, Style: Style{Colour: colour}}
		if width > 0 {
			s.Size = func() (int, int) { return width, 24 }
		}
		return s
	}
	return &Out{Stdin: strings.NewReader(""), Stdout: stream(), Stderr: stream()}
}

// IsTerminal reports whether a person may be looking.
func (s *Stream) IsTerminal() bool { return s.Size != nil }

// Width is the terminal's width now in cells, or 0: no limit.
func (s *Stream) Width() int {
	if s.Size == nil {
		return 0
	}
	cols, _ := s.Size()
	return cols
}

func newStream(f *os.File, env func(string) string) *Stream {
	s := &Stream{Writer: f, Dumb: env("TERM") == "dumb"}
	isTerminal := xterm.IsTerminal(int(f.Fd()))
	s.Style = Style{Colour: colourLevel(env, isTerminal), ASCII: !hasBlocks(env)}
	if isTerminal {
		s.Size = func() (int, int) { return size(f, env) }
	}
	return s
}

// size asks the terminal each time, because a window is resized while a command runs.
func size(f *os.File, env func(string) string) (cols, rows int) {
	cols, rows, err := xterm.GetSize(int(f.Fd()))
	if err == nil && cols > 0 && rows > 0 {
		return cols, rows
	}
	return atoi(env("COLUMNS"), 80), atoi(env("LINES"), 24)
}

func atoi(s string, otherwise int) int {
	if n, err := strconv.Atoi(s); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// colourLevel follows no-color.org, then bixense.com/clicolors, then what TERM and COLORTERM promise.
func colourLevel(env func(string) string, isTerminal bool) Level {
	forced := env("CLICOLOR_FORCE") != "" && env("CLICOLOR_FORCE") != "0"
	name := env("TERM")
	switch {
	case env("NO_COLOR") != "":
		return Plain
	case !forced && (!isTerminal || name == "" || name == "dumb" || env("CLICOLOR") == "0"):
		return Plain
	case env("COLORTERM") == "truecolor", env("COLORTERM") == "24bit",
		strings.Contains(name, "256color"), strings.HasSuffix(name, "-direct"):
		return Full
	}
	return Basic
}

// hasBlocks reports whether block elements and the like will show: the locale is
// UTF-8, and it is not the kernel's console, whose fonts lack them.
func hasBlocks(env func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if locale := strings.ToLower(env(name)); locale != "" {
			utf8 := strings.Contains(locale, "utf-8") || strings.Contains(locale, "utf8")
			return utf8 && env("TERM") != "linux"
		}
	}
	return false
}

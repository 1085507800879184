package term

import (
	"hash/fnv"
	"strings"
)

// Level is how many colours may be used.
type Level int

const (
	Plain Level = iota // none: no escape sequence at all
	Basic              // the terminal's own sixteen
	Full               // the 256-colour palette and more
)

// Style dresses text by what it means. With Plain it returns text unchanged.
type Style struct {
	Colour Level
	ASCII  bool // the far end shows ASCII only
}

const reset = "\x1b[0m"

func (s Style) paint(sgr, text string) string {
	if s.Colour == Plain || text == "" {
		return text
	}
	return "\x1b[" + sgr + "m" + text + reset
}

func (s Style) Good(text string) string { return s.paint("32", text) }
func (s Style) Bad(text string) string  { return s.paint("31", text) }
func (s Style) Warn(text string) string { return s.paint("33", text) }
func (s Style) Dim(text string) string  { return s.paint("2", text) }
func (s Style) Bold(text string) string { return s.paint("1", text) }

// Neither palette holds a colour that means good, bad or warning in sixteen
// colours; each of the 256-colour one has a contrast of 3 or more against both
// black and white.
const (
	basicNames = "36 35 34 96 95 94"
	fullNames  = "38;5;31 38;5;133 38;5;64 38;5;166 38;5;98 38;5;30 38;5;168 38;5;136 38;5;67 38;5;65 38;5;135 38;5;131"
)

// Name colours a node's name. A name has the same colour in every command, and
// neighbours in a numbered series (node1, node2) differ.
func (s Style) Name(name string) string {
	palette := basicNames
	if s.Colour == Full {
		palette = fullNames
	}
	sgrs := strings.Fields(palette)
	return s.paint(sgrs[colourNumber(name)%len(sgrs)], name)
}

// colourNumber is the trailing number of a name plus a hash of what comes before it.
func colourNumber(name string) int {
	stem := strings.TrimRight(name, "0123456789")
	number := 0
	for _, digit := range name[len(stem):] {
		number = (number*10 + int(digit-'0')) % 1_000_000
	}
	h := fnv.New32a()
	h.Write([]byte(stem))
	return int(h.Sum32()%1024) + number
}

// Ellipsis marks what was cut off.
func (s Style) Ellipsis() string {
	if s.ASCII {
		return "..."
	}
	return "…"
}

package slurm

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"bramble/fault"
)

// Directive is one #SBATCH line.
type Directive struct {
	Line  int // from 1
	Words []string
	late  bool // after the first command
}

func (d Directive) where() string { return strconv.Itoa(d.Line) }

// Has reports whether a script has directives that sbatch would read.
func Has(script []byte) bool {
	for _, line := range head(script) {
		if strings.HasPrefix(line, mark) {
			return true
		}
	}
	return false
}

const mark = "#SBATCH"

// maxDirectives is how many are read, and maxLine the longest in bytes.
const maxDirectives, maxLine = 1000, 64 << 10

// Directives reads the #SBATCH lines of a script. Those after its first command come too, marked as late.
func Directives(script []byte) ([]Directive, error) {
	first, _, _ := bytes.Cut(script, []byte("\n"))
	if bytes.HasSuffix(first, []byte("\r")) {
		return nil, fault.New(fault.Misused, "it has Windows line ends, which no shell reads").Hint("sed -i 's/\\r$//' SCRIPT")
	}
	var list []Directive
	begins := len(head(script))
	for i, line := range strings.Split(string(script), "\n") {
		rest, ok := strings.CutPrefix(line, mark)
		if !ok || rest != "" && !strings.ContainsAny(rest[:1], " \t\r") {
			continue
		}
		if len(list) == maxDirectives || len(line) > maxLine {
			return nil, fault.New(fault.Misused, "line %d: there are more than %d #SBATCH lines, or it is longer than %d KiB", i+1, maxDirectives, maxLine>>10)
		}
		if strings.HasSuffix(rest, "\r") {
			return nil, fault.New(fault.Misused, "line %d ends as Windows ends lines", i+1).Hint("sed -i 's/\\r$//' SCRIPT")
		}
		d := Directive{Line: i + 1, late: i >= begins}
		var err error
		if d.Words, err = split(rest); err != nil {
			return nil, fault.New(fault.Misused, "line %d: %w", d.Line, err)
		}
		list = append(list, d)
	}
	return list, nil
}

// head is the lines of a script before its first command.
func head(script []byte) []string {
	lines := strings.Split(string(script), "\n")
	for i, line := range lines {
		if text := strings.TrimSpace(line); text != "" && text[0] != '#' {
			return lines[:i]
		}
	}
	return lines
}

var errQuote = errors.New("a quote is never closed")

// split takes a line apart as a shell would: quotes and backslashes count, and # begins a comment.
func split(line string) (words []string, err error) {
	var word strings.Builder
	in, quote := false, byte(0)
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && quote != '\'' && i+1 < len(line):
			i++
			word.WriteByte(line[i])
			in = true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteByte(c)
		case c == '"' || c == '\'':
			quote, in = c, true
		case c == ' ' || c == '\t':
			if in {
				words = append(words, word.String())
				word.Reset()
				in = false
			}
		case c == '#' && !in:
			return words, nil
		default:
			word.WriteByte(c)
			in = true
		}
	}
	if quote != 0 {
		return nil, errQuote
	}
	if in {
		words = append(words, word.String())
	}
	return words, nil
}

// of says in front of an error what it is about, and keeps its hint.
func of(what string, err error) error {
	if err == nil || what == "" {
		return err
	}
	f := fault.Of(err)
	g := fault.New(f.Code, "%s: %w", what, err)
	g.Try = f.Try
	return g
}

package each

import (
	"bufio"
	"bytes"
	"io"
	"iter"
	"os"
	"strings"

	"bramble/fault"
	"bramble/term"
)

// maxInput is the longest input, in bytes.
const maxInput = 64 << 10

// Inputs yields the inputs of each run. Standard input is read as it comes when it is the only source.
func (o *Options) Inputs(stdin io.Reader) iter.Seq2[[]string, error] {
	sources := o.Sources
	if len(sources) == 0 {
		sources = []Source{{File: "-"}}
	}
	rows := o.cross(sources, stdin)
	if len(sources) == 1 {
		rows = o.single(sources[0], stdin)
	}
	return func(yield func([]string, error) bool) {
		var row []string
		n := 0
		for args, err := range rows {
			if err != nil {
				yield(nil, err)
				return
			}
			if row, n = append(row, args...), n+1; n >= o.MaxArgs {
				if !yield(row, nil) {
					return
				}
				row, n = nil, 0
			}
		}
		if n > 0 {
			yield(row, nil)
		}
	}
}

// single yields the inputs of one source, columns apart.
func (o *Options) single(s Source, stdin io.Reader) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) {
		for value, err := range s.values(stdin, o.Null) {
			if !yield(o.columns(value), err) || err != nil {
				return
			}
		}
	}
}

func (o *Options) columns(value string) []string {
	if o.Colsep == "" {
		return []string{value}
	}
	return strings.Split(value, o.Colsep)
}

// values yields what a source holds, one after the other.
func (s Source) values(stdin io.Reader, null bool) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if s.File == "" {
			for _, v := range s.Values {
				if !yield(v, nil) {
					return
				}
			}
			return
		}
		r := stdin
		if s.File != "-" {
			f, err := os.Open(s.File)
			if err != nil {
				yield("", fault.New(fault.NotFound, "the inputs can't be read: %w", err).Hint("a file with an input on each line"))
				return
			}
			defer f.Close()
			r = f
		}
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, maxInput)
		if null {
			lines.Split(untilNull)
		}
		for lines.Scan() {
			if !yield(lines.Text(), nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield("", fault.New(fault.Misused, "the inputs of %s: %w; an input has at most %s", s.File, err, term.Bytes(maxInput)))
		}
	}
}

func untilNull(data []byte, atEOF bool) (int, []byte, error) {
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// cross yields every combination of the sources, the last one changing fastest; linked ones go side by side.
func (o *Options) cross(sources []Source, stdin io.Reader) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) {
		var groups [][][]string // each a list of rows
		for i, s := range sources {
			var list []string
			for v, err := range s.values(stdin, o.Null) {
				if err != nil {
					yield(nil, err)
					return
				}
				list = append(list, v)
			}
			if i > 0 && (s.Linked || o.Link) {
				groups[len(groups)-1] = side(groups[len(groups)-1], list, o.Link && !s.Linked)
				continue
			}
			rows := make([][]string, len(list))
			for k, v := range list {
				rows[k] = []string{v}
			}
			groups = append(groups, rows)
		}
		combine(groups, nil, func(row []string) bool { return yield(row, nil) })
	}
}

// side puts a list beside rows: as many as the shorter has, or, over again, as many as the longer.
func side(rows [][]string, list []string, again bool) [][]string {
	n := min(len(rows), len(list))
	if again && n > 0 {
		n = max(len(rows), len(list))
	}
	out := make([][]string, n)
	for i := range out {
		row := rows[i%len(rows)]
		out[i] = append(row[:len(row):len(row)], list[i%len(list)])
	}
	return out
}

func combine(groups [][][]string, before []string, yield func([]string) bool) bool {
	if len(groups) == 0 {
		return yield(append([]string(nil), before...))
	}
	for _, row := range groups[0] {
		if !combine(groups[1:], append(before[:len(before):len(before)], row...), yield) {
			return false
		}
	}
	return true
}

// Split takes the sources off the words of a command line.
func Split(words []string) (command []string, sources []Source) {
	kind := ""
	for _, w := range words {
		switch w {
		case ":::", ":::+":
			kind = w
			sources = append(sources, Source{Values: []string{}, Linked: w == ":::+"})
			continue
		case "::::", "::::+":
			kind = w
			continue
		}
		switch kind {
		case "":
			command = append(command, w)
		case ":::", ":::+":
			last := &sources[len(sources)-1]
			last.Values = append(last.Values, w)
		default:
			sources = append(sources, Source{File: w, Linked: kind == "::::+"})
		}
	}
	return command, sources
}

package static

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// headersFile has fields for answers, by the path that is asked for: as Netlify and Cloudflare Pages made it a
// convention, with the limits of the latter. A block is a path, then lines of "Name: value" or, to take a field away, "! Name".
const headersFile = "_headers"

const (
	mostBlocks    = 100
	longestHeader = 2000 // bytes of a line
)

// block is a path of _headers with its fields.
type block struct {
	at     pattern
	fields []field
}

// fills reports whether values may depend on what the path's placeholders stand for.
func (b *block) fills() bool {
	return slices.ContainsFunc(b.fields, func(f field) bool { return strings.Contains(f.value, ":") })
}

// field is a line of an answer's head; take is that it is taken away.
type field struct {
	name, value string
	take        bool
}

// refused are fields that frame a message, or that the server has to get right itself.
var refused = []string{"accept-ranges", "age", "allow", "alt-svc", "connection", "content-encoding", "content-length", "content-range",
	"date", "etag", "keep-alive", "last-modified", "location", "server", "set-cookie", "te", "trailer", "transfer-encoding", "upgrade", "basic-auth"}

// parseHeaders reads the file. An error names the line.
func parseHeaders(text string) ([]block, error) {
	var all []block
	err := eachLine(headersFile, text, longestHeader, func(_ int, line string) error {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
			return nil
		case line[0] == '/':
			at, err := parsePattern(line)
			all = append(all, block{at: at})
			if len(all) > mostBlocks {
				err = fmt.Errorf("there are more than %d paths", mostBlocks)
			}
			return err
		case strings.Contains(line, "://") && !strings.ContainsAny(line[:strings.Index(line, "://")], " :"):
			return errors.New("paths with a host are not supported; a path begins with '/'")
		case len(all) == 0:
			return errors.New("there is no path above this field")
		}
		f, err := parseField(line)
		last := &all[len(all)-1]
		last.fields = append(last.fields, f)
		return err
	})
	return all, err
}

func parseField(line string) (field, error) {
	if name, ok := strings.CutPrefix(line, "!"); ok {
		f := field{name: strings.TrimSpace(name), take: true}
		return f, checkField(f)
	}
	name, value, ok := strings.Cut(line, ":")
	f := field{name: strings.TrimRight(name, " \t"), value: strings.TrimSpace(value)}
	if !ok || f.value == "" {
		return f, errors.New("a field is: Name: value")
	}
	return f, checkField(f)
}

func checkField(f field) error {
	const others = "!#$%&'*+-.^_`|~" // RFC 9110, 5.6.2
	valid := f.name != ""
	for _, c := range []byte(f.name) {
		valid = valid && (isLetter(c) || '0' <= c && c <= '9' || strings.IndexByte(others, c) >= 0)
	}
	switch {
	case !valid:
		return fmt.Errorf("%q is not a field's name", f.name)
	case slices.Contains(refused, strings.ToLower(f.name)):
		return fmt.Errorf("%s cannot be set here", f.name)
	}
	return nil
}

// fieldsFor are the fields of an answer: preset ones, changed by the blocks that fit the path, from the first to the last.
// A field that two blocks set has both values.
func fieldsFor(path string, preset []field, blocks []block) []field {
	out := slices.Clone(preset)
	var set []string // names that blocks have set
	for _, b := range blocks {
		found, ok := b.at.match(path)
		if !ok {
			continue
		}
		for _, f := range b.fields {
			i := slices.IndexFunc(out, func(g field) bool { return strings.EqualFold(f.name, g.name) })
			value := fill(f.value, found, visible)
			switch again := slices.ContainsFunc(set, func(s string) bool { return strings.EqualFold(s, f.name) }); {
			case f.take && i >= 0:
				out = slices.Delete(out, i, i+1)
			case f.take:
			case i < 0:
				out = append(out, field{name: f.name, value: value})
			case again:
				out[i].value += ", " + value
			default:
				out[i].value = value
			}
			set = append(set, f.name)
		}
	}
	return out
}

// visible is a part of a path as a field's value may have it: a name may hold what would end the line.
func visible(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return escape(s)
	}
	return s
}

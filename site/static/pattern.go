package static

import (
	"errors"
	"fmt"
	"strings"
)

// pattern is a path of _redirects or _headers: /a, /:name/b, /c/*. It is matched against decoded paths.
type pattern struct {
	text  string
	parts []part
}

// part is literal text, a placeholder for what is between two slashes, or a splat for anything.
type part struct {
	literal string
	name    string // of a placeholder, or "splat"
}

const splat = "splat"

// capture is what a placeholder stood for.
type capture struct{ name, value string }

// parsePattern reads a pattern. After a splat there is at most literal text.
func parsePattern(text string) (pattern, error) {
	p := pattern{text: text}
	if text == "" || text[0] != '/' {
		return p, errors.New("a path begins with '/'")
	}
	literal := strings.Builder{}
	flush := func() error {
		decoded, ok := decode(literal.String())
		if literal.Reset(); !ok {
			return fmt.Errorf("%s has a character or an escape that paths do not have", text)
		}
		if decoded != "" {
			p.parts = append(p.parts, part{literal: decoded})
		}
		return nil
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '*':
			if p.has(splat) {
				return p, errors.New("a path has at most one *")
			}
			if err := flush(); err != nil {
				return p, err
			}
			p.parts = append(p.parts, part{name: splat})
		case c == ':' && i+1 < len(text) && isLetter(text[i+1]):
			name := nameAt(text[i+1:])
			end := i + 1 + len(name)
			switch {
			case text[i-1] != '/' || end < len(text) && text[end] != '/':
				return p, fmt.Errorf(":%s is only a part of a name; a placeholder is all that is between two slashes", name)
			case p.has(splat):
				return p, errors.New("no placeholder may follow a *")
			case p.has(name) || name == splat:
				return p, fmt.Errorf("two placeholders are called :%s", name)
			}
			if err := flush(); err != nil {
				return p, err
			}
			p.parts = append(p.parts, part{name: name})
			i = end - 1
		default:
			literal.WriteByte(c)
		}
	}
	return p, flush()
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// nameAt is the placeholder's name that text begins with.
func nameAt(text string) string {
	end := 0
	for end < len(text) && (isLetter(text[end]) || '0' <= text[end] && text[end] <= '9' || text[end] == '_') {
		end++
	}
	return text[:end]
}

func (p *pattern) has(name string) bool {
	for _, q := range p.parts {
		if q.name == name {
			return true
		}
	}
	return false
}

// fixed reports whether the pattern is a single path.
func (p *pattern) fixed() bool { return len(p.parts) == 1 && p.parts[0].name == "" }

// match reports whether path fits, and what the placeholders stand for. /a/* fits /a as well.
func (p *pattern) match(path string) ([]capture, bool) {
	var found []capture
	for i, q := range p.parts {
		last := i == len(p.parts)-1
		switch {
		case q.name == splat:
			rest := ""
			if !last {
				rest = p.parts[i+1].literal
			}
			before, ok := strings.CutSuffix(path, rest)
			return append(found, capture{splat, before}), ok
		case q.name != "":
			end := strings.IndexByte(path, '/')
			if end < 0 {
				end = len(path)
			}
			if end == 0 {
				return nil, false
			}
			found, path = append(found, capture{q.name, path[:end]}), path[end:]
		default:
			if i+2 == len(p.parts) && p.parts[i+1].name == splat && path+"/" == q.literal {
				return append(found, capture{splat, ""}), true
			}
			after, ok := strings.CutPrefix(path, q.literal)
			if !ok {
				return nil, false
			}
			path = after
		}
	}
	return found, path == ""
}

// fill puts what placeholders stand for into text, through how.
func fill(text string, found []capture, how func(string) string) string {
	if len(found) == 0 || !strings.Contains(text, ":") {
		return text
	}
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == ':' {
			name := nameAt(text[i+1:])
			if value, ok := valueOf(found, name); ok {
				out.WriteString(how(value))
				i += len(name)
				continue
			}
		}
		out.WriteByte(text[i])
	}
	return out.String()
}

func valueOf(found []capture, name string) (string, bool) {
	for _, c := range found {
		if c.name == name {
			return c.value, true
		}
	}
	return "", false
}

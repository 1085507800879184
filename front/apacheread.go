package front

import "strings"

// apacheTree reads the form of Apache's configurations: a directive a line, sections between <Name …> and </Name>.
func apacheTree(text string) ([]*directive, error) {
	root := &directive{name: "<"}
	open := []*directive{root}
	tokens, number := 0, 0
	for len(text) > 0 {
		line, first := "", number+1
		for more := true; more; {
			var part string
			part, text, _ = strings.Cut(text, "\n")
			number++
			part, more = strings.CutSuffix(strings.TrimSuffix(part, "\r"), `\`)
			more = more && len(text) > 0
			line += part
		}
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		section := line[0] == '<'
		if section {
			if !strings.HasSuffix(line, ">") {
				return nil, unreadable(first, "a section's line ends with >")
			}
			line = strings.TrimSpace(line[1 : len(line)-1])
		}
		words, ok := apacheWords(line)
		if !ok {
			return nil, unreadable(first, "a quotation does not end")
		}
		if len(words) == 0 || words[0] == "" {
			return nil, unreadable(first, "a line without a directive")
		}
		if tokens += len(words); tokens > maxTokens {
			return nil, unreadable(first, "more than %d words", maxTokens)
		}
		name := strings.ToLower(words[0])
		inner := open[len(open)-1]
		if closed, ok := strings.CutPrefix(name, "/"); section && ok {
			if inner == root || strings.ToLower(inner.name) != "<"+closed {
				return nil, unreadable(first, "</%s> ends nothing that is open", closed)
			}
			open = open[:len(open)-1]
			continue
		}
		d := &directive{name: words[0], args: words[1:], line: first}
		if inner.body = append(inner.body, d); section {
			d.name = "<" + d.name
			if open = append(open, d); len(open) > maxDepth {
				return nil, unreadable(first, "sections within more than %d others", maxDepth)
			}
		}
	}
	if d := open[len(open)-1]; d != root {
		return nil, unreadable(d.line, "%s has no end", d.text())
	}
	return root.body, nil
}

// apacheWords are the words of a line; a backslash in a quotation takes the next quote as it is.
func apacheWords(line string) (words []string, ok bool) {
	for {
		line = strings.TrimLeft(line, " \t\v\f\r")
		if line == "" {
			return words, true
		}
		quote := line[0]
		if quote != '"' && quote != '\'' {
			end := strings.IndexAny(line, " \t\v\f\r")
			if end < 0 {
				end = len(line)
			}
			words, line = append(words, line[:end]), line[end:]
			continue
		}
		var word []byte
		i := 1
		for ; i < len(line) && line[i] != quote; i++ {
			if line[i] == '\\' && i+1 < len(line) && (line[i+1] == '\\' || line[i+1] == quote) {
				i++
			}
			word = append(word, line[i])
		}
		if i == len(line) {
			return nil, false
		}
		words, line = append(words, string(word)), line[i+1:]
	}
}

// flat are directives with those of <IfModule> in their place: of modules that it asks for, as if they were there.
func (im *importer) flat(all []*directive) (out []*directive) {
	for _, d := range all {
		switch strings.ToLower(d.name) {
		case "<ifmodule", "<ifversion", "<requireall", "<requireany":
			if !strings.HasPrefix(d.arg(0), "!") {
				out = append(out, im.flat(d.body)...)
			}
		case "<ifdefine", "<if", "<elseif", "<else", "<macro", "<iffile", "<ifdirective", "<ifsection", "<requirenone", "<limit", "<limitexcept":
			im.leave(d, "whether this holds is not known here: what is in it is not read")
		default:
			out = append(out, d)
		}
	}
	return out
}

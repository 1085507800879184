package front

import "strings"

// nginxTree reads the form of nginx's configurations: words, a semicolon or a block in braces behind them.
func nginxTree(text string) ([]*directive, error) {
	root := &directive{}
	open := []*directive{root}
	var d *directive // which is being read
	l := nginxWords{text: text, line: 1}
	for tokens := 0; ; tokens++ {
		word, mark, at, err := l.next()
		if err != nil {
			return nil, err
		}
		if tokens > maxTokens {
			return nil, unreadable(at, "more than %d words", maxTokens)
		}
		inner := open[len(open)-1]
		switch {
		case mark == 0 && d == nil:
			d = &directive{name: word, line: at}
			inner.body = append(inner.body, d)
		case mark == 0:
			d.args = append(d.args, word)
		case mark == 'e' && d != nil:
			return nil, unreadable(d.line, "%s has no ; or { behind it", d.text())
		case mark == 'e' && inner != root:
			return nil, unreadable(inner.line, "%s { has no }", inner.text())
		case mark == 'e':
			return root.body, nil
		case mark == ';' && d != nil:
			d = nil
		case mark == '{' && d != nil:
			if open = append(open, d); len(open) > maxDepth {
				return nil, unreadable(at, "blocks within more than %d others", maxDepth)
			}
			d = nil
		case mark == '}' && d == nil && inner != root:
			open = open[:len(open)-1]
		default:
			return nil, unreadable(at, "%c is not expected here", mark)
		}
	}
}

// nginxWords takes a text apart.
type nginxWords struct {
	text string
	line int
}

// next is the next word, or mark is one of ; { } or e for the end.
func (l *nginxWords) next() (word string, mark byte, line int, err error) {
	for l.text != "" {
		switch c := l.text[0]; c {
		case '\n':
			l.line++
			l.text = l.text[1:]
		case ' ', '\t', '\r':
			l.text = l.text[1:]
		case '#':
			end := strings.IndexByte(l.text, '\n')
			if end < 0 {
				end = len(l.text)
			}
			l.text = l.text[end:]
		case ';', '{', '}':
			l.text = l.text[1:]
			return "", c, l.line, nil
		default:
			line = l.line
			word, err = l.word()
			return word, 0, line, err
		}
	}
	return "", 'e', l.line, nil
}

// word reads one, in quotes or as far as nothing ends it; ${name} is part of it.
func (l *nginxWords) word() (string, error) {
	begun, quote := l.line, byte(0)
	i := 0
	if c := l.text[0]; c == '"' || c == '\'' {
		quote, i = c, 1
	}
	var word []byte
	for ; i < len(l.text); i++ {
		c := l.text[i]
		switch {
		case c == '\\' && i+1 < len(l.text):
			i++
			if strings.IndexByte(`"'\`, l.text[i]) < 0 {
				word = append(word, c)
			}
			c = l.text[i]
		case quote != 0 && c == quote:
			l.text = l.text[i+1:]
			return string(word), nil
		case quote == 0 && c == '$' && i+1 < len(l.text) && l.text[i+1] == '{':
			word = append(word, c)
			i++
			c = '{'
		case quote == 0 && strings.IndexByte(" \t\r\n;{", c) >= 0:
			l.text = l.text[i:]
			return string(word), nil
		}
		if word = append(word, c); c == '\n' {
			l.line++
		}
	}
	if quote != 0 {
		return "", unreadable(begun, "a quotation does not end")
	}
	l.text = ""
	return string(word), nil
}

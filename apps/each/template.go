package each

import (
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"bramble/fault"
)

// Template is text with GNU parallel's replacement strings:
//
//	{} the input  {.} without extension  {/} its last part  {//} its folder  {/.} last part without extension
//	{#} number of the run  {1} {2.} {3/} {1//} {1/.} of one source or column; {-1} the last one
type Template struct {
	parts []part
	uses  bool // it has a replacement string that stands for inputs
}

// part is literal text, or a replacement string.
type part struct {
	text string // literal, when how is ""
	how  string // "{}", "{.}" and so on, without a number
	arg  int    // 0: all, 1…: that one, below 0: from the end
}

var replacement = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\{(-?[0-9]+)?(//|/\.|/|\.|#|%)?\}`) })

// Parse reads a template. Its errors are fault.Misused.
func Parse(text string) (Template, error) {
	var t Template
	if strings.Contains(text, "{=") && strings.Contains(text, "=}") {
		return t, fault.New(fault.Misused, "{= … =} is Perl, which bramble each does not run").Hint("{.}, {/}, {//}, {/.}, {1} and so on, or a shell's own ${x%%.*}")
	}
	at := 0
	for _, m := range replacement().FindAllStringSubmatchIndex(text, -1) {
		p := part{}
		if m[2] >= 0 {
			p.arg, _ = strconv.Atoi(text[m[2]:m[3]])
		}
		p.how = "{}"
		if m[4] >= 0 {
			p.how = "{" + text[m[4]:m[5]] + "}"
		}
		switch {
		case p.how == "{%}":
			return t, fault.New(fault.Misused, "{%%} numbers the slots of one machine, and a cluster has no such numbers").Hint("$BRAMBLE_NODE and $BRAMBLE_TASK_ID are there in the command")
		case p.how == "{#}" && p.arg != 0, m[2] >= 0 && p.arg == 0:
			continue // not a replacement string: it stays as it is
		}
		if m[0] > at {
			t.parts = append(t.parts, part{text: text[at:m[0]]})
		}
		t.parts = append(t.parts, p)
		t.uses = t.uses || p.how != "{#}"
		at = m[1]
	}
	if at < len(text) {
		t.parts = append(t.parts, part{text: text[at:]})
	}
	return t, nil
}

// Fill puts in the inputs of a run; quoted for a shell if asked.
func (t Template) Fill(args []string, seq int, quoted bool) string {
	var b strings.Builder
	for _, p := range t.parts {
		if p.how == "" {
			b.WriteString(p.text)
			continue
		}
		b.WriteString(p.fill(args, seq, quoted))
	}
	return b.String()
}

func (p part) fill(args []string, seq int, quoted bool) string {
	if p.how == "{#}" {
		return strconv.Itoa(seq)
	}
	switch at := p.arg; {
	case at < 0 && -at <= len(args):
		args = args[len(args)+at : len(args)+at+1]
	case at > 0 && at <= len(args):
		args = args[at-1 : at]
	case at != 0:
		args = nil
	}
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = change(a, p.how)
		if quoted {
			words[i] = Quote(words[i])
		}
	}
	return strings.Join(words, " ")
}

// change is what a replacement string makes of an input.
func change(arg, how string) string {
	switch how {
	case "{.}":
		return withoutExtension(arg)
	case "{/}":
		return arg[strings.LastIndexByte(arg, '/')+1:]
	case "{//}":
		if short := strings.TrimRight(arg, "/"); short != "" {
			arg = short
		}
		return path.Dir(arg)
	case "{/.}":
		return withoutExtension(arg[strings.LastIndexByte(arg, '/')+1:])
	}
	return arg
}

// withoutExtension takes off the last dot and what follows, but not in a folder's name.
func withoutExtension(name string) string {
	if dot := strings.LastIndexByte(name, '.'); dot > strings.LastIndexByte(name, '/') {
		return name[:dot]
	}
	return name
}

// Quote writes a word so that a shell reads it as it is, in single quotes where it needs any.
func Quote(word string) string {
	special := func(r rune) bool {
		return r < ' ' || r == 0x7f || r >= 0x80 || strings.ContainsRune("\\#?`(){}[]^*<=>~|; \"!$&'", r)
	}
	if word != "" && !strings.ContainsFunc(word, special) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'"'"'`) + "'"
}

// Line is the command of a run, for a shell. A command without replacement strings gets the inputs behind it; without
// a command an input is the command.
func (t Template) Line(args []string, seq int) string {
	if len(t.parts) == 0 {
		return strings.Join(args, " ")
	}
	line := t.Fill(args, seq, true)
	if !t.uses {
		line += " " + part{how: "{}"}.fill(args, seq, true)
	}
	return line
}

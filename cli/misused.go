package cli

import (
	"errors"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"bramble/fault"
	"bramble/fleet"
)

// misused says what is wrong with a command line, and what was probably meant.
func misused(parser *kong.Kong, err error) error {
	at := parser.Model.Node
	if parse, ok := errors.AsType[*kong.ParseError](err); ok && parse.Context != nil {
		if selected := parse.Context.Selected(); selected != nil {
			at = selected
		}
	}
	if at.Parent != nil && at.Parent.DefaultCmd == at {
		at = at.Parent
	}
	what := commandPath(at)
	path := strings.TrimSpace("bramble " + what)
	text := err.Error()
	if word, ok := strings.CutPrefix(text, "unexpected argument "); ok {
		word, _, _ = strings.Cut(word, ", did you mean")
		return unexpected(at, what, path, word)
	}
	if flag, ok := strings.CutPrefix(text, "unknown flag "); ok {
		flag, _, _ = strings.Cut(flag, ", did you mean")
		return unknownFlag(at, what, path, flag)
	}
	if names, ok := strings.CutPrefix(text, "missing flags: "); ok {
		text = what + " needs " + strings.ReplaceAll(names, "=", " ")
	} else if names, ok := strings.CutPrefix(text, "expected one of "); ok {
		text = what + " needs one of " + strings.ReplaceAll(names, `"`, "")
	} else if name, ok := strings.CutPrefix(text, "expected "); ok {
		text = what + " needs " + strings.ToUpper(strings.Trim(name, `"<>. `))
	}
	text = strings.ReplaceAll(text, ": expected a valid 64 bit int but got", " takes a number, not")
	text = strings.ReplaceAll(text, `","`, `", "`)
	return fault.New(fault.Misused, "%s", text).Hint("%s --help", path)
}

// unexpected tells of a word that is no verb, or of one too many.
func unexpected(at *kong.Node, what, path, word string) error {
	var verbs []string
	for _, n := range at.Children {
		if n.Type == kong.CommandNode && !n.Hidden {
			verbs = append(verbs, n.Name)
		}
	}
	if len(verbs) == 0 {
		return fault.New(fault.Misused, "%s takes no %q: that is one word too many", what, word).Hint("%s --help", path)
	}
	f := fault.New(fault.Misused, "%s no verb %q", has(what), word)
	if near := fleet.Nearest(word, verbs); near != "" {
		return f.Hint("%s %s", path, near)
	}
	return f.Hint("%s --help for the list", path)
}

// has begins a sentence on what a verb, or bramble itself, lacks.
func has(what string) string {
	if what == "" {
		return "there is"
	}
	return what + " has"
}

func unknownFlag(at *kong.Node, what, path, flag string) error {
	var flags []string
	for _, group := range at.AllFlags(true) {
		for _, f := range group {
			flags = append(flags, "--"+f.Name)
		}
	}
	if at.DefaultCmd != nil {
		for _, f := range at.DefaultCmd.Flags {
			flags = append(flags, "--"+f.Name)
		}
	}
	f := fault.New(fault.Misused, "%s no flag %s", has(what), flag)
	if near := fleet.Nearest(flag, slices.Compact(flags)); near != "" {
		return f.Hint("%s", near)
	}
	return f.Hint("%s --help", path)
}

func commandPath(n *kong.Node) string {
	var words []string
	for ; n != nil && n.Type == kong.CommandNode; n = n.Parent {
		words = append([]string{n.Name}, words...)
	}
	return strings.Join(words, " ")
}

// afterDashes drops the -- that ends bramble's own words. A flag before it is one that bramble does not have.
func afterDashes(what string, args []string) ([]string, error) {
	switch {
	case len(args) == 0:
		return nil, nil
	case args[0] == "--":
		return args[1:], nil
	case strings.HasPrefix(args[0], "-"):
		return nil, noFlag(what, args[0])
	}
	return args, nil
}

// noFlag tells of a word before the command to run that looks like a flag.
func noFlag(what, word string) error {
	flag, _, _ := strings.Cut(word, "=")
	return fault.New(fault.Misused, "%s has no flag %s", what, flag).Hint("bramble %s --help; what is to be run comes after --", what)
}

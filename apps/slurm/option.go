package slurm

import (
	"slices"
	"strings"

	"bramble/fault"
	"bramble/fleet"
)

// value is whether an option takes one.
type value int

const (
	none   value = iota
	needed       // --opt V, --opt=V, -oV
	maybe        // --opt or --opt=V
)

// option is one of sbatch's.
type option struct {
	name  string
	short byte // 0: none
	takes value
	set   func(*Batch, string) error // nil: it cannot be honoured
	lacks string                     // then why
}

// order is what a command does with a word that is no option.
type order int

const (
	stop  order = iota // the rest is not its own: sbatch's script
	mix                // options may follow: most commands
	alone              // there may be none: a directive
)

// scan reads options by a table, calls found for each, and returns the other words.
func scan(command string, table []option, words []string, o order, found func(o option, as, text string) error) (rest []string, err error) {
	s := scanner{command, table, found}
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		switch {
		case word == "--" && o != alone:
			return append(rest, words...), nil
		case strings.HasPrefix(word, "--"):
			words, err = s.long(word[2:], words)
		case len(word) > 1 && word[0] == '-':
			words, err = s.shorts(word[1:], words)
		case o == stop:
			return append([]string{word}, words...), nil
		case o == mix:
			rest = append(rest, word)
		case word == "hetjob" || word == "packjob":
			err = fault.New(fault.Misused, "jobs of several unlike parts are not known here").Hint("submit the parts as jobs of their own")
		default:
			err = fault.New(fault.Misused, "%q is no option", clip(word)).Hint("#SBATCH --name=value, or -n value")
		}
		if err != nil {
			return nil, err
		}
	}
	return rest, nil
}

type scanner struct {
	command string
	table   []option
	found   func(o option, as, text string) error
}

// long reads one option that began with two dashes; a beginning that fits one name only is that name.
func (s scanner) long(word string, words []string) ([]string, error) {
	name, text, given := strings.Cut(word, "=")
	i := slices.IndexFunc(s.table, func(o option) bool { return o.name == name })
	if i < 0 && name != "" {
		var like []int
		for k, o := range s.table {
			if strings.HasPrefix(o.name, name) {
				like = append(like, k)
			}
		}
		if len(like) == 1 {
			i = like[0]
		}
	}
	if i < 0 {
		return nil, s.unknown(name)
	}
	o := s.table[i]
	switch {
	case o.takes == none && given:
		return nil, fault.New(fault.Misused, "--%s takes no value", o.name).Hint("--%s", o.name)
	case o.takes == needed && !given:
		if len(words) == 0 {
			return nil, fault.New(fault.Misused, "--%s needs a value", o.name).Hint("--%s=VALUE", o.name)
		}
		text, words = words[0], words[1:]
	}
	return words, s.found(o, "--"+o.name, text)
}

// shorts reads options that began with one dash: -HQ is two, -n4 has its value with it.
func (s scanner) shorts(word string, words []string) ([]string, error) {
	for word != "" {
		i := slices.IndexFunc(s.table, func(o option) bool { return o.short == word[0] })
		if i < 0 {
			return nil, fault.New(fault.Misused, "%s has no option -%s", s.command, clip(word)).Hint("%s --help", s.command)
		}
		o, dashed := s.table[i], "-"+word[:1]
		word = word[1:]
		text := ""
		if o.takes == needed {
			if text, word = strings.TrimPrefix(word, "="), ""; text == "" {
				if len(words) == 0 {
					return nil, fault.New(fault.Misused, "%s needs a value", dashed).Hint("%s VALUE, which is --%s", dashed, o.name)
				}
				text, words = words[0], words[1:]
			}
		}
		if err := s.found(o, dashed, text); err != nil {
			return nil, err
		}
	}
	return words, nil
}

func (s scanner) unknown(name string) error {
	names := make([]string, len(s.table))
	for i, o := range s.table {
		names[i] = o.name
	}
	err := fault.New(fault.Misused, "%s has no option --%s", s.command, clip(name))
	if near := fleet.Nearest(name, names); near != "" {
		return err.Hint("--%s", near)
	}
	return err.Hint("%s --help", s.command)
}

// read takes sbatch's options and returns what follows them.
func (b *Batch) read(words []string, o order) (rest []string, err error) {
	return scan("sbatch", options(), words, o, b.apply)
}

func (b *Batch) apply(o option, as, text string) error {
	if o.set == nil {
		b.warn(as + " is not honoured: " + o.lacks)
		return nil
	}
	return of(as, o.set(b, text))
}

// clip shortens what a person typed to what fits an error line.
func clip(text string) string {
	if len(text) > 60 {
		return text[:60] + "…"
	}
	return text
}

// environment reads the variables that stand for options.
func (b *Batch) environment(environ []string) error {
	table := options()
	for _, v := range environ {
		key, text, _ := strings.Cut(v, "=")
		name, ours := strings.CutPrefix(key, "SBATCH_")
		if !ours || text == "" {
			continue
		}
		i := slices.IndexFunc(table, func(o option) bool { return o.name == spelt(name) })
		if i < 0 {
			continue // sbatch passes over those that it does not know, too
		}
		b.at = key
		if err := b.apply(table[i], "--"+table[i].name, text); err != nil {
			return of(key, err)
		}
	}
	return nil
}

// spelt is the option that the rest of a SBATCH_… variable stands for.
func spelt(name string) string {
	switch name {
	case "ARRAY_INX":
		return "array"
	case "TIMELIMIT":
		return "time"
	case "MEM_PER_NODE":
		return "mem"
	}
	return strings.ToLower(strings.ReplaceAll(name, "_", "-"))
}

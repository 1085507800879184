package artefact

import (
	"path"
	"slices"
	"strings"

	"bramble/fault"
)

// IgnoreFile is the file at the top of a folder that says what of it does not travel.
const IgnoreFile = ".brambleignore"

// Ignore is what does not travel, in the language of .gitignore: a line a pattern, of which the last that
// matches counts; # begins a comment, ! takes back, a slash at the end means folders only, one before that
// ties the pattern to the top, ** stands for any folders.
type Ignore struct{ rules []rule }

type rule struct {
	parts   []string
	back    bool
	folders bool
}

// maxIgnore is how many patterns an ignore file may have.
const maxIgnore = 1000

// ParseIgnore reads an ignore file; fault.Misused for a line that is no pattern.
func ParseIgnore(text string) (Ignore, error) {
	var g Ignore
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		var r rule
		pattern := line
		if r.back = pattern[0] == '!'; r.back {
			pattern = pattern[1:]
		}
		pattern = strings.TrimPrefix(pattern, `\`) // before a # or ! that is meant
		r.folders = strings.HasSuffix(pattern, "/")
		pattern = strings.TrimSuffix(pattern, "/")
		if !strings.Contains(pattern, "/") {
			pattern = "**/" + pattern
		}
		r.parts = strings.Split(strings.TrimPrefix(pattern, "/"), "/")
		if slices.ContainsFunc(r.parts, func(part string) bool { _, err := path.Match(part, ""); return err != nil || part == "" }) {
			return g, fault.New(fault.Misused, "%s: %.100q is no pattern", IgnoreFile, line).Hint("a name, with * and ?, as in .gitignore")
		}
		if g.rules = append(g.rules, r); len(g.rules) > maxIgnore {
			return g, fault.New(fault.Misused, "%s has more than %d patterns", IgnoreFile, maxIgnore).Hint("name whole folders")
		}
	}
	return g, nil
}

// Match reports whether a path stays behind. What is in a folder that does is not asked for.
func (g Ignore) Match(name string, folder bool) bool {
	parts := strings.Split(name, "/")
	for _, r := range slices.Backward(g.rules) {
		if (folder || !r.folders) && matchParts(r.parts, parts) {
			return !r.back
		}
	}
	return false
}

// matchParts matches names with patterns, one each, of which ** matches any number.
func matchParts(patterns, names []string) bool {
	for i, p := range patterns {
		if p == "**" {
			rest := patterns[i+1:]
			if len(rest) == 0 {
				return len(names) > i
			}
			for from := i; from < len(names); from++ {
				if matchParts(rest, names[from:]) {
					return true
				}
			}
			return false
		}
		if i >= len(names) {
			return false
		}
		if ok, _ := path.Match(p, names[i]); !ok {
			return false
		}
	}
	return len(names) == len(patterns)
}

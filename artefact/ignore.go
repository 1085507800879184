package artefact

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"bramble/fault"
)

// IgnoreFile is the file in a folder that says what of it does not travel.
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

// Match reports whether a path stays behind, and whether any pattern says so or the opposite. What is in a folder
// that stays is not asked for.
func (g Ignore) Match(name string, folder bool) (stays, said bool) {
	parts := strings.Split(name, "/")
	for _, r := range slices.Backward(g.rules) {
		if (folder || !r.folders) && matchParts(r.parts, parts) {
			return !r.back, true
		}
	}
	return false, false
}

// Settle has a new folder that is no part of anybody's work, such as one with keys in it, stay behind whenever the
// folder travels that it is in. A folder in which something is already is left as it is.
func Settle(dir string) error {
	there, err := os.ReadDir(dir)
	if err != nil || len(there) > 0 {
		return err
	}
	return os.WriteFile(filepath.Join(dir, IgnoreFile), []byte("# bramble keeps its own files here, which go nowhere else.\n*\n"), 0o644)
}

// maxIgnoreFile is how long an ignore file may be, in bytes.
const maxIgnoreFile = 256 << 10

// ignores are the ignore files of a tree, by the folder that each is in; "." is the top.
type ignores map[string]Ignore

// read takes in the ignore file of a folder, if it has one.
func (all ignores) read(root *os.Root, at, as string) error {
	f, err := root.Open(path.Join(at, IgnoreFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxIgnoreFile))
	if err != nil {
		return err
	}
	all[path.Join(".", as)], err = ParseIgnore(string(text))
	return err
}

// match reports whether a path stays behind: the ignore file nearest to it counts that has a pattern for it.
func (all ignores) match(name string, folder bool) bool {
	for dir := path.Dir(name); ; dir = path.Dir(dir) {
		rest := name
		if dir != "." {
			rest = name[len(dir)+1:]
		}
		if stays, said := all[dir].Match(rest, folder); said {
			return stays
		}
		if dir == "." {
			return false
		}
	}
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

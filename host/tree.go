package host

import (
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// tree reads the small text files of /proc, /sys and /etc under a root, and
// remembers which of the expected ones it could not read.
type tree struct {
	fs      fs.FS
	missing []string
}

func newTree(root string) *tree { return &tree{fs: os.DirFS(root)} }

// text is a file's content without the NULs and white space around it; "" notes the file as missing.
func (t *tree) text(path string) string {
	s, ok := t.look(path)
	if !ok {
		t.missing = append(t.missing, "/"+path)
	}
	return s
}

// maybe is text for a file that many machines do not have.
func (t *tree) maybe(path string) string {
	s, _ := t.look(path)
	return s
}

func (t *tree) look(path string) (string, bool) {
	data, err := fs.ReadFile(t.fs, path)
	if err != nil {
		return "", false
	}
	return strings.Trim(string(data), "\x00 \t\r\n"), true
}

func (t *tree) has(path string) bool {
	_, err := fs.Stat(t.fs, path)
	return err == nil
}

// integer is the number in a file, 0 when there is none.
func (t *tree) integer(path string) int64 {
	n, _ := strconv.ParseInt(t.maybe(path), 10, 64)
	return n
}

func (t *tree) glob(pattern string) []string {
	names, _ := fs.Glob(t.fs, pattern)
	return names
}

// pairs splits lines of "key<sep>value"; of a key that comes twice the last value stays.
func pairs(text, sep string) map[string]string {
	found := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, sep); ok {
			found[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	return found
}

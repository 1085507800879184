package artefact

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"bramble/fault"
	"bramble/trust"
)

// Limit bounds what a folder may hold that travels as a whole; zero means no limit.
type Limit struct {
	Bytes int64
	Files int
}

// ErrTooLarge is wrapped by the fault.Full of a folder beyond its Limit; nothing of it was read.
var ErrTooLarge = errors.New("too large to travel by itself")

func (l Limit) check(files int, bytes int64) error {
	if l.Bytes > 0 && bytes > l.Bytes || l.Files > 0 && files > l.Files {
		return fault.New(fault.Full, "%w", ErrTooLarge)
	}
	return nil
}

// never names what is not part of anybody's work: neither the submission's folder nor what comes back brings it.
func never(name string) bool {
	switch path.Base(name) {
	case ".git", ".hg", ".svn", "__pycache__":
		return true
	}
	return strings.HasPrefix(path.Base(name), tempPrefix)
}

// ScanFolder reads what is in a folder, but for client files and what an IgnoreFile in it names. It gives up with
// ErrTooLarge as soon as there is more than the limit allows.
func ScanFolder(ctx context.Context, dir string, limit Limit) (*Tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, blame(err, "read %s", dir)
	}
	tree, ignore := &Tree{roots: []*os.Root{root}}, ignores{}
	s := &scan{limit: limit, enter: ignore.read, leave: func(name string, mode fs.FileMode) (string, bool) {
		if isClientFile(name) && mode.IsRegular() {
			return "a client file, which lets in whoever has it", true
		}
		return "", never(name) || ignore.match(name, mode.IsDir())
	}}
	if err = s.add(ctx, root, ".", ""); err == nil {
		return s.finish(ctx, tree)
	}
	return nil, errors.Join(blame(err, "read %s", dir), tree.Close())
}

// isClientFile reports whether a file is called as client files are.
func isClientFile(name string) bool { return strings.HasSuffix(name, trust.ClientFileExt) }

// ScanChanges reads what in root is new or differs from base, and the folders that it is in. What is gone is not
// told. With globs, only files that one of them matches count. root stays the caller's.
func ScanChanges(ctx context.Context, root *os.Root, base Manifest, globs []string, limit Limit) (*Tree, error) {
	s := &scan{limit: limit, leave: func(name string, mode fs.FileMode) (string, bool) {
		const unfit = fs.ModeDevice | fs.ModeSocket | fs.ModeNamedPipe // a layer marks with devices what is gone
		return "", never(name) || mode&unfit != 0 || !mode.IsDir() && !matches(globs, name)
	}}
	if err := s.add(ctx, root, ".", ""); err != nil {
		return nil, blame(err, "look for changed files")
	}
	tree, err := s.finish(ctx, &Tree{})
	if err == nil {
		tree.Manifest = tree.Manifest.Against(base, len(globs) == 0)
	}
	return tree, err
}

// matches reports whether a glob names the file or a folder that it is in; no globs match all.
func matches(globs []string, name string) bool {
	if len(globs) == 0 {
		return true
	}
	for ; name != "."; name = path.Dir(name) {
		if slices.ContainsFunc(globs, func(g string) bool { ok, _ := path.Match(path.Clean(g), name); return ok }) {
			return true
		}
	}
	return false
}

// Against is what in m is new or differs from base, with the folders that it is in, and with empty the folders that are new.
func (m Manifest) Against(base Manifest, empty bool) Manifest {
	old := base.byPath()
	wanted := map[string]bool{}
	for _, e := range m.Entries {
		if was, known := old[e.Path]; known && e == was || e.isDir() && (known || !empty) {
			continue
		}
		for p := e.Path; p != "." && !wanted[p]; p = path.Dir(p) {
			wanted[p] = true
		}
	}
	var out Manifest
	for _, e := range m.Entries {
		if wanted[e.Path] {
			out.Entries = append(out.Entries, e)
		}
	}
	return out
}

func (m Manifest) byPath() map[string]Entry {
	index := make(map[string]Entry, len(m.Entries))
	for _, e := range m.Entries {
		index[e.Path] = e
	}
	return index
}

// Sum is how many files and links a tree has, and how many bytes.
func (m Manifest) Sum() (files int, bytes int64) {
	end := sumOf(m)
	return end.Files, end.Bytes
}

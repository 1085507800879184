package artefact

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"bramble/fault"
)

// Tree is what Scan found: a manifest, and the files it was made from.
type Tree struct {
	Manifest Manifest
	Skipped  []Skipped
	files    map[Ref]*item
	roots    []*os.Root // opened by Scan, closed by Close
}

// Skipped is something that cannot be copied, and why.
type Skipped struct {
	Path string
	Why  string // such as "a socket"
}

// item is one file, folder or link where it was found.
type item struct {
	Entry
	root *os.Root
	at   string // path inside root
	info fs.FileInfo
}

// Scan reads files and folders, named as on a command line, into a tree whose tops have the sources' last
// names; DIR/. stands for the content of DIR. A source that is a link is followed, links inside are kept.
// Two sources of the same name are fault.Misused, a file that changes meanwhile is fault.Conflict. The caller closes the Tree.
func Scan(ctx context.Context, sources []string) (*Tree, error) {
	s := &scan{}
	roots := map[string]*os.Root{}
	tree := &Tree{}
	for _, source := range sources {
		dir, at, as, err := locate(source)
		if err == nil && roots[dir] == nil {
			roots[dir], err = os.OpenRoot(dir)
			if err == nil {
				tree.roots = append(tree.roots, roots[dir])
			}
		}
		if err == nil {
			err = s.add(ctx, roots[dir], at, as)
		}
		if err != nil {
			tree.Close()
			return nil, blame(err, "read %s", source)
		}
	}
	return s.finish(ctx, tree)
}

// locate splits a source into the folder to open, the path in it and the name in the tree.
func locate(source string) (dir, at, as string, err error) {
	real, err := filepath.EvalSymlinks(source)
	if err != nil {
		return "", "", "", err
	}
	if isContent(filepath.ToSlash(source)) {
		return real, ".", "", nil
	}
	return filepath.Dir(real), filepath.Base(real), filepath.Base(source), nil
}

// ScanRoot reads paths of root, with all that is below them and the folders they are in, into a tree
// with the same paths. Nothing outside root is read, whatever links someone put there. root stays the caller's.
func ScanRoot(ctx context.Context, root *os.Root, paths []string) (*Tree, error) {
	s := &scan{}
	for _, p := range paths {
		as := p
		if p == "." {
			as = ""
		} else if err := checkPath(p); err != nil {
			return nil, err
		}
		if err := s.parents(root, p); err != nil {
			return nil, blame(err, "read %s", p)
		}
		if err := s.add(ctx, root, p, as); err != nil {
			return nil, blame(err, "read %s", p)
		}
	}
	return s.finish(ctx, &Tree{})
}

// Add puts what another tree has into this one; the other is to stay open as long. fault.Misused when both have a path.
func (t *Tree) Add(other *Tree) error {
	all := append(slices.Clone(t.Manifest.Entries), other.Manifest.Entries...)
	sortEntries(all)
	for i := 1; i < len(all); i++ {
		if all[i].Path == all[i-1].Path {
			return fault.New(fault.Misused, "two sources would both be named %s", all[i].Path).Hint("give one of them another name")
		}
	}
	t.Manifest.Entries = all
	for ref, x := range other.files {
		if t.files[ref] == nil {
			t.files[ref] = x
		}
	}
	return nil
}

// Close closes what Scan opened.
func (t *Tree) Close() error {
	var err error
	for _, r := range t.roots {
		err = errors.Join(err, r.Close())
	}
	return err
}

// Open returns the file that has the content ref. fault.Conflict when it is no longer the file that was scanned.
func (t *Tree) Open(ref Ref) (*os.File, int64, error) {
	x, ok := t.files[ref]
	if !ok {
		return nil, 0, fault.New(fault.NotFound, "blob %s is not in this tree", ref.short())
	}
	f, info, err := x.open()
	if errors.Is(err, fs.ErrNotExist) {
		err = changed(x.Path)
	}
	if err != nil {
		return nil, 0, err
	}
	if !unchanged(x.info, info) {
		f.Close()
		return nil, 0, changed(x.Path)
	}
	return f, info.Size(), nil
}

// Import puts all files of the tree into the store, then its manifest, whose ref it returns.
func (t *Tree) Import(ctx context.Context, s *Store) (Ref, error) {
	blobs := t.Manifest.Blobs()
	err := parallel(ctx, runtime.GOMAXPROCS(0), len(blobs), func(ctx context.Context, i int) error {
		f, size, err := t.Open(blobs[i].Ref)
		if err != nil {
			return err
		}
		defer f.Close()
		_, _, err = s.Put(ctx, io.LimitReader(f, size+1), blobs[i].Ref)
		if errors.Is(err, ErrMismatch) {
			return changed(t.files[blobs[i].Ref].Path)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	return s.PutManifest(ctx, t.Manifest)
}

func changed(name string) error {
	return fault.New(fault.Conflict, "%s changed while it was read", name).Hint("stop what writes to it, or send a copy of it")
}

func unchanged(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// scan collects what is found; the files are read at the end.
type scan struct {
	items   []*item
	skipped []Skipped
	enter   func(root *os.Root, at, as string) error                  // called before a folder is read; nil: nothing
	leave   func(name string, mode fs.FileMode) (why string, is bool) // what stays behind, and what to say of it; nil: nothing
	limit   Limit
	files   int
	bytes   int64
}

// add walks from at, which is called as in the tree; as is "" for the content of a folder alone.
func (s *scan) add(ctx context.Context, root *os.Root, at, as string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	info, err := root.Lstat(at)
	if err != nil {
		return err
	}
	if as != "" && s.leave != nil {
		if why, is := s.leave(as, info.Mode()); is {
			if why != "" {
				s.skip(as, why)
			}
			return nil
		}
	}
	x := &item{root: root, at: at, info: info}
	x.Path, x.Mode = as, uint32(info.Mode()&(fs.ModePerm|kinds|special))
	switch info.Mode().Type() {
	case 0:
		x.Size = info.Size()
	case fs.ModeDir:
		return s.folder(ctx, x)
	case fs.ModeSymlink:
		x.Mode = uint32(fs.ModeSymlink | 0o777) // a link's own bits differ between systems and mean nothing
		if x.Link, err = root.Readlink(at); err != nil {
			return err
		}
		if !cleanText(x.Link) {
			s.skip(as, "a link whose target is not UTF-8")
			return nil
		}
	default:
		s.skip(as, kindOf(info.Mode()))
		return nil
	}
	return s.keep(x)
}

func (s *scan) folder(ctx context.Context, x *item) error {
	if x.Path != "" {
		if err := s.keep(x); err != nil {
			return err
		}
	}
	if s.enter != nil {
		if err := s.enter(x.root, x.at, x.Path); err != nil {
			return err
		}
	}
	d, err := x.root.OpenFile(x.at, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	if err := errors.Join(err, d.Close()); err != nil {
		return err
	}
	for _, name := range names {
		as := path.Join(x.Path, name)
		if !cleanText(name) {
			s.skip(as, "a name that is not UTF-8")
			continue
		}
		err := s.add(ctx, x.root, path.Join(x.at, name), as)
		if errors.Is(err, fs.ErrNotExist) {
			s.skip(as, gone)
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (s *scan) keep(x *item) error {
	if err := checkPath(x.Path); err != nil {
		return err
	}
	if len(s.items) >= MaxEntries {
		return fault.New(fault.Misused, "more than %d files in one tree", MaxEntries).Hint("send it in parts, or as an archive")
	}
	if !x.isDir() {
		s.files, s.bytes = s.files+1, s.bytes+x.Size
	}
	if err := s.limit.check(s.files, s.bytes); err != nil {
		return err
	}
	s.items = append(s.items, x)
	return nil
}

// gone is why something is skipped that was there when its folder was read.
const gone = "it was removed meanwhile"

func (s *scan) skip(name, why string) { s.skipped = append(s.skipped, Skipped{name, why}) }

// parents adds the folders that a path is in.
func (s *scan) parents(root *os.Root, p string) error {
	for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
		info, err := root.Lstat(dir)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return fault.New(fault.Misused, "%s is not a folder", dir)
		}
		x := &item{root: root, at: dir, info: info}
		x.Path, x.Mode = dir, uint32(info.Mode()&(fs.ModePerm|kinds|special))
		if err := s.keep(x); err != nil {
			return err
		}
	}
	return nil
}

// finish reads the files and fills the tree, which it closes on error.
func (s *scan) finish(ctx context.Context, t *Tree) (*Tree, error) {
	err := s.unique()
	lost := make([]bool, len(s.items))
	if err == nil {
		err = parallel(ctx, runtime.GOMAXPROCS(0), len(s.items), func(ctx context.Context, i int) error {
			err := s.items[i].hash(ctx)
			if lost[i] = errors.Is(err, fs.ErrNotExist); lost[i] {
				return nil
			}
			return err
		})
	}
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	t.files = map[Ref]*item{}
	for i, x := range s.items {
		if lost[i] {
			s.skip(x.Path, gone)
			continue
		}
		t.Manifest.Entries = append(t.Manifest.Entries, x.Entry)
		if x.isFile() {
			t.files[x.Ref] = x
		}
	}
	t.Skipped = s.skipped
	return t, nil
}

// unique sorts what was found and drops what was found twice; two things of one path are fault.Misused.
func (s *scan) unique() error {
	slices.SortStableFunc(s.items, func(a, b *item) int { return strings.Compare(a.Path, b.Path) })
	for i := 1; i < len(s.items); i++ {
		if a, b := s.items[i-1], s.items[i]; a.Path == b.Path && !os.SameFile(a.info, b.info) {
			return fault.New(fault.Misused, "two sources would both be named %s", a.Path).Hint("push them one after the other")
		}
	}
	s.items = slices.CompactFunc(s.items, func(a, b *item) bool { return a.Path == b.Path })
	return nil
}

// hash reads the file until it holds still, at most three times.
func (x *item) hash(ctx context.Context) error {
	if !x.isFile() {
		return nil
	}
	for range 3 {
		still, err := x.read(ctx)
		if err != nil || still {
			return blame(err, "read %s", x.Path)
		}
	}
	return changed(x.Path)
}

// read hashes the file once and reports whether it held still.
func (x *item) read(ctx context.Context) (bool, error) {
	f, before, err := x.open()
	if err != nil {
		return false, err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := copyBytes(ctx, sum, io.LimitReader(f, before.Size()+1), before.Size()) // it may grow as fast as we read
	if err != nil {
		return false, err
	}
	after, err := f.Stat()
	if err != nil {
		return false, err
	}
	x.info, x.Ref, x.Size = after, refOf(sum), n
	return unchanged(before, after) && n == after.Size(), nil
}

// open opens the file that was found, and nothing that took its place: a pipe there would block for ever.
func (x *item) open() (*os.File, fs.FileInfo, error) {
	f, err := x.root.OpenFile(x.at, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !(info.Mode().IsRegular() && os.SameFile(info, x.info)) {
		err = changed(x.Path)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "neither file, folder nor link"
}

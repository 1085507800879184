package artefact

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"

	"bramble/fault"
)

// PlaceOptions say how a tree is laid out.
type PlaceOptions struct {
	As        string // new name of the tree's one top entry; "" keeps names
	Overwrite bool   // replace files and links that differ; folders are always merged
	Owner     *Owner // who gets what is made; nil: the calling process's account
	Special   bool   // keep setuid, setgid and sticky bits
	NoSync    bool   // for folders that need not survive a power cut: faster
}

// Source has the blobs of a tree that is laid out, as a Store has.
type Source interface {
	// Has returns those of refs that it lacks.
	Has(refs []Ref) []Ref
	// Copy writes a blob, verified: after an error what w got is worthless.
	Copy(ctx context.Context, w io.Writer, ref Ref) (int64, error)
}

// Owner is an account by its numbers.
type Owner struct{ UID, GID int }

// Place lays the tree m out in the folder dir, which is made when it is missing.
// Each file appears whole and verified or not at all. A file that is there with the same content is left alone,
// and with Overwrite gets m's mode. Folders that are there keep their modes. fault.Conflict, before anything is
// written, when something else is there; fault.NotFound when a blob is missing or damaged.
// Whatever links stand in dir, nothing outside it is touched; dir itself may be reached through links.
func Place(ctx context.Context, s Source, m Manifest, dir string, o PlaceOptions) error {
	if err := Validate(m); err != nil {
		return err
	}
	if o.As != "" {
		var err error
		if m, err = m.Renamed(o.As); err != nil {
			return err
		}
	}
	root, err := openDir(dir, o.Owner)
	if err != nil {
		return blame(err, "write to %s", dir)
	}
	defer root.Close()
	p := &placing{s: s, root: root, o: o}
	err = p.survey(ctx, m)
	if err == nil {
		err = p.missing()
	}
	if err == nil {
		err = p.all(ctx)
	}
	return blame(err, "write to %s", dir)
}

// openDir opens the folder that receives a tree; the last folder of the path, when made, is the owner's.
func openDir(dir string, owner *Owner) (*os.Root, error) {
	_, err := os.Stat(dir)
	fresh := errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil || !fresh || owner == nil {
		return root, err
	}
	if err := root.Lchown(".", owner.UID, owner.GID); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return root, nil
}

// placing is one tree being laid out.
type placing struct {
	s       Source
	root    *os.Root
	o       PlaceOptions
	folders []Entry // to make, parents first
	files   []Entry // files and links to write
	modes   []Entry // files that are there and get their mode
}

// survey looks at what stands where the tree goes and decides what to write, before anything is.
func (p *placing) survey(ctx context.Context, m Manifest) error {
	for _, e := range m.Entries {
		have, same, err := p.look(ctx, e)
		if err != nil {
			return err
		}
		switch settle(e.FileMode().Type(), have, same, p.o.Overwrite) {
		case clash:
			return fault.New(fault.Conflict, "%q is in the way: it is %s", e.Path, nameOf(have)).Hint("remove it, or choose another destination")
		case taken:
			return fault.New(fault.Conflict, "%q exists already and differs", e.Path).Hint("choose another destination, or allow overwriting")
		case write:
			if e.isDir() {
				p.folders = append(p.folders, e)
			} else {
				p.files = append(p.files, e)
			}
		case leave:
			if e.isFile() && p.o.Overwrite {
				p.modes = append(p.modes, e)
			}
		}
	}
	return nil
}

// look tells the type of what stands at e's path, absent when nothing does, and whether it equals e.
func (p *placing) look(ctx context.Context, e Entry) (have fs.FileMode, same bool, err error) {
	info, err := p.root.Lstat(e.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return absent, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	switch have = info.Mode().Type(); {
	case e.isLink() && have == fs.ModeSymlink:
		link, err := p.root.Readlink(e.Path)
		return have, link == e.Link, err
	case e.isFile() && have == 0 && info.Size() == e.Size:
		x := &item{root: p.root, at: e.Path, info: info}
		x.Path = e.Path
		err := x.hash(ctx)
		return have, x.Ref == e.Ref, err
	}
	return have, false, nil
}

// missing reports the blobs that would be needed and are not in the store.
func (p *placing) missing() error {
	var refs []Ref
	for _, e := range p.files {
		if e.isFile() {
			refs = append(refs, e.Ref)
		}
	}
	if refs = p.s.Has(refs); len(refs) > 0 {
		return fault.New(fault.NotFound, "%d blobs are not in this store, the first is %s", len(refs), refs[0].short())
	}
	return nil
}

// all makes folders, then files, then gives folders their modes, which may forbid to write in them.
func (p *placing) all(ctx context.Context) error {
	for _, e := range p.folders {
		err := p.root.Mkdir(e.Path, e.FileMode().Perm()|0o700)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	err := parallel(ctx, 4, len(p.files), func(ctx context.Context, i int) error {
		e := p.files[i]
		if e.isLink() {
			return blame(bare(p.link(e)), "%q", e.Path)
		}
		return blame(bare(p.file(ctx, e)), "%q", e.Path)
	})
	if err != nil {
		return err
	}
	for _, e := range p.modes {
		if err := p.dress(e, os.O_RDONLY|syscall.O_NONBLOCK); err != nil {
			return err
		}
	}
	if err := p.sync(); err != nil {
		return err
	}
	for _, e := range slices.Backward(p.folders) {
		if err := p.dress(e, os.O_RDONLY|syscall.O_DIRECTORY); err != nil {
			return err
		}
	}
	return nil
}

// file writes one file beside its place and renames it.
func (p *placing) file(ctx context.Context, e Entry) (err error) {
	temp := tempName(e.Path)
	f, err := p.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			p.root.Remove(temp)
		}
	}()
	n, err := p.copy(ctx, f, e.Ref)
	if err != nil {
		return err
	}
	if n != e.Size {
		return fault.New(fault.Misused, "it should have %d bytes, but its blob %s has %d", e.Size, e.Ref.short(), n)
	}
	if err := p.own(f, e); err != nil {
		return err
	}
	if !p.o.NoSync {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	return p.root.Rename(temp, e.Path)
}

// copy writes a blob's bytes into f, and has them go to the disk meanwhile if that is where they are to be.
func (p *placing) copy(ctx context.Context, f *os.File, ref Ref) (int64, error) {
	if p.o.NoSync {
		return p.s.Copy(ctx, f, ref)
	}
	out := newFlushing(f, f)
	n, err := p.s.Copy(ctx, out, ref)
	return n, cmp.Or(err, out.wait())
}

// bare is err without the passing name that a file has while it is written.
func bare(err error) error {
	switch wrong := err.(type) {
	case *fs.PathError:
		return wrong.Err
	case *os.LinkError:
		return wrong.Err
	}
	return err
}

// link makes one symbolic link beside its place and renames it.
func (p *placing) link(e Entry) error {
	temp := tempName(e.Path)
	if err := p.root.Symlink(e.Link, temp); err != nil {
		return err
	}
	var err error
	if p.o.Owner != nil {
		err = p.root.Lchown(temp, p.o.Owner.UID, p.o.Owner.GID)
	}
	if err == nil {
		err = p.root.Rename(temp, e.Path)
	}
	if err != nil {
		p.root.Remove(temp)
	}
	return err
}

// dress gives what is at e's path its owner and mode; a folder's new names become durable with them.
func (p *placing) dress(e Entry, flags int) error {
	f, err := p.root.OpenFile(e.Path, flags, 0)
	if err != nil {
		return err
	}
	err = p.own(f, e)
	if err == nil && !p.o.NoSync {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// own sets owner, then mode: changing the owner clears setuid and setgid.
func (p *placing) own(f *os.File, e Entry) error {
	if p.o.Owner != nil {
		if err := f.Chown(p.o.Owner.UID, p.o.Owner.GID); err != nil {
			return err
		}
	}
	mode := e.FileMode() & fs.ModePerm
	if p.o.Special {
		mode |= e.FileMode() & special
	}
	return f.Chmod(mode)
}

// sync makes new names in folders that were there before survive a power cut; dress does it for the others.
func (p *placing) sync() error {
	if p.o.NoSync {
		return nil
	}
	fresh, old := map[string]bool{}, map[string]bool{}
	for _, e := range p.folders {
		fresh[e.Path] = true
	}
	for _, e := range slices.Concat(p.folders, p.files) {
		if dir := path.Dir(e.Path); !fresh[dir] {
			old[dir] = true
		}
	}
	for dir := range old {
		d, err := p.root.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY, 0)
		if errors.Is(err, fs.ErrPermission) {
			continue // one may write into a folder that one may not open
		}
		if err != nil {
			return err
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			return err
		}
	}
	return nil
}

// tempPrefix begins the names of files that are being written.
const tempPrefix = ".bramble-"

// tempName is a name beside p that nobody else has; one that is left over after a crash starts with ".bramble-".
func tempName(p string) string {
	return path.Join(path.Dir(p), tempPrefix+rand.Text())
}

func nameOf(mode fs.FileMode) string {
	switch mode {
	case 0:
		return "a file"
	case fs.ModeDir:
		return "a folder"
	case fs.ModeSymlink:
		return "a link"
	}
	return kindOf(mode)
}

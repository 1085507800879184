package site

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"bramble/fault"
)

// Caps on what an archive may unfold to, besides MaxFiles and MaxBytes.
const (
	ratioFrom = 64 << 20 // bytes from which the ratio counts
	maxRatio  = 200      // bytes out of one byte in; texts have 10, zeros 1000
	maxLink   = 4096     // bytes of a link's target
)

// unpacking is an archive on its way into a folder.
type unpacking struct {
	ctx  context.Context
	name string // of the archive, for messages
	root *os.Root
	in   func() int64 // bytes of the archive read so far
	out  int64        // bytes written
	n    int          // entries
	has  map[string]byte
	at   string // the entry at work
}

// Kinds of what is unpacked already.
const (
	aFile   = 'f'
	aFolder = 'd'
	aLink   = 'l'
)

// unpack unfolds an archive, told by its first bytes, into the folder dir. What is wrong with an entry is said with its name.
func unpack(ctx context.Context, f *os.File, name, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	u := &unpacking{ctx: ctx, name: name, root: root, has: map[string]byte{}}
	raw := &counted{r: f}
	u.in = func() int64 { return raw.n }
	in := bufio.NewReaderSize(raw, 64<<10)
	magic, _ := in.Peek(512)
	switch {
	case bytes.HasPrefix(magic, []byte("PK")):
		return u.zip(f)
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(in)
		if err != nil {
			return u.broken(err)
		}
		return u.tar(z)
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(128<<20))
		if err != nil {
			return u.broken(err)
		}
		defer z.Close()
		return u.tar(z)
	case len(magic) == 512 && string(magic[257:262]) == "ustar":
		return u.tar(in)
	}
	return fault.New(fault.Misused, "%s is no archive of a kind that is known here", name).Hint("a folder, or a .tar, .tar.gz, .tar.zst or .zip")
}

type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// tarEnd is how many zeros end a tar archive; one that was cut between two entries has none.
const tarEnd = 1024

// tail counts the zeros that came last.
type tail struct {
	r io.Reader
	n int
}

func (t *tail) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	rest := bytes.TrimRight(p[:n], "\x00")
	if len(rest) > 0 {
		t.n = 0
	}
	t.n += n - len(rest)
	return n, err
}

// tar unpacks what a tar archive yields.
func (u *unpacking) tar(r io.Reader) error {
	zeros := &tail{r: r}
	t := tar.NewReader(zeros)
	for {
		h, err := t.Next()
		if err == io.EOF {
			_, err = io.Copy(io.Discard, io.LimitReader(zeros, 1<<20)) // what is behind proves the checksum
			if err == nil && zeros.n < tarEnd {
				err = io.ErrUnexpectedEOF
			}
			if err == nil {
				return nil
			}
		}
		if err != nil {
			return u.broken(err)
		}
		switch h.Typeflag {
		case tar.TypeXGlobalHeader:
			continue
		case tar.TypeDir:
			err = u.folder(h.Name)
		case tar.TypeReg:
			err = u.file(h.Name, h.FileInfo().Mode(), t)
		case tar.TypeSymlink:
			err = u.link(h.Name, h.Linkname)
		case tar.TypeLink:
			err = u.same(h.Name, h.Linkname)
		default:
			err = u.refuse(h.Name, "is a device, a pipe or something else that no site has")
		}
		if err != nil {
			return err
		}
	}
}

// zip unpacks a zip archive.
func (u *unpacking) zip(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	u.in = info.Size
	z, err := zip.NewReader(f, info.Size())
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return u.broken(err)
	}
	for _, e := range z.File {
		switch mode := e.Mode(); {
		case strings.HasSuffix(e.Name, "/"):
			err = u.folder(e.Name)
		case mode.IsRegular():
			err = u.zipped(e, func(r io.Reader) error { return u.file(e.Name, mode, r) })
		case mode.Type() == fs.ModeSymlink:
			err = u.zipped(e, func(r io.Reader) error {
				target, err := io.ReadAll(io.LimitReader(r, maxLink+1))
				if err != nil {
					return u.broken(err)
				}
				return u.link(e.Name, string(target))
			})
		default:
			err = u.refuse(e.Name, "is a device, a pipe or something else that no site has")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacking) zipped(e *zip.File, use func(io.Reader) error) error {
	u.at = e.Name
	r, err := e.Open()
	if err != nil {
		return u.broken(err)
	}
	defer r.Close()
	return use(r)
}

// enter checks an entry's name and the folders it is in, and returns the clean name; "" is the top.
func (u *unpacking) enter(name string) (string, error) {
	u.at = name
	if err := u.ctx.Err(); err != nil {
		return "", fault.New(fault.Interrupted, "interrupted while unpacking %s", u.name)
	}
	if u.n++; u.n > MaxFiles {
		return "", u.refuse(name, "is one entry more than the %d that a site may have", MaxFiles)
	}
	switch clean := path.Clean(name); {
	case name == "" || !utf8.ValidString(name) || strings.ContainsRune(name, 0):
		return "", u.refuse(name, "has a name that is not UTF-8, or a NUL in it")
	case strings.HasPrefix(name, "/"):
		return "", u.refuse(name, "has a path from the root")
	case strings.Contains(name, `\`):
		return "", u.refuse(name, `has a \ in its name, which is no part of an address`)
	case strings.Contains("/"+name+"/", "/../"):
		return "", u.refuse(name, "leads out of the folder")
	case clean == ".":
		return "", nil
	default:
		return clean, u.parents(clean)
	}
}

// parents makes the folders that an entry is in.
func (u *unpacking) parents(name string) error {
	dir := path.Dir(name)
	if dir == "." || u.has[dir] == aFolder {
		return nil
	}
	switch u.has[dir] {
	case aLink:
		return u.refuse(name, "is below a link")
	case aFile:
		return u.refuse(name, "is below a file")
	}
	if err := u.parents(dir); err != nil {
		return err
	}
	return u.mkdir(dir)
}

func (u *unpacking) mkdir(name string) error {
	if err := u.root.Mkdir(name, 0o755); err != nil {
		return fmt.Errorf("unpack %s: %w", name, err)
	}
	u.has[name] = aFolder
	return nil
}

func (u *unpacking) folder(name string) error {
	clean, err := u.enter(name)
	if err != nil || clean == "" || u.has[clean] == aFolder {
		return err
	}
	if u.has[clean] != 0 {
		return u.refuse(name, "comes twice")
	}
	return u.mkdir(clean)
}

// fresh is enter for what may come only once.
func (u *unpacking) fresh(name string, kind byte) (string, error) {
	clean, err := u.enter(name)
	if err == nil && (clean == "" || u.has[clean] != 0) {
		err = u.refuse(name, "comes twice")
	}
	u.has[clean] = kind
	return clean, err
}

func (u *unpacking) file(name string, mode fs.FileMode, r io.Reader) error {
	clean, err := u.fresh(name, aFile)
	if err != nil {
		return err
	}
	perm := fs.FileMode(0o644)
	if mode&0o111 != 0 {
		perm = 0o755
	}
	f, err := u.root.OpenFile(clean, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if errors.Is(err, fs.ErrExist) {
		return u.refuse(name, "comes twice, as far as this disk can tell")
	}
	if err != nil {
		return fmt.Errorf("unpack %s: %w", clean, err)
	}
	err = u.fill(f, r)
	return errors.Join(err, f.Close())
}

// fill writes a file's bytes while they are within the caps.
func (u *unpacking) fill(f *os.File, r io.Reader) error {
	buf := make([]byte, 128<<10)
	for {
		n, err := r.Read(buf)
		u.out += int64(n)
		switch {
		case u.out > MaxBytes:
			return u.refuse(u.at, "makes it more than the %d GB that a site may have", MaxBytes>>30)
		case u.out > ratioFrom && u.out/maxRatio > u.in():
			return u.refuse(u.at, "unfolds to more than %d times what it takes in the archive, as no real site does", maxRatio)
		}
		if _, err := f.Write(buf[:n]); err != nil {
			return fmt.Errorf("unpack %s: %w", u.at, err)
		}
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = u.ctx.Err()
		}
		if err != nil {
			return u.broken(err)
		}
	}
}

func (u *unpacking) link(name, target string) error {
	clean, err := u.fresh(name, aLink)
	if err != nil {
		return err
	}
	to := path.Join(path.Dir(clean), target)
	if target == "" || len(target) > maxLink || path.IsAbs(target) || to == ".." || strings.HasPrefix(to, "../") || !utf8.ValidString(target) {
		return u.refuse(name, "is a link to %.200q, outside of the site", target)
	}
	if err := u.root.Symlink(target, clean); err != nil {
		return fmt.Errorf("unpack %s: %w", clean, err)
	}
	return nil
}

// same makes a hard link, which tar has for a file that came before under another name.
func (u *unpacking) same(name, target string) error {
	clean, err := u.fresh(name, aFile)
	if err != nil {
		return err
	}
	if u.has[path.Clean(target)] != aFile {
		return u.refuse(name, "is a link to %.200q, which is no file before it", target)
	}
	if err := u.root.Link(path.Clean(target), clean); err != nil {
		return fmt.Errorf("unpack %s: %w", clean, err)
	}
	return nil
}

// refuse says what is wrong with an entry.
func (u *unpacking) refuse(name, format string, args ...any) error {
	return fault.New(fault.Misused, "%.200q in %s %s", name, u.name, fmt.Sprintf(format, args...)).Hint("nothing was published; make the archive without it")
}

// broken says where an archive cannot be read any further.
func (u *unpacking) broken(err error) error {
	where := "at its beginning"
	if u.at != "" {
		where = fmt.Sprintf("at %.200q", u.at)
	}
	switch {
	case u.ctx.Err() != nil:
		return fault.New(fault.Interrupted, "interrupted while unpacking %s", u.name)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fault.New(fault.Misused, "%s is cut off %s", u.name, where).Hint("nothing was published; fetch or make the archive again")
	}
	return fault.New(fault.Misused, "%s cannot be read %s: %w", u.name, where, err).Hint("nothing was published; fetch or make the archive again")
}

package web

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"bramble/artefact"
	"bramble/fault"
	"bramble/trust"
)

const (
	maxUpload   = 64 << 30 // bytes of one file or one tar
	maxTarFiles = 100_000  // in one tar
	maxMoving   = 16       // uploads and downloads of programs at the same time
	silence     = 30 * time.Second
)

// exchange lets those in who may run things: they may read and write files by their hash.
func (s *Server) exchange(next page) page {
	return func(w http.ResponseWriter, r *http.Request, v visitor) error {
		if !v.Identity.Role.Includes(trust.Operator) {
			return fault.New(fault.Denied, "%s may not exchange files: that needs the role operator", v.Identity.Name).Hint("ask an admin for the role operator")
		}
		select {
		case s.moving <- struct{}{}:
		default:
			return fault.New(fault.Full, "%d files are on their way already", maxMoving).Hint("try again in a moment")
		}
		defer func() { <-s.moving }()
		http.NewResponseController(w).SetWriteDeadline(time.Time{}) // the pace is watched instead
		return next(w, r, v)
	}
}

// apiBlobs hands a request on to the store, which speaks as artefact/wire.go says.
func (s *Server) apiBlobs(w http.ResponseWriter, r *http.Request, _ visitor) error {
	inner := r.Clone(r.Context())
	inner.URL.Path = "/artefact/" + strings.TrimPrefix(r.URL.Path, "/api/v1/blobs/")
	inner.URL.RawPath = ""
	s.blobs.ServeHTTP(w, inner)
	return nil
}

// apiPack makes a tree of files of a tar, and answers its name.
func (s *Server) apiPack(w http.ResponseWriter, r *http.Request, _ visitor) error {
	control := http.NewResponseController(w)
	body := &paced{Reader: r.Body, before: func() { control.SetReadDeadline(time.Now().Add(silence)) }}
	p := packing{store: s.Store, at: map[string]int{}}
	if err := p.all(r.Context(), tar.NewReader(body)); err != nil {
		return err
	}
	ref, err := s.Store.PutManifest(r.Context(), p.tree)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, map[string]any{"ref": ref, "files": p.files, "bytes": p.bytes})
}

type paced struct {
	io.Reader
	before func()
}

func (p *paced) Read(b []byte) (int, error) {
	p.before()
	return p.Reader.Read(b)
}

// packing is a tree in the making.
type packing struct {
	store *artefact.Store
	tree  artefact.Manifest
	at    map[string]int // entries by path
	files int
	bytes int64
}

func (p *packing) all(ctx context.Context, in *tar.Reader) error {
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return err
		}
		if err != nil {
			return fault.New(fault.Misused, "this is no tar file: %w", err).Hint("tar -c FILE… | curl --data-binary @- …")
		}
		if err := p.one(ctx, h, in); err != nil {
			return err
		}
	}
}

func (p *packing) one(ctx context.Context, h *tar.Header, in io.Reader) error {
	name := path.Clean(h.Name)
	e := artefact.Entry{Path: name, Mode: uint32(h.FileInfo().Mode().Perm())}
	switch {
	case len(p.tree.Entries) >= maxTarFiles:
		return fault.New(fault.Full, "one tar may have %d files", maxTarFiles).Hint("send a folder with many files as one file, or with bramble submit --transfer")
	case h.Typeflag == tar.TypeXGlobalHeader || name == ".":
		return nil
	case !fs.ValidPath(name):
		return fault.New(fault.Misused, "the path %.200q leaves the folder", h.Name).Hint("tar -C FOLDER -c .")
	case h.Typeflag == tar.TypeDir:
		e.Mode |= uint32(fs.ModeDir)
	case h.Typeflag == tar.TypeSymlink:
		e.Mode, e.Link = uint32(fs.ModeSymlink|0o777), h.Linkname
	case h.Typeflag == tar.TypeReg:
		ref, size, err := p.store.Put(ctx, in, "")
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return fault.New(fault.Misused, "the tar is cut off in %.200q", h.Name).Hint("send it again")
		}
		if err != nil {
			return err
		}
		e.Ref, e.Size = ref, size
		p.files, p.bytes = p.files+1, p.bytes+size
	default:
		return fault.New(fault.Misused, "%.200q is neither file, folder nor symbolic link", h.Name).Hint("tar --hard-dereference -c …")
	}
	p.parents(name)
	p.add(e)
	return nil
}

// parents adds the folders above a path that have not come by themselves.
func (p *packing) parents(name string) {
	dir := path.Dir(name)
	if _, known := p.at[dir]; known || dir == "." {
		return
	}
	p.parents(dir)
	p.add(artefact.Entry{Path: dir, Mode: uint32(fs.ModeDir | 0o755)})
}

// add takes an entry in; of a path that comes twice the later one counts.
func (p *packing) add(e artefact.Entry) {
	if at, known := p.at[e.Path]; known {
		p.tree.Entries[at] = e
		return
	}
	p.at[e.Path] = len(p.tree.Entries)
	p.tree.Entries = append(p.tree.Entries, e)
}

// apiUnpack sends a tree of files as a tar.
func (s *Server) apiUnpack(w http.ResponseWriter, r *http.Request, _ visitor) error {
	tree, err := s.Store.GetManifest(r.Context(), artefact.Ref(r.PathValue("ref")))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-tar")
	control := http.NewResponseController(w)
	out := tar.NewWriter(&pacedOut{w, func() { control.SetWriteDeadline(time.Now().Add(silence)) }})
	for _, e := range tree.Entries {
		if err == nil {
			err = s.unpack(r.Context(), out, e)
		}
	}
	if err = errors.Join(err, out.Close()); err != nil {
		s.Log.Debug("files not sent", "error", err)
		panic(http.ErrAbortHandler) // what was sent is not all, and the caller is to see that
	}
	return nil
}

type pacedOut struct {
	io.Writer
	before func()
}

func (p *pacedOut) Write(b []byte) (int, error) {
	p.before()
	return p.Writer.Write(b)
}

func (s *Server) unpack(ctx context.Context, out *tar.Writer, e artefact.Entry) error {
	mode := e.FileMode()
	h := &tar.Header{Name: e.Path, Mode: int64(mode.Perm()), Size: e.Size, Typeflag: tar.TypeReg, Format: tar.FormatPAX}
	switch mode.Type() {
	case fs.ModeDir:
		h.Typeflag, h.Name = tar.TypeDir, e.Path+"/"
	case fs.ModeSymlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.Link
	}
	if err := out.WriteHeader(h); err != nil || h.Typeflag != tar.TypeReg {
		return err
	}
	_, err := s.Store.Copy(ctx, out, e.Ref)
	return err
}

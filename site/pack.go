package site

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"bramble/artefact"
	"bramble/fault"
	"bramble/site/static"
)

var errStopped = errors.New("nobody listens any more")

// packed is a release ready to be uploaded.
type packed struct {
	manifest artefact.Manifest
	tree     *artefact.Tree
	twins    [][2]string // names that differ only in case
	dir      string      // of compressed forms
	mu       sync.Mutex
	made     map[artefact.Ref]string // their files
}

// Open gives the bytes of a file, or of a compressed form.
func (p *packed) Open(ref artefact.Ref) (*os.File, int64, error) {
	name, ok := p.made[ref]
	if !ok {
		return p.tree.Open(ref)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// Close removes compressed forms and closes the folder.
func (p *packed) Close() error {
	err := os.RemoveAll(p.dir)
	if p.tree != nil {
		err = errors.Join(err, p.tree.Close())
	}
	return err
}

// forms completes a manifest of what was scanned.
type forms func(ctx context.Context, p *packed) error

// pack reads a source and completes it.
func (c Client) pack(ctx context.Context, src Source, complete forms) (*packed, error) {
	p := &packed{made: map[artefact.Ref]string{}}
	var err error
	if p.dir, err = os.MkdirTemp("", "bramble-site-"); err != nil {
		return nil, fault.New(fault.Failed, "make a folder for compressed files: %w", err)
	}
	if err := p.scan(ctx, src); err != nil {
		p.Close()
		return nil, err
	}
	if err := complete(ctx, p); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// scan reads a source's files.
func (p *packed) scan(ctx context.Context, src Source) error {
	dir, err := src.folder(ctx, p.dir)
	if err != nil {
		return err
	}
	if p.tree, err = artefact.ScanFolder(ctx, dir, artefact.Limit{Bytes: MaxBytes, Files: MaxFiles}); err != nil {
		if errors.Is(err, artefact.ErrTooLarge) {
			return fault.New(fault.Full, "%s holds more than the %d files or %d GB that a site may have", string(src), MaxFiles, MaxBytes>>30).Hint("publish a part of it")
		}
		return err
	}
	files := p.tree.Manifest
	if n, _ := files.Sum(); n == 0 {
		return fault.New(fault.Misused, "%s holds no files, and a site needs at least one", string(src)).Hint("a folder with an index.html")
	}
	p.twins, err = twins(files)
	return err
}

// rawForms are for another program's web server: the files as they are.
func rawForms(_ context.Context, p *packed) error {
	p.manifest = join(p.tree.Manifest, nil)
	return nil
}

// plainForms are the files of a site without compressed forms; what nodes would find wrong is found before anything travels.
func plainForms(ctx context.Context, p *packed) error {
	check, err := static.Compile(ctx, p.tree, p.tree.Manifest, static.Options{ID: "check"})
	if err != nil {
		return err
	}
	check.Close()
	return rawForms(ctx, p)
}

// allForms has compressed forms of texts too; those of the live release are not made again.
func (c Client) allForms(live artefact.Ref) forms {
	return func(ctx context.Context, p *packed) error {
		if err := plainForms(ctx, p); err != nil {
			return err
		}
		variants, err := p.compress(ctx, p.tree.Manifest, c.known(ctx, live, p.dir))
		if err != nil {
			return err
		}
		p.manifest = join(p.tree.Manifest, variants)
		return nil
	}
}

// tellOddities tells what is left out and what may be wrong; false when nobody listens.
func (p *packed) tellOddities(tell func(Event) bool) bool {
	for _, skipped := range p.tree.Skipped {
		if !tell(Event{Kind: LeftOut, Path: skipped.Path, Error: skipped.Why}) {
			return false
		}
	}
	for _, pair := range p.twins {
		if !tell(Event{Kind: Noted, Path: pair[1], Error: "differs only in case from " + pair[0]}) {
			return false
		}
	}
	return true
}

// known are the compressed forms of the live release, by the file's hash; none when they cannot be had.
func (c Client) known(ctx context.Context, live artefact.Ref, dir string) map[artefact.Ref][]static.Variant {
	if live == "" {
		return nil
	}
	store, err := artefact.OpenStore(filepath.Join(dir, "live"), artefact.Options{})
	if err != nil {
		return nil
	}
	defer store.Close()
	m, err := c.Blobs.FetchList(ctx, store, live)
	if err != nil {
		return nil
	}
	files, variants, err := split(m)
	if err != nil {
		return nil
	}
	known := map[artefact.Ref][]static.Variant{}
	for _, e := range files.Entries {
		if e.FileMode().IsRegular() && compressible(e) {
			known[e.Ref] = variants[e.Path]
		}
	}
	return known
}

const (
	leastCompressed = 512      // bytes from which it pays
	mostCompressed  = 32 << 20 // bytes that are compressed in memory
)

// texts are the endings of files that become smaller.
const texts = " html htm xhtml css js mjs cjs json jsonld map webmanifest svg xml rss atom txt text md csv tsv ics vtt wasm ttf otf eot ico bmp pdb geojson yaml yml "

func compressible(e artefact.Entry) bool {
	ending := strings.ToLower(strings.TrimPrefix(path.Ext(e.Path), "."))
	return e.FileMode().IsRegular() && e.Size >= leastCompressed && e.Size <= mostCompressed && ending != "" && strings.Contains(texts, " "+ending+" ")
}

// compress makes the compressed forms of texts, each content once.
func (p *packed) compress(ctx context.Context, files artefact.Manifest, known map[artefact.Ref][]static.Variant) (map[string][]static.Variant, error) {
	var mu sync.Mutex
	forms := map[artefact.Ref][]static.Variant{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, e := range files.Entries {
		if !compressible(e) {
			continue
		}
		mu.Lock()
		_, begun := forms[e.Ref]
		old, was := known[e.Ref]
		if !begun {
			forms[e.Ref] = old
		}
		mu.Unlock()
		if begun || was {
			continue
		}
		group.Go(func() error {
			made, err := p.compressOne(ctx, e)
			mu.Lock()
			defer mu.Unlock()
			forms[e.Ref] = made
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	variants := map[string][]static.Variant{}
	for _, e := range files.Entries {
		if list := forms[e.Ref]; compressible(e) && len(list) > 0 {
			variants[e.Path] = list
		}
	}
	return variants, nil
}

// compressOne makes the forms of one file that are at least a twentieth smaller.
func (p *packed) compressOne(ctx context.Context, e artefact.Entry) (list []static.Variant, err error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	f, size, err := p.tree.Open(e.Ref)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, size))
	if err != nil {
		return nil, err
	}
	if artefact.RefOf(data) != e.Ref {
		return nil, fault.New(fault.Conflict, "%s changed while it was read", e.Path).Hint("stop what writes to it, or publish a copy of it")
	}
	for _, encoding := range encodings {
		small, err := squeeze(encoding, data)
		if err != nil {
			return nil, err
		}
		if len(small) > len(data)-len(data)/20 {
			continue
		}
		ref := artefact.RefOf(small)
		name := filepath.Join(p.dir, string(ref))
		if err := os.WriteFile(name, small, 0o600); err != nil {
			return nil, err
		}
		p.note(ref, name)
		list = append(list, static.Variant{Encoding: encoding, Blob: artefact.Blob{Ref: ref, Size: int64(len(small))}})
	}
	return list, nil
}

func (p *packed) note(ref artefact.Ref, name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.made[ref] = name
}

// squeeze compresses data, always to the same bytes.
func squeeze(encoding string, data []byte) ([]byte, error) {
	if encoding == "zstd" {
		enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(1<<20))
		if err != nil {
			return nil, err
		}
		return enc.EncodeAll(data, nil), enc.Close()
	}
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	err = w.Close()
	return out.Bytes(), err
}

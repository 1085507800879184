package site

import (
	"context"

	"bramble/artefact"
	"bramble/fault"
	"bramble/site/static"
)

// Upload brings what a source has to the head without publishing it, and returns the name of the tree and the bytes that moved.
func (c Client) Upload(ctx context.Context, src Source, tell func(Event) bool) (ref artefact.Ref, moved int64, err error) {
	return c.bring(ctx, src, plainForms, tell)
}

// Pages are an uploaded tree that is ready to be shown from a store, which keeps its files until Close.
type Pages struct {
	*static.Release
	Files int
	Bytes int64

	release func()
}

// OpenPages compiles a tree as nodes do it with a release; nothing of it is written down anywhere.
func OpenPages(ctx context.Context, store *artefact.Store, ref artefact.Ref) (*Pages, error) {
	m, err := store.GetManifest(ctx, ref)
	if err != nil {
		return nil, err
	}
	p := &Pages{release: store.Hold(append(refsOf(m), ref)...)}
	if err := p.compile(ctx, store, ref, m); err != nil {
		p.release()
		return nil, err
	}
	return p, nil
}

func (p *Pages) compile(ctx context.Context, store *artefact.Store, ref artefact.Ref, m artefact.Manifest) error {
	if lacking := store.Has(refsOf(m)); len(lacking) > 0 {
		return fault.New(fault.NotFound, "%d files of %s are not here", len(lacking), Short(ref)).Hint("the same again")
	}
	files, variants, err := split(m)
	if err != nil {
		return err
	}
	if p.Files, p.Bytes = files.Sum(); p.Files > MaxFiles || p.Bytes > MaxBytes {
		return fault.New(fault.Full, "that is more than the %d files or %d GB that a site may have", MaxFiles, MaxBytes>>30).Hint("show a part of it")
	}
	p.Release, err = static.Compile(ctx, store, files, static.Options{ID: Short(ref), Variants: variants})
	return err
}

// Close waits until no file of it is being opened; no Server may know it any more.
func (p *Pages) Close() {
	p.Release.Close()
	p.release()
}

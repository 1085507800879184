package site

import (
	"cmp"
	"context"
	"io/fs"
	"os"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"bramble/artefact"
	"bramble/fault"
	"bramble/site/static"
)

// stage makes a release ready, and its port: what fails here fails before anything is served.
func (h *hosted) stage(ctx context.Context, o stageOrder, tell artefact.Progress) (moved int64, err error) {
	if o.Spec.Folder == "" {
		if _, err := h.n.doors.open(o.Spec, h.keptNow().Address); err != nil {
			return 0, err
		}
	}
	_, moved, err = h.ready(ctx, o, tell)
	return moved, err
}

// ready is a release that can be served at once: one that is in memory, or one that is made so.
func (h *hosted) ready(ctx context.Context, o stageOrder, tell artefact.Progress) (r *ready, moved int64, err error) {
	select {
	case h.making <- struct{}{}:
		defer func() { <-h.making }()
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	if err := h.n.Trusted(purpose, signed(h.name, o.Release.ID), o.Release.Sig); err != nil {
		return nil, 0, err
	}
	if r = h.inMemory(o); r != nil && h.pinned(r.ID) {
		return r, 0, nil
	}
	m, moved, err := h.bring(ctx, o, tell)
	if err != nil || r != nil {
		return r, moved, err
	}
	r = &ready{Release: o.Release}
	if o.Spec.Folder != "" {
		err = h.lay(ctx, o, m)
	} else {
		r.pages, err = h.compile(ctx, o.Release, m)
	}
	if err != nil {
		return nil, moved, err
	}
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	h.staged[r.ID] = r
	if r.pages != nil {
		h.server.Stage(r.pages)
	}
	return r, moved, nil
}

// inMemory finds a release that is live, ready, or was live lately.
func (h *hosted) inMemory(o stageOrder) *ready {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	fits := func(r *ready) bool {
		return r != nil && r.ID == o.Release.ID && (r.pages == nil) == (o.Spec.Folder != "")
	}
	if r := h.staged[o.Release.ID]; fits(r) {
		return r
	}
	if fits(h.live) {
		return h.live
	}
	if i := slices.IndexFunc(h.old, fits); i >= 0 && h.old[i].pages != nil {
		r := h.old[i]
		h.staged[r.ID] = r
		h.server.Stage(r.pages)
		return r
	}
	return nil
}

// pinned reports whether this disk keeps a release for the site.
func (h *hosted) pinned(id artefact.Ref) bool {
	pins, err := h.n.Store.Pins()
	return err == nil && slices.Contains(pins, pinOf(h.name, id))
}

// bring fetches what is not here of a release, and proves what is.
func (h *hosted) bring(ctx context.Context, o stageOrder, tell artefact.Progress) (m artefact.Manifest, moved int64, err error) {
	pin := pinOf(h.name, o.Release.ID)
	if m, err = h.n.Store.GetManifest(ctx, o.Release.ID); err == nil {
		if err := h.n.Store.Pin(pin, append(refsOf(m), o.Release.ID)...); err != nil {
			return m, moved, err
		}
		if len(h.n.unproved(ctx, m.Blobs())) == 0 {
			return m, moved, ctx.Err()
		}
	}
	l := h.n.linked()
	if l == nil {
		return m, moved, fault.New(fault.Unreachable, "release %s is not whole on this disk, and the head is away", Short(o.Release.ID))
	}
	var lacking []artefact.Blob
	o.Lacking = func(ctx context.Context, all []artefact.Blob) []artefact.Blob {
		lacking = h.n.unproved(ctx, all)
		return lacking
	}
	for range 3 {
		var n int64
		m, n, err = l.Files.Bring(ctx, pin, artefact.Blob{Ref: o.Release.ID, Size: o.list()}, o.Way, tell)
		if moved += max(n, 0); err != nil || len(h.n.unproved(ctx, lacking)) == 0 {
			return m, moved, cmp.Or(err, ctx.Err())
		}
	}
	return m, moved, fault.New(fault.Failed, "files of release %s are damaged again and again", Short(o.Release.ID)).Hint("bramble doctor, on that machine: its disk may be failing")
}

func refsOf(m artefact.Manifest) []artefact.Ref {
	var refs []artefact.Ref
	for _, b := range m.Blobs() {
		refs = append(refs, b.Ref)
	}
	return refs
}

// compile makes a release's pages.
func (h *hosted) compile(ctx context.Context, rel Release, m artefact.Manifest) (*static.Release, error) {
	files, variants, err := split(m)
	if err != nil {
		return nil, err
	}
	h.n.mu.Lock()
	earlier := pagesOf(h.old)
	if h.live != nil && h.live.pages != nil {
		earlier = append(earlier, h.live.pages)
	}
	h.n.mu.Unlock()
	return static.Compile(ctx, h.n.Store, files, static.Options{ID: Short(rel.ID), Cookie: "bramble-" + h.name, Budget: h.n.Budget,
		Modified: rel.Published, Variants: variants, Earlier: earlier})
}

// proved are files that had the right content in this form; they are not read again for each release.
type proved struct {
	mu    sync.Mutex
	files map[artefact.Ref]fs.FileInfo
}

// unproved reads those of a release's files that were not read before, and returns the ones that are missing, or were damaged
// and moved away.
func (n *Node) unproved(ctx context.Context, all []artefact.Blob) []artefact.Blob {
	bad := make([]bool, len(all))
	var group errgroup.Group
	group.SetLimit(2)
	for i, b := range all {
		group.Go(func() error {
			bad[i] = n.prove(ctx, b.Ref) != nil
			return nil
		})
	}
	group.Wait()
	var list []artefact.Blob
	for i, b := range all {
		if bad[i] {
			list = append(list, b)
		}
	}
	return list
}

func (n *Node) prove(ctx context.Context, ref artefact.Ref) error {
	info, err := n.Store.Stat(ref)
	if err != nil {
		return err
	}
	n.proved.mu.Lock()
	was := n.proved.files[ref]
	n.proved.mu.Unlock()
	if was != nil && os.SameFile(was, info) && was.Size() == info.Size() && was.ModTime().Equal(info.ModTime()) {
		return nil
	}
	if err := n.Store.Verify(ctx, ref); err != nil {
		return err
	}
	n.proved.mu.Lock()
	defer n.proved.mu.Unlock()
	if n.proved.files == nil || len(n.proved.files) > 4*MaxFiles {
		n.proved.files = map[artefact.Ref]fs.FileInfo{}
	}
	n.proved.files[ref] = info
	return nil
}

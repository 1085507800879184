package static

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime"

	"golang.org/x/sync/errgroup"

	"bramble/artefact"
	"bramble/sorts"
)

// body is what is known of a blob's bytes.
type body struct {
	size      int64
	all       []byte // nil: not kept in memory
	beginning []byte
}

const (
	largestKept = 1 << 20 // bytes; a larger body gains nothing in memory
	sniffed     = 4 << 10 // bytes of a body that are looked at when it is not kept
)

// kept is the body, if it is kept; never nil then.
func (b *body) kept() []byte { return b.all }

func (b *body) whole(size int64) bool { return int64(len(b.beginning)) == size }

// readBodies reads the small bodies up to the budget, and looks at how others begin where that decides about their type.
func (c *compiler) readBodies(ctx context.Context) error {
	shared := c.shared()
	order := c.blobs()
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(2 * runtime.GOMAXPROCS(0))
	for _, blob := range order {
		b := &body{size: blob.Size}
		c.bodies[blob.Ref] = b
		if blob.Size <= largestKept && c.memory+blob.Size <= c.o.Budget {
			c.memory += blob.Size
			if b.all = shared[blob.Ref]; b.all != nil {
				b.beginning = b.all
				continue
			}
			work.Go(func() (err error) {
				b.all, err = readBlob(ctx, c.src, blob)
				b.beginning = b.all
				return err
			})
			continue
		}
		if !c.looked[blob.Ref] {
			continue
		}
		work.Go(func() (err error) {
			b.beginning, err = readBeginning(ctx, c.src, blob)
			return err
		})
	}
	return work.Wait()
}

// blobs are all that is served, each once, the smallest first.
func (c *compiler) blobs() []artefact.Blob {
	seen := map[artefact.Ref]bool{}
	var all []artefact.Blob
	c.looked = map[artefact.Ref]bool{}
	add := func(b artefact.Blob) {
		if !seen[b.Ref] {
			seen[b.Ref] = true
			all = append(all, b)
		}
	}
	for _, e := range c.entries {
		add(artefact.Blob{Ref: e.Ref, Size: e.Size})
		if decides(e.Path) {
			c.looked[e.Ref] = true
		}
		for _, v := range c.o.Variants[e.Path] {
			add(v.Blob)
		}
	}
	sorts.By(all, func(a, b artefact.Blob) int {
		return cmp.Or(cmp.Compare(a.Size, b.Size), cmp.Compare(a.Ref, b.Ref))
	})
	return all
}

// shared are the bodies that earlier releases have in memory.
func (c *compiler) shared() map[artefact.Ref][]byte {
	all := map[artefact.Ref][]byte{}
	for _, r := range c.o.Earlier {
		for _, f := range r.files {
			for i := range f.forms {
				if f.forms[i].body != nil {
					all[f.forms[i].Ref] = f.forms[i].body
				}
			}
		}
	}
	return all
}

// readBlob reads a blob and verifies it.
func readBlob(ctx context.Context, src artefact.Opener, b artefact.Blob) ([]byte, error) {
	data, err := readBeginningOf(ctx, src, b, b.Size)
	if err == nil && artefact.RefOf(data) != b.Ref {
		err = fmt.Errorf("blob %.12s: %w", b.Ref, artefact.ErrCorrupt)
	}
	return data, err
}

func readBeginning(ctx context.Context, src artefact.Opener, b artefact.Blob) ([]byte, error) {
	return readBeginningOf(ctx, src, b, min(b.Size, sniffed))
}

func readBeginningOf(ctx context.Context, src artefact.Opener, b artefact.Blob, n int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, size, err := src.Open(b.Ref)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size != b.Size {
		return nil, fmt.Errorf("blob %.12s has %d bytes instead of %d: %w", b.Ref, size, b.Size, artefact.ErrCorrupt)
	}
	data := make([]byte, n)
	_, err = io.ReadFull(f, data)
	return data, err
}

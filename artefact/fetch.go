package artefact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"

	"bramble/fault"
	"bramble/term"
)

// FetchTree brings the manifest that ref names and everything in it into the store.
// Pin ref's tree before or within the store's grace, or Collect may take it.
func (c *Client) FetchTree(ctx context.Context, s *Store, ref Ref, tell Progress) (Manifest, error) {
	m, err := c.FetchList(ctx, s, ref)
	if err != nil {
		return Manifest{}, err
	}
	return m, c.Fetch(ctx, s, m.Blobs(), tell)
}

// FetchList brings only the manifest that ref names.
func (c *Client) FetchList(ctx context.Context, s *Store, ref Ref) (Manifest, error) {
	if err := c.fetch(ctx, s, []Blob{{ref, -1}}, MaxManifest, nil); err != nil {
		return Manifest{}, err
	}
	return s.GetManifest(ctx, ref)
}

// Fetch brings blobs into the store: those it lacks, each verified, and from where an earlier Fetch stopped.
// fault.Full, before anything moves, when they do not fit; fault.NotFound when the server lacks one;
// fault.Unreachable when it does not answer; fault.Failed, naming the blob, when it keeps giving wrong bytes.
func (c *Client) Fetch(ctx context.Context, s *Store, blobs []Blob, tell Progress) error {
	return c.fetch(ctx, s, blobs, math.MaxInt64-1, tell)
}

// fetch takes blobs of unknown size up to most bytes.
func (c *Client) fetch(ctx context.Context, s *Store, blobs []Blob, most int64, tell Progress) error {
	f := &fetching{c: c, s: s, most: most, meter: &meter{tell: tell}}
	want, err := f.plan(blobs)
	if err != nil {
		return err
	}
	return parallel(ctx, c.width(), len(want), func(ctx context.Context, i int) error {
		return f.one(ctx, want[i])
	})
}

// fetching is one Fetch under way.
type fetching struct {
	c     *Client
	s     *Store
	most  int64
	meter *meter

	introduce bool     // ask who else has it
	near      []string // who that is
}

// plan drops what is here or named twice, and checks that the rest fits.
func (f *fetching) plan(blobs []Blob) ([]Blob, error) {
	seen := map[Ref]bool{}
	var want []Blob
	var here, total, room int64
	for _, b := range blobs {
		if err := checkRef(b.Ref); err != nil {
			return nil, err
		}
		if seen[b.Ref] {
			continue
		}
		seen[b.Ref] = true
		total += max(b.Size, 0)
		if _, ok := f.s.stat(b.Ref); ok {
			here += max(b.Size, 0)
			continue
		}
		want = append(want, b)
		room += max(b.Size-f.s.Have(b.Ref), 0)
	}
	if err := f.s.Room(room); err != nil {
		return nil, err
	}
	f.meter.add(here, total)
	return want, nil
}

// one brings one blob.
func (f *fetching) one(ctx context.Context, b Blob) error {
	p, err := f.s.Resume(ctx, b.Ref)
	if err != nil {
		return err
	}
	defer p.Close()
	get := &getting{Blob: b, p: p, most: f.most, part: &part{m: f.meter}}
	if f.introduce {
		get.near = &f.near
	}
	if b.Size >= 0 {
		get.most = b.Size
	}
	return f.c.persist(ctx, "fetch blob "+b.Ref.short(), func(ctx context.Context) try {
		if p.Done() {
			get.part.set(max(b.Size, 0))
			return try{}
		}
		return f.c.get(ctx, get)
	})
}

// getting is one blob on its way here.
type getting struct {
	Blob
	p      *Partial
	most   int64 // bytes to take before the server is a liar
	part   *part
	best   int64     // bytes that were here at most
	doubts bool      // it came wrong: the server shall verify its copy first
	near   *[]string // gets who else has it; nil: it is not asked
}

// get is one try to bring the rest of a blob.
func (c *Client) get(ctx context.Context, g *getting) try {
	if g.p.Have() >= g.most && g.p.Have() > 0 { // all bytes are here, and are not the blob
		if err := g.p.Reset(); err != nil {
			return try{outcome: final, err: err}
		}
	}
	g.part.set(g.p.Have())
	x, stop := c.exchange(ctx)
	defer stop()
	resp, err := x.send(http.MethodGet, string(g.Ref), nil, func(r *http.Request) {
		if g.p.Have() > 0 {
			r.Header.Set("Range", fmt.Sprintf("bytes=%d-", g.p.Have()))
		}
		if g.near != nil {
			r.Header.Set(headerNear, "ask")
		}
		if g.doubts {
			r.Header.Set(headerVerify, "yes")
			x.alive(10 * x.idle()) // reading a large blob takes a board's disk a while
		}
	})
	if err != nil {
		return x.failed(err)
	}
	defer resp.Body.Close()
	if near := resp.Header.Get(headerNear); near != "" && g.near != nil {
		*g.near = strings.Split(near, ",")
	}
	if t := g.accept(x, resp); t.outcome != done {
		return t
	}
	t := g.receive(x, resp.Body)
	if t.outcome != done {
		g.part.set(g.p.Have())
	} else if g.Size < 0 {
		g.part.grow()
	}
	g.doubts = t.outcome == lied
	return t
}

// accept looks at an answer's head and makes ready for its body.
func (g *getting) accept(x *exchange, resp *http.Response) try {
	var err error
	switch have := g.p.Have(); {
	case resp.StatusCode == http.StatusOK:
		err = g.p.Reset()
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		if err = g.p.Reset(); err == nil {
			return try{outcome: broken, err: fault.New(fault.Failed, "%s has less of blob %s than is here", x.c.Base, g.Ref.short())}
		}
	case resp.StatusCode != http.StatusPartialContent:
		return x.refused(resp)
	case !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", have)):
		return g.lie("another part of it")
	}
	if err != nil {
		return try{outcome: final, err: err}
	}
	if resp.ContentLength > g.most-g.p.Have() || g.Size >= 0 && resp.ContentLength >= 0 && resp.ContentLength != g.Size-g.p.Have() {
		return g.lie("another length")
	}
	return try{}
}

// receive takes the body and verifies the whole.
func (g *getting) receive(x *exchange, body io.Reader) try {
	from := &watchedReader{x: x, r: io.LimitReader(body, g.most-g.p.Have()+1), then: func(n int) { g.part.set(g.p.Have() + int64(n)) }}
	_, err := g.p.append(x.ctx, from, g.Size)
	switch {
	case from.err != nil && from.err != io.EOF || err != nil && x.ctx.Err() != nil:
		t := x.failed(fmt.Errorf("after %s: %w", term.Bytes(g.p.Have()), errors.Join(from.err, x.ctx.Err())))
		t.moved = g.moved()
		return t
	case err != nil:
		return try{outcome: final, err: err}
	case g.p.Have() > g.most:
		return orFinal(g.p.Reset(), g.lie("more bytes than it has"))
	case g.Size >= 0 && g.p.Have() < g.Size:
		return try{outcome: broken, moved: g.moved(), err: fmt.Errorf("after %s: %w", term.Bytes(g.p.Have()), io.ErrUnexpectedEOF)}
	}
	if err := g.p.Commit(); errors.Is(err, ErrMismatch) {
		return try{outcome: lied, err: err}
	} else if err != nil {
		return try{outcome: final, err: err}
	}
	return try{}
}

// moved reports that there is more of the blob here than ever before.
func (g *getting) moved() bool {
	before := g.best
	g.best = max(g.best, g.p.Have())
	return g.best > before
}

func (g *getting) lie(what string) try {
	return try{outcome: lied, err: fault.New(fault.Failed, "blob %s came with %s: %w", g.Ref.short(), what, ErrMismatch)}
}

// orFinal lets a failure of this machine weigh more than t.
func orFinal(err error, t try) try {
	if err != nil {
		return try{outcome: final, err: err}
	}
	return t
}

// watchedReader keeps the exchange alive while bytes come, and remembers how it ended.
type watchedReader struct {
	x    *exchange
	r    io.Reader
	then func(n int)
	err  error
}

func (w *watchedReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.err = err
	if n > 0 {
		w.x.alive(w.x.idle())
		w.then(n)
	}
	return n, err
}

package artefact

import (
	"context"
	"encoding/hex"
	"io"
	"log/slog"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Chain brings blobs from the nearest of several sources that still have, or still receive, them: in a chain of nodes
// each has the one before it, and all but the first leave the head alone. Every chunk is proved before it is kept and
// passed on. A source that breaks off, falls silent or lies is not asked again; the next one is.
type Chain struct {
	Near  []*Client // nodes, the nearest first; see Reroute
	Head  *Client   // has all of it, and says how blobs are cut
	Limit int64     // bytes a second; 0: as many as come
	Log   *slog.Logger

	reused atomic.Int64  // bytes that were here in other blobs
	less   atomic.Int64  // bytes that did not move because others came packed
	mu     sync.Mutex    // guards Near, and what follows
	source *source       // the one that is asked; nil at first
	pace   *rate.Limiter // for Limit
	wire   chan struct{} // holds those whose blobs are on their way
}

// source is a node, or the head, that files come from, until ctx ends because they shall come from another.
type source struct {
	*Client
	ctx   context.Context
	leave context.CancelFunc
	head  bool
}

// Reroute has what has not come yet come from these nodes, the nearest first, before the head.
func (c *Chain) Reroute(near []*Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Near = near
	switch {
	case c.source == nil:
	case len(near) > 0 && !c.source.head && near[0].Base == c.source.Base:
		c.Near = near[1:]
	case len(near) == 0 && c.source.head:
	default:
		c.source.leave()
		c.source = nil
	}
}

// from is where files come from now.
func (c *Chain) from() *source {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.source == nil {
		next := &source{Client: c.Head, head: len(c.Near) == 0}
		if !next.head {
			next.Client, c.Near = c.Near[0], c.Near[1:]
		}
		next.ctx, next.leave = context.WithCancel(context.Background())
		c.source = next
	}
	return c.source
}

// giveUp has files come from the next source, unless they do already.
func (c *Chain) giveUp(s *source) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.source == s {
		c.source = nil
	}
	s.leave()
}

// Saved is how many bytes did not have to move: they were here in other blobs, or what came was packed.
func (c *Chain) Saved() int64 { return c.reused.Load() + c.less.Load() }

const (
	// chainWait is how long the node before us may take to begin with a blob, before it is asked again.
	chainWait = 20 * time.Second
	// usualQuiet is the silence after which a source is asked whether it is still there, and the time it has to answer.
	usualQuiet = 3 * time.Second
)

// Fetch brings blobs into the store, as Client.Fetch does.
func (c *Chain) Fetch(ctx context.Context, s *Store, blobs []Blob, tell Progress) error {
	f := &fetching{c: c.Head, s: s, most: math.MaxInt64 - 1, meter: &meter{tell: tell}}
	want, err := f.plan(blobs)
	if err != nil {
		return err
	}
	defer s.expect(want)()
	c.wire = make(chan struct{}, c.Head.width())
	together, apart := batches(want, func(ref Ref) bool { return s.Have(ref) > 0 })
	return parallel(ctx, 2, 2, func(ctx context.Context, i int) error {
		if i == 0 {
			return c.together(ctx, f, together)
		}
		return c.apart(ctx, f, apart)
	})
}

// apart brings blobs each by itself.
func (c *Chain) apart(ctx context.Context, f *fetching, blobs []Blob) error {
	return parallel(ctx, atWork, len(blobs), func(ctx context.Context, i int) error { return c.one(ctx, f, blobs[i]) })
}

// atWork is how many blobs a node is at work on at the same time: most of the small ones wait for the disk.
const atWork = 32

// one brings one blob.
func (c *Chain) one(ctx context.Context, f *fetching, b Blob) error {
	recipe, err := c.recipe(ctx, b)
	if err != nil {
		return err
	}
	if recipe == nil {
		return f.one(ctx, b)
	}
	p, err := f.s.Resume(ctx, b.Ref)
	if err != nil {
		return err
	}
	defer p.Close()
	in := &inflow{b: b, p: p, recipe: recipe, part: &part{m: f.meter}}
	if p.Done() {
		in.part.set(b.Size)
		return nil
	}
	if err := in.begin(); err != nil {
		return err
	}
	defer f.s.finish(b.Ref, in.flow)
	in.known = f.s.find(recipe, in.next)
	c.wire <- struct{}{}
	err = c.run(ctx, in)
	if <-c.wire; err != nil {
		return err
	}
	if err := p.Commit(); err != nil {
		return blame(err, "fetch blob %s", b.Ref.short())
	}
	if len(recipe) > 1 {
		f.s.keepRecipe(b.Ref, recipe)
	}
	return nil
}

// recipe is how a blob is cut; of a small one that is known. nil when the head does not say: it is older than we are.
func (c *Chain) recipe(ctx context.Context, b Blob) (r Recipe, err error) {
	if b.Size <= maxChunk {
		chunk := Chunk{Size: b.Size}
		if hex.Decode(chunk.Sum[:], []byte(b.Ref)); b.Size == 0 {
			return nil, nil
		}
		return Recipe{chunk}, nil
	}
	err = c.Head.persist(ctx, "ask how blob "+b.Ref.short()+" is cut", func(ctx context.Context) try {
		x, stop := c.Head.exchange(ctx)
		defer stop()
		x.alive(10 * x.idle()) // a board's disk takes a while to read a large blob
		resp, err := x.send(http.MethodGet, string(b.Ref)+"/chunks", nil, nil)
		if err != nil {
			return x.failed(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return x.refused(resp)
		}
		data, err := io.ReadAll(io.LimitReader(resp.Body, maxRecipe+1))
		if err != nil {
			return x.failed(err)
		}
		if r, err = decodeRecipe(data, b.Size); err != nil {
			return try{outcome: final, err: err}
		}
		return try{}
	})
	if err != nil && ctx.Err() == nil {
		c.Log.Debug("a blob comes from the head, which does not say how it is cut", "blob", b.Ref.short(), "error", err)
		return nil, nil
	}
	return r, err
}

// run takes what is missing from other blobs here, and from the nearest source that gives it.
func (c *Chain) run(ctx context.Context, in *inflow) error {
	for in.next < len(in.recipe) {
		if n, err := in.reuse(); n > 0 || err != nil {
			if c.reused.Add(n); err != nil {
				return err
			}
			continue
		}
		err := c.ask(ctx, c.from(), in.b.Ref, func(ctx context.Context, from *source) try { return c.drink(ctx, from, in) })
		if err != nil {
			return err
		}
	}
	return nil
}

// ask takes what a source gives, and turns to the next when that one fails. The head is tried again and again.
func (c *Chain) ask(ctx context.Context, from *source, ref Ref, drink func(context.Context, *source) try) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(from.ctx, stop)()
	t := try{}
	if from.head {
		t.err = from.persist(ctx, "fetch blob "+ref.short(), func(ctx context.Context) try { return drink(ctx, from) })
	} else {
		t = drink(ctx, from)
	}
	switch {
	case t.err == nil || from.ctx.Err() != nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case from.head || t.outcome == final && own(t.err):
		return t.err
	case t.outcome == busy: // it waits itself
		pause(ctx, max(t.asked, 100*time.Millisecond))
		return nil
	}
	c.Log.Info("a node that files came from is left out", "node", from.Base, "blob", ref.short(), "error", t.err)
	c.giveUp(from)
	return nil
}

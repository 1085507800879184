package artefact

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"bramble/fault"
)

// Chain brings blobs from the nearest of several sources that still have, or still receive, them: in a chain of nodes
// each has the one before it, and all but the first leave the head alone. Every chunk is proved before it is kept and
// passed on. A source that breaks off, falls silent or lies is not asked again; the next one is.
type Chain struct {
	Near []*Client // nodes, the nearest first
	Head *Client   // has all of it, and says how blobs are cut
	Log  *slog.Logger

	from   atomic.Int64 // sources before it are not asked any more
	reused atomic.Int64 // bytes that were here in other blobs
}

// Reused is how many bytes were taken from blobs that were here already.
func (c *Chain) Reused() int64 { return c.reused.Load() }

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
	return parallel(ctx, c.Head.width(), len(want), func(ctx context.Context, i int) error {
		return c.one(ctx, f, want[i])
	})
}

// one brings one blob.
func (c *Chain) one(ctx context.Context, f *fetching, b Blob) error {
	recipe, err := c.recipe(ctx, f.s, b)
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
	if err := c.run(ctx, in); err != nil {
		return err
	}
	return blame(p.Commit(), "fetch blob %s", b.Ref.short())
}

// recipe is how a blob is cut; of a small one that is known. nil when the head does not say: it is older than we are.
func (c *Chain) recipe(ctx context.Context, s *Store, b Blob) (r Recipe, err error) {
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
	if err == nil {
		s.keepRecipe(b.Ref, r)
	}
	return r, err
}

// inflow is one blob whose chunks arrive.
type inflow struct {
	b      Blob
	p      *Partial
	recipe Recipe
	known  map[int]place // chunks that are here in other blobs
	next   int           // chunk
	flow   *flow
	part   *part
}

// begin keeps what an earlier try had brought of whole chunks, and lets others have it.
func (in *inflow) begin() error {
	proved := int64(0)
	if in.p.Have() > 0 {
		f, err := os.Open(in.p.in.file.Name())
		if err != nil {
			return err
		}
		in.next, proved = in.recipe.prefix(f)
		f.Close()
	}
	if err := in.p.proved(proved); err != nil {
		return err
	}
	in.part.set(proved)
	in.flow = in.p.s.begin(in.b.Ref, in.b.Size, proved)
	return nil
}

// take proves the next chunks and keeps those before the first that is wrong.
func (in *inflow) take(chunks Recipe, data []byte) error {
	good := 0
	for _, c := range chunks {
		if !c.is(data[good : good+int(c.Size)]) {
			break
		}
		good += int(c.Size)
		in.next++
	}
	if _, err := in.p.in.Write(data[:good]); err != nil {
		return err
	}
	in.part.set(in.p.Have())
	in.flow.note(int64(good), false)
	if good < len(data) {
		return mismatch(in.b.Ref)
	}
	return nil
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
		at := int(c.from.Load())
		if at >= len(c.Near) {
			err := c.Head.persist(ctx, "fetch blob "+in.b.Ref.short(), func(ctx context.Context) try { return c.Head.drink(ctx, in, in.wanted()) })
			if err != nil {
				return err
			}
			continue
		}
		t := c.Near[at].drink(ctx, in, in.wanted())
		switch {
		case t.outcome == done:
			continue
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case t.outcome == final && in.own(t.err):
			return t.err
		case t.outcome == busy: // it waits itself
			pause(ctx, max(t.asked, 100*time.Millisecond))
			continue
		}
		c.Log.Info("a node that files came from is left out", "node", c.Near[at].Base, "blob", in.b.Ref.short(), "error", t.err)
		c.from.CompareAndSwap(int64(at), int64(at+1))
	}
	return nil
}

// reuse takes the next chunk from another blob; 0 when it is in none, or damaged there.
func (in *inflow) reuse() (int64, error) {
	at, known := in.known[in.next]
	if !known {
		return 0, nil
	}
	delete(in.known, in.next)
	data := make([]byte, in.recipe[in.next].Size)
	if !in.p.s.readPlace(at, data) || !in.recipe[in.next].is(data) {
		return 0, nil
	}
	return int64(len(data)), in.take(in.recipe[in.next:in.next+1], data)
}

// worthwhile is from how many bytes on in a row what is here is not asked for again with what is around it.
const worthwhile = 2 * meanChunk

// wanted is before which chunk to stop asking, because so much that follows is here.
func (in *inflow) wanted() int {
	here := int64(0)
	for i := in.next; i < len(in.recipe); i++ {
		if _, known := in.known[i]; !known {
			here = 0
			continue
		}
		if here += in.recipe[i].Size; here >= worthwhile {
			for in.known[i-1] != (place{}) { // to the first of the row; the next chunk is none, or it would have been reused
				i--
			}
			return i
		}
	}
	return len(in.recipe)
}

// own reports whether an error is this machine's, so that no other source can help.
func (in *inflow) own(err error) bool { return fault.Is(err, fault.Full) || errors.Is(err, errOwn) }

var errOwn = errors.New("this machine cannot keep it")

// drink takes chunks of a blob from one source, up to but not including end, in one try.
func (c *Client) drink(ctx context.Context, in *inflow, end int) try {
	x, stop := c.exchange(ctx)
	defer stop()
	x.alive(chainWait + x.idle())
	have := in.p.Have()
	until := have + in.recipe[in.next:end].Size()
	resp, err := x.send(http.MethodGet, string(in.b.Ref), nil, func(r *http.Request) {
		r.Header.Set(headerFollow, strconv.Itoa(int(chainWait/time.Second)))
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", have, until-1))
	})
	if err != nil {
		return x.failed(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusPartialContent || resp.ContentLength != until-have {
		if resp.StatusCode < 300 {
			return try{outcome: lied, err: fault.New(fault.Failed, "blob %s came with another length: %w", in.b.Ref.short(), ErrMismatch)}
		}
		return x.refused(resp)
	}
	watch := c.watch(x, in.b.Ref)
	defer watch.stop()
	buf, pace := make([]byte, max(maxChunk, mouthful)), pacer{last: time.Now()}
	for in.next < end {
		chunks, n := in.recipe[in.next:end].first(mouthful)
		pace.before(x.ctx, n)
		if _, err := io.ReadFull(&heardReader{resp.Body, watch}, buf[:n]); err != nil {
			t := x.failed(fmt.Errorf("after %d bytes: %w", in.p.Have(), err))
			t.moved = in.p.Have() > have
			return t
		}
		pace.after(n, time.Now())
		if err := in.take(chunks, buf[:n]); errors.Is(err, ErrMismatch) {
			return try{outcome: lied, moved: in.p.Have() > have, err: err}
		} else if err != nil {
			return try{outcome: final, err: fmt.Errorf("%w: %w", errOwn, err)}
		}
	}
	return try{}
}

// mouthful is about how many bytes of chunks are read, kept and passed on at a time: a machine that is woken for every packet
// does nothing else, and each node of a chain is behind the one before it by as much.
const mouthful = 128 << 10

// pacer lets a chunk arrive before it is read: woken for every packet, a slow machine does nothing else.
type pacer struct {
	last time.Time     // when the chunk before had been read
	each time.Duration // that a KiB took lately
}

const (
	early    = 0.8 // of the time that a chunk should take is slept, so that a link which has become faster is noticed
	tooShort = time.Millisecond
	tooLong  = 50 * time.Millisecond
)

// wait is how long to sleep before n bytes are read, so long after the last were.
func (p pacer) wait(n int, since time.Duration) time.Duration {
	d := time.Duration(early*float64(p.each)*float64(n)/1024) - since
	if d < tooShort {
		return 0
	}
	return min(d, tooLong)
}

// before is called before n bytes are read, and sleeps while they arrive.
func (p *pacer) before(ctx context.Context, n int) {
	if d := p.wait(n, time.Since(p.last)); d > 0 {
		pause(ctx, d)
	}
}

// after is called when n bytes have been read.
func (p *pacer) after(n int, now time.Time) {
	took := now.Sub(p.last) * 1024 / time.Duration(n)
	if p.each == 0 {
		p.each = took
	}
	p.each, p.last = (p.each+took)/2, now
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// watch asks a source that is silent whether it is still there: it may itself wait for another.
type watch struct {
	heard atomic.Int64 // reads
	stop  context.CancelFunc
}

type heardReader struct {
	io.Reader
	w *watch
}

func (h *heardReader) Read(p []byte) (int, error) {
	n, err := h.Reader.Read(p)
	h.w.heard.Add(1)
	return n, err
}

// watch starts the questions; one without an answer ends the exchange.
func (c *Client) watch(x *exchange, ref Ref) *watch {
	ctx, stop := context.WithCancel(x.ctx)
	w := &watch{stop: stop}
	x.timer.Stop()
	go func() {
		tick := time.NewTicker(c.quiet())
		defer tick.Stop()
		for before := int64(-1); ; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			now := w.heard.Load()
			if now == before && !c.answers(ctx, ref) && ctx.Err() == nil {
				x.cut(errSilent)
				return
			}
			before = now
		}
	}()
	return w
}

func (c *Client) quiet() time.Duration { return cmp.Or(c.Quiet, usualQuiet) }

// answers reports whether the source is there.
func (c *Client) answers(ctx context.Context, ref Ref) bool {
	ctx, stop := context.WithTimeout(ctx, c.quiet())
	defer stop()
	x := &exchange{c: c, ctx: ctx}
	resp, err := x.send(http.MethodHead, string(ref), nil, nil)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return true
}

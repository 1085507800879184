package artefact

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"bramble/fault"
	"bramble/term"
)

// drink takes chunks of a blob from one source in one try, up to where enough that is here begins.
func (c *Chain) drink(ctx context.Context, from *source, in *inflow) try {
	x, stop := from.exchange(ctx)
	defer stop()
	end := in.wanted()
	x.alive(chainWait + x.idle())
	have := in.p.Have()
	until := have + in.recipe[in.next:end].Size()
	resp, err := x.send(http.MethodGet, string(in.b.Ref), nil, func(r *http.Request) {
		r.Header.Set(headerFollow, strconv.Itoa(int(chainWait/time.Second)))
		r.Header.Set(headerPack, packForm)
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", have, until-1))
	})
	if err != nil {
		return x.failed(err)
	}
	defer resp.Body.Close()
	packed := resp.Header.Get(headerPack) == packForm
	if resp.StatusCode != http.StatusPartialContent || !packed && resp.ContentLength != until-have {
		if resp.StatusCode < 300 {
			return try{outcome: lied, err: fault.New(fault.Failed, "blob %s came with another length: %w", in.b.Ref.short(), ErrMismatch)}
		}
		return x.refused(resp)
	}
	watch := from.watch(x, in.b.Ref)
	defer watch.stop()
	var body io.Reader = &heardReader{resp.Body, watch}
	if packed {
		pieces := newUnpacker(body)
		defer func() { c.less.Add(pieces.less); pieces.Close() }()
		body = pieces
	}
	buf := make([]byte, min(maxPiece, until-have))
	for in.next < end {
		chunks, n := in.recipe[in.next:end].first(mouthful)
		if err := c.limit(x.ctx, n); err != nil {
			return x.failed(err)
		}
		if _, err := io.ReadFull(body, buf[:n]); err != nil {
			t := x.failed(fmt.Errorf("after %s: %w", term.Bytes(in.p.Have()), err))
			t.moved = in.p.Have() > have
			return t
		}
		if err := in.take(chunks, buf[:n]); errors.Is(err, ErrMismatch) {
			return try{outcome: lied, moved: in.p.Have() > have, err: err}
		} else if err != nil {
			return try{outcome: final, err: fmt.Errorf("%w: %w", errOwn, err)}
		}
	}
	if packed { // to the end of the answer, or the connection is of no use for the next
		body.Read(buf[:1])
	}
	return try{}
}

// limit waits until n bytes more may come.
func (c *Chain) limit(ctx context.Context, n int) error {
	if c.Limit == 0 {
		return nil
	}
	c.mu.Lock()
	if c.pace == nil {
		c.pace = limiterOf(c.Limit)
	}
	c.mu.Unlock()
	return c.pace.WaitN(ctx, n)
}

// mouthful is about how many bytes of chunks are read, kept and passed on at a time: a machine that is woken for every packet
// does nothing else, and each node of a chain is behind the one before it by as much.
const mouthful = 128 << 10

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

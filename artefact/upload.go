package artefact

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"

	"bramble/fault"
)

// probeFrom is the blob size from which it pays to ask first how much of it is there.
const probeFrom = 256 << 10

// Upload sends the tree m, whose files src opens, and returns the manifest's ref. Only what the server lacks moves,
// from where an earlier Upload stopped; the manifest goes last, so where it is, all of it is.
// fault.Full when the server has no room, fault.Conflict when a file changed meanwhile, fault.Unreachable when nobody answers.
func (c *Client) Upload(ctx context.Context, src Opener, m Manifest, tell Progress) (Ref, error) {
	list, err := m.Encode()
	if err != nil {
		return "", err
	}
	blobs := m.Blobs()
	want, err := c.lacking(ctx, blobs)
	if err != nil {
		return "", err
	}
	gauge := gaugeOf(blobs, want, tell)
	err = parallel(ctx, c.widthFor(want), len(want), func(ctx context.Context, i int) error {
		open := func() (io.ReadSeekCloser, error) {
			f, size, err := src.Open(want[i].Ref)
			if err == nil && size != want[i].Size {
				f.Close()
				err = notTheBlob(want[i].Ref)
			}
			return f, err
		}
		err := c.upload(ctx, want[i], open, gauge)
		if s, ok := src.(*Store); ok && errors.Is(err, errNotTheBlob) {
			return errors.Join(s.Verify(ctx, want[i].Ref), err)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	ref := RefOf(list)
	open := func() (io.ReadSeekCloser, error) { return nopCloser{bytes.NewReader(list)}, nil }
	return ref, c.upload(ctx, Blob{ref, int64(len(list))}, open, &meter{})
}

// widthFor is how many of these blobs are on their way at the same time: of small ones more, which mostly wait for the other
// side's disk.
func (c *Client) widthFor(blobs []Blob) int {
	if len(blobs) == 0 || bytesOf(blobs)/int64(len(blobs)) > maxChunk {
		return c.width()
	}
	return 4 * c.width()
}

type nopCloser struct{ io.ReadSeeker }

func (nopCloser) Close() error { return nil }

// lacking are those of blobs that the server does not have.
func (c *Client) lacking(ctx context.Context, blobs []Blob) ([]Blob, error) {
	refs := make([]Ref, len(blobs))
	for i, b := range blobs {
		refs[i] = b.Ref
	}
	missing, err := c.Missing(ctx, refs)
	if err != nil {
		return nil, err
	}
	named := make(map[Ref]bool, len(missing))
	for _, ref := range missing {
		named[ref] = true
	}
	var want []Blob
	for _, b := range blobs {
		if named[b.Ref] {
			want = append(want, b)
		}
	}
	return want, nil
}

// gaugeOf starts a meter at what need not be sent.
func gaugeOf(all, want []Blob, tell Progress) *meter {
	total := bytesOf(all)
	m := &meter{tell: tell}
	m.add(total-bytesOf(want), total)
	return m
}

func bytesOf(blobs []Blob) (sum int64) {
	for _, b := range blobs {
		sum += b.Size
	}
	return sum
}

// putting is one blob on its way to the server.
type putting struct {
	Blob
	open  func() (io.ReadSeekCloser, error)
	have  int64 // bytes the server said it has
	best  int64 // the most it ever said
	probe bool  // ask for have first
	part  *part

	plain  bool   // it comes as it is, and is not offered chunk by chunk
	recipe Recipe // nil until it was cut
}

// upload sends one blob.
func (c *Client) upload(ctx context.Context, b Blob, open func() (io.ReadSeekCloser, error), m *meter) error {
	p := &putting{Blob: b, open: open, probe: b.Size >= probeFrom, part: &part{m: m}, plain: b.Size <= maxChunk}
	return c.persist(ctx, "send blob "+b.Ref.short(), func(ctx context.Context) try {
		var t try
		if !p.plain {
			t = c.offer(ctx, p)
		}
		if p.plain { // also when the offer was not understood
			t = c.put(ctx, p)
		}
		if t.outcome == done {
			p.part.set(b.Size)
		}
		return t
	})
}

// put is one try to send the rest of a blob.
func (c *Client) put(ctx context.Context, p *putting) try {
	moved := false
	if p.probe {
		whole, t := c.probe(ctx, p)
		if whole || t.outcome != done {
			return t
		}
		moved = p.moved()
	}
	p.part.set(min(p.have, p.Size))
	p.probe = true
	t := c.send(ctx, p)
	t.moved = t.moved || moved
	return t
}

// probe asks how much of the blob the server has.
func (c *Client) probe(ctx context.Context, p *putting) (whole bool, t try) {
	x, stop := c.exchange(ctx)
	defer stop()
	resp, err := x.send(http.MethodHead, string(p.Ref), nil, nil)
	if err != nil {
		return false, x.failed(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return true, try{}
	}
	if !p.learn(resp) {
		return false, x.refused(resp)
	}
	return false, try{}
}

// learn takes in how much the server has, if it says so.
func (p *putting) learn(resp *http.Response) bool {
	have, err := strconv.ParseInt(resp.Header.Get(headerHave), 10, 64)
	if err != nil || have < 0 {
		return false
	}
	p.have = have
	return true
}

// moved reports that the server has more of the blob than ever before.
func (p *putting) moved() bool {
	before := p.best
	p.best = max(p.best, p.have)
	return p.best > before
}

// send sends the bytes that the server does not have.
func (c *Client) send(ctx context.Context, p *putting) try {
	f, err := p.open()
	if err != nil {
		return try{outcome: final, err: err}
	}
	defer f.Close()
	// When the server has more than there is, an empty rest makes it look at its bytes and throw them away.
	rest := max(p.Size-p.have, 0)
	if _, err := f.Seek(p.have, io.SeekStart); err != nil {
		return try{outcome: final, err: err}
	}
	x, stop := c.exchange(ctx)
	defer stop()
	at := p.have
	body := &sentBody{x: x, r: io.LimitReader(f, rest), read: func(n int) { at += int64(n); p.part.set(at) }}
	defer body.Close()
	var payload io.Reader = http.NoBody
	if rest > 0 {
		payload = body
	}
	resp, err := x.send(http.MethodPut, string(p.Ref), payload, func(r *http.Request) {
		r.Header.Set(headerOffset, strconv.FormatInt(p.have, 10))
		r.ContentLength = rest
		if rest > 64<<10 {
			r.Header.Set("Expect", "100-continue")
		}
	})
	if err != nil {
		return x.failed(err)
	}
	defer resp.Body.Close()
	return c.taken(ctx, x, p, f, resp)
}

// taken is a try whose bytes were sent.
func (c *Client) taken(ctx context.Context, x *exchange, p *putting, f io.ReadSeeker, resp *http.Response) try {
	switch resp.StatusCode {
	case http.StatusOK, http.StatusCreated:
		return try{}
	case http.StatusConflict:
		t := x.refused(resp)
		t.moved = p.learn(resp) && p.moved()
		return t
	case http.StatusUnprocessableEntity:
		if err := p.check(ctx, f); err != nil {
			return try{outcome: final, err: err}
		}
	}
	return x.refused(resp)
}

// check reports when it is our own bytes that are wrong.
func (p *putting) check(ctx context.Context, f io.ReadSeeker) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := copyBytes(ctx, sum, f, p.Size); err != nil {
		return err
	}
	if refOf(sum) != p.Ref {
		return notTheBlob(p.Ref)
	}
	return nil
}

// errNotTheBlob says that the sender's own bytes are wrong.
var errNotTheBlob = errors.New("its content changed while it was sent")

func notTheBlob(ref Ref) error {
	return fault.New(fault.Conflict, "blob %s: %w", ref.short(), errNotTheBlob).Hint("send it again")
}

// sentBody is what a request reads; the transport may go on reading after the answer, so it can be shut.
type sentBody struct {
	x    *exchange
	mu   sync.Mutex
	r    io.Reader
	read func(n int) // is told of what was read; may be nil
	shut bool
}

func (b *sentBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shut {
		return 0, errors.New("this upload is over")
	}
	n, err := b.r.Read(p[:min(len(p), bufferSize)])
	if limiter := b.x.c.limiter; limiter != nil && limiter.WaitN(b.x.ctx, n) != nil {
		return 0, context.Cause(b.x.ctx)
	}
	if b.read != nil {
		b.read(n)
	}
	wait := b.x.idle()
	if err == io.EOF {
		wait *= 5 // a board's disk may take a while to write what is in memory
	}
	b.x.alive(wait)
	return n, err
}

func (b *sentBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shut = true
	return nil
}

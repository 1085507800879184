package artefact

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"bramble/fault"
)

// Small blobs come many in one exchange: each by itself costs more than its bytes do.
const (
	batchBlobs = 128
	batchBytes = 1 << 20
)

const (
	// unwritten is how many bytes of small blobs may be in memory only.
	unwritten = 2 << 20
	// unflushed is how many small blobs may wait for the disk at a time: one flush, of which a card has few a second, is for all of them.
	unflushed = 512
)

// batches puts small blobs together of which nothing is here; every other one is by itself.
func batches(blobs []Blob, begun func(Ref) bool) (together [][]Blob, apart []Blob) {
	var batch []Blob
	size := int64(0)
	for _, b := range blobs {
		if b.Size < 0 || b.Size > smallBlob || begun(b.Ref) {
			apart = append(apart, b)
			continue
		}
		if len(batch) == batchBlobs || size+b.Size > batchBytes {
			together, batch, size = append(together, batch), nil, 0
		}
		batch, size = append(batch, b), size+b.Size
	}
	if len(batch) > 0 {
		together = append(together, batch)
	}
	return together, apart
}

// intake is small blobs that come together.
type intake struct {
	c       *Chain
	f       *fetching
	ctx     context.Context // of storing
	memory  *semaphore.Weighted
	disk    chan struct{} // holds those that wait for it
	storing sync.WaitGroup

	mu     sync.Mutex
	apart  []Blob // that a source did not give with others
	failed error  // of storing
}

// together brings batches, in their order: those who have them from us ask for them so.
func (c *Chain) together(ctx context.Context, f *fetching, list [][]Blob) error {
	in := &intake{c: c, f: f, ctx: ctx, memory: semaphore.NewWeighted(unwritten), disk: make(chan struct{}, unflushed)}
	err := parallel(ctx, c.Head.width(), len(list), func(ctx context.Context, i int) error { return in.bring(ctx, list[i]) })
	in.storing.Wait()
	if err = cmp.Or(in.failure(), err); err != nil {
		return err
	}
	return c.apart(ctx, f, in.apart)
}

// bring brings a batch.
func (in *intake) bring(ctx context.Context, blobs []Blob) (err error) {
	in.c.wire <- struct{}{}
	defer func() { <-in.c.wire }()
	b := &batch{intake: in, left: blobs}
	for len(b.left) > 0 && err == nil {
		err = in.c.ask(ctx, in.c.from(), b.left[0].Ref, b.drink)
	}
	return err
}

// later leaves blobs to be asked for each by itself.
func (in *intake) later(blobs ...Blob) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.apart = append(in.apart, blobs...)
}

// failure is why what came could not be stored.
func (in *intake) failure() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.failed
}

// store puts a proved blob on the disk beside what else comes.
func (in *intake) store(ctx context.Context, ref Ref, data []byte) error {
	size := int64(len(data))
	if err := in.memory.Acquire(ctx, size); err != nil {
		return err
	}
	in.disk <- struct{}{}
	in.storing.Go(func() {
		defer func() { <-in.disk }()
		written := sync.OnceFunc(func() { in.memory.Release(size) })
		defer written()
		if err := in.f.s.keepWhole(in.ctx, ref, data, written); err != nil {
			in.mu.Lock()
			defer in.mu.Unlock()
			in.failed = err
		}
	})
	return nil
}

// batch is small blobs on their way here.
type batch struct {
	*intake
	left []Blob // that have not come
}

// drink takes what one source gives in one try.
func (b *batch) drink(ctx context.Context, from *source) try {
	question, err := json.Marshal(names(b.left))
	if err != nil {
		return try{outcome: final, err: err}
	}
	x, stop := from.exchange(ctx)
	defer stop()
	x.alive(chainWait + x.idle())
	resp, err := x.send(http.MethodPost, batchName, bytes.NewReader(question), func(r *http.Request) {
		r.Header.Set(headerFollow, strconv.Itoa(int(chainWait/time.Second)))
	})
	if err != nil {
		return x.failed(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusMethodNotAllowed || resp.StatusCode == http.StatusForbidden { // it is older than we are
		b.later(b.left...)
		b.left = nil
		return try{}
	}
	if resp.StatusCode != http.StatusOK {
		return x.refused(resp)
	}
	watch := from.watch(x, b.left[0].Ref)
	defer watch.stop()
	pieces := newUnpacker(&heardReader{resp.Body, watch})
	defer func() { b.c.less.Add(pieces.less); pieces.Close() }()
	for before := len(b.left); len(b.left) > 0; {
		t := b.next(ctx, x, pieces)
		if t.moved = len(b.left) < before; t.outcome != done {
			return t
		}
	}
	pieces.Read(make([]byte, 1)) // to the end of the answer, or the connection is of no use for the next
	return try{}
}

func names(blobs []Blob) []Ref {
	refs := make([]Ref, len(blobs))
	for i, b := range blobs {
		refs[i] = b.Ref
	}
	return refs
}

// next takes the first blob that is left.
func (b *batch) next(ctx context.Context, x *exchange, from *unpacker) try {
	if err := b.failure(); err != nil {
		return try{outcome: final, err: fmt.Errorf("%w: %w", errOwn, err)}
	}
	one := b.left[0]
	more, err := binary.ReadUvarint(byteReader{from})
	switch {
	case err != nil:
		return x.failed(noEOF(err))
	case more == 0:
		b.later(one)
		b.left = b.left[1:]
		return try{}
	case more-1 != uint64(one.Size):
		return try{outcome: lied, err: fault.New(fault.Failed, "blob %s came with another length: %w", one.Ref.short(), ErrMismatch)}
	}
	if err := b.c.limit(x.ctx, int(one.Size)); err != nil {
		return x.failed(err)
	}
	data := make([]byte, one.Size)
	if _, err := io.ReadFull(from, data); err != nil {
		return x.failed(noEOF(err))
	}
	if sum := sha256.Sum256(data); one.Ref != Ref(hex.EncodeToString(sum[:])) {
		return try{outcome: lied, err: mismatch(one.Ref)}
	}
	if err := b.store(ctx, one.Ref, data); err != nil { // it is asked for again, perhaps somewhere else
		return try{outcome: final, err: err}
	}
	b.left = b.left[1:]
	b.f.meter.add(one.Size, 0)
	return try{}
}

// byteReader reads single bytes from what has them in memory.
type byteReader struct{ io.Reader }

func (r byteReader) ReadByte() (byte, error) {
	var one [1]byte
	_, err := io.ReadFull(r, one[:])
	return one[0], err
}

// keepWhole stores a blob whose bytes were proved; others can have it before it is on the disk. It calls written when it does not need
// the bytes any more.
func (s *Store) keepWhole(ctx context.Context, ref Ref, data []byte, written func()) error {
	if err := s.claim(ctx, ref); err != nil {
		return err
	}
	defer s.leave(ref)
	flow := s.begin(ref, &flow{size: int64(len(data)), have: int64(len(data)), data: data})
	defer s.finish(ref, flow)
	file, err := os.CreateTemp(s.path("tmp"), "blob-*")
	if err != nil {
		return blame(err, "store blob %s", ref.short())
	}
	in := newIncoming(s, file)
	in.plain = true
	defer in.drop()
	if _, err := in.Write(data); err != nil {
		return err
	}
	flow.moveTo(file.Name())
	written()
	return in.keep(ref)
}

// batch answers with many small blobs, each as soon as it is here.
func (h *handler) batch(w http.ResponseWriter, r *http.Request) {
	refs, ok := h.refs(w, r, batchBlobs)
	if !ok {
		return
	}
	wait, err := followed(r.Header.Get(headerFollow))
	if err != nil {
		refuse(w, statusOf(err), err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	rc := http.NewResponseController(w)
	out := &gathered{to: &packer{to: &pacedWriter{w, rc, h.l.Idle}, pool: &h.packs, now: time.Now}, flush: rc.Flush}
	late := h.l.Late
	for _, ref := range refs {
		data, err := h.small(r.Context(), out, ref, wait, late)
		if err != nil { // nobody brings it, so nobody is waited for any more
			late = 0
			err = out.add(0, nil)
		} else {
			err = out.add(uint64(len(data))+1, data)
		}
		if err != nil {
			panic(http.ErrAbortHandler) // the other side sees that this is not all
		}
	}
	if out.send() != nil {
		panic(http.ErrAbortHandler)
	}
}

// small is a blob, which may have to be waited for; what is gathered goes out before that.
func (h *handler) small(ctx context.Context, out *gathered, ref Ref, wait, late time.Duration) ([]byte, error) {
	f, here := h.s.here(ref)
	if !here {
		if err := out.send(); err != nil {
			return nil, err
		}
		waiting, stop := context.WithTimeout(ctx, wait)
		defer stop()
		var err error
		if f, err = h.s.await(waiting, ref, late); err != nil {
			return nil, err
		}
	}
	part, f, err := h.part(ref, f)
	if err != nil { // it was in its file a moment ago, and is whole now
		part, f, err = h.part(ref, nil)
	}
	if err != nil {
		return nil, err
	}
	defer part.Close()
	if f.size > smallBlob {
		return nil, fault.New(fault.Misused, "blob %s is not small", ref.short())
	}
	if _, err := f.beyond(ctx, f.size-1); err != nil {
		return nil, err
	}
	data := make([]byte, f.size)
	_, err = io.ReadFull(io.NewSectionReader(part, 0, f.size), data)
	return data, err
}

// gathered makes few pieces of many blobs.
type gathered struct {
	to    io.Writer
	flush func() error
	buf   []byte
}

// add sends a blob, after what it is called by on the wire.
func (g *gathered) add(mark uint64, data []byte) error {
	if len(g.buf)+len(data)+binary.MaxVarintLen64 > maxPiece {
		if _, err := g.to.Write(g.buf); err != nil {
			return err
		}
		g.buf = g.buf[:0]
	}
	g.buf = append(binary.AppendUvarint(g.buf, mark), data...)
	return nil
}

// send has what was added go out now.
func (g *gathered) send() error {
	if len(g.buf) == 0 {
		return nil
	}
	_, err := g.to.Write(g.buf)
	g.buf = g.buf[:0]
	return errors.Join(err, g.flush())
}

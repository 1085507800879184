package artefact

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"

	"bramble/fault"
)

// digest hashes what passes through it to w.
type digest struct {
	w   io.Writer
	sum hash.Hash
	err error // what w said
}

func newDigest(w io.Writer) *digest { return &digest{w: w, sum: sha256.New()} }

func (d *digest) Write(p []byte) (int, error) {
	n, err := d.w.Write(p)
	d.sum.Write(p[:n])
	d.err = err
	return n, err
}

func (d *digest) ref() Ref { return refOf(d.sum) }

// incoming is a file on its way into the store: each write is counted against the store's limits and hashed.
type incoming struct {
	store *Store
	file  *os.File // nil once it was kept or dropped
	sum   hash.Hash
	size  int64
	plain bool // not hashed: it is proved chunk by chunk
}

func newIncoming(s *Store, f *os.File) *incoming {
	return &incoming{store: s, file: f, sum: sha256.New()}
}

func (in *incoming) Write(p []byte) (int, error) {
	if err := in.store.reserve(int64(len(p))); err != nil {
		return 0, err
	}
	n, err := in.file.Write(p)
	in.store.release(int64(len(p) - n))
	if !in.plain {
		in.sum.Write(p[:n])
	}
	in.size += int64(n)
	return n, blame(err, "write")
}

func (in *incoming) ref() Ref { return refOf(in.sum) }

// keep gives the file its name among the blobs; on error the file stays where it was.
func (in *incoming) keep(ref Ref) error {
	if err := in.store.flusher.sync(in.file); err != nil {
		return blame(err, "store blob %s", ref.short())
	}
	s, from := in.store, in.file.Name()
	defer s.lockShard(ref)()
	if _, err := os.Stat(s.blob(ref)); err == nil {
		s.touch(ref)
		in.drop()
		return nil
	}
	if err := s.name(from, ref); err != nil {
		return blame(err, "store blob %s", ref.short())
	}
	s.touch(ref)
	s.announce()
	err := in.file.Close()
	in.file = nil
	return err
}

// drop removes the file, unless it was kept.
func (in *incoming) drop() {
	if in.file == nil {
		return
	}
	os.Remove(in.file.Name())
	in.file.Close()
	in.store.release(in.size)
	in.file = nil
}

// name renames a file to the blob it is, and makes that survive a power cut.
func (s *Store) name(from string, ref Ref) error {
	shard := s.path("blobs", string(ref[:2]))
	err := os.Mkdir(shard, 0o700)
	if err == nil {
		err = s.flusher.syncDir(s.path("blobs"))
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Rename(from, s.blob(ref)); err != nil {
		return err
	}
	return s.flusher.syncDir(shard)
}

// Partial is a blob on its way whose ref is known. It has one writer at a time, and
// its bytes outlive that writer and the process.
type Partial struct {
	ref  Ref
	s    *Store
	in   *incoming // nil when the blob is whole and in the store
	gone bool      // closed
}

// Have is how many bytes of an unfinished blob are here; 0 when none or when it is whole.
func (s *Store) Have(ref Ref) int64 {
	if !ref.Valid() {
		return 0
	}
	info, err := os.Stat(s.path("partial", string(ref)))
	if err != nil {
		return 0
	}
	return info.Size()
}

// begun is how many bytes of a tree's unfinished blobs are here.
func (s *Store) begun(m Manifest) (sum int64) {
	list, err := os.ReadDir(s.path("partial")) // there are few, and a tree may have many blobs
	if err != nil || len(list) == 0 {
		return 0
	}
	unfinished := map[Ref]bool{}
	for _, d := range list {
		unfinished[Ref(d.Name())] = true
	}
	for _, b := range m.Blobs() {
		if unfinished[b.Ref] {
			sum += s.Have(b.Ref)
		}
	}
	return sum
}

// Resume takes up an unfinished blob where its last writer left it. It waits while another has it, until ctx ends.
// The caller closes the Partial.
func (s *Store) Resume(ctx context.Context, ref Ref) (*Partial, error) {
	if err := checkRef(ref); err != nil {
		return nil, err
	}
	if err := s.claim(ctx, ref); err != nil {
		return nil, err
	}
	return s.claimed(ctx, ref)
}

// claimed opens the partial file of a ref that the caller has claimed; on error the claim is over.
func (s *Store) claimed(ctx context.Context, ref Ref) (*Partial, error) {
	p := &Partial{ref: ref, s: s}
	if err := p.open(ctx); err != nil {
		p.Close()
		return nil, blame(err, "resume blob %s", ref.short())
	}
	return p, nil
}

// open reads what is there; bytes that already are the whole blob become one.
func (p *Partial) open(ctx context.Context) error {
	if _, ok := p.s.stat(p.ref); ok {
		return nil
	}
	f, err := os.OpenFile(p.s.path("partial", string(p.ref)), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	in := newIncoming(p.s, f)
	if in.size, err = copyBytes(ctx, in.sum, f, p.s.Have(p.ref)); err != nil {
		return errors.Join(err, f.Close())
	}
	p.in = in
	if in.ref() == p.ref {
		return p.Commit()
	}
	return nil
}

// Done reports that the blob is whole and in the store.
func (p *Partial) Done() bool { return p.in == nil }

// Have is how many bytes are here.
func (p *Partial) Have() int64 {
	if p.Done() {
		return 0
	}
	return p.in.size
}

// Append adds what r yields and says how much that was; on error, too, what came stays.
func (p *Partial) Append(ctx context.Context, r io.Reader) (int64, error) {
	if p.Done() {
		return 0, fault.New(fault.Conflict, "blob %s is whole already", p.ref.short())
	}
	return p.append(ctx, r, -1)
}

// append is Append of about so many bytes.
func (p *Partial) append(ctx context.Context, r io.Reader, size int64) (int64, error) {
	return copyBytes(ctx, p.in, r, size)
}

// Commit verifies the bytes and makes them a blob. Bytes with another hash are thrown away, and the error wraps ErrMismatch.
func (p *Partial) Commit() error {
	if p.Done() {
		return nil
	}
	if !p.in.plain && p.in.ref() != p.ref {
		return errors.Join(mismatch(p.ref), p.Reset())
	}
	if err := p.in.keep(p.ref); err != nil {
		return err
	}
	p.in = nil
	return nil
}

// Reset throws away what is here.
func (p *Partial) Reset() error {
	if p.Done() {
		return nil
	}
	if err := p.in.file.Truncate(0); err != nil {
		return fmt.Errorf("throw away blob %s: %w", p.ref.short(), err)
	}
	if _, err := p.in.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("throw away blob %s: %w", p.ref.short(), err)
	}
	p.s.release(p.in.size)
	p.in.size = 0
	p.in.sum.Reset()
	return nil
}

// proved keeps the first n bytes, which its chunks have proved, and from now on takes only such.
func (p *Partial) proved(n int64) error {
	p.in.plain = true
	return p.cut(n)
}

// cut keeps the first n bytes, and goes on behind them.
func (p *Partial) cut(n int64) error {
	if err := errors.Join(p.in.file.Truncate(n), seekTo(p.in.file, n)); err != nil {
		return fmt.Errorf("cut blob %s to %d bytes: %w", p.ref.short(), n, err)
	}
	p.s.release(p.in.size - n)
	p.in.size = n
	return nil
}

// Close lets the next writer in; unfinished bytes stay for it. A second Close does nothing.
func (p *Partial) Close() error {
	if p.gone {
		return nil
	}
	p.gone = true
	defer p.s.leave(p.ref)
	if p.Done() {
		return nil
	}
	if p.in.size == 0 {
		p.in.drop()
		return nil
	}
	return p.in.file.Close()
}

// claim makes the caller the one writer of ref's partial file.
func (s *Store) claim(ctx context.Context, ref Ref) error {
	for {
		s.mu.Lock()
		left, taken := s.busy[ref]
		if !taken {
			s.busy[ref] = make(chan struct{})
			s.mu.Unlock()
			s.touch(ref)
			return nil
		}
		s.mu.Unlock()
		select {
		case <-left:
		case <-ctx.Done():
			return fmt.Errorf("wait for the transfer that brings blob %s: %w", ref.short(), ctx.Err())
		}
	}
}

func (s *Store) leave(ref Ref) {
	s.touch(ref)
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.busy[ref])
	delete(s.busy, ref)
}

package artefact

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// On the wire a blob may be packed: a sequence of pieces, each with its length and its packed length as uvarints, and that
// many bytes of zstd (RFC 8878); where the packed length is 0 the bytes are as they are.
const packForm = "zstd"

// packPool makes encoders, which are large, and keeps those that are not used for the next transfer.
type packPool struct{ sync.Pool }

func (p *packPool) take() (*zstd.Encoder, error) {
	if e, ok := p.Get().(*zstd.Encoder); ok {
		return e, nil
	}
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(maxChunk))
}

// packer packs what is written, where that is worth its time.
type packer struct {
	to   io.Writer
	pool *packPool
	now  func() time.Time
	plan packPlan
	out  []byte
}

// Write sends one piece.
func (p *packer) Write(data []byte) (int, error) {
	p.out = binary.AppendUvarint(p.out[:0], uint64(len(data)))
	begun := p.now()
	packed, err := p.pack(data)
	if err != nil {
		return 0, err
	}
	ready := p.now()
	if packed == nil {
		p.out = append(append(p.out, 0), data...)
	} else {
		p.out = append(binary.AppendUvarint(p.out, uint64(len(packed))), packed...)
	}
	if _, err := p.to.Write(p.out); err != nil {
		return 0, err
	}
	p.plan.sent(ready.Sub(begun), p.now().Sub(ready))
	return len(data), nil
}

// pack is data packed, or nil when that is not tried or does not help.
func (p *packer) pack(data []byte) ([]byte, error) {
	if !p.plan.try() {
		return nil, nil
	}
	e, err := p.pool.take()
	if err != nil {
		return nil, err
	}
	defer p.pool.Put(e)
	packed := e.EncodeAll(data, nil)
	if !p.plan.packed(len(data), len(packed)) {
		return nil, nil
	}
	return packed, nil
}

// packPlan decides which pieces are packed: none for a while where packing did not help, and none while it takes longer than
// the link, which is then not what is waited for.
type packPlan struct {
	skip, pass int           // pieces to go without a try; how many that were last
	cost       time.Duration // of the last try
	wait       time.Duration // for the link, with the last piece
	known      bool
}

const mostSkip = 64

func (p *packPlan) try() bool {
	if p.skip > 0 {
		p.skip--
		return false
	}
	return !p.known || p.wait > p.cost
}

// packed takes in how small a piece has become, and reports whether it is small enough.
func (p *packPlan) packed(from, to int) bool {
	if to < from-from/10 {
		p.pass = 0
		return true
	}
	p.pass = min(max(1, 2*p.pass), mostSkip)
	p.skip = p.pass
	return false
}

// sent takes in how long a piece took to pack, if it was tried, and to send.
func (p *packPlan) sent(packing, sending time.Duration) {
	if packing > 10*time.Microsecond || !p.known {
		p.cost = packing
	}
	p.wait, p.known = sending, true
}

var errPack = errors.New("it is not packed as it should be")

// unpacker reads what a packer has written.
type unpacker struct {
	from *bufio.Reader
	dec  *zstd.Decoder // nil until a piece needs it
	raw  []byte
	rest []byte // of the piece
	wire []byte
	less int64 // bytes that did not have to move
}

func newUnpacker(from io.Reader) *unpacker { return &unpacker{from: bufio.NewReaderSize(from, 4096)} }

// maxPiece is the longest piece, in bytes.
const maxPiece = max(maxChunk, mouthful)

func (u *unpacker) Close() {
	if u.dec != nil {
		u.dec.Close()
	}
}

func (u *unpacker) Read(p []byte) (int, error) {
	if len(u.rest) == 0 {
		if err := u.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, u.rest)
	u.rest = u.rest[n:]
	return n, nil
}

// next reads a piece.
func (u *unpacker) next() error {
	size, err := binary.ReadUvarint(u.from)
	if err != nil {
		return err
	}
	packed, err := binary.ReadUvarint(u.from)
	if err != nil {
		return noEOF(err)
	}
	if size == 0 || size > maxPiece || packed >= size {
		return fmt.Errorf("a piece of %d bytes in %d: %w", size, packed, errPack)
	}
	n := packed
	if n == 0 {
		n = size
	}
	if uint64(cap(u.wire)) < n {
		u.wire = make([]byte, n)
	}
	u.wire = u.wire[:n]
	if _, err := io.ReadFull(u.from, u.wire); err != nil {
		return noEOF(err)
	}
	if u.rest = u.wire; packed > 0 {
		if u.dec == nil {
			if u.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxPiece)); err != nil {
				return err
			}
		}
		u.raw, err = u.dec.DecodeAll(u.wire, u.raw[:0])
		if err != nil || uint64(len(u.raw)) != size {
			return fmt.Errorf("%w: %w", errPack, err)
		}
		u.rest = u.raw
		u.less += int64(size - packed)
	}
	return nil
}

// noEOF is err where the end of the stream is no good end.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

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

// piece is bytes as they are sent, valid until the next.
type piece struct {
	wire    []byte
	size    int           // of the bytes
	packing time.Duration // 0 when it was not tried
	ready   time.Time
}

// Write sends one piece.
func (p *packer) Write(data []byte) (int, error) {
	piece, err := p.piece(data)
	if err != nil {
		return 0, err
	}
	if _, err := p.to.Write(piece.wire); err != nil {
		return 0, err
	}
	p.sent(piece)
	return len(data), nil
}

// sent is called when the link has taken a piece.
func (p *packer) sent(last piece) {
	p.plan.sent(last.size, len(last.wire), last.packing, p.now().Sub(last.ready))
}

// piece makes one.
func (p *packer) piece(data []byte) (piece, error) {
	next := piece{size: len(data)}
	var packed []byte
	small := false
	if p.plan.try() {
		begun := p.now()
		e, err := p.pool.take()
		if err != nil {
			return piece{}, err
		}
		packed = e.EncodeAll(data, nil)
		p.pool.Put(e)
		next.packing, small = p.now().Sub(begun), p.plan.packed(len(data), len(packed))
	}
	p.out = binary.AppendUvarint(p.out[:0], uint64(len(data)))
	if small {
		p.out = append(binary.AppendUvarint(p.out, uint64(len(packed))), packed...)
	} else {
		p.out = append(append(p.out, 0), data...)
	}
	next.wire, next.ready = p.out, p.now()
	return next, nil
}

// packPlan decides which pieces are packed: none for a while where packing did not help, and none where it takes longer than
// the link takes for what it saves.
type packPlan struct {
	skip, pass int // pieces to go without a try; how many that were last
	row        int // pieces packed since one went as it is

	// Of one byte, in nanoseconds; 0 when it is not known.
	cost, link float64
	gain       float64 // the share of a piece that packing saved last
}

const (
	mostSkip = 64
	mostRow  = 64 // then one goes as it is, and shows how fast the link has become
)

func (p *packPlan) try() bool {
	if p.skip > 0 {
		p.skip--
		return false
	}
	return p.cost == 0 || p.row < mostRow && p.link*p.gain > p.cost
}

// packed takes in how small a piece has become, and reports whether it is small enough.
func (p *packPlan) packed(from, to int) bool {
	if to < from-from/10 {
		p.pass, p.gain = 0, 1-float64(to)/float64(from)
		return true
	}
	p.pass = min(max(1, 2*p.pass), mostSkip)
	p.skip, p.gain = p.pass, 1 // it may be worth it again
	return false
}

// sent takes in how long a piece of n bytes, of which so many were sent, took to pack, 0 if that was not tried, and to send.
func (p *packPlan) sent(n, wire int, packing, sending time.Duration) {
	if packing > 0 {
		p.cost = float64(packing) / float64(n)
	}
	link := float64(sending) / float64(wire)
	switch {
	case wire < n: // what is small is gone at once, which says little about the link
		p.row++
	case p.link == 0:
		p.row, p.link = 0, link
	default:
		p.row, p.link = 0, (3*p.link+link)/4
	}
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

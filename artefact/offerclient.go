package artefact

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"
)

// offer is one try to send the chunks of a blob that the server lacks. It makes p plain where it cannot be.
func (c *Client) offer(ctx context.Context, p *putting) try {
	f, err := p.open()
	if err != nil {
		return try{outcome: final, err: err}
	}
	defer f.Close()
	if p.recipe == nil {
		if p.recipe, err = recipeOf(ctx, f); err != nil {
			return try{outcome: final, err: err}
		}
		if p.recipe.Size() != p.Size {
			return try{outcome: final, err: notTheBlob(p.Ref)}
		}
	}
	encoded := p.recipe.encode()
	if len(encoded) > maxOffer {
		p.plain = true
		return try{}
	}
	head := append(binary.AppendUvarint(nil, uint64(len(encoded))), encoded...)
	lack, moved, t := c.lacks(ctx, p, head)
	if t.err != nil || p.plain {
		return t
	}
	lacked, err := lack.lacked(len(p.recipe))
	if err != nil {
		return try{outcome: final, err: err}
	}
	for _, n := range lack {
		head = binary.AppendUvarint(head, uint64(n))
	}
	t = c.fill(ctx, p, f, head, lacked)
	t.moved = t.moved || moved
	return t
}

// lacks tells which chunks the server lacks, and whether it has more than before.
func (c *Client) lacks(ctx context.Context, p *putting, question []byte) (lack runs, moved bool, t try) {
	x, stop := c.exchange(ctx)
	defer stop()
	x.alive(10 * x.idle()) // a board's disk takes a while to find what it has
	resp, err := x.send(http.MethodPost, string(p.Ref)+"/chunks", bytes.NewReader(question), nil)
	if err != nil {
		return nil, false, x.failed(err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusMethodNotAllowed: // it is older than we are
		p.plain = true
		return nil, false, try{}
	default:
		return nil, false, x.refused(resp)
	}
	var o offer
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxOffer)).Decode(&o); err != nil {
		return nil, false, x.failed(err)
	}
	p.have = o.Have
	return o.Runs, p.moved(), try{}
}

// fill sends the chunks that are lacked.
func (c *Client) fill(ctx context.Context, p *putting, f io.ReadSeeker, head []byte, lacked []bool) try {
	x, stop := c.exchange(ctx)
	defer stop()
	chunks := &chunkReader{from: f, p: p, lacked: lacked, rest: head, packer: packer{pool: &packPool{}, now: time.Now}}
	body := &sentBody{x: x, r: chunks}
	defer body.Close()
	resp, err := x.send(http.MethodPut, string(p.Ref)+"/chunks", body, nil)
	if err != nil {
		body.Close() // nothing reads the file any more
		if chunks.failed != nil {
			return try{outcome: final, err: chunks.failed}
		}
		return x.failed(err)
	}
	defer resp.Body.Close()
	body.Close() // nothing reads the file any more
	return c.taken(ctx, x, p, f, resp)
}

// chunkReader yields what is said first, and then the chunks that are lacked.
type chunkReader struct {
	from   io.ReadSeeker
	p      *putting
	lacked []bool
	rest   []byte // to be read next
	packer packer
	failed error // of the file

	next   int   // chunk
	offset int64 // of it
	buf    []byte
	last   piece // that is read now; none while it is what is said first
}

func (c *chunkReader) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		if err := c.piece(); err != nil {
			return 0, err
		}
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// piece makes the next one, of lacked chunks in a row.
func (c *chunkReader) piece() error {
	if c.last.size > 0 {
		c.packer.sent(c.last)
	}
	recipe := c.p.recipe
	for c.next < len(recipe) && !c.lacked[c.next] {
		c.offset += recipe[c.next].Size
		c.next++
	}
	c.p.part.set(c.offset)
	if c.next == len(recipe) {
		return io.EOF
	}
	row := c.next
	for row < len(recipe) && c.lacked[row] {
		row++
	}
	chunks, n := recipe[c.next:row].first(mouthful)
	if cap(c.buf) < n {
		c.buf = make([]byte, max(n, mouthful))
	}
	err := seekTo(c.from, c.offset)
	if err == nil {
		_, err = io.ReadFull(c.from, c.buf[:n])
	}
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		err = notTheBlob(c.p.Ref)
	}
	if err == nil {
		c.last, err = c.packer.piece(c.buf[:n])
	}
	if err != nil {
		c.failed = err
		return err
	}
	c.rest, c.next, c.offset = c.last.wire, c.next+len(chunks), c.offset+int64(n)
	return nil
}

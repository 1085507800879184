package static

import (
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	"bramble/artefact"
)

// codings are the compressed forms that siblings may have, by the last part of their names.
var codings = map[string]string{"gz": "gzip", "br": "br", "zst": "zstd"}

// sibling is a file that by its name is a compressed form of another.
type sibling struct {
	coding string
	artefact.Blob
}

// findSiblings finds the compressed forms in the tree. A gzip that was not made of the file as it is now, which is easily
// forgotten, is none; of the other codings only a decoder of theirs would know.
func (c *compiler) findSiblings(ctx context.Context) error {
	byPath := make(map[string]artefact.Entry, len(c.entries))
	for _, e := range c.entries {
		byPath[e.Path] = e
	}
	c.siblings = map[string][]sibling{}
	for _, e := range c.entries {
		dot := strings.LastIndexByte(e.Path, '.')
		coding := codings[e.Path[dot+1:]]
		if coding == "" || dot < 0 {
			continue
		}
		plain, ok := byPath[e.Path[:dot]]
		if !ok || e.Size == 0 {
			continue
		}
		if coding == "gzip" {
			made, err := c.madeOf(ctx, e, plain)
			if err != nil {
				return fmt.Errorf("read %s: %w", e.Path, err)
			}
			if !made {
				continue
			}
		}
		c.siblings[plain.Path] = append(c.siblings[plain.Path], sibling{coding, artefact.Blob{Ref: e.Ref, Size: e.Size}})
	}
	return nil
}

// madeOf compares the checksum and length that a gzip ends with (RFC 1952, 2.3.1) with those of a file.
func (c *compiler) madeOf(ctx context.Context, packed, plain artefact.Entry) (bool, error) {
	f, size, err := c.src.Open(packed.Ref)
	if err != nil {
		return false, err
	}
	defer f.Close()
	const least, trailer = 18, 8 // bytes, of header and trailer
	if _, err := gzip.NewReader(f); err != nil || size < least {
		return false, nil
	}
	var end [trailer]byte
	if _, err := f.ReadAt(end[:], size-trailer); err != nil {
		return false, err
	}
	if binary.LittleEndian.Uint32(end[4:]) != uint32(plain.Size) {
		return false, nil
	}
	sum, err := c.checksum(ctx, plain)
	return sum == binary.LittleEndian.Uint32(end[:]), err
}

func (c *compiler) checksum(ctx context.Context, e artefact.Entry) (uint32, error) {
	if b := c.bodies[e.Ref]; b.all != nil {
		return crc32.ChecksumIEEE(b.all), nil
	}
	f, _, err := c.src.Open(e.Ref)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	sum := crc32.NewIEEE()
	for err == nil && ctx.Err() == nil {
		_, err = io.CopyN(sum, f, 1<<20)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return sum.Sum32(), errors.Join(err, ctx.Err())
}

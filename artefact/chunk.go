package artefact

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
	"os"
	"sync"

	"bramble/fault"
)

// A blob is cut into chunks by what is in it, so that one which was changed in a place has all its other chunks as before,
// and so that a node can prove each before it passes it on. The cuts are part of the wire: nodes of all versions must
// find the same ones.
const (
	minChunk  = 16 << 10
	meanChunk = 64 << 10
	maxChunk  = 256 << 10
)

// Chunk is a piece of a blob.
type Chunk struct {
	Size int64 // bytes
	Sum  [sha256.Size]byte
}

// Recipe is the chunks that a blob consists of, in order.
type Recipe []Chunk

// Size is the length of the blob in bytes.
func (r Recipe) Size() (n int64) {
	for _, c := range r {
		n += c.Size
	}
	return n
}

// first is as many chunks as fit into most bytes, but one at least, and their length.
func (r Recipe) first(most int) (Recipe, int) {
	n := int(r[0].Size)
	for i, c := range r[1:] {
		if n+int(c.Size) > most {
			return r[:i+1], n
		}
		n += int(c.Size)
	}
	return r, n
}

// gears are 256 numbers that look random: the first eight bytes of SHA-256("bramble gear" + the byte), big-endian.
var gears = sync.OnceValue(func() *[256]uint64 {
	var g [256]uint64
	for i := range g {
		sum := sha256.Sum256(append([]byte("bramble gear"), byte(i)))
		g[i] = binary.BigEndian.Uint64(sum[:8])
	}
	return &g
})

// The rolling hash is a gear hash, of which the last 64 bytes decide; a cut is where its highest bits are zero. As in
// FastCDC (Xia and others, 2016), more bits are wanted before the mean than behind it, which keeps sizes near it.
var (
	strictMask = highest(bits.Len(meanChunk-1) + 2)
	easyMask   = highest(bits.Len(meanChunk-1) - 2)
)

func highest(n int) uint64 { return ^uint64(0) << (64 - n) }

// cut is the length of data's first chunk, where data holds maxChunk bytes or all that is left.
func cut(data []byte) int {
	if len(data) <= minChunk {
		return len(data)
	}
	data = data[:min(len(data), maxChunk)]
	gears, hash := gears(), uint64(0)
	mean := min(len(data), meanChunk)
	for i := minChunk; i < mean; i++ {
		if hash = hash<<1 + gears[data[i]]; hash&strictMask == 0 {
			return i + 1
		}
	}
	for i := mean; i < len(data); i++ {
		if hash = hash<<1 + gears[data[i]]; hash&easyMask == 0 {
			return i + 1
		}
	}
	return len(data)
}

// recipeOf cuts what r yields.
func recipeOf(ctx context.Context, r io.Reader) (Recipe, error) {
	in := bufio.NewReaderSize(&contextReader{ctx, r}, 2*maxChunk)
	var all Recipe
	for {
		data, err := in.Peek(maxChunk)
		if len(data) == 0 {
			if err == io.EOF {
				err = nil
			}
			return all, err
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
		n := cut(data)
		all = append(all, Chunk{int64(n), sha256.Sum256(data[:n])})
		in.Discard(n)
	}
}

// maxRecipe is the longest encoded form, in bytes: enough for a blob of about 100 GB.
const maxRecipe = 64 << 20

const recipeForm = 1

// encode is r as it is kept and sent: a byte that names the form, then each chunk's size as a uvarint and its SHA-256.
func (r Recipe) encode() []byte {
	data := make([]byte, 0, 1+len(r)*(3+sha256.Size))
	data = append(data, recipeForm)
	for _, c := range r {
		data = append(binary.AppendUvarint(data, uint64(c.Size)), c.Sum[:]...)
	}
	return data
}

var errRecipe = errors.New("it is not of a form that this bramble knows")

// decodeRecipe reads what encode made of a blob's recipe, of size bytes; -1: any.
func decodeRecipe(data []byte, size int64) (Recipe, error) {
	if len(data) == 0 || data[0] != recipeForm {
		return nil, unreadableRecipe(errRecipe)
	}
	data = data[1:]
	var all Recipe
	for len(data) > 0 {
		n, k := binary.Uvarint(data)
		if k <= 0 || n == 0 || n > maxChunk || len(data) < k+sha256.Size {
			return nil, unreadableRecipe(errRecipe)
		}
		c := Chunk{Size: int64(n)}
		copy(c.Sum[:], data[k:])
		all = append(all, c)
		data = data[k+sha256.Size:]
	}
	if size >= 0 && all.Size() != size {
		return nil, unreadableRecipe(errors.New("it is of a blob of another size"))
	}
	return all, nil
}

func unreadableRecipe(why error) error {
	return fault.New(fault.Misused, "a list of chunks cannot be read: %w", why)
}

// Recipe is how a blob that is here is cut; it is kept beside the blob for the next time. Many nodes may ask at the same
// time, for whom it is cut once.
func (s *Store) Recipe(ctx context.Context, ref Ref) (Recipe, error) {
	r, err, _ := s.cutting.Do(string(ref), func() (any, error) { return s.recipe(context.WithoutCancel(ctx), ref) })
	if err != nil {
		return nil, err
	}
	return r.(Recipe), ctx.Err()
}

func (s *Store) recipe(ctx context.Context, ref Ref) (Recipe, error) {
	f, size, err := s.Open(ref)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if data, err := os.ReadFile(s.recipePath(ref)); err == nil {
		if r, err := decodeRecipe(data, size); err == nil {
			return r, nil
		}
	}
	sum := newDigest(io.Discard)
	r, err := recipeOf(ctx, io.TeeReader(f, sum))
	if err != nil {
		return nil, blame(err, "cut blob %s", ref.short())
	}
	if sum.ref() != ref {
		return nil, s.quarantine(ref, f)
	}
	s.keepRecipe(ref, r)
	return r, nil
}

func (s *Store) recipePath(ref Ref) string { return s.path("recipes", string(ref)) }

// keepRecipe keeps what can be found again, so it may fail.
func (s *Store) keepRecipe(ref Ref, r Recipe) {
	data := r.encode()
	n := int64(len(data))
	defer s.lockShard(ref)()
	s.dropRecipe(ref)
	if n > maxRecipe || s.reserve(n) != nil {
		return
	}
	if putFile(s.path("tmp"), s.recipePath(ref), data, unsettled) != nil {
		s.release(n)
		return
	}
	s.index.add(ref, r)
}

// dropRecipe forgets how a blob is cut; the shard is locked.
func (s *Store) dropRecipe(ref Ref) {
	if info, err := os.Stat(s.recipePath(ref)); err == nil && os.Remove(s.recipePath(ref)) == nil {
		s.release(info.Size())
	}
}

// place is where a chunk lies in a blob.
type place struct {
	ref    Ref
	offset int64
}

// find looks for chunks of a recipe, from one on, in the blobs that are here and whose cuts are known.
func (s *Store) find(r Recipe, from int) map[int]place {
	if len(r)-from < 2 {
		return nil
	}
	at := make(map[Chunk][]int, len(r)-from)
	for i, c := range r[from:] {
		at[c] = append(at[c], from+i)
	}
	known := map[int]place{}
	for _, ref := range s.holders(r[from:]) {
		if _, err := os.Stat(s.blob(ref)); err != nil { // to be looked at keeps nothing from being collected
			continue
		}
		other, ok := s.readRecipe(ref)
		if !ok {
			continue
		}
		offset := int64(0)
		for _, c := range other {
			for _, i := range at[c] {
				known[i] = place{ref, offset}
			}
			delete(at, c)
			offset += c.Size
		}
	}
	return known
}

// readPlace reads what lies at a place; the bytes are not proved.
func (s *Store) readPlace(at place, data []byte) bool {
	f, err := os.Open(s.blob(at.ref))
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = f.ReadAt(data, at.offset)
	return err == nil
}

// prefix is how many of the chunks the reader begins with, and their bytes.
func (r Recipe) prefix(from io.Reader) (chunks int, n int64) {
	buf := make([]byte, maxChunk)
	for _, c := range r {
		if _, err := io.ReadFull(from, buf[:c.Size]); err != nil || !c.is(buf[:c.Size]) {
			break
		}
		chunks, n = chunks+1, n+c.Size
	}
	return chunks, n
}

func (c Chunk) is(data []byte) bool {
	sum := sha256.Sum256(data)
	return int64(len(data)) == c.Size && bytes.Equal(sum[:], c.Sum[:])
}

package artefact

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"bramble/fault"
	"bramble/term"
)

// A large blob is offered by its recipe. The server answers which chunks it lacks, and those come, packed where that helps;
// the others it takes from blobs that it has.

// maxOffer is the longest recipe that is offered, in bytes: of a blob of about 7 GB. What is larger comes whole.
const maxOffer = 4 << 20

// offer is the answer to a recipe.
type offer struct {
	Have int64 `json:"have"` // bytes of an unfinished upload
	Runs runs  `json:"runs"`
}

// runs are lengths, in chunks: of a run that is here, one that is lacked, one that is here, and so on.
type runs []int

// lackOf makes runs of what is lacked of so many chunks.
func lackOf(chunks int, lacked func(int) bool) runs {
	all, last := runs{0}, false
	for i := range chunks {
		if is := lacked(i); is != last {
			all, last = append(all, 0), is
		}
		all[len(all)-1]++
	}
	return all
}

// lacked tells for each of so many chunks whether it is; an error when these are not runs of so many.
func (r runs) lacked(chunks int) ([]bool, error) {
	lacked := make([]bool, 0, chunks)
	for i, n := range r {
		if n < 0 || n > chunks-len(lacked) {
			return nil, errRuns
		}
		for range n {
			lacked = append(lacked, i%2 == 1)
		}
	}
	if len(lacked) != chunks {
		return nil, errRuns
	}
	return lacked, nil
}

var errRuns = fault.New(fault.Misused, "these are not runs of as many chunks as the blob has")

// within is how many whole chunks the first n bytes are, and how many bytes those are.
func (r Recipe) within(n int64) (chunks int, bytes int64) {
	for _, c := range r {
		if bytes+c.Size > n {
			break
		}
		chunks, bytes = chunks+1, bytes+c.Size
	}
	return chunks, bytes
}

// lack answers which chunks of an offered blob are not here.
func (h *handler) lack(w http.ResponseWriter, r *http.Request) {
	ref := Ref(r.PathValue("ref"))
	recipe, err := h.offered(ref, bufio.NewReader(&pacedReader{r.Body, http.NewResponseController(w), h.l.Idle}))
	if err != nil {
		refuse(w, statusOf(err), err)
		return
	}
	if _, ok := h.s.stat(ref); ok {
		answer(w, http.StatusOK, offer{Runs: runs{len(recipe)}})
		return
	}
	have := h.s.Have(ref)
	next, _ := recipe.within(have)
	known := h.s.find(recipe, next)
	answer(w, http.StatusOK, offer{Have: have, Runs: lackOf(len(recipe), func(i int) bool {
		_, ok := known[i]
		return i >= next && !ok
	})})
}

// offered reads a recipe: its length in bytes as a uvarint, and what encode made of it.
func (h *handler) offered(ref Ref, from *bufio.Reader) (Recipe, error) {
	if err := checkRef(ref); err != nil {
		return nil, err
	}
	n, err := binary.ReadUvarint(from)
	if err == nil && n > maxOffer {
		err = fault.New(fault.Misused, "a list of chunks has %d bytes at most", maxOffer)
	}
	if err != nil {
		return nil, blame(err, "read the chunks of blob %s", ref.short())
	}
	data, err := io.ReadAll(io.LimitReader(from, int64(n))) // its memory grows with what comes
	if err == nil && uint64(len(data)) < n {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, blame(err, "read the chunks of blob %s", ref.short())
	}
	recipe, err := decodeRecipe(data, -1)
	if err != nil {
		return nil, err
	}
	for i, c := range recipe {
		if c.Size < minChunk && i < len(recipe)-1 { // it is kept, and a blob of tiny chunks would take all room
			return nil, fault.New(fault.Misused, "chunk %d of blob %s has %d bytes, and %d are the least", i, ref.short(), c.Size, minChunk)
		}
	}
	if size := recipe.Size(); size > h.l.Blob {
		return nil, fault.New(fault.Full, "one file may have %s at most", term.Bytes(h.l.Blob))
	}
	return recipe, nil
}

// fill takes the chunks of a blob that were lacked, and the others from where they are.
func (h *handler) fill(w http.ResponseWriter, r *http.Request) {
	ref := Ref(r.PathValue("ref"))
	rc := http.NewResponseController(w)
	body := bufio.NewReader(&pacedReader{r.Body, rc, h.l.Idle})
	recipe, sent, err := h.filling(ref, body)
	if err == nil {
		err = h.s.Room(recipe.Size() - h.s.Have(ref))
	}
	if err != nil {
		refuse(w, statusOf(err), err)
		return
	}
	p := h.resume(w, r, ref)
	if p == nil {
		return
	}
	defer p.Close()
	err = p.fill(r.Context(), recipe, sent, body)
	if err == nil {
		rc.SetReadDeadline(time.Time{})
		err = p.Commit()
	}
	if err != nil {
		w.Header().Set(headerHave, fmt.Sprint(p.Have()))
		refuse(w, statusOf(err), blame(err, "receive blob %s", ref.short()))
		return
	}
	h.s.keepRecipe(ref, recipe)
	w.WriteHeader(http.StatusCreated)
}

// filling reads which blob comes, and which of its chunks are sent: runs as uvarints, as many as there are chunks.
func (h *handler) filling(ref Ref, from *bufio.Reader) (Recipe, []bool, error) {
	recipe, err := h.offered(ref, from)
	if err != nil {
		return nil, nil, err
	}
	var all runs
	for sum := 0; sum < len(recipe); {
		n, err := binary.ReadUvarint(from)
		if err != nil {
			return nil, nil, blame(err, "read the chunks of blob %s", ref.short())
		}
		if n > uint64(len(recipe)) || n == 0 && len(all) > 0 {
			return nil, nil, errRuns
		}
		all, sum = append(all, int(n)), sum+int(n)
	}
	sent, err := all.lacked(len(recipe))
	return recipe, sent, err
}

// fill appends what is missing: chunks that are sent come from body, as a packer writes them, others from blobs that are here.
func (p *Partial) fill(ctx context.Context, recipe Recipe, sent []bool, body *bufio.Reader) error {
	next, err := p.align(ctx, recipe)
	if err != nil {
		return err
	}
	known := map[int]place{}
	if slices.Contains(sent[next:], false) {
		known = p.s.find(recipe, next)
	}
	pieces := &unpacker{from: body}
	defer pieces.Close()
	buf := make([]byte, maxChunk)
	for i, c := range recipe {
		if err := ctx.Err(); err != nil {
			return err
		}
		data := buf[:c.Size]
		if sent[i] {
			if _, err := io.ReadFull(pieces, data); err != nil {
				return err
			}
		}
		if i < next {
			continue
		}
		if !sent[i] {
			at, ok := known[i]
			if ok && (!p.s.readPlace(at, data) || !c.is(data)) {
				p.s.distrust(at.ref)
				ok = false
			}
			if !ok {
				return fault.New(fault.Conflict, "chunk %d is not here any more", i).Hint("send it again")
			}
		} else if !c.is(data) {
			return mismatch(p.ref)
		}
		if _, err := p.in.Write(data); err != nil {
			return err
		}
	}
	return nil
}

// align throws away what is here beyond the chunks that are proved, and returns which is next.
func (p *Partial) align(ctx context.Context, recipe Recipe) (next int, err error) {
	f := p.in.file
	if err := seekTo(f, 0); err != nil {
		return 0, err
	}
	next, n := recipe.prefix(f)
	if n == p.in.size {
		return next, seekTo(f, n)
	}
	if err := errors.Join(p.cut(n), seekTo(f, 0)); err != nil {
		return 0, err
	}
	p.in.sum.Reset()
	_, err = copyBytes(ctx, p.in.sum, f, n)
	return next, err
}

func seekTo(f io.Seeker, offset int64) error {
	_, err := f.Seek(offset, io.SeekStart)
	return err
}

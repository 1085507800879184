package artefact

import (
	"errors"
	"os"

	"bramble/fault"
)

// inflow is one blob whose chunks arrive.
type inflow struct {
	b      Blob
	p      *Partial
	recipe Recipe
	known  map[int]place // chunks that are here in other blobs
	next   int           // chunk
	flow   *flow
	part   *part
}

// begin keeps what an earlier try had brought of whole chunks, and lets others have it.
func (in *inflow) begin() error {
	proved := int64(0)
	if in.p.Have() > 0 {
		f, err := os.Open(in.p.in.file.Name())
		if err != nil {
			return err
		}
		in.next, proved = in.recipe.prefix(f)
		f.Close()
	}
	if err := in.p.proved(proved); err != nil {
		return err
	}
	in.part.set(proved)
	in.flow = in.p.s.begin(in.b.Ref, &flow{size: in.b.Size, have: proved, path: in.p.in.file.Name()})
	return nil
}

// take proves the next chunks and keeps those before the first that is wrong.
func (in *inflow) take(chunks Recipe, data []byte) error {
	good := 0
	for _, c := range chunks {
		if !c.is(data[good : good+int(c.Size)]) {
			break
		}
		good += int(c.Size)
		in.next++
	}
	if _, err := in.p.in.Write(data[:good]); err != nil {
		return err
	}
	in.part.set(in.p.Have())
	in.flow.note(int64(good), false)
	if good < len(data) {
		return mismatch(in.b.Ref)
	}
	return nil
}

// reuse takes the next chunk from another blob; 0 when it is in none, or damaged there.
func (in *inflow) reuse() (int64, error) {
	at, known := in.known[in.next]
	if !known {
		return 0, nil
	}
	delete(in.known, in.next)
	data := make([]byte, in.recipe[in.next].Size)
	if !in.p.s.readPlace(at, data) || !in.recipe[in.next].is(data) {
		return 0, nil
	}
	return int64(len(data)), in.take(in.recipe[in.next:in.next+1], data)
}

// worthwhile is from how many bytes on in a row what is here is not asked for again with what is around it.
const worthwhile = 2 * meanChunk

// wanted is before which chunk to stop asking, because so much that follows is here.
func (in *inflow) wanted() int {
	here := int64(0)
	for i := in.next; i < len(in.recipe); i++ {
		if _, known := in.known[i]; !known {
			here = 0
			continue
		}
		if here += in.recipe[i].Size; here >= worthwhile {
			for in.known[i-1] != (place{}) { // to the first of the row; the next chunk is none, or it would have been reused
				i--
			}
			return i
		}
	}
	return len(in.recipe)
}

// own reports whether an error is this machine's, so that no other source can help.
func own(err error) bool { return fault.Is(err, fault.Full) || errors.Is(err, errOwn) }

var errOwn = errors.New("this machine cannot keep it")

package artefact

import (
	"encoding/binary"
	"os"
	"sync"
	"time"
)

// indexFor is how long the index is kept after it was used last: a board has little memory.
const indexFor = time.Minute

// chunkIndex tells which blobs may have a chunk: by the first bytes of its hash, so what it names is looked at again.
type chunkIndex struct {
	mu    sync.Mutex
	refs  []Ref
	at    map[uint64]int32 // in refs; nil while there is none
	drops *time.Timer
}

func keyOf(c Chunk) uint64 { return binary.BigEndian.Uint64(c.Sum[:8]) }

// add takes a blob in, if there is an index.
func (x *chunkIndex) add(ref Ref, r Recipe) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.at != nil {
		x.put(ref, r)
	}
}

func (x *chunkIndex) put(ref Ref, r Recipe) {
	for _, c := range r {
		x.at[keyOf(c)] = int32(len(x.refs))
	}
	x.refs = append(x.refs, ref)
}

// drop lets go of the memory.
func (x *chunkIndex) drop() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.refs, x.at = nil, nil
}

// close ends the index's timer.
func (x *chunkIndex) close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.drops != nil {
		x.drops.Stop()
	}
}

// holders are the blobs, each once, that may have chunks of a recipe. The index is made of the recipes in the store when
// it is asked for the first time in a while.
func (s *Store) holders(r Recipe) []Ref {
	x := &s.index
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.at == nil {
		x.at = map[uint64]int32{}
		names, _ := os.ReadDir(s.path("recipes"))
		for _, d := range names {
			if ref := Ref(d.Name()); ref.Valid() {
				if other, ok := s.readRecipe(ref); ok { // also where the blob is still on its way
					x.put(ref, other)
				}
			}
		}
	}
	if x.drops == nil {
		x.drops = time.AfterFunc(indexFor, x.drop)
	} else {
		x.drops.Reset(indexFor)
	}
	var found []Ref
	seen := map[int32]bool{}
	for _, c := range r {
		if i, ok := x.at[keyOf(c)]; ok && !seen[i] {
			seen[i] = true
			found = append(found, x.refs[i])
		}
	}
	return found
}

// readRecipe reads how a blob is cut, where that is known.
func (s *Store) readRecipe(ref Ref) (Recipe, bool) {
	data, err := os.ReadFile(s.recipePath(ref))
	if err != nil {
		return nil, false
	}
	r, err := decodeRecipe(data, -1)
	return r, err == nil
}

// distrust forgets how a blob is cut that does not have at a place what its recipe says: it is cut, and read, anew when
// somebody asks.
func (s *Store) distrust(ref Ref) {
	defer s.lockShard(ref)()
	s.dropRecipe(ref)
}

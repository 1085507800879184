package artefact

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// noise is n bytes that are the same each time.
func noise(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return data
}

func recipe(t *testing.T, data []byte) Recipe {
	t.Helper()
	r, err := recipeOf(t.Context(), bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The cuts are part of the wire: these never change.
func TestCutsStayAsTheyAre(t *testing.T) {
	var sizes []int64
	for _, c := range recipe(t, noise(7, 700_000)) {
		sizes = append(sizes, c.Size)
	}
	if want := []int64{75909, 74981, 95919, 77662, 71993, 73485, 79009, 88037, 63005}; !slices.Equal(sizes, want) {
		t.Errorf("chunks of %v, want %v", sizes, want)
	}
}

func TestChunksAddUp(t *testing.T) {
	for _, n := range []int{0, 1, minChunk, minChunk + 1, maxChunk, maxChunk + 1, 3_000_000} {
		for name, data := range map[string][]byte{"noise": noise(1, n), "zeros": make([]byte, n)} {
			r := recipe(t, data)
			at := int64(0)
			for i, c := range r {
				if !c.is(data[at:at+c.Size]) || c.Size > maxChunk || c.Size <= minChunk && i < len(r)-1 {
					t.Errorf("%d bytes of %s: chunk %d has %d", n, name, i, c.Size)
				}
				at += c.Size
			}
			if at != int64(n) || r.Size() != at {
				t.Errorf("%d bytes of %s: chunks have %d", n, name, at)
			}
			again, err := decodeRecipe(r.encode(), int64(n))
			if err != nil || !slices.Equal(again, r) {
				t.Errorf("%d bytes of %s: %v, %v", n, name, again, err)
			}
		}
	}
	if r := recipe(t, noise(2, 16<<20)); len(r) < 16<<20/meanChunk/2 || len(r) > 16<<20/meanChunk*2 {
		t.Errorf("%d chunks of 16 MiB: that is not about %d bytes each", len(r), meanChunk)
	}
}

// What is put in, changed or taken out somewhere leaves nearly all chunks as they were.
func TestAChangeMovesFewCuts(t *testing.T) {
	old := noise(3, 8<<20)
	known := map[Chunk]bool{}
	for _, c := range recipe(t, old) {
		known[c] = true
	}
	for name, changed := range map[string][]byte{
		"put in":    slices.Concat(old[:4<<20], []byte("some bytes more"), old[4<<20:]),
		"taken out": slices.Concat(old[:1<<20], old[1<<20+777:]),
		"changed":   slices.Concat(old[:5<<20], []byte("X"), old[5<<20+1:]),
		"in front":  slices.Concat([]byte("X"), old),
	} {
		fresh := int64(0)
		for _, c := range recipe(t, changed) {
			if !known[c] {
				fresh += c.Size
			}
		}
		if fresh > 2*maxChunk {
			t.Errorf("%s: %d bytes are in new chunks", name, fresh)
		}
	}
}

func TestDecodeRecipeRefuses(t *testing.T) {
	good := Recipe{{Size: 5}, {Size: 6}}.encode()
	for name, data := range map[string][]byte{
		"nothing": nil, "another form": append([]byte{9}, good[1:]...), "cut off": good[:len(good)-1], "one byte more": append(slices.Clone(good), 1),
		"an empty chunk": Recipe{{Size: 0}, {Size: 11}}.encode(), "a huge chunk": Recipe{{Size: maxChunk + 1}}.encode(),
	} {
		if r, err := decodeRecipe(data, 11); err == nil {
			t.Errorf("%s: %v", name, r)
		}
	}
	if _, err := decodeRecipe(good, 12); err == nil {
		t.Error("of another size")
	}
	if _, err := decodeRecipe(good, 11); err != nil {
		t.Error(err)
	}
}

func FuzzDecodeRecipe(f *testing.F) {
	f.Add(Recipe{{Size: 5}, {Size: 6}}.encode(), int64(11))
	f.Fuzz(func(t *testing.T, data []byte, size int64) {
		r, err := decodeRecipe(data, size)
		if err == nil && (r.Size() != size || len(r)*33 > len(data)) {
			t.Errorf("%d chunks of %d bytes from %d", len(r), r.Size(), len(data))
		}
	})
}

// What is asked for ends where enough that is here begins.
func TestWanted(t *testing.T) {
	for _, c := range []struct {
		text string // a letter for each chunk of 64 KiB: k is here in another blob
		next int
		want int
	}{
		{"....", 0, 4}, {"..kk", 0, 2}, {"..k.", 0, 4}, {"..k.kk.", 0, 4}, {"..k.kk.", 3, 4}, {".kkkk.", 0, 1}, {"kkkk..kk", 4, 6}, {".", 0, 1}, {"..kkk", 1, 2},
	} {
		in := &inflow{next: c.next, known: map[int]place{}}
		for i, letter := range c.text {
			in.recipe = append(in.recipe, Chunk{Size: meanChunk})
			if letter == 'k' {
				in.known[i] = place{ref: "r"}
			}
		}
		if got := in.wanted(); got != c.want {
			t.Errorf("%q from %d: %d, want %d", c.text, c.next, got, c.want)
		}
	}
}

func TestSpan(t *testing.T) {
	for text, want := range map[string][2]int64{"": {0, 10}, "bytes=0-": {0, 10}, "bytes=3-": {3, 10}, "bytes=3-4": {3, 5}, "bytes=3-99": {3, 10}} {
		if from, to, err := span(text, 10); err != nil || from != want[0] || to != want[1] {
			t.Errorf("%q: %d to %d, %v", text, from, to, err)
		}
	}
	for _, text := range []string{"bytes=10-", "bytes=-3", "bytes=4-3", "bytes=x-", "bytes=1", "lines=1-2,5-6", "bytes=-1-3"} {
		if from, to, err := span(text, 10); err == nil {
			t.Errorf("%q: %d to %d", text, from, to)
		}
	}
}

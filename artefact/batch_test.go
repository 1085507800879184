package artefact

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"
)

func TestBatches(t *testing.T) {
	blobs := func(sizes ...int64) (list []Blob) {
		for i, n := range sizes {
			list = append(list, Blob{Ref(fmt.Sprint(i)), n})
		}
		return list
	}
	var many []int64
	for range 300 {
		many = append(many, 100)
	}
	for _, c := range []struct {
		what  string
		blobs []Blob
		want  string // how many come in each, and how many by themselves
	}{
		{"nothing", nil, "[] 0"},
		{"one", blobs(5), "[1] 0"},
		{"large ones and one of unknown size are by themselves", blobs(5, 1<<20, 7, -1, 64<<10+1, 0, 64<<10), "[4] 3"},
		{"at most so many", blobs(many...), "[128 128 44] 0"},
		{"at most so many bytes", blobs(60<<10, 60<<10, 60<<10, 60<<10, 60<<10, 60<<10, 60<<10, 60<<10, 60<<10, 60<<10, 60<<10, 60<<10, 60<<10, 60<<10, 60<<10, 60<<10, 60<<10, 60<<10), "[17 1] 0"},
	} {
		var got []int
		together, apart := batches(c.blobs, func(r Ref) bool { return false })
		for _, b := range together {
			got = append(got, len(b))
		}
		if text := fmt.Sprint(got, len(apart)); text != c.want {
			t.Errorf("%s: %s, want %s", c.what, text, c.want)
		}
	}
	if together, apart := batches(blobs(1, 2, 3), func(r Ref) bool { return r == "1" }); len(together) != 1 || len(apart) != 1 || apart[0].Ref != "1" {
		t.Errorf("what is here in part is by itself: %v", apart)
	}
}

// A blob that came while files were told to come from elsewhere, and for which there was no room in memory yet, is not lost.
func TestABlobThatWaitsForMemoryIsLeft(t *testing.T) {
	data := []byte("five!")
	ctx, cancel := context.WithCancel(t.Context())
	in := &intake{c: &Chain{}, ctx: t.Context(), memory: semaphore.NewWeighted(1), disk: make(chan struct{}, 1)}
	b := &batch{intake: in, left: []Blob{{RefOf(data), 5}}}
	var wire bytes.Buffer
	out := &gathered{to: &packer{to: &wire, pool: &packPool{}, now: time.Now}, flush: func() error { return nil }}
	if err := out.add(6, data); err != nil {
		t.Fatal(err)
	}
	if err := out.send(); err != nil {
		t.Fatal(err)
	}
	x, stop := (&Client{}).exchange(t.Context())
	defer stop()
	cancel()
	if got := b.next(ctx, x, newUnpacker(&wire)); got.err == nil || len(b.left) != 1 {
		t.Errorf("%+v, and %d are left", got, len(b.left))
	}
}

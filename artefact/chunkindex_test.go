package artefact

import (
	"bytes"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// The index knows what came before it was made and after, and is let go of when nobody asks.
func TestChunkIndex(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := OpenStore(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		keep := func(seed byte) (Ref, Recipe) {
			data := make([]byte, 600<<10)
			for i := range data {
				data[i] = byte(i*i>>7) ^ seed ^ byte(i>>(seed%8))
			}
			ref, _, err := s.Put(t.Context(), bytes.NewReader(data), "")
			if err != nil {
				t.Fatal(err)
			}
			r, err := s.Recipe(t.Context(), ref)
			if err != nil {
				t.Fatal(err)
			}
			return ref, r
		}
		has := func(r Recipe) bool { return len(s.find(r, 0)) == len(r) }
		_, before := keep(1)
		if !has(before) || s.index.at == nil {
			t.Error("chunks of a blob from before the index are not found")
		}
		ref, after := keep(2)
		if !has(after) {
			t.Error("chunks of a blob that came later are not found")
		}
		coming := Recipe{before[0], after[0]} // whose blob is on its way when the index is made
		s.index.drop()
		s.keepRecipe(RefOf([]byte("coming")), coming)
		if s.find(coming, 0); len(s.index.refs) != 3 {
			t.Errorf("the index knows %d blobs, want 3", len(s.index.refs))
		}
		os.Remove(s.blob(ref))
		if len(s.find(after, 0)) != 0 {
			t.Error("chunks of a blob that is gone are found")
		}
		time.Sleep(2 * indexFor)
		synctest.Wait()
		if s.index.at != nil {
			t.Error("the index is kept for nobody")
		}
		if !has(before) {
			t.Error("the index is not made anew")
		}
	})
}

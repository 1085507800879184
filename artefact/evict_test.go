package artefact_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	. "bramble/artefact"
	"bramble/fault"
)

// putNoise puts so many bytes that nothing else has.
func putNoise(t *testing.T, s *Store, seed uint64, n int) (Ref, error) {
	t.Helper()
	ref, _, err := s.Put(t.Context(), bytes.NewReader(noise(seed, n)), "")
	return ref, err
}

// Before a store is full, what nobody holds goes, least recently used first; what is pinned, in use or was just asked for stays.
func TestBudgetTakesTheLeastUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openIn(t, t.TempDir(), Options{Budget: 1000})
		var refs []Ref
		for i := range 4 {
			ref, err := putNoise(t, s, uint64(i), 200)
			must(t, err)
			refs = append(refs, ref)
			time.Sleep(time.Hour)
		}
		must(t, s.Pin("job.1", refs[0]))
		time.Sleep(time.Hour)
		s.Has(refs[1:2]) // used again: now 2 is the oldest
		time.Sleep(time.Hour)
		if _, err := s.Collect(t.Context()); err != nil || len(s.Has(refs)) != 0 {
			t.Fatalf("within its budget the store lets go of %d, %v", len(s.Has(refs)), err)
		}
		time.Sleep(time.Hour)
		s.Has(refs[1:2])
		time.Sleep(time.Hour)
		release := s.Hold(refs[3])
		_, err := putNoise(t, s, 10, 400)
		must(t, err)
		if missing := s.Has(refs); len(missing) != 1 || missing[0] != refs[2] {
			t.Errorf("%d went, not the one that was used least lately", len(missing))
		}
		if s.Used() > 1000 {
			t.Errorf("%d bytes are used of 1000", s.Used())
		}
		_, err = putNoise(t, s, 11, 300) // all others have just been asked for
		if !fault.Is(err, fault.Full) || fault.Of(err).Try == "" {
			t.Errorf("a store of what is needed takes more: %v", err)
		}
		release()
	})
}

// How lately a blob was used is known to the next process.
func TestUseOutlivesTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s, err := OpenStore(dir, Options{})
		must(t, err)
		old, err := putNoise(t, s, 1, 200)
		must(t, err)
		young, err := putNoise(t, s, 2, 200)
		must(t, err)
		must(t, s.Change(func(set *Settings) { set.Keep = MinKeep }))
		time.Sleep(10 * time.Hour)
		s.Has([]Ref{old}) // the older file is the one that is used
		_, err = s.Collect(t.Context())
		must(t, err)
		must(t, s.Close())
		s = openIn(t, dir, Options{Budget: 500})
		must(t, s.Change(func(set *Settings) { set.Keep = 0 }))
		must(t, s.Close())
		s = openIn(t, dir, Options{Budget: 500})
		time.Sleep(time.Hour)
		_, err = putNoise(t, s, 3, 200)
		must(t, err)
		if missing := s.Has([]Ref{old, young}); len(missing) != 1 || missing[0] != young {
			t.Errorf("%v went, and not the one that nobody used", missing)
		}
	})
}

// Settings are there again after a restart; a budget that makes no sense is refused.
func TestSettingsLast(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenStore(dir, Options{})
	must(t, err)
	if err := s.Change(func(set *Settings) { set.Keep = 1 }); !fault.Is(err, fault.Misused) {
		t.Errorf("a budget of one byte: %v", err)
	}
	must(t, s.Change(func(set *Settings) { set.Keep, set.Every = MinKeep, 99 }))
	must(t, s.Close())
	s = openIn(t, dir, Options{})
	if got := s.Settings(); got.Keep != MinKeep || got.Every != 99 {
		t.Errorf("after a restart: %+v", got)
	}
	if err := s.Room(MinKeep + 1); !fault.Is(err, fault.Full) || err.Error() != "the store holds 0 B of at most 16.0 MiB; 16.0 MiB more are 1 B too many" {
		t.Errorf("more than the budget fits: %v", err)
	}
	must(t, s.Close())
	must(t, os.WriteFile(filepath.Join(dir, "settings"), []byte("{rotten"), 0o600))
	openIn(t, dir, Options{})
}

// gc frees all that nobody holds but what was asked for in the last minute; a damaged blob is counted, once.
func TestShedAndCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := openIn(t, dir, Options{})
		held, err := putNoise(t, s, 1, 100)
		must(t, err)
		loose, err := putNoise(t, s, 2, 200)
		must(t, err)
		must(t, s.Pin("store-ab", held))
		told := ""
		s.WhenDamaged(func(ref Ref, pins []string) { told = string(ref) + " " + pins[0] })
		if c, err := s.Shed(t.Context()); err != nil || c.Files != 0 {
			t.Errorf("what just came went: %+v, %v", c, err)
		}
		time.Sleep(2 * time.Minute)
		if c, err := s.Shed(t.Context()); err != nil || c.Files != 1 || c.Bytes != 200 || len(s.Has([]Ref{loose})) != 1 {
			t.Errorf("gc freed %+v, %v", c, err)
		}
		must(t, os.WriteFile(filepath.Join(dir, "blobs", string(held)[:2], string(held)), noise(9, 100), 0o600))
		for range 2 {
			if err := s.Verify(t.Context(), held); err == nil {
				t.Error("a damaged blob is well")
			}
		}
		if got := s.Settings().Damaged; got != 1 || told != string(held)+" store-ab" {
			t.Errorf("%d counted, told %q", got, told)
		}
		_, _, err = s.Put(t.Context(), bytes.NewReader(noise(1, 100)), held)
		must(t, errors.Join(err, s.Verify(t.Context(), held)))
	})
}

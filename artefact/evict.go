package artefact

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"bramble/fault"
	"bramble/sorts"
	"bramble/term"
)

// pressing is how long what somebody asked for is safe when room is wanted at once: a pin may be on its way.
const pressing = time.Minute

// Shed removes all that nobody holds and nobody asked for within the last minute, whatever the store may keep.
func (s *Store) Shed(ctx context.Context) (Collected, error) { return s.collect(ctx, pressing, false) }

// relieve removes at least so many bytes of what nobody holds, least recently used first, and says how many it has.
func (s *Store) relieve(want int64) int64 {
	s.collecting.Lock()
	defer s.collecting.Unlock()
	start := time.Now()
	held, err := s.held()
	if err != nil {
		return 0
	}
	stale := func(ref Ref) bool { return !held[ref] && s.stale(ref, start, pressing) }
	freed := int64(0)
	for _, c := range s.loose(stale) {
		if freed >= want {
			break
		}
		if n, err := s.remove(filepath.Dir(c.path), c.ref, stale); err == nil && n > 0 {
			freed += n
		}
		if n, err := s.remove(s.path("recipes"), c.ref, stale); err == nil && n > 0 {
			freed += n
		}
	}
	return freed
}

// loose is a file that nobody holds.
type loose struct {
	path string
	ref  Ref
	last time.Time // it was used
}

// loose lists what may go, least recently used first, what is damaged before all.
func (s *Store) loose(stale func(Ref) bool) []loose {
	var all []loose
	for _, sub := range []string{"corrupt", "partial", "blobs"} {
		filepath.WalkDir(s.path(sub), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil
			}
			ref := Ref(d.Name())
			if info, err := d.Info(); err == nil && ref.Valid() && stale(ref) {
				all = append(all, loose{path, ref, s.lastUse(ref, sub, info)})
			}
			return nil
		})
	}
	sorts.Stable(all, func(a, b loose) int { return a.last.Compare(b.last) })
	return all
}

// lastUse is when a blob was put or asked for: since the store was opened, or as it was written down before.
func (s *Store) lastUse(ref Ref, sub string, info fs.FileInfo) time.Time {
	if sub == "corrupt" {
		return time.Time{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.touched[ref]; ok {
		return at
	}
	if at := info.ModTime(); at.Before(s.opened) {
		return at
	}
	return s.opened
}

// noteUse writes down when blobs were used, so that a later process knows; to lose it costs little.
func (s *Store) noteUse() {
	s.mu.Lock()
	since, now := s.noted, time.Now()
	s.noted = now
	used := map[Ref]time.Time{}
	for ref, at := range s.touched {
		if at.After(since) {
			used[ref] = at
		}
	}
	s.mu.Unlock()
	for ref, at := range used {
		os.Chtimes(s.blob(ref), at, at)
	}
}

// lack is by how many bytes n more would break the limits, and the fault of that; s.mu is held.
func (s *Store) lack(n int64) (int64, error) {
	if over := n - (s.o.Budget - s.used); s.o.Budget > 0 && over > 0 {
		return over, fault.New(fault.Full, "the store holds %s of at most %s; %s more are %s too many", term.Bytes(s.used), term.Bytes(s.o.Budget), term.Bytes(n), term.Bytes(over)).
			Hint("bramble store list --pins shows what holds them; bramble store set --keep SIZE allows more")
	}
	if s.o.Floor <= 0 {
		return 0, nil
	}
	free, err := s.o.Free(s.dir)
	if err != nil {
		return 0, blame(err, "ask for free space")
	}
	if over := n - (free - s.o.Floor); over > 0 {
		return over, fault.New(fault.Full, "the disk has %s free and keeps %s in reserve; %s more are %s too many", term.Bytes(free), term.Bytes(s.o.Floor), term.Bytes(n), term.Bytes(over)).
			Hint("free some room on this disk")
	}
	return 0, nil
}

// roomFor makes room for n bytes where there is none, and then calls take with s.mu held.
func (s *Store) roomFor(n int64, take func()) error {
	for {
		s.mu.Lock()
		over, err := s.lack(n)
		if err == nil {
			take()
		}
		s.mu.Unlock()
		if err == nil || over <= 0 || s.relieve(over) < over {
			return err
		}
	}
}

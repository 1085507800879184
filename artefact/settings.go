package artefact

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"time"

	"bramble/fault"
	"bramble/term"
)

// Settings of a store that can be changed while it is in use; they are kept in its folder.
type Settings struct {
	Keep    int64 `json:"keep,omitempty"`    // Options.Budget; 0: what nobody holds goes after a grace
	Every   int64 `json:"every,omitempty"`   // seconds in which all is read once; 0: ScrubEvery, negative: never
	Damaged int64 `json:"damaged,omitempty"` // blobs that were ever found damaged here
	Scrub   Scrub `json:"scrub,omitzero"`
}

// Scrub is how far a store's blobs have been read to see whether they are still what they were.
type Scrub struct {
	At     Ref       `json:"at,omitempty"` // the last that was read
	Began  time.Time `json:"began,omitzero"`
	Ended  time.Time `json:"ended,omitzero"` // of the last time through
	Blobs  int64     `json:"blobs,omitempty"`
	Bytes  int64     `json:"bytes,omitempty"`  // read since it began
	Passes int64     `json:"passes,omitempty"` // times that all has been read
}

// MinKeep is the least that a store can be told to keep, in bytes: less would not hold one update.
const MinKeep = 16 << 20

// Settings are those in force.
func (s *Store) Settings() Settings {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.set
}

// Change changes settings and returns once they are on disk; a lower budget is met by removing what nobody holds.
func (s *Store) Change(change func(*Settings)) error {
	s.setting.Lock()
	defer s.setting.Unlock()
	set := s.Settings()
	change(&set)
	if set.Keep != 0 && set.Keep < MinKeep {
		return fault.New(fault.Misused, "a store keeps at least %s", term.Bytes(MinKeep)).Hint("--keep 4GB, or --keep 0 for no limit")
	}
	data, err := json.Marshal(set)
	if err != nil {
		return err
	}
	if err := replaceFile(s.path("tmp"), s.path("settings"), append(data, '\n')); err != nil {
		return blame(err, "keep the settings of the store %s", s.dir)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.set.Keep != set.Keep {
		s.o.Budget = set.Keep
	}
	s.set = set
	return nil
}

// readSettings takes up what an earlier process was told; what cannot be read is forgotten, so that the store opens.
func (s *Store) readSettings() error {
	data, err := os.ReadFile(s.path("settings"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && json.Unmarshal(data, &s.set) != nil {
		s.set = Settings{}
	}
	if s.set.Keep > 0 {
		s.o.Budget = s.set.Keep
	}
	return err
}

// WhenDamaged has every blob told that is found damaged and moved away, with the pins that hold it. tell must not block,
// and no blob may be read yet.
func (s *Store) WhenDamaged(tell func(ref Ref, pins []string)) { s.tellDamaged = tell }

// damaged counts a blob that was moved away, and tells who wants to know.
func (s *Store) damaged(ref Ref) {
	s.Change(func(set *Settings) { set.Damaged++ }) // on a full disk the count is lost, and nothing else
	if s.tellDamaged == nil {
		return
	}
	var pins []string
	names, _ := s.Pins()
	for _, name := range names {
		if s.holds(name, ref) {
			pins = append(pins, name)
		}
	}
	s.tellDamaged(ref, pins)
}

func (s *Store) holds(pin string, ref Ref) bool {
	refs, _ := s.pinned(pin)
	for _, r := range refs {
		if r == ref {
			return true
		}
	}
	return false
}

package artefact

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"bramble/fault"
)

// Pin holds blobs under a name until Unpin; more refs under the same name add to it.
// A blob may be pinned before it arrives. On return the pin is on disk.
func (s *Store) Pin(name string, refs ...Ref) error {
	if err := checkPin(name); err != nil {
		return err
	}
	for _, ref := range refs {
		if err := checkRef(ref); err != nil {
			return err
		}
	}
	defer s.touch(refs...) // a Collect that read the pins before this one leaves what was touched since it began
	s.pinning.Lock()
	defer s.pinning.Unlock()
	held, err := s.pinned(name)
	if err != nil {
		return err
	}
	fresh := func(ref Ref) bool { _, is := slices.BinarySearch(held, ref); return !is }
	if len(held) > 0 && !slices.ContainsFunc(refs, fresh) {
		return nil
	}
	return s.pin(name, append(held, refs...))
}

// Repin has a name hold these refs and no others. On return that is on disk.
func (s *Store) Repin(name string, refs ...Ref) error {
	if err := checkPin(name); err != nil {
		return err
	}
	defer s.touch(refs...)
	s.pinning.Lock()
	defer s.pinning.Unlock()
	return s.pin(name, slices.Clone(refs))
}

// pin writes down what a name holds; s.pinning is held.
func (s *Store) pin(name string, held []Ref) error {
	slices.Sort(held)
	held = slices.Compact(held)
	var text strings.Builder
	for _, ref := range held {
		text.WriteString(string(ref) + "\n")
	}
	return blame(replaceFile(s.path("tmp"), s.path("pins", name), []byte(text.String())), "pin %s", name)
}

// Hold keeps blobs, here already or not, from Collect until release is called or the store is closed.
func (s *Store) Hold(refs ...Ref) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ref := range refs {
		s.inUse[ref]++
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, ref := range refs {
			if s.inUse[ref]--; s.inUse[ref] == 0 {
				delete(s.inUse, ref)
			}
		}
	}
}

// PinManifest pins the manifest and everything in it, which must be here.
func (s *Store) PinManifest(ctx context.Context, name string, ref Ref) error {
	m, err := s.GetManifest(ctx, ref)
	if err != nil {
		return err
	}
	refs := []Ref{ref}
	for _, b := range m.Blobs() {
		refs = append(refs, b.Ref)
	}
	return s.Pin(name, refs...)
}

// Unpin lets go of all that name holds; a name that holds nothing is no error.
func (s *Store) Unpin(name string) error {
	if err := checkPin(name); err != nil {
		return err
	}
	s.pinning.Lock()
	defer s.pinning.Unlock()
	err := os.Remove(s.path("pins", name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return blame(errors.Join(err, syncDir(s.path("pins"))), "unpin %s", name)
}

// Pins are the names that hold something, in order.
func (s *Store) Pins() ([]string, error) {
	list, err := os.ReadDir(s.path("pins"))
	if err != nil {
		return nil, blame(err, "list pins")
	}
	names := make([]string, 0, len(list))
	for _, d := range list {
		names = append(names, d.Name())
	}
	return names, nil
}

func (s *Store) pinned(name string) ([]Ref, error) {
	text, err := os.ReadFile(s.path("pins", name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, blame(err, "read pin %s", name)
	}
	var refs []Ref
	for line := range strings.Lines(string(text)) {
		ref := Ref(strings.TrimSuffix(line, "\n"))
		if !ref.Valid() {
			return nil, fault.New(fault.Failed, "pin %s is damaged: %.80q is not a blob's name", name, line).
				Hint("bramble doctor, which looks at this machine's disk")
		}
		refs = append(refs, ref)
	}
	return refs, nil
}

// Collected is what Collect removed.
type Collected struct {
	Files int
	Bytes int64
}

// Collect removes what no pin and no Hold holds and nobody put or asked for within the grace: blobs, unfinished ones and damaged ones.
// The grace is measured by this process's own clock and starts anew when the store is opened,
// because boards wake up in 1970. A pin that cannot be read stops it before anything is removed.
// A store with a budget keeps whole blobs until that is reached, and then lets go of the least recently used.
func (s *Store) Collect(ctx context.Context) (Collected, error) {
	s.noteUse()
	s.mu.Lock()
	over, keeps := s.used-s.o.Budget, s.o.Budget > 0
	s.mu.Unlock()
	sum, err := s.collect(ctx, s.o.Grace, keeps)
	if over -= sum.Bytes; err == nil && keeps && over > 0 {
		sum.Bytes += s.relieve(over)
	}
	return sum, err
}

// collect removes what nobody holds or came for within the grace; of whole blobs, with spare, nothing.
func (s *Store) collect(ctx context.Context, grace time.Duration, spare bool) (Collected, error) {
	s.collecting.Lock()
	defer s.collecting.Unlock()
	var sum Collected
	start := time.Now()
	held, err := s.held()
	if err != nil {
		return sum, err
	}
	stale := func(ref Ref) bool { return !held[ref] && s.stale(ref, start, grace) }
	dirs := []string{s.path("partial"), s.path("corrupt")}
	if !spare {
		folders, err := os.ReadDir(s.path("blobs"))
		if err != nil {
			return sum, blame(err, "collect")
		}
		dirs = append(dirs, s.path("recipes"))
		for _, d := range folders {
			dirs = append(dirs, s.path("blobs", d.Name()))
		}
	}
	for _, dir := range dirs {
		if err := s.sweep(ctx, dir, stale, &sum); err != nil {
			return sum, blame(err, "collect")
		}
	}
	s.forget(start)
	return sum, nil
}

func (s *Store) held() (map[Ref]bool, error) {
	held := map[Ref]bool{}
	names, err := s.Pins()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		refs, err := s.pinned(name)
		if err != nil {
			return nil, err
		}
		for _, ref := range refs {
			held[ref] = true
		}
	}
	return held, nil
}

// stale reports whether ref's grace was over at the moment start, and nobody has come for it since.
func (s *Store) stale(ref Ref, start time.Time, grace time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.busy[ref]; taken || s.inUse[ref] > 0 {
		return false
	}
	last, ok := s.touched[ref]
	if !ok {
		last = s.opened
	}
	return start.Sub(last) >= grace
}

// sweep removes the stale files of one folder, whose names are refs.
func (s *Store) sweep(ctx context.Context, dir string, stale func(Ref) bool, sum *Collected) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, d := range list {
		ref := Ref(d.Name())
		if err := ctx.Err(); err != nil || !ref.Valid() {
			if err != nil {
				return err
			}
			continue
		}
		size, err := s.remove(dir, ref, stale)
		if err != nil {
			return err
		}
		if size >= 0 {
			sum.Files++
			sum.Bytes += size
		}
	}
	return nil
}

// remove removes one file if it is stale while nobody can look it up, and returns its size, else -1.
func (s *Store) remove(dir string, ref Ref, stale func(Ref) bool) (int64, error) {
	defer s.lockShard(ref)()
	path := dir + "/" + string(ref)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !stale(ref) {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	if err := os.Remove(path); err != nil {
		return -1, err
	}
	s.release(info.Size())
	return info.Size(), nil
}

// forget drops the moments that no longer protect anything.
func (s *Store) forget(start time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.touched, func(_ Ref, at time.Time) bool { return start.Sub(at) >= s.o.Grace && at.Before(start) })
}

// checkPin accepts [a-z0-9][a-z0-9.-]{0,199}, which is a file's name everywhere.
func checkPin(name string) error {
	bad := func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '-') }
	if name == "" || len(name) > 200 || strings.ContainsFunc(name, bad) || name[0] == '.' || name[0] == '-' {
		return fault.New(fault.Misused, "%.80q is not a pin's name: small letters, digits, dots and dashes", name)
	}
	return nil
}

package artefact

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"bramble/fault"
)

// Op is one thing that can be asked of a store.
type Op string

const (
	OpList   Op = "list"   // what it holds
	OpPins   Op = "pins"   // and under which names
	OpGC     Op = "gc"     // remove what nobody needs now
	OpVerify Op = "verify" // read all, and move away what is damaged
	OpPin    Op = "pin"    // hold refs, and all that is in those that are trees
	OpUnpin  Op = "unpin"  // let go of a name that was pinned so
	OpSet    Op = "set"    // change settings
)

// StoreTask is what is asked of the stores of some nodes.
type StoreTask struct {
	Op    Op       `json:"op"`
	Name  string   `json:"name,omitempty"` // pin, unpin
	Refs  []string `json:"refs,omitempty"` // pin: names of blobs, or how they begin
	Keep  *int64   `json:"keep,omitempty"` // set
	Every *int64   `json:"every,omitempty"`
}

// StoreEvent is one thing that a store reports.
type StoreEvent struct {
	Node   string       `json:"node"`
	Head   bool         `json:"head,omitempty"` // the head's own store, not that of the node on its machine
	Report *StoreReport `json:"report,omitempty"`
	Pins   []PinReport  `json:"pins,omitempty"`
	Done   int64        `json:"done,omitempty"` // bytes read, of Total
	Total  int64        `json:"total,omitempty"`
	Freed  *Collected   `json:"freed,omitempty"`
	Read   *ReadReport  `json:"read,omitempty"`
	Names  []string     `json:"names,omitempty"` // of nodes that are asked
	End    *End         `json:"end,omitempty"`   // last of a node
}

// StoreReport is what a store holds.
type StoreReport struct {
	Blobs   int64    `json:"blobs"`
	Bytes   int64    `json:"bytes"`   // of whole blobs
	Held    int64    `json:"held"`    // bytes of those that a pin holds
	Used    int64    `json:"used"`    // bytes of everything, arriving and damaged blobs and lists of chunks included
	Keep    int64    `json:"keep"`    // most bytes; 0: no limit
	Free    int64    `json:"free"`    // bytes of the disk
	Pins    int      `json:"pins"`    // names that hold something
	Away    int64    `json:"away"`    // damaged blobs that were moved away and are still there
	Damaged int64    `json:"damaged"` // blobs that were ever found damaged
	Set     Settings `json:"settings"`
}

// PinReport is what a name holds.
type PinReport struct {
	Name    string `json:"name"`
	Blobs   int    `json:"blobs"`
	Bytes   int64  `json:"bytes"`
	Missing int    `json:"missing,omitempty"` // blobs that are not here
}

// ReadReport is what reading all blobs has shown.
type ReadReport struct {
	Blobs   int64 `json:"blobs"`
	Bytes   int64 `json:"bytes"`
	Damaged []Ref `json:"damaged"`
}

// userPrefix begins the names of pins that people made.
const userPrefix = "pin-"

// maxNamed is how many damaged blobs are named.
const maxNamed = 500

// work does a task and tells what comes of it.
func (s *Store) work(ctx context.Context, t StoreTask, tell func(StoreEvent) error) error {
	switch t.Op {
	case OpList:
		r, err := s.report()
		return errors.Join(err, tell(StoreEvent{Report: &r}))
	case OpPins:
		return s.tellPins(tell)
	case OpGC:
		freed, err := s.Shed(ctx)
		return errors.Join(err, tell(StoreEvent{Freed: &freed}))
	case OpVerify:
		return s.readAll(ctx, tell)
	case OpPin:
		return s.pinFor(ctx, t.Name, t.Refs, tell)
	case OpUnpin:
		return s.unpinFor(t.Name)
	case OpSet:
		return s.Change(func(set *Settings) {
			if t.Keep != nil {
				set.Keep = *t.Keep
			}
			if t.Every != nil {
				set.Every = *t.Every
			}
		})
	}
	return fault.New(fault.Misused, "this bramble cannot %q with its store", t.Op).Hint("the same version of bramble on all nodes")
}

// report counts what is here.
func (s *Store) report() (StoreReport, error) {
	held, err := s.held()
	if err != nil {
		return StoreReport{}, err
	}
	r := StoreReport{Used: s.Used(), Set: s.Settings()}
	r.Damaged = r.Set.Damaged
	for ref, err := range s.refs("") {
		if err != nil {
			return r, blame(err, "look through the store")
		}
		info, err := os.Stat(s.blob(ref))
		if err != nil {
			continue // it has gone meanwhile
		}
		r.Blobs++
		r.Bytes += info.Size()
		if held[ref] {
			r.Held += info.Size()
		}
	}
	if away, err := os.ReadDir(s.path("corrupt")); err == nil {
		r.Away = int64(len(away))
	}
	names, err := s.Pins()
	r.Pins = len(names)
	s.mu.Lock()
	r.Keep = s.o.Budget
	s.mu.Unlock()
	free, _ := s.o.Free(s.dir)
	r.Free = max(0, free-s.o.Floor)
	return r, err
}

// refs yields the blobs that are here in order, from behind one on.
func (s *Store) refs(behind Ref) func(yield func(Ref, error) bool) {
	return func(yield func(Ref, error) bool) {
		folders, err := os.ReadDir(s.path("blobs"))
		if err != nil {
			yield("", err)
			return
		}
		for _, d := range folders {
			if len(behind) > 2 && d.Name() < string(behind[:2]) {
				continue
			}
			list, err := os.ReadDir(s.path("blobs", d.Name()))
			if err != nil {
				yield("", err)
				return
			}
			for _, f := range list {
				if ref := Ref(f.Name()); ref.Valid() && ref > behind && !yield(ref, nil) {
					return
				}
			}
		}
	}
}

func (s *Store) tellPins(tell func(StoreEvent) error) error {
	names, err := s.Pins()
	if err != nil {
		return err
	}
	var list []PinReport
	for _, name := range names {
		refs, err := s.pinned(name)
		if err != nil {
			return err
		}
		p := PinReport{Name: name, Blobs: len(refs)}
		for _, ref := range refs {
			if info, err := os.Stat(s.blob(ref)); err == nil {
				p.Bytes += info.Size()
			} else {
				p.Missing++
			}
		}
		list = append(list, p)
	}
	for part := range slices.Chunk(list, 200) {
		if err := tell(StoreEvent{Pins: part}); err != nil {
			return err
		}
	}
	return nil
}

// readAll reads every blob; it tells how far it is at most a few times a second.
func (s *Store) readAll(ctx context.Context, tell func(StoreEvent) error) error {
	r, err := s.report()
	if err != nil {
		return err
	}
	read, told := ReadReport{Damaged: []Ref{}}, time.Now()
	for ref, err := range s.refs("") {
		if err != nil {
			return blame(err, "look through the store")
		}
		n, err := s.Copy(ctx, io.Discard, ref)
		read.Blobs, read.Bytes = read.Blobs+1, read.Bytes+n
		switch {
		case errors.Is(err, ErrCorrupt):
			if len(read.Damaged) < maxNamed {
				read.Damaged = append(read.Damaged, ref)
			}
		case fault.Is(err, fault.NotFound):
			read.Blobs-- // it has gone meanwhile
		case err != nil:
			return err
		}
		if time.Since(told) > tellEvery {
			told = time.Now()
			if err := tell(StoreEvent{Done: min(read.Bytes, r.Bytes), Total: r.Bytes}); err != nil {
				return err
			}
		}
	}
	return tell(StoreEvent{Read: &read})
}

// pinFor holds what people name.
func (s *Store) pinFor(ctx context.Context, name string, words []string, tell func(StoreEvent) error) error {
	if len(words) == 0 {
		return fault.New(fault.Misused, "nothing to pin").Hint("bramble store pin NAME BLOB…, with names of blobs as push --json and store ls --json give them")
	}
	var refs []Ref
	for _, word := range words {
		ref, err := s.complete(word)
		if err != nil {
			return err
		}
		refs = append(refs, ref)
		if info, err := os.Stat(s.blob(ref)); err == nil && info.Size() <= MaxManifest {
			if m, err := s.GetManifest(ctx, ref); err == nil {
				refs = append(refs, refsOf(m)...)
			}
		}
	}
	release := s.Hold(refs...)
	defer release()
	if missing := s.Has(refs); len(missing) > 0 {
		return fault.New(fault.NotFound, "blob %s of this tree is not in the store", missing[0].short())
	}
	if err := s.Pin(userPrefix+name, refs...); err != nil {
		return err
	}
	held, err := s.pinned(userPrefix + name)
	if err != nil {
		return err
	}
	return tell(StoreEvent{Pins: []PinReport{{Name: userPrefix + name, Blobs: len(held)}}})
}

// leastPrefix is how much of a blob's name has to be given, in hex digits.
const leastPrefix = 6

// complete is the one blob here whose name begins so.
func (s *Store) complete(word string) (Ref, error) {
	word = strings.ToLower(word)
	if len(word) < leastPrefix || len(word) > 64 || !Ref(word+strings.Repeat("0", 64-len(word))).Valid() {
		return "", fault.New(fault.Misused, "%.80q is not a blob's name, nor the first %d or more of its 64 hex digits", word, leastPrefix)
	}
	list, err := os.ReadDir(s.path("blobs", word[:2]))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", blame(err, "look through the store")
	}
	var found Ref
	for _, d := range list {
		if !strings.HasPrefix(d.Name(), word) {
			continue
		}
		if found != "" {
			return "", fault.New(fault.Misused, "two blobs begin with %s", word).Hint("more of its digits")
		}
		found = Ref(d.Name())
	}
	if found == "" {
		return "", fault.New(fault.NotFound, "blob %s is not in this store", Ref(word).short())
	}
	return found, nil
}

func (s *Store) unpinFor(name string) error {
	names, err := s.Pins()
	if err != nil {
		return err
	}
	if !slices.Contains(names, userPrefix+name) {
		return fault.New(fault.NotFound, "nothing is pinned as %s here", clip(name)).Hint("bramble store list --pins")
	}
	return s.Unpin(userPrefix + name)
}

package artefact

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"bramble/fault"
)

// Change is what one task made of the folder that it was given.
type Change struct {
	Label string // told apart by: "7.3" is task 3 of job 7
	Node  string // where it ran
	Manifest
}

// Conflict is a file that came back and did not take its place.
type Conflict struct {
	Path   string
	Beside string // where it was put instead
	Change Change
	Here   bool // because it is not what it was here, rather than because other tasks made something else of it
}

// Merging is how a folder and what came back become one.
type Merging struct {
	Write     Manifest // files that take their place
	Beside    Manifest // files that are put beside theirs
	Conflicts []Conflict
}

// Merge decides what becomes of changes to the folder base where the folder is now here; entry gives what stands
// at a path there, false for nothing. A file that only one task changed, or several in the same way, takes its place if there it
// still is as it was, or is gone. Of all others each version is put beside, as PATH.LABEL.
func Merge(base Manifest, changes []Change, entry func(path string) (Entry, bool)) (Merging, error) {
	var m Merging
	was := base.byPath()
	versions := map[string][]version{}
	for _, c := range changes {
		if err := Validate(c.Manifest); err != nil {
			return m, err
		}
		for _, e := range c.Entries {
			if !slices.ContainsFunc(strings.Split(e.Path, "/"), never) { // whoever sent it
				versions[e.Path] = append(versions[e.Path], version{e, c})
			}
		}
	}
	for _, p := range sortedKeys(versions) {
		list := versions[p]
		first := list[0].Entry
		now, there := entry(p)
		before, known := was[p]
		differ := slices.ContainsFunc(list, func(v version) bool { return !v.equals(first) })
		switch {
		case !differ && there && (now == first || now.isDir() && first.isDir()):
		case !differ && (!there || known && now == before):
			m.Write.Entries = append(m.Write.Entries, first)
		default:
			for _, v := range list {
				m.putBeside(v, !differ)
			}
		}
	}
	return m, m.check()
}

// version is what one task made of one path.
type version struct {
	Entry
	from Change
}

// equals reports whether two tasks made the same; two folders are, whatever their modes.
func (v version) equals(e Entry) bool { return v.Entry == e || v.isDir() && e.isDir() }

func (m *Merging) putBeside(v version, here bool) {
	e := v.Entry
	e.Path += "." + v.from.Label
	m.Conflicts = append(m.Conflicts, Conflict{Path: v.Path, Beside: e.Path, Change: v.from, Here: here})
	m.Beside.Entries = append(m.Beside.Entries, e)
}

// check refuses what could not be laid out: a thing that is a file for one task and a folder for another.
func (m *Merging) check() error {
	for _, c := range m.Conflicts {
		for _, e := range m.Write.Entries {
			if path.Dir(e.Path) == c.Path {
				return fault.New(fault.Conflict, "%s is a folder for one task, and for task %s on %s it is none", c.Path, c.Change.Label, c.Change.Node).
					Hint("bramble pull JOB --to DIR, once for each task: JOB.INDEX")
			}
		}
	}
	return nil
}

// MergeInto merges changes into the folder dir. Nothing outside it is touched, whatever links stand in it.
func MergeInto(ctx context.Context, s Source, base Manifest, changes []Change, dir string) (Merging, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return Merging{}, blame(err, "write to %s", dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Merging{}, blame(err, "write to %s", dir)
	}
	defer root.Close()
	var broken error
	m, err := Merge(base, changes, func(p string) (Entry, bool) {
		e, there, err := standing(ctx, root, p)
		if err != nil && broken == nil {
			broken = blame(err, "look at %s", p)
		}
		return e, there
	})
	if err == nil {
		err = broken
	}
	if err != nil {
		return m, err
	}
	return m, m.place(ctx, s, changes, dir)
}

// Gather puts what several have made into the folder dir, over what stands there.
func Gather(ctx context.Context, s Source, changes []Change, dir string) (Merging, error) {
	m, err := Merge(Manifest{}, changes, func(string) (Entry, bool) { return Entry{}, false })
	if err == nil {
		err = os.MkdirAll(dir, 0o777)
	}
	if err != nil {
		return m, blame(err, "write to %s", dir)
	}
	return m, m.place(ctx, s, changes, dir)
}

func (m *Merging) place(ctx context.Context, s Source, changes []Change, dir string) error {
	for _, part := range []Manifest{m.Write, m.Beside} {
		if err := Place(ctx, s, part.withFolders(changes), dir, PlaceOptions{Overwrite: true, NoSync: true}); err != nil {
			return err
		}
	}
	return nil
}

// standing is what is at a path of a folder.
func standing(ctx context.Context, root *os.Root, p string) (Entry, bool, error) {
	info, err := root.Lstat(p)
	if os.IsNotExist(err) || isNotDir(err) {
		return Entry{}, false, nil
	}
	if err != nil {
		return Entry{}, false, err
	}
	s := &scan{}
	if info.IsDir() {
		return Entry{Path: p, Mode: uint32(info.Mode() & (os.ModePerm | kinds | special))}, true, nil
	}
	if err := s.add(ctx, root, p, p); err != nil || len(s.items) == 0 {
		return Entry{Path: p, Mode: uint32(os.ModeIrregular)}, true, err
	}
	err = s.items[0].hash(ctx)
	return s.items[0].Entry, true, err
}

// withFolders adds the folders that m's files are in, as one of the changes has them.
func (m Manifest) withFolders(changes []Change) Manifest {
	modes := map[string]Entry{}
	for _, c := range changes {
		for _, e := range c.Entries {
			if e.isDir() {
				modes[e.Path] = e
			}
		}
	}
	out := m.byPath()
	for _, e := range m.Entries {
		for dir := path.Dir(e.Path); dir != "."; dir = path.Dir(dir) {
			if _, there := out[dir]; !there {
				out[dir] = modes[dir]
			}
		}
	}
	whole := Manifest{}
	for _, p := range sortedKeys(out) {
		whole.Entries = append(whole.Entries, out[p])
	}
	return whole
}

// String says what happened, for people.
func (c Conflict) String() string {
	why := "other tasks made something else of it"
	if c.Here {
		why = "it was changed here meanwhile"
	}
	return fmt.Sprintf("%s of task %s on %s is kept as %s: %s", c.Path, c.Change.Label, c.Change.Node, c.Beside, why)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func isNotDir(err error) bool { return errors.Is(err, syscall.ENOTDIR) }

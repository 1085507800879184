package static

import (
	"path"
	"sort"
	"strings"

	"bramble/artefact"
	"bramble/fault"
)

// linker replaces a tree's symbolic links by what they lead to.
type linker struct {
	all    []artefact.Entry // in path order
	byPath map[string]artefact.Entry
	out    []artefact.Entry // files only
}

// followLinks are the tree's files, under each path that leads to them.
func followLinks(m artefact.Manifest) ([]artefact.Entry, error) {
	l := &linker{all: m.Entries, byPath: make(map[string]artefact.Entry, len(m.Entries))}
	for _, e := range m.Entries {
		l.byPath[e.Path] = e
	}
	for _, e := range m.Entries {
		if err := l.add(e, e.Path, 0); err != nil {
			return nil, err
		}
	}
	return l.out, nil
}

// add adds an entry under a path. depth is how many links to folders led to it.
func (l *linker) add(e artefact.Entry, as string, depth int) error {
	const deepest = 8
	switch {
	case len(l.out) >= artefact.MaxEntries:
		return misused("with what its links lead to, the site has more than %d files", artefact.MaxEntries)
	case isFile(e):
		e.Path = as
		l.out = append(l.out, e)
		return nil
	case !isLink(e):
		return nil
	case depth >= deepest:
		return badLink("the link %s is reached through %d other links to folders; %d are allowed", e.Path, depth, deepest-1)
	}
	to, err := l.resolve(e)
	if err != nil {
		return err
	}
	target := l.byPath[to]
	if !isDir(target) {
		return l.add(target, as, depth)
	}
	if strings.HasPrefix(e.Path, to+"/") {
		return badLink("the link %s leads to a folder that it is in", e.Path)
	}
	first := sort.Search(len(l.all), func(i int) bool { return l.all[i].Path >= to+"/" })
	for _, below := range l.all[first:] {
		rest, ok := strings.CutPrefix(below.Path, to+"/")
		if !ok {
			break
		}
		if err := l.add(below, as+"/"+rest, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// resolve follows a link, and those on its way, to a file or folder of the tree.
func (l *linker) resolve(link artefact.Entry) (string, error) {
	const mostHops = 40
	at, rest := path.Dir(link.Path), strings.Split(link.Link, "/")
	if path.IsAbs(link.Link) {
		return "", leavesTree(link)
	}
	for hops := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch next := path.Join(at, name); {
		case name == "" || name == ".":
		case name == ".." && at == ".":
			return "", leavesTree(link)
		case name == "..":
			at = path.Dir(at)
		default:
			e, ok := l.byPath[next]
			switch {
			case !ok:
				return "", badLink("the link %s leads to %s, which the site does not have", link.Path, link.Link)
			case !isLink(e):
				at = next
			case hops == mostHops:
				return "", badLink("the link %s leads round in a circle", link.Path)
			case path.IsAbs(e.Link):
				return "", leavesTree(e)
			default:
				hops, rest = hops+1, append(strings.Split(e.Link, "/"), rest...)
			}
		}
	}
	if at == "." {
		return "", badLink("the link %s leads to a folder that it is in", link.Path)
	}
	return at, nil
}

func leavesTree(link artefact.Entry) error {
	return badLink("the link %s leads out of the site, to %s", link.Path, link.Link)
}

func badLink(format string, args ...any) error {
	return fault.New(fault.Misused, format, args...).Hint("take the link away, or put what it should lead to in its place")
}

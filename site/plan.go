package site

import (
	"cmp"
	"slices"
	"strings"

	"bramble/artefact"
	"bramble/fault"
	"bramble/sorts"
)

// merge is what a site will be after a Publish; old is the zero Site for a new one.
func merge(old Site, p Publish) (Site, error) {
	was := old.Spec
	if old.Removed {
		was = Spec{}
	}
	next := Site{Seq: old.Seq, Live: old.Live, Releases: old.Releases}
	next.Spec = Spec{
		Name: p.Name, On: cmp.Or(p.On, was.On, "all"), Quorum: cmp.Or(p.Quorum, was.Quorum, 100),
		Listen: p.Listen, Hosts: p.Hosts, Folder: p.Folder, Exec: p.Exec, User: p.User, As: p.As, Log: p.Log,
	}
	if p.Folder == "" && p.Exec == "" && !p.Serve {
		next.Folder, next.Exec, next.As = was.Folder, was.Exec, cmp.Or(p.As, was.As)
	}
	if next.Folder == "" {
		next.Log = p.Log || was.Log && !p.NoLog
		next.Listen = cmp.Or(p.Listen, was.Listen)
		if len(p.Hosts) == 0 {
			next.Hosts = was.Hosts
		}
	}
	return next, next.Check()
}

// clash reports as fault.Conflict a site that would answer where another one does.
func clash(s Site, all []Site) error {
	for _, other := range all {
		if other.Name == s.Name || other.Removed || other.Folder != "" || s.Folder != "" || other.Listen != s.Listen {
			continue
		}
		if len(s.Hosts) == 0 && len(other.Hosts) == 0 {
			return fault.New(fault.Conflict, "the site %s answers there to every host name already", other.Name).
				Hint("--host NAME for one of them, or --listen :PORT for another port")
		}
		for _, host := range s.Hosts {
			if slices.Contains(other.Hosts, host) {
				return fault.New(fault.Conflict, "the site %s answers to %s already", other.Name, host).Hint("another --host, or another --listen")
			}
		}
	}
	return nil
}

// committed is the site once a release of it is live; going back to one does not make it newer.
func committed(s Site, r Release) Site {
	s.Seq++
	s.Live, s.Removed = r.ID, false
	if _, known := s.release(r.ID); known {
		return s
	}
	s.Releases = slices.Insert(slices.Clone(s.Releases), 0, r)
	s.Releases = s.Releases[:min(Kept, len(s.Releases))]
	return s
}

// target is the release that a rollback means.
func target(s Site, to string) (Release, error) {
	if to == "" {
		return before(s)
	}
	var found []Release
	for _, r := range s.Releases {
		if strings.HasPrefix(string(r.ID), to) {
			found = append(found, r)
		}
	}
	switch {
	case len(found) == 0:
		return Release{}, fault.New(fault.NotFound, "%s has no release %.80s", s.Name, to).Hint("bramble site releases %s", s.Name)
	case len(found) > 1:
		return Release{}, fault.New(fault.Misused, "%d releases of %s begin with %.80s", len(found), s.Name, to).Hint("more of the id: bramble site releases %s", s.Name)
	}
	return found[0], nil
}

// before is the release that was published before the live one.
func before(s Site) (Release, error) {
	for i, r := range s.Releases {
		if r.ID == s.Live && i+1 < len(s.Releases) {
			return s.Releases[i+1], nil
		}
	}
	return Release{}, fault.New(fault.NotFound, "%s has no release before the live one", s.Name).Hint("bramble site releases %s; --to ID goes to any of them", s.Name)
}

// tally counts how far the nodes of a publication are.
type tally struct {
	quorum  int // percent
	nodes   int // that were up
	ready   int
	failed  int
	missing int // went away meanwhile, and will catch up
}

// verdict is what follows from a tally.
type verdict int

const (
	wait verdict = iota
	commit
	giveUp
)

// decide commits once the quorum of the nodes that are still there is ready, and gives up when it cannot be any more.
func decide(t tally) verdict {
	there := t.nodes - t.missing
	need := max(1, (there*t.quorum+99)/100)
	switch {
	case t.ready >= need:
		return commit
	case there-t.failed < need:
		return giveUp
	}
	return wait
}

// want is what a node that has this site should do.
func want(s Site) (wanted, bool) {
	live, ok := s.release(s.Live)
	if !ok || s.Removed {
		return wanted{}, false
	}
	w := wanted{Spec: s.Spec, Seq: s.Seq, Live: live}
	for _, r := range s.Releases {
		w.Keep = append(w.Keep, r.ID)
	}
	return w, true
}

// satisfied reports whether a node does what is wanted of it, and nothing else.
func satisfied(w wants, r report) bool {
	if len(w.Sites) != len(r.Sites) {
		return false
	}
	for _, site := range w.Sites {
		h, ok := r.Sites[site.Spec.Name]
		if !ok || h.Seq != site.Seq || h.Release != site.Live.ID {
			return false
		}
	}
	return true
}

// Change is one difference between two releases.
type Change struct {
	Path string `json:"path"`
	What string `json:"what"` // "added", "changed" or "removed"
	Size int64  `json:"size"` // bytes, of the newer form
}

// diff is what differs from a to b, in path order; folders do not count.
func diff(a, b artefact.Manifest) []Change {
	old := map[string]artefact.Entry{}
	for _, e := range a.Entries {
		if !e.FileMode().IsDir() {
			old[e.Path] = e
		}
	}
	var list []Change
	for _, e := range b.Entries {
		if e.FileMode().IsDir() {
			continue
		}
		was, known := old[e.Path]
		delete(old, e.Path)
		switch {
		case !known:
			list = append(list, Change{e.Path, "added", e.Size})
		case was != e:
			list = append(list, Change{e.Path, "changed", e.Size})
		}
	}
	for path, e := range old {
		list = append(list, Change{path, "removed", e.Size})
	}
	sorts.By(list, func(a, b Change) int { return strings.Compare(a.Path, b.Path) })
	return list
}

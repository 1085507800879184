package web

import (
	"cmp"
	"net/http"
	"slices"

	"bramble/fault"
	"bramble/site"
)

const mostListed = 200 // files of a list of differences

// diffView is what differs between two releases.
type diffView struct {
	A, B     string
	Lists    []diffList
	Releases []string // to choose from
	Problem  *fault.Error
}

type diffList struct {
	What    string
	Changes []site.Change
	More    int
}

// readDiff compares two releases: those that the request names, else the newest with the one before it.
func readDiff(r *http.Request, v visitor, s siteView) *diffView {
	d := &diffView{A: cmp.Or(r.FormValue("a"), s.Releases[1].ID), B: cmp.Or(r.FormValue("b"), s.Releases[0].ID)}
	for _, row := range s.Releases {
		d.Releases = append(d.Releases, row.ID)
	}
	lists := map[string]*diffList{}
	for _, what := range []string{"added", "changed", "removed"} {
		d.Lists = append(d.Lists, diffList{What: what})
	}
	for i := range d.Lists {
		lists[d.Lists[i].What] = &d.Lists[i]
	}
	for c, err := range v.sites().Diff(r.Context(), s.Name, d.A, d.B) {
		if err != nil {
			d.Problem = fault.Of(err)
			return d
		}
		if l := lists[c.What]; l != nil && len(l.Changes) < mostListed {
			l.Changes = append(l.Changes, c)
		} else if l != nil {
			l.More++
		}
	}
	return d
}

// Same reports whether two releases have the same files.
func (d *diffView) Same() bool {
	return !slices.ContainsFunc(d.Lists, func(l diffList) bool { return len(l.Changes) > 0 })
}

func (s *Server) apiSiteDiff(w http.ResponseWriter, r *http.Request, v visitor) error {
	name := r.PathValue("name")
	if err := site.CheckName(name); err != nil {
		return err
	}
	var all []site.Change
	for c, err := range v.sites().Diff(r.Context(), name, r.FormValue("a"), r.FormValue("b")) {
		if err != nil {
			return err
		}
		all = append(all, c)
	}
	return writeJSON(w, http.StatusOK, listOf(all))
}

package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bramble/fault"
	"bramble/site"
	"bramble/sorts"
	"bramble/term"
	"bramble/trust"
)

// sites asks about sites as the person signed in, and publishes nothing.
func (v visitor) sites() site.Client { return site.Client{Conn: v.cluster.Conn} }

// sitesView is the Sites page.
type sitesView struct{ Rows []siteView }

// siteView is a site, and how it stands on its nodes.
type siteView struct {
	site.Site
	Release  site.Release // that is live
	ID       string       // of it, as people say it
	State    string       // class
	Standing string
	Progress progress
	Links    []siteLink
	Others   int // nodes that Links leaves out
	Nodes    []siteNode
	Releases []releaseRow
	Diff     *diffView
	MayRoll  bool
}

// siteLink is where a site is served; without a URL it is only text.
type siteLink struct{ Text, URL string }

// siteNode is how a site stands on one node.
type siteNode struct {
	site.Standing
	ID    string // of the release that it serves
	Next  string // of one that it has ready
	Class string
	Word  string
	Link  siteLink
}

type releaseRow struct {
	site.Release
	ID   string
	Live bool
	Diff string // address of what it changed
}

const (
	siteEvery  = time.Second
	mostLinks  = 3
	rollWithin = 50 * time.Second
)

// siteWords is what the state of a site on a node is called, and its class.
func siteWords(st site.Standing) (word, class string) {
	switch st.State {
	case site.Serving:
		return "serves it", "done"
	case site.Behind:
		if st.Release != "" {
			return "serves an earlier one", "suspect"
		}
		return "brings it", "running"
	case site.Broken:
		return "cannot", "failed"
	case site.Away:
		return "down", "failed"
	}
	return "not heard of yet", "pending"
}

// linkTo is a link to where a node says that it serves; a node may say what it likes, so only an address becomes one.
func linkTo(address string) siteLink {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return siteLink{Text: address}
	}
	return siteLink{strings.TrimSuffix(address, ":80"), "http://" + address + "/"}
}

func siteViewOf(s site.Site, nodes []site.Standing) siteView {
	v := siteView{Site: s, ID: site.Short(s.Live), State: "done"}
	i := slices.IndexFunc(s.Releases, func(r site.Release) bool { return r.ID == s.Live })
	if i >= 0 {
		v.Release = s.Releases[i]
	}
	serving, failed, port := 0, 0, ""
	for _, st := range nodes {
		n := siteNode{Standing: st, Link: linkTo(st.Address)}
		if n.Word, n.Class = siteWords(st); st.Release != "" {
			n.ID = site.Short(st.Release)
		}
		if st.Ready != "" {
			n.Next = site.Short(st.Ready)
		}
		switch n.Class {
		case "done":
			serving++
			_, port, _ = net.SplitHostPort(st.Address)
			if len(s.Hosts) == 0 && st.Address != "" && len(v.Links) < mostLinks {
				v.Links = append(v.Links, n.Link)
			}
		case "failed":
			failed++
		}
		v.Nodes = append(v.Nodes, n)
	}
	sorts.Stable(v.Nodes, func(a, b siteNode) int { return compareBool(a.Class == "done", b.Class == "done") }) // one looks for what is not as it should be
	for _, host := range s.Hosts {
		at := host
		if port != "" && port != "80" {
			at = net.JoinHostPort(host, port)
		}
		v.Links = append(v.Links, siteLink{at, "http://" + at + "/"})
	}
	if len(s.Hosts) == 0 && s.Folder == "" {
		v.Others = serving - len(v.Links)
	}
	v.Progress, v.Standing = progress{Text: fmt.Sprintf("%d of %d nodes serve it", serving, len(nodes))}, fmt.Sprintf("%d of %s", serving, count(len(nodes), "node"))
	whole := float64(max(1, len(nodes)))
	if serving < len(nodes) {
		v.State = "running"
	}
	if failed > 0 || len(nodes) == 0 {
		v.State = "suspect"
	}
	v.Progress.Parts = []part{{"done", 0, 1000 * float64(serving) / whole}, {"failed", 1000 * float64(serving) / whole, 1000 * float64(failed) / whole}}
	for i, r := range s.Releases {
		row := releaseRow{Release: r, ID: site.Short(r.ID), Live: r.ID == s.Live}
		if i+1 < len(s.Releases) {
			row.Diff = fmt.Sprintf("/site/%s?a=%s&b=%s#diff", s.Name, site.Short(s.Releases[i+1].ID), row.ID)
		}
		v.Releases = append(v.Releases, row)
	}
	return v
}

// readSites asks for all sites and how each stands.
func readSites(ctx context.Context, v visitor) (view sitesView, err error) {
	for s, err := range v.sites().List(ctx) {
		if err != nil {
			return view, err
		}
		one, err := readStanding(ctx, v, s)
		if err != nil {
			return view, err
		}
		view.Rows = append(view.Rows, one)
	}
	return view, nil
}

// readStanding asks how a site stands on its nodes; one whose selection means nobody any more has none.
func readStanding(ctx context.Context, v visitor, s site.Site) (siteView, error) {
	nodes, err := standings(ctx, v, s.Name)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return siteView{}, err
	}
	view := siteViewOf(s, nodes)
	view.MayRoll = v.Identity.Role.Includes(trust.Operator)
	return view, nil
}

func standings(ctx context.Context, v visitor, name string) (all []site.Standing, err error) {
	for st, err := range v.sites().Status(ctx, name) {
		if err != nil {
			return nil, err
		}
		all = append(all, st)
	}
	return all, nil
}

// findSite is one site.
func findSite(ctx context.Context, v visitor, name string) (site.Site, error) {
	if err := site.CheckName(name); err != nil {
		return site.Site{}, err
	}
	for s, err := range v.sites().List(ctx) {
		if err != nil || s.Name == name {
			return s, err
		}
	}
	return site.Site{}, fault.New(fault.NotFound, "there is no site %s", name).Hint("/site")
}

func readSite(ctx context.Context, v visitor, name string) (siteView, error) {
	s, err := findSite(ctx, v, name)
	if err != nil {
		return siteView{}, err
	}
	return readStanding(ctx, v, s)
}

func (s *Server) sitesPage(w http.ResponseWriter, r *http.Request, v visitor) error {
	view, err := readSites(r.Context(), v)
	if err != nil {
		return err
	}
	s.show(w, r, http.StatusOK, "sites", &v, "Sites", view)
	return nil
}

func (s *Server) sitesLive(w http.ResponseWriter, r *http.Request, v visitor) error {
	return s.frames(w, r, v, 2*siteEvery, func(ctx context.Context) (list []fragment, done bool, err error) {
		view, err := readSites(ctx, v)
		if err != nil {
			return nil, false, err
		}
		list, err = s.fragments("sites", view, "sites")
		return list, false, err
	})
}

func (s *Server) sitePage(w http.ResponseWriter, r *http.Request, v visitor) error {
	view, err := readSite(r.Context(), v, r.PathValue("name"))
	if err != nil {
		return err
	}
	if len(view.Releases) > 1 {
		view.Diff = readDiff(r, v, view)
	}
	s.show(w, r, http.StatusOK, "site", &v, view.Name, view)
	return nil
}

func (s *Server) siteLive(w http.ResponseWriter, r *http.Request, v visitor) error {
	return s.frames(w, r, v, siteEvery, func(ctx context.Context) (list []fragment, done bool, err error) {
		view, err := readSite(ctx, v, r.PathValue("name"))
		if fault.Is(err, fault.NotFound) {
			return nil, true, nil // it has been removed
		}
		if err != nil {
			return nil, false, err
		}
		list, err = s.fragments("site", view, "site-head", "site-nodes", "site-releases")
		return list, false, err
	})
}

// roll makes an earlier release live, and waits until that is decided: before it all nodes serve what they did.
func roll(r *http.Request, v visitor, req site.Rollback) (last site.Event, err error) {
	ctx, cancel := context.WithTimeout(r.Context(), rollWithin)
	defer cancel()
	decided := false
	var why []string
	for ev, err := range v.sites().Rollback(ctx, req) {
		switch {
		case decided && errors.Is(ctx.Err(), context.DeadlineExceeded):
			return last, nil // the rest follows by itself
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			return last, fault.New(fault.Unreachable, "not enough nodes were ready within %s; %s may have stayed as it was", term.Duration(rollWithin), req.Name).
				Hint("bramble site status %s", req.Name)
		case err != nil && len(why) > 0:
			f := fault.Of(err)
			return last, fault.New(f.Code, "%s (%s)", f.Text, strings.Join(why[:min(3, len(why))], "; ")).Hint("bramble site status %s", req.Name)
		case err != nil:
			return last, err
		}
		if last = ev; ev.Kind == site.Failed {
			why = append(why, ev.Node+": "+ev.Error)
		}
		decided = decided || ev.Kind == site.Committed
	}
	return last, nil
}

// siteRollback answers the button of a release.
func (s *Server) siteRollback(w http.ResponseWriter, r *http.Request, v visitor) error {
	req, err := rollbackOf(r)
	if err != nil {
		return err
	}
	if _, err := roll(r, v, req); err != nil {
		return err
	}
	http.Redirect(w, r, "/site/"+req.Name, http.StatusSeeOther)
	return nil
}

// rollbackOf reads which release a request means.
func rollbackOf(r *http.Request) (site.Rollback, error) {
	req := site.Rollback{Name: r.PathValue("name"), To: r.FormValue("to")}
	if err := site.CheckName(req.Name); err != nil {
		return req, err
	}
	if req.To == "" || len(req.To) > 64 {
		return req, fault.New(fault.Misused, "which release of %s?", req.Name).Hint("to=ID, as /api/v1/sites/%s lists them", req.Name)
	}
	return req, nil
}

func (s *Server) apiSites(w http.ResponseWriter, r *http.Request, v visitor) error {
	var all []site.Site
	for one, err := range v.sites().List(r.Context()) {
		if err != nil {
			return err
		}
		all = append(all, one)
	}
	return writeJSON(w, http.StatusOK, listOf(all))
}

// apiSite answers a site with how it stands on each node.
func (s *Server) apiSite(w http.ResponseWriter, r *http.Request, v visitor) error {
	one, err := findSite(r.Context(), v, r.PathValue("name"))
	if err != nil {
		return err
	}
	nodes, err := standings(r.Context(), v, one.Name)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	return writeJSON(w, http.StatusOK, struct {
		site.Site
		Nodes []site.Standing `json:"nodes"`
	}{one, listOf(nodes)})
}

func (s *Server) apiRollback(w http.ResponseWriter, r *http.Request, v visitor) error {
	req, err := rollbackOf(r)
	if err != nil {
		return err
	}
	last, err := roll(r, v, req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, last)
}

package cli

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"bramble/fault"
	"bramble/site"
	"bramble/term"
)

type siteCmd struct {
	List     siteListCmd     `cmd:"" default:"withargs" help:"List the sites."`
	Publish  sitePublishCmd  `cmd:"" help:"Bring a folder to the nodes as a site's new release; all serve it from one moment on."`
	Preview  sitePreviewCmd  `cmd:"" help:"Show a folder, as it would be published, to those who are signed in to the dashboard."`
	Releases siteReleasesCmd `cmd:"" help:"List the releases of a site that are kept."`
	Rollback siteRollbackCmd `cmd:"" help:"Make an earlier release live again."`
	Diff     siteDiffCmd     `cmd:"" help:"List what differs between two releases."`
	Status   siteStatusCmd   `cmd:"" help:"Show how a site stands on each node, and where it is served."`
	Log      siteLogCmd      `cmd:"" help:"Show who visited a site: nodes' access logs, or visits as they come."`
	Remove   siteRemoveCmd   `cmd:"" help:"Take a site from all nodes."`
}

type siteListCmd struct {
	JSON bool `help:"A JSON object per site."`
}

func (siteListCmd) Examples() string { return "bramble site list\n" }

func (c *siteListCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	t := term.NewTable(term.Column{Title: "SITE"}, term.Column{Title: "RELEASE"}, term.Column{Title: "PUBLISHED"}, term.Column{Title: "BY"},
		term.Column{Title: "FILES", Right: true}, term.Column{Title: "SIZE", Right: true}, term.Column{Title: "ON"}, term.Column{Title: "AT", Priority: 1})
	any := false
	for s, err := range cl.Sites().List(e.ctx) {
		if err != nil {
			return err
		}
		any = true
		if c.JSON {
			if err := term.JSONLine(e.out.Stdout, s); err != nil {
				return err
			}
			continue
		}
		live := liveOf(s)
		t.Row(s.Name, site.Short(s.Live), when(live.Published), live.User, fmt.Sprint(live.Files), term.Bytes(live.Bytes), s.On, whereText(s.Spec))
	}
	if c.JSON {
		return nil
	}
	if !any {
		fmt.Fprintln(e.out.Stderr, "no sites")
		fmt.Fprintln(e.out.Stderr, "try: bramble site publish DIR --name blog")
		return nil
	}
	return t.Write(e.out.Stdout)
}

func liveOf(s site.Site) site.Release {
	for _, r := range s.Releases {
		if r.ID == s.Live {
			return r
		}
	}
	return site.Release{}
}

func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.DateTime)
}

// whereText is what people said of where a site is served.
func whereText(s site.Spec) string {
	if s.Folder != "" {
		return s.Folder
	}
	return cmp.Or(strings.Join(s.Hosts, ",")+s.Listen, "-")
}

type siteReleasesCmd struct {
	Name string `arg:"" help:"Name of the site."`
	JSON bool   `help:"A JSON object per release."`
}

func (siteReleasesCmd) Examples() string { return "bramble site releases blog\n" }

func (c *siteReleasesCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	s, err := findSite(e, cl.Sites(), c.Name)
	if err != nil {
		return err
	}
	t := term.NewTable(term.Column{Title: "RELEASE"}, term.Column{Title: "STATE"}, term.Column{Title: "PUBLISHED"}, term.Column{Title: "BY"},
		term.Column{Title: "FILES", Right: true}, term.Column{Title: "SIZE", Right: true})
	for _, r := range s.Releases {
		if c.JSON {
			if err := term.JSONLine(e.out.Stdout, r); err != nil {
				return err
			}
			continue
		}
		state := "kept"
		if r.ID == s.Live {
			state = "live"
		}
		t.Row(site.Short(r.ID), state, when(r.Published), r.User, fmt.Sprint(r.Files), term.Bytes(r.Bytes))
	}
	if c.JSON {
		return nil
	}
	return t.Write(e.out.Stdout)
}

func findSite(e *env, sites site.Client, name string) (site.Site, error) {
	for s, err := range sites.List(e.ctx) {
		if err != nil || s.Name == name {
			return s, err
		}
	}
	return site.Site{}, fault.New(fault.NotFound, "there is no site %.80s", name).Hint("bramble site list")
}

type siteDiffCmd struct {
	Name string `arg:"" help:"Name of the site."`
	A    string `arg:"" optional:"" help:"A release, by the beginning of its id (default the one before B)."`
	B    string `arg:"" optional:"" help:"Another (default the live one)."`
	JSON bool   `help:"A JSON object per file: path, what, size."`
}

func (siteDiffCmd) Examples() string {
	return "bramble site diff blog\nbramble site diff blog 3fa1 9c20\n"
}

func (c *siteDiffCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	t := term.NewTable(term.Column{Title: "CHANGE"}, term.Column{Title: "FILE"}, term.Column{Title: "SIZE", Right: true})
	for x, err := range cl.Sites().Diff(e.ctx, c.Name, c.A, c.B) {
		if err != nil {
			return err
		}
		if c.JSON {
			if err := term.JSONLine(e.out.Stdout, x); err != nil {
				return err
			}
			continue
		}
		t.Row(x.What, clean(x.Path), term.Bytes(x.Size))
	}
	if c.JSON {
		return nil
	}
	return t.Write(e.out.Stdout)
}

type siteStatusCmd struct {
	Name string `arg:"" help:"Name of the site."`
	JSON bool   `help:"A JSON object per node: node, state, release, ready (a release that it could serve at once), address, error."`
}

func (siteStatusCmd) Examples() string { return "bramble site status blog\n" }

func (c *siteStatusCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	t := term.NewTable(term.Column{Title: "NODE"}, term.Column{Title: "STATE"}, term.Column{Title: "RELEASE"}, term.Column{Title: "READY", Priority: 1}, term.Column{Title: "ADDRESS"}, term.Column{Title: "WHY", Priority: 1})
	for st, err := range cl.Sites().Status(e.ctx, c.Name) {
		if err != nil {
			return err
		}
		if c.JSON {
			if err := term.JSONLine(e.out.Stdout, st); err != nil {
				return err
			}
			continue
		}
		address := "-"
		if st.Address != "" {
			address = "http://" + st.Address + "/"
		}
		t.Row(st.Node, string(st.State), cmp.Or(site.Short(st.Release), "-"), cmp.Or(site.Short(st.Ready), "-"), address, cmp.Or(clean(st.Error), "-"))
	}
	if c.JSON {
		return nil
	}
	return t.Write(e.out.Stdout)
}

type siteRemoveCmd struct {
	Name string `arg:"" help:"Name of the site."`
	Yes  bool   `short:"y" help:"Do not ask."`
}

func (siteRemoveCmd) Examples() string { return "bramble site remove blog --yes\n" }

func (c *siteRemoveCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	if _, err := findSite(e, cl.Sites(), c.Name); err != nil {
		return err
	}
	if !c.Yes {
		if ok, err := term.Confirm(e.ctx, e.out, fmt.Sprintf("Take %s and all its releases from all nodes?", c.Name)); err != nil || !ok {
			return err
		}
	}
	if err := cl.Sites().Remove(e.ctx, c.Name); err != nil {
		return err
	}
	fmt.Fprintf(e.out.Stdout, "%s is removed\n", c.Name)
	return nil
}

package web

import (
	"strings"
	"testing"

	"bramble/artefact"
)

// TestNothingWouldBeLost is of what the Artefacts page says of the nodes' health, which must be nothing before it is known.
func TestNothingWouldBeLost(t *testing.T) {
	pages, err := readPages()
	if err != nil {
		t.Fatal(err)
	}
	fine, lost := &artefact.Standing{Name: "album", Blobs: 3}, &artefact.Standing{Name: "album", Blobs: 3, Lost: 1}
	for _, c := range []struct {
		reports []artefact.Report
		want    string
	}{
		{nil, "Not counted"},
		{[]artefact.Report{{Standing: fine}}, "Not counted"},
		{[]artefact.Report{{Standing: fine}, {}}, "nothing would be lost"},
		{[]artefact.Report{{Standing: fine}, {Silent: []string{"node1"}}}, "node1 should keep"},
		{[]artefact.Report{{Standing: lost}, {}}, "1 of 3 blobs nowhere"},
		{[]artefact.Report{{Standing: fine}, {Risks: []artefact.Risk{{Node: "node1", Blobs: 1}}}}, "If <a href=\"/nodes/node1\">node1</a> died"},
	} {
		view := keptView{Names: []keptRow{keptRowOf(artefact.Durable{Name: "album"})}, Asked: true}
		view.take(c.reports)
		html, err := pages.part("artefact", "kept", view)
		if sure := "nothing would be lost"; err != nil || !strings.Contains(string(html), c.want) || c.want != sure && strings.Contains(string(html), sure) {
			t.Errorf("%+v: no %q, or too much, in %v\n%s", c.reports, c.want, err, html)
		}
	}
}

// TestSpreadLinks is of what nodes say that they bring: only what can be a job or a site becomes a link.
func TestSpreadLinks(t *testing.T) {
	for _, c := range []struct {
		kind       artefact.SpreadKind
		what, link string
	}{
		{artefact.SpreadJob, "7", "/jobs/7"}, {artefact.SpreadJob, "../signout", ""}, {artefact.SpreadJob, "-7", ""},
		{artefact.SpreadSite, "blog", "/site/blog"}, {artefact.SpreadSite, "../nodes", ""}, {artefact.SpreadSite, "blog?a=b", ""},
	} {
		if _, link := spreadTitle(artefact.Spread{Kind: c.kind, What: c.what}); link != c.link {
			t.Errorf("%s %s links to %q", c.kind, c.what, link)
		}
	}
}

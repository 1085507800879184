package demo

import (
	"context"
	"fmt"
	"html"
	"io"
	"iter"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"bramble/examples/opticks"
	"bramble/fault"
	"bramble/site"
	"bramble/term"
)

// linesOfPage is how much of the book is one page of the site.
const linesOfPage = 600

// publish makes the book a web site on all nodes, changes a page of it, and takes that back.
func (t *Tour) publish(ctx context.Context) error {
	t.title("The book becomes a web site that all nodes serve")
	dir, err := os.MkdirTemp("", "bramble-site-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := writeBook(dir); err != nil {
		return err
	}
	sites := t.cluster.Sites()
	t.command("bramble site publish opticks/ --name opticks")
	if err := t.rollOut(ctx, sites.Publish(ctx, site.Publish{Spec: site.Spec{Name: "opticks"}}, site.Source(dir))); err != nil {
		return err
	}
	const mended = "This page was changed.\n"
	if err := os.WriteFile(filepath.Join(dir, "page2.html"), []byte(mended), 0o644); err != nil {
		return err
	}
	t.say("one page is changed, and the site published again:")
	if err := t.rollOut(ctx, sites.Publish(ctx, site.Publish{Spec: site.Spec{Name: "opticks"}}, site.Source(dir))); err != nil {
		return err
	}
	if err := t.allServe(ctx, func(page string) bool { return page == mended }); err != nil {
		return err
	}
	t.command("bramble site rollback opticks")
	if err := t.rollOut(ctx, sites.Rollback(ctx, site.Rollback{Name: "opticks"})); err != nil {
		return err
	}
	return t.allServe(ctx, func(page string) bool { return page != mended })
}

// writeBook makes pages of the book, and a list of them.
func writeBook(dir string) error {
	text, err := opticks.Text()
	if err != nil {
		return err
	}
	lines := strings.Split(string(text), "\n")
	var index strings.Builder
	index.WriteString("<!doctype html>\n<title>Opticks</title>\n<h1>Opticks</h1>\n")
	for n := 1; len(lines) > 0; n++ {
		part := lines[:min(linesOfPage, len(lines))]
		lines = lines[len(part):]
		page := fmt.Sprintf("<!doctype html>\n<title>Opticks, page %d</title>\n<pre>%s</pre>\n", n, html.EscapeString(strings.Join(part, "\n")))
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("page%d.html", n)), []byte(page), 0o644); err != nil {
			return err
		}
		fmt.Fprintf(&index, "<a href=/page%d>%[1]d</a>\n", n)
	}
	return os.WriteFile(filepath.Join(dir, "index.html"), []byte(index.String()), 0o644)
}

// rollOut follows a publication and says what it took.
func (t *Tour) rollOut(ctx context.Context, events iter.Seq2[site.Event, error]) error {
	p := term.NewProgress(ctx, t.Out)
	defer p.Stop()
	bar := p.Bar("nodes", nodes+1, term.Items)
	var moved int64
	live := 0
	for ev, err := range events {
		switch {
		case err != nil:
			return err
		case ev.Kind == site.Ready:
			moved += ev.Moved
			bar.Add(1)
		case ev.Kind == site.Live:
			live++
		case ev.Kind == site.Finished:
			bar.Done("live")
			p.Stop()
			if live != nodes+1 {
				return fault.New(fault.Failed, "%d of %d nodes serve the release", live, nodes+1).Hint("bramble demo --state DIR keeps the logs")
			}
			t.say("release %s is live on %d nodes after %.2f s; %s to the head, %s to the nodes", site.Short(ev.Site.Live), live, ev.Seconds,
				term.Bytes(ev.Moved), term.Bytes(moved))
		}
	}
	return nil
}

// allServe asks every node for the second page.
func (t *Tour) allServe(ctx context.Context, right func(page string) bool) error {
	client := &http.Client{Timeout: 10 * time.Second}
	for st, err := range t.cluster.Sites().Status(ctx, "opticks") {
		if err != nil {
			return err
		}
		resp, err := client.Get("http://" + st.Address + "/page2")
		if err != nil {
			return err
		}
		page, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !right(string(page)) {
			return fault.New(fault.Failed, "%s answers %s with the wrong page", st.Node, resp.Status)
		}
	}
	return nil
}

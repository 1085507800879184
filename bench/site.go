package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"bramble/artefact"
	"bramble/fleet"
	hostnet "bramble/host/net"
	"bramble/lab"
	"bramble/site"
)

const (
	publishTarget = 1.3         // times as long as a push of the same files
	againTarget   = time.Second // with one page changed, and for a rollback
	siteFiles     = 2000
)

// sites measures how a web site gets to all nodes, beside a push of the same files.
func (b *bench) sites(ctx context.Context, s *section) error {
	files, each := siteFiles*b.spreadNodes/16, 25<<10
	s.title = fmt.Sprintf("A web site of %d files to %d nodes", files, b.spreadNodes)
	s.how = fmt.Sprintf("`bramble site publish` of %d files of %d KiB, pages that name each other and pictures that cannot be compressed, to %d nodes with links of 100 Mbit/s: from the first byte that is read until all nodes serve it. "+
		"The peer is `bramble push` of the same files to the same nodes. Then one page is changed and published, and taken back.", files, each>>10, b.spreadNodes)
	if os.Geteuid() != 0 {
		return fmt.Errorf("namespaces need root; try: sudo make bench")
	}
	dir := filepath.Join(b.dir, "site")
	if err := drawSite(dir, files, each); err != nil {
		return err
	}
	b.say("site: raising %d nodes with links of %s", b.spreadNodes, spreadLink)
	rate, err := hostnet.ParseRate(spreadLink)
	if err != nil {
		return err
	}
	r, err := b.raiseAs(ctx, "sites", lab.Options{Nodes: b.spreadNodes, Link: rate})
	if err != nil {
		return err
	}
	defer r.down(ctx)
	b.say("site: a push of its files")
	begun := time.Now()
	for ev, err := range r.cluster.Copies().Push(ctx, artefact.Push{On: fleet.Fold(r.names()), To: "/tmp/site", Sources: []string{dir}}) {
		if err == nil && ev.Kind == artefact.Ended && !ev.End.OK() {
			err = fmt.Errorf("%s: %s", ev.Node, ev.End.Error)
		}
		if err != nil {
			return err
		}
	}
	pushed := time.Since(begun)
	if err := drawSite(dir, files, each); err != nil { // other bytes, of which no node has any
		return err
	}
	b.say("site: publishing it")
	first, err := b.publish(ctx, r, dir)
	if err != nil {
		return err
	}
	ratio := float64(first) / float64(pushed)
	s.add(row{what: "the first publication", figure: seconds(first), peer: "push: " + seconds(pushed), ratio: fmt.Sprintf("%.2f×", ratio),
		target: fmt.Sprintf("≤ %.1f×", publishTarget), verdict: judge(ratio <= publishTarget)})
	again := &contender{name: "again", run: func(ctx context.Context) (time.Duration, error) {
		page := fmt.Appendf(nil, "<title>changed</title><p>%d</p>", rand.Int64())
		if err := os.WriteFile(filepath.Join(dir, "index.html"), page, 0o644); err != nil {
			return 0, err
		}
		return b.publish(ctx, r, dir)
	}}
	back := &contender{name: "back", run: func(ctx context.Context) (time.Duration, error) {
		begun := time.Now()
		return r.settled(ctx, begun, func(yield func(site.Event, error) bool) {
			r.cluster.Sites().Rollback(ctx, site.Rollback{Name: "bench"})(yield)
		})
	}}
	b.say("site: a page changed, and taken back")
	if err := interleave(ctx, min(b.runs, enough), again, back); err != nil {
		return err
	}
	for _, c := range []struct {
		*contender
		what string
	}{{again, "a publication with one page changed"}, {back, "a rollback"}} {
		s.add(row{what: c.what, figure: c.figure(), target: "< " + seconds(againTarget), verdict: judge(median(c.took) < againTarget)})
	}
	return nil
}

// publish is how long it takes until all nodes serve what is in dir.
func (b *bench) publish(ctx context.Context, r *rack, dir string) (time.Duration, error) {
	begun := time.Now()
	return r.settled(ctx, begun, func(yield func(site.Event, error) bool) {
		r.cluster.Sites().Publish(ctx, site.Publish{Spec: site.Spec{Name: "bench", On: fleet.Fold(r.names()), Quorum: 100, Listen: ":8080"}}, site.Source(dir))(yield)
	})
}

// settled is when the last node serves a release.
func (r *rack) settled(ctx context.Context, begun time.Time, events func(func(site.Event, error) bool)) (time.Duration, error) {
	live, finished := map[string]bool{}, false
	for ev, err := range events {
		switch {
		case err != nil:
			return 0, err
		case ev.Kind == site.Failed:
			return 0, fmt.Errorf("%s: %s", ev.Node, ev.Error)
		case ev.Kind == site.Live:
			live[ev.Node] = true
		case ev.Kind == site.Finished:
			finished = len(ev.Behind) == 0
		}
	}
	if !finished || len(live) != len(r.nodes) {
		return 0, fmt.Errorf("only %d of %d nodes serve it", len(live), len(r.nodes))
	}
	return time.Since(begun), nil
}

// drawSite writes a site, half of it pages, which can be compressed, and half pictures, which cannot.
func drawSite(dir string, files, each int) error {
	if err := os.MkdirAll(filepath.Join(dir, "pictures"), 0o755); err != nil {
		return err
	}
	noise := rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%032d", rand.Int64()))))
	for i := range files {
		name, data := fmt.Sprintf("page%d.html", i), make([]byte, each)
		noise.Read(data)
		switch {
		case i == 0:
			name = "index.html"
			fallthrough
		case i%2 == 0:
			page := fmt.Appendf(nil, "<!doctype html><title>Page %d</title>", i)
			for k := 0; len(page) < each; k++ {
				page = fmt.Appendf(page, "<p>%x leads to <a href=page%d.html>page %[2]d</a></p>\n", data[k:k+8], int(data[k])*8)
			}
			data = page
		default:
			name = fmt.Sprintf("pictures/picture%d.jpg", i)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

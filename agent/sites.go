package agent

import (
	"context"
	"path/filepath"
	"sync"

	"bramble/artefact"
	"bramble/host"
	"bramble/site"
	"bramble/trust"
)

// siteBudget is how many bytes of a release's files a node keeps in memory at most: a sixteenth of it, up to 64 MB.
func siteBudget(facts host.Facts) int64 { return min(64<<20, facts.Memory/16) }

// listenHost is where this node lets everybody in; "": on every link.
func (n *node) listenHost() string {
	if source := towards(n.conf.Heads); n.PeerHost == "" && source.IsLoopback() {
		return source.String()
	}
	return n.PeerHost
}

// serveSites serves the sites that are on this node's disk, before the head is there and after; close ends it.
func (n *node) serveSites(ctx context.Context, store *artefact.Store, facts host.Facts) (sites *site.Node, close func()) {
	if store == nil {
		return nil, nil
	}
	where := n.listenHost()
	ca := n.cred.CA()
	sites = site.NewNode(&site.Node{Store: store, Dir: filepath.Join(n.layout.Node(), "site"), Host: where, Budget: siteBudget(facts),
		Trusted: func(purpose string, data, sig []byte) error { return trust.Signed(ca, purpose, data, sig) }, Log: n.Log.With("room", "site")})
	ctx, stop := context.WithCancel(ctx)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := sites.Serve(ctx); err != nil {
			n.Log.Error("no sites are served", "error", err)
		}
	})
	return sites, func() { stop(); serving.Wait() }
}

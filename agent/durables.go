package agent

import (
	"context"
	"net/http"

	"bramble/artefact"
	"bramble/fleet"
	"bramble/trust"
)

// durables is the half of what is kept that knows where; nodes let the head have their files too.
func (h *head) durables(ctx context.Context) (*artefact.Stores, error) {
	books, err := h.conn.Bucket(ctx, "artefact")
	if err != nil {
		return nil, err
	}
	near := nearClient(trust.ClientConfig(h.cred, h.authority.Verify, h.clock.Now, trust.KindNode))
	return &artefact.Stores{Conn: h.conn, Store: h.store, Self: h.conf.Name, Books: books, Nodes: h.fleet.Nodes, Select: h.fleet.Select, Near: near,
		Events: h.events, Metrics: h.metrics, Spreads: &artefact.Spreads{Now: h.clock.Now}, Now: h.clock.Now, Log: h.log("artefact")}, nil
}

// filesHandler gives and takes files, those that nodes keep for the cluster among them.
func (h *head) filesHandler() http.Handler {
	allow := mayExchange(h.authority.Verify)
	own := artefact.Handler(h.store, allow, artefact.Limits{Courtesy: h.courtesy})
	return h.stores.Relay(artefact.Introduce(own, h.peerOf), func(r *http.Request) (trust.Identity, error) {
		if err := allow(r); err != nil {
			return trust.Identity{}, err
		}
		return trust.Peer(r.TLS, h.authority.Verify)
	})
}

// visitors is how many bytes have gone out from here to visitors of sites.
func (h *head) visitors() int64 {
	if s := h.sites.Load(); s != nil {
		return s.Sent()
	}
	return 0
}

// peerOf is where the node that asks gives files to others; "" when it is none, or does not.
func (h *head) peerOf(r *http.Request) string {
	id, err := trust.Peer(r.TLS, h.authority.Verify)
	if err != nil || id.Kind != trust.KindNode {
		return ""
	}
	n, err := h.fleet.Node(id.Name)
	if err != nil || n.State != fleet.Up {
		return ""
	}
	return n.Peer
}

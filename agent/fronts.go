package agent

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"bramble/fleet"
	"bramble/front"
	"bramble/site"
)

// fronts is the half of the fronts that knows who their members are.
func (h *head) fronts(ctx context.Context, sites *site.Service) (*front.Service, error) {
	books, err := h.conn.Bucket(ctx, "front")
	if err != nil {
		return nil, err
	}
	return &front.Service{Conn: h.conn, Books: books, Fleet: h.fleet, Source: servedSites{sites, h.fleet}, Page: h.webURL() + "/front",
		Certify: func(names []string) (front.Pair, error) {
			cert, key, err := h.ca.IssueWeb(names)
			return front.Pair{Cert: string(cert), Key: string(key)}, err
		}, Events: h.events, Now: h.clock.Now, Log: h.log("front")}, nil
}

// servedSites knows where sites are served.
type servedSites struct {
	sites *site.Service
	fleet *fleet.Service
}

// Served is front.Source's.
func (s servedSites) Served(name string) (front.Served, error) {
	spec, standings, err := s.sites.Where(name)
	if err != nil {
		return front.Served{}, err
	}
	served := front.Served{Hosts: spec.Hosts}
	for _, st := range standings {
		n, err := s.fleet.Node(st.Node)
		place := front.Place{Node: st.Node, Drained: err == nil && n.Drained != ""}
		switch place.Address, err = netip.ParseAddrPort(st.Address); {
		case st.State == site.NotThere, st.State == site.Away && st.Address == "":
			served.Silent = append(served.Silent, place)
		case st.Release != "" && err == nil:
			served.Places = append(served.Places, place)
		}
	}
	return served, nil
}

// carryFronts has a process carry the fronts that are on this node's disk, before the head is there and after; close ends the
// supervision, and not the process.
func (n *node) carryFronts(ctx context.Context) (fronts *front.Node, close func()) {
	if n.Front == nil || n.sparse {
		return nil, func() {}
	}
	dir := filepath.Join(n.layout.Node(), "front")
	where := n.listenHost()
	fronts = front.NewNode(&front.Node{Dir: dir, Version: n.Version, Launch: func() (*os.Process, error) { return n.Front(dir, where) }, Log: n.Log.With("room", "front")})
	ctx, stop := context.WithCancel(ctx)
	var tending sync.WaitGroup
	tending.Go(func() { fronts.Supervise(ctx) })
	tending.Go(func() { n.mindRemoval(ctx, fronts) })
	return fronts, func() { stop(); tending.Wait() }
}

// askAgain is how long after the head did not say that this node was removed it is asked again.
const askAgain = 2 * time.Second

// mindRemoval has the node carry no fronts once the head says that it was removed, whether before this start or since. That the head
// lets it in no more is no sign of that, for so does one that has not read its books: it is only when it is worth asking.
func (n *node) mindRemoval(ctx context.Context, fronts *front.Node) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.away:
		}
		for !n.linked.Load() && fronts.Carries() && !n.removed(ctx, fronts) {
			select {
			case <-ctx.Done():
				return
			case <-time.After(askAgain):
			}
		}
	}
}

// removed asks the head whether this node was removed, and has it carry no fronts then.
func (n *node) removed(ctx context.Context, fronts *front.Node) bool {
	removed, err := fleet.Revoked(ctx, n.conf.Peer, n.cred, n.clock.Now)
	switch {
	case removed:
		n.Log.Error("this node was removed from the cluster, and carries no fronts any more", "try", "join it again, if that was wrong")
		fronts.Removed()
	case err != nil:
		n.Log.Debug("the head does not say whether this node was removed", "error", err)
	}
	return removed
}

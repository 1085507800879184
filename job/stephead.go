package job

import (
	"context"

	"bramble/bus"
	"bramble/fault"
	"bramble/fleet"
)

// stepCheck is what a node asks the head before it starts a step, or lets another node start one.
type stepCheck struct {
	Key Key `json:"key"`
}

// step tells a node that has a share of an allocation who else has.
func (s *Service) step(ctx context.Context, who bus.Caller, req stepCheck) ([]Peer, error) {
	shares, err := s.shares(ctx, who.Name, req.Key)
	if err != nil {
		return nil, err
	}
	known := map[string]fleet.Node{}
	for _, n := range s.Fleet.Nodes() {
		known[n.Name] = n
	}
	list := make([]Peer, len(shares))
	for i, share := range shares {
		n := known[share.Node]
		list[i] = Peer{Share: share, Arch: n.Arch, Cores: n.Cores, Address: n.Peer}
	}
	return list, nil
}

// shares is what an active attempt has on its nodes; fault.Denied unless the named node has a share of it.
func (s *Service) shares(ctx context.Context, node string, k Key) (shares []Share, err error) {
	err = s.ask(ctx, func(st *State) { shares = st.Shares(node, k) })
	if err == nil && shares == nil {
		err = fault.New(fault.Denied, "%s has no share of attempt %s", node, k)
	}
	return shares, err
}

// Shares is what an active attempt has on its nodes, leader first; nil unless the named node has a share of it.
func (s *State) Shares(node string, k Key) []Share {
	n := s.nodes[node]
	if n == nil {
		return nil
	}
	j, task, ok := s.holder(n, k)
	if !ok {
		return nil
	}
	leader := j.active[task].node
	if i := find(leader.slots.running, k); i >= 0 {
		return leader.slots.running[i].Shares
	}
	return nil
}

// foldPeers is the nodes' names as a hostlist.
func foldPeers(list []Peer) string {
	names := make([]string, len(list))
	for i, p := range list {
		names[i] = p.Node
	}
	return fleet.Fold(names)
}

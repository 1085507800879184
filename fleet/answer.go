package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"bramble/bus"
	"bramble/event"
	"bramble/fault"
	"bramble/host"
	"bramble/trust"
)

// answer registers what the room is asked.
func (s *Service) answer(ctx context.Context) error {
	return errors.Join(
		s.Conn.Subscribe(ctx, bus.From("fleet", "*", "beat"), s.beat),
		bus.Handle(ctx, s.Conn, bus.From("fleet", "*", "hello"), s.hello),
		bus.Handle(ctx, s.Conn, bus.From("fleet", "*", "renew"), s.renew),
		bus.Handle(ctx, s.Conn, bus.From("fleet", "*", "leave"), s.leave),
		bus.HandleStream(ctx, s.Conn, "fleet.read.nodes", s.nodes),
		bus.Handle(ctx, s.Conn, "fleet.admin.label", s.label),
		bus.Handle(ctx, s.Conn, "fleet.admin.drain", s.drain),
		bus.Handle(ctx, s.Conn, "fleet.admin.rename", s.rename),
		bus.Handle(ctx, s.Conn, "fleet.admin.remove", s.remove),
		bus.Handle(ctx, s.Conn, "fleet.admin.token-create", s.tokenCreate),
		bus.Handle(ctx, s.Conn, "fleet.admin.token-list", s.tokenList),
		bus.Handle(ctx, s.Conn, "fleet.admin.token-revoke", s.tokenRevoke),
		bus.Handle(ctx, s.Conn, "fleet.admin.client-issue", s.clientIssue),
		bus.Handle(ctx, s.Conn, "fleet.admin.client-revoke", s.clientRevoke),
	)
}

func (s *Service) beat(m bus.Message) {
	var sample host.Sample
	if m.Decode(&sample) == nil {
		s.observe(m.Caller.Name, Event{Kind: Beat}, func(n *Node) { n.Sample = sample })
	}
}

func (s *Service) hello(ctx context.Context, who bus.Caller, h Hello) (Welcome, error) {
	if h.Protocol > bus.Protocol || h.Protocol < bus.Protocol-1 {
		return Welcome{}, fault.New(fault.Misused, "node %s speaks protocol %d, the head %d", who.Name, h.Protocol, bus.Protocol).
			Hint("install the head's version on the node: %s", s.Version)
	}
	if err := h.check(); err != nil {
		return Welcome{}, err
	}
	if err := s.arrived(who.Name); err != nil {
		return Welcome{}, err
	}
	err := s.update(ctx, who.Name, func(n *Node) {
		n.Roles, n.Version, n.Facts = h.Roles, h.Version, h.Facts
		n.Model, n.Board, n.Arch, n.OS = h.Facts.Model, h.Facts.Board, h.Facts.Arch, h.Facts.OS
		n.Kernel, n.Cores, n.Memory = h.Facts.Kernel, h.Facts.Cores, h.Facts.Memory
		n.Address = address(n.Address, h.Facts.Links)
		n.Peer = peerAddress(h.Peer, n.Address)
	})
	if err != nil {
		return Welcome{}, err
	}
	s.mu.Lock()
	if m := s.members[who.Name]; m != nil && m.shown != m.node.State {
		s.tell(m, Change{To: m.node.State, At: s.Now(), Why: "connected"})
	}
	pace := s.pace
	s.mu.Unlock()
	return Welcome{Time: s.Now().UTC(), Version: s.Version, Denied: s.Authority.Denied(), Pace: pace}, nil
}

// arrived notes a node whose connection has not been noticed yet.
func (s *Service) arrived(name string) error {
	s.mu.Lock()
	m, gone := s.members[name], s.gone[name]
	open := m != nil && m.view.Open
	s.mu.Unlock()
	if gone {
		return fault.New(fault.Denied, "%s was removed from the cluster", name).Hint("join again: bramble token create on the head")
	}
	if !open {
		s.observe(name, Event{Kind: Connected}, nil)
	}
	return nil
}

// address is where a node connected from; a node on the head's own machine is reached at its default link.
func address(remote string, links []host.Link) string {
	if ip := net.ParseIP(remote); ip != nil && !ip.IsLoopback() {
		return remote
	}
	for _, l := range links {
		if l.Default && len(l.Addrs) > 0 {
			return l.Addrs[0]
		}
	}
	return remote
}

// peerAddress is where others reach a node that says where it listens; "" for one that can't be.
func peerAddress(said, address string) string {
	host, port, err := net.SplitHostPort(said)
	if number, bad := strconv.Atoi(port); err != nil || bad != nil || number < 1 || number > 65535 {
		return ""
	}
	return net.JoinHostPort(cmp.Or(host, address), port)
}

func (s *Service) label(ctx context.Context, who bus.Caller, req labelRequest) (none, error) {
	for _, l := range req.Changes {
		if err := ValidLabel(l.Key, l.Value); err != nil {
			return none{}, err
		}
	}
	for _, name := range req.Names { // all or none
		n, err := s.Node(name)
		if err != nil {
			return none{}, err
		}
		if count := len(relabel(n.Labels, req.Changes)); count > maxLabels {
			return none{}, fault.New(fault.Full, "%s would have %d labels; at most %d go", name, count, maxLabels).
				Hint("take some off: bramble nodes label %s LABEL-", name)
		}
	}
	for _, name := range req.Names {
		if err := s.update(ctx, name, func(n *Node) { n.Labels = relabel(n.Labels, req.Changes) }); err != nil {
			return none{}, err
		}
	}
	s.audit(who, "", fmt.Sprintf("changed the labels of %s: %s", clip(Fold(req.Names)), clip(changesText(req.Changes))))
	return none{}, nil
}

func (s *Service) renew(ctx context.Context, who bus.Caller, req JoinRequest) (JoinAnswer, error) {
	cert, id, err := s.Authority.Issue(ctx, trust.Identity{Kind: trust.KindNode, Name: who.Name}, req.CSR)
	return JoinAnswer{ID: id, Cert: cert, Time: s.Now().UTC()}, err
}

func (s *Service) tokenCreate(ctx context.Context, who bus.Caller, req tokenRequest) (tokenAnswer, error) {
	token, info, err := s.Authority.CreateToken(ctx, req.Spec)
	if err != nil {
		return tokenAnswer{}, err
	}
	s.audit(who, "", "made the "+string(info.Kind)+" token "+info.ID)
	return tokenAnswer{token.String(), info}, nil
}

func (s *Service) tokenList(ctx context.Context, _ bus.Caller, _ none) ([]trust.TokenInfo, error) {
	return s.Authority.Tokens(ctx)
}

func (s *Service) tokenRevoke(ctx context.Context, who bus.Caller, id string) (none, error) {
	err := s.Authority.RevokeToken(ctx, strings.TrimSpace(id))
	if err == nil {
		s.audit(who, "", "revoked the token "+id)
	}
	return none{}, err
}

func (s *Service) clientIssue(ctx context.Context, who bus.Caller, req issueRequest) (issueAnswer, error) {
	id := trust.Identity{Kind: trust.KindClient, Name: req.User, Role: req.Role}
	cert, _, err := s.Authority.Issue(ctx, id, req.CSR)
	if err != nil {
		return issueAnswer{}, err
	}
	s.audit(who, "", fmt.Sprintf("made a client file for %s (%s)", req.User, req.Role))
	return issueAnswer{s.Authority.CA().Cluster(), cert}, nil
}

func (s *Service) clientRevoke(ctx context.Context, who bus.Caller, user string) (none, error) {
	err := s.Authority.Revoke(ctx, trust.Identity{Kind: trust.KindClient, Name: user})
	if err == nil {
		s.audit(who, "", "revoked all client files of "+user)
	}
	return none{}, err
}

func (s *Service) audit(who bus.Caller, node, text string) {
	s.Events.Record(event.Event{Kind: event.Audit, Room: "fleet", Node: node, User: who.Name, Text: text})
}

// decodeUpdate reads one message of a nodes stream.
func decodeUpdate(data []byte) (update, error) {
	var up update
	if err := json.Unmarshal(data, &up); err != nil {
		return up, fmt.Errorf("unreadable list of nodes: %w", err)
	}
	return up, nil
}

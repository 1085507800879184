package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bramble/bus"
	"bramble/fault"
	"bramble/trust"
)

func (s *Service) remove(ctx context.Context, who bus.Caller, req removeRequest) (none, error) {
	if _, err := s.Node(req.Name); err != nil {
		return none{}, err
	}
	return none{}, s.drop(ctx, req.Name, func() { s.audit(who, req.Name, "removed "+req.Name) })
}

// leave is a node's own wish to go.
func (s *Service) leave(ctx context.Context, who bus.Caller, _ none) (none, error) {
	s.ended.Go(func() { // after this answer, which the cut would swallow
		time.Sleep(200 * time.Millisecond)
		if err := s.drop(context.WithoutCancel(ctx), who.Name, func() { s.audit(who, who.Name, who.Name+" left") }); err != nil {
			s.Log.Error("a node could not leave", "node", who.Name, "error", err)
		}
	})
	return none{}, nil
}

// drop ends a membership: certificate first, so that the node is cut before it is forgotten.
func (s *Service) drop(ctx context.Context, name string, record func()) error {
	s.mu.Lock()
	s.gone[name] = true // what it said before the cut may still be waiting here
	s.mu.Unlock()
	if err := s.Authority.RevokeNode(ctx, name); err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	s.observe(name, Event{Kind: Removed}, nil)
	s.mu.Lock()
	delete(s.members, name)
	s.mark(name, false)
	s.mu.Unlock()
	if err := s.Roll.Delete(ctx, "node."+name); err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	record()
	return nil
}

// admit takes what a name says seriously again: a certificate for it has been given out.
func (s *Service) admit(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.gone, name)
}

// deny tells every node at once which certificates have been revoked since it was told last.
func (s *Service) deny() {
	s.mu.Lock()
	var news []string
	for _, serial := range s.Authority.Denied() {
		if !s.denied[serial] {
			s.denied[serial] = true
			news = append(news, serial)
		}
	}
	s.mu.Unlock()
	for _, n := range s.Nodes() {
		if len(news) > 0 && n.State != Down {
			s.Conn.Publish(bus.Node("fleet", n.Name, "deny"), news) // who misses it is told at its next hello
		}
	}
}

// rename gives a node a certificate with the new name; the node comes back under it by itself.
func (s *Service) rename(ctx context.Context, who bus.Caller, req renameRequest) (none, error) {
	old, err := s.mayRename(req)
	if err != nil {
		return none{}, err
	}
	var ask JoinRequest
	if err := s.Conn.Call(ctx, bus.Node("fleet", req.Old, "request"), none{}, &ask); err != nil {
		return none{}, fmt.Errorf("rename %s: %w", req.Old, err)
	}
	cert, _, err := s.Authority.Issue(ctx, trust.Identity{Kind: trust.KindNode, Name: req.New}, ask.CSR)
	if err != nil {
		return none{}, err
	}
	s.admit(req.New)
	renamed := old
	renamed.Name, renamed.State = req.New, Suspect
	if err := s.save(ctx, renamed); err != nil {
		return none{}, err
	}
	now := s.Now()
	s.mu.Lock()
	s.members[req.New] = &entry{node: renamed, view: View{State: Suspect, Shut: now, Until: now.Add(DownAfter)}}
	s.mu.Unlock()
	if err := s.Conn.Call(ctx, bus.Node("fleet", req.Old, "adopt"), JoinAnswer{Cert: cert}, nil); err != nil {
		return none{}, s.notRenamed(ctx, req, err)
	}
	return none{}, s.drop(ctx, req.Old, func() { s.audit(who, req.New, "renamed "+req.Old+" to "+req.New) })
}

func (s *Service) mayRename(req renameRequest) (Node, error) {
	old, err := s.Node(req.Old)
	if err != nil {
		return old, err
	}
	if err := trust.ValidName(req.New); err != nil {
		return old, err
	}
	if _, err := s.Node(req.New); err == nil {
		return old, fault.New(fault.Conflict, "a node is called %s already", req.New).Hint("another name")
	}
	if old.State != Up {
		return old, fault.New(fault.Unreachable, "%s is %s: a node has to be up to take another name", req.Old, old.State).Hint("bramble nodes")
	}
	if s.Busy != nil {
		return old, s.Busy(req.Old)
	}
	return old, nil
}

// notRenamed takes the new name back where the node refused it. One that did not answer may have taken it.
func (s *Service) notRenamed(ctx context.Context, req renameRequest, err error) error {
	if fault.Is(err, fault.Unreachable) || fault.Is(err, fault.Interrupted) {
		return fault.New(fault.Unreachable, "%s did not say whether it is %s now: %w", req.Old, req.New, err).
			Hint("bramble nodes; remove the name of the two that does not come back")
	}
	return errors.Join(fmt.Errorf("rename %s: %w", req.Old, err), s.drop(ctx, req.New, func() {}))
}

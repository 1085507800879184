package front

import (
	"context"
	"maps"
	"slices"
	"strings"

	"bramble/bus"
	"bramble/fault"
)

// change changes a member of a front, in all of its pools.
func (s *Service) change(ctx context.Context, who bus.Caller, c Change) (Status, error) {
	if err := c.Setting.check(); err != nil {
		return Status{}, err
	}
	s.turn.Lock()
	defer s.turn.Unlock()
	f, err := s.find(c.Front, "--front NAME")
	if err != nil {
		return Status{}, err
	}
	s.mu.Lock()
	o := s.orders[f.Name]
	s.mu.Unlock()
	if err := o.has(c.Member); err != nil {
		return Status{}, err
	}
	changed := maps.Clone(f.Changed)
	if changed == nil {
		changed = map[string]Setting{}
	}
	changed[c.Member] = changed[c.Member].with(c.Setting)
	f.Changed = changed
	if err := s.save(ctx, f); err != nil {
		return Status{}, err
	}
	s.record(who, "%s changes %s of the front %s: %s", who.Name, c.Member, f.Name, c.Setting)
	if err := s.compose(ctx, f); err != nil {
		return Status{}, err
	}
	s.Changed()
	return Status{Front: f.hidden(), Nodes: s.onNodes(f, s.carriers(f))}, nil
}

// has reports as fault.NotFound that a front has no member of the name.
func (o Order) has(member string) error {
	known := map[string]bool{}
	for _, p := range o.Spec.Pools {
		for _, m := range p.Members {
			known[m.Name] = true
		}
	}
	if o.Straight != nil {
		for _, m := range o.Straight.Members {
			known[m.Name] = true
		}
	}
	if known[member] {
		return nil
	}
	err := fault.New(fault.NotFound, "the front has no member %.80q", member)
	if len(known) == 0 {
		return err.Hint("bramble front status")
	}
	some := slices.Sorted(maps.Keys(known))
	return err.Hint("one of %s", strings.Join(some[:min(len(some), 10)], ", "))
}

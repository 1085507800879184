package front

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	"bramble/fault"
)

// compose is what a front does now: its members are the nodes that serve its sites, and the servers that it names, with what people
// have changed of them.
func compose(f Front, served map[string]Served, look func(server string) ([]netip.AddrPort, error)) (Spec, error) {
	var all []Backend
	drained := map[string]bool{}
	var empty []Pool // a site that nobody serves yet has a pool all the same
	for _, ref := range f.Sites {
		s := served[ref.Name]
		hosts := s.Hosts
		if ref.Host != "" || len(hosts) == 0 {
			hosts = []string{ref.Host}
		}
		for _, host := range hosts {
			p := f.Common
			p.Host, p.Path = host, ref.Path
			empty = append(empty, p)
			for _, at := range s.Places {
				m := Member{Name: at.Node}
				if f.Common.Sticky != "" {
					m.Route = at.Node
				}
				drained[at.Node] = drained[at.Node] || at.Drained
				all = append(all, Backend{Member: m, Server: at.Address.String(), Host: host, Path: ref.Path})
			}
		}
	}
	pools, err := pooled(append(all, f.Servers...), f.Common, look)
	if err != nil {
		return Spec{}, err
	}
	for _, p := range empty {
		if !slices.ContainsFunc(pools, func(o Pool) bool { return o.Host == p.Host && o.Path == p.Path }) {
			pools = append(pools, p)
		}
	}
	for i := range pools {
		for k := range pools[i].Members {
			m := &pools[i].Members[k]
			if drained[m.Name] {
				m.Mode = Draining
			}
			f.Changed[m.Name].apply(m)
		}
	}
	return Spec{Pools: pools, Trusted: f.Trusted, Rate: f.Rate}, nil
}

// recall adds what silent nodes did before.
func recall(now Served, before []Place) Served {
	all := slices.Clone(now.Places)
	for _, p := range now.Silent {
		if at := slices.IndexFunc(before, func(b Place) bool { return b.Node == p.Node }); at >= 0 {
			p.Address = before[at].Address
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b Place) int { return strings.Compare(a.Node, b.Node) })
	now.Places = all
	return now
}

// with is the spec with members changed, by name.
func (s Spec) with(changed map[string]Setting) Spec {
	s.Pools = slices.Clone(s.Pools)
	for i := range s.Pools {
		s.Pools[i].Members = slices.Clone(s.Pools[i].Members)
		for k := range s.Pools[i].Members {
			m := &s.Pools[i].Members[k]
			changed[m.Name].apply(m)
		}
	}
	return s
}

// apply changes a member. Who is drained for another reason is not enabled by that.
func (s Setting) apply(m *Member) {
	if s.Weight != nil {
		m.Weight = *s.Weight
	}
	if s.Mode != nil && *s.Mode != Enabled {
		m.Mode = *s.Mode
	}
	if s.Route != nil {
		m.Route = *s.Route
	}
}

// with is the setting with a later change.
func (s Setting) with(c Setting) Setting {
	if c.Weight != nil {
		s.Weight = c.Weight
	}
	if c.Mode != nil {
		s.Mode = c.Mode
	}
	if c.Route != nil {
		s.Route = c.Route
	}
	return s
}

// check reports as fault.Misused what cannot be set.
func (s Setting) check() error {
	switch {
	case s == (Setting{}):
		return fault.New(fault.Misused, "nothing of the member is to be changed").Hint("its weight, mode or route")
	case s.Weight != nil && (*s.Weight < 1 || *s.Weight > MaxWeight):
		return fault.New(fault.Misused, "a weight is a number from 1 to %d", MaxWeight).Hint("bramble front weight MEMBER 2; for no visitors at all bramble front drain MEMBER")
	case s.Mode != nil && !slices.Contains([]Mode{Enabled, Draining, Disabled, Stopped}, *s.Mode):
		return fault.New(fault.Misused, "%.40q is no state of a member", *s.Mode).Hint("drain, disabled, stopped, or nothing")
	case s.Route != nil && !plainName(*s.Route):
		return fault.New(fault.Misused, "a route has letters, digits, '-' and '_' only").Hint("bramble front route MEMBER a")
	}
	return nil
}

// ordered is the order of a front, with its revision.
func ordered(f Front, spec Spec, straight *Straight) Order {
	return Order{Name: f.Name, Doors: f.Doors, Spec: spec, Straight: straight}.stamped()
}

// stamped is the order with the revision of what is in it.
func (o Order) stamped() Order {
	o.Rev = ""
	text, _ := json.Marshal(o) // of strings, numbers and lists of them
	sum := sha256.Sum256(text)
	o.Rev = hex.EncodeToString(sum[:6])
	return o
}

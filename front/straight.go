package front

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"bramble/fault"
	"bramble/front/direct"
)

// Straight is what a front with direct return does: members answer visitors themselves.
type Straight struct {
	Address netip.Addr       `json:"address"` // that visitors know
	Port    uint16           `json:"port"`
	Members []StraightMember `json:"members"`
}

// StraightMember is a node that holds the address.
type StraightMember struct {
	Name    string     `json:"name"`
	Address netip.Addr `json:"address"` // its own
	Weight  int        `json:"weight,omitempty"`
	Mode    Mode       `json:"mode,omitempty"`
}

// straighten is the members of a front's only pool as those of direct return. The front's own node is none.
func straighten(f Front, carriers []string, spec Spec) (*Straight, error) {
	text, _, _ := strings.Cut(f.Doors.Address, "/")
	at, err := netip.ParseAddr(text)
	if err != nil {
		return nil, fault.New(fault.Misused, "--address %s: this is no address", f.Doors.Address).Hint("--address 10.0.0.100")
	}
	s := &Straight{Address: at}
	for _, p := range spec.Pools {
		for _, m := range p.Members {
			if slices.Contains(carriers, m.Name) {
				continue
			}
			if s.Port == 0 {
				s.Port = m.Address.Port()
			}
			if s.Port != m.Address.Port() {
				return nil, fault.New(fault.Conflict, "%s serves at port %d and %s at %d: with direct return all nodes have the visitors' port", s.Members[0].Name, s.Port, m.Name, m.Address.Port()).
					Hint("bramble site publish DIR --name %s --listen :80, or leave --direct out", f.Sites[0].Name)
			}
			s.Members = append(s.Members, StraightMember{Name: m.Name, Address: m.Address.Addr(), Weight: m.Weight, Mode: m.Mode})
		}
	}
	return s, nil
}

// spec is what direct return is told. A member that is disabled is drained, for what is under way ends by itself.
func (s *Straight) spec() (direct.Spec, error) {
	d := direct.Spec{Address: s.Address, Ports: []uint16{s.Port}}
	for _, m := range s.Members {
		if m.Mode == Stopped {
			continue
		}
		d.Members = append(d.Members, direct.Member{Name: m.Name, Address: m.Address, Weight: m.Weight, Draining: m.Mode != Enabled, Down: true})
	}
	if len(d.Members) == 0 {
		return d, fault.New(fault.NotFound, "no node but the front's own serves the site yet").Hint("bramble site status NAME")
	}
	var err error
	d.Interface, err = direct.LinkFor(s.Address)
	return d, err
}

// straightener carries a front with direct return.
type straightener struct {
	file string
	log  *slog.Logger
	end  func()
	over sync.WaitGroup

	mu     sync.Mutex
	wanted Straight
	front  *direct.Front // nil while it cannot be
	watch  *direct.Watch
	err    error
}

// startStraight begins, and tries again until it can.
func startStraight(file string, log *slog.Logger, wanted Straight) *straightener {
	ctx, end := context.WithCancel(context.Background())
	s := &straightener{file: file, log: log, end: end, wanted: wanted}
	s.over.Go(func() {
		for {
			err := s.run(ctx)
			s.mu.Lock()
			s.err = err
			s.mu.Unlock()
			if !wait(ctx, time.Second) {
				return
			}
		}
	})
	return s
}

// run carries the front until ctx ends, or it cannot be any more. What is in the kernel stays.
func (s *straightener) run(ctx context.Context) error {
	s.mu.Lock()
	wanted := s.wanted
	s.mu.Unlock()
	spec, err := wanted.spec()
	if err != nil {
		return err
	}
	f, err := direct.Start(ctx, s.file, spec)
	if err != nil {
		return err
	}
	defer f.Leave()
	w := &direct.Watch{Front: f, Log: s.log}
	w.Want(spec)
	s.mu.Lock()
	s.front, s.watch, s.err = f, w, nil
	s.mu.Unlock()
	err = w.Run(ctx)
	s.mu.Lock()
	s.front, s.watch = nil, nil
	s.mu.Unlock()
	return err
}

// set takes up other members of the same address and port.
func (s *straightener) set(wanted Straight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted = wanted
	if s.watch != nil {
		spec, err := wanted.spec()
		if s.err = err; err == nil {
			s.watch.Want(spec)
		}
	}
}

// leave has the kernel go on by itself; undo has the machine as it was before.
func (s *straightener) leave() { s.end(); s.over.Wait() }

func (s *straightener) undo() {
	s.leave()
	if _, err := direct.Undo(s.file); err != nil {
		s.log.Error("direct return is not undone", "error", err, "try", "bramble front doctor --undo")
	}
}

// carried adds how it does.
func (s *straightener) carried(c *Carried) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		c.Error = s.err.Error()
	}
	if s.front == nil {
		return
	}
	c.Plain = []string{netip.AddrPortFrom(s.wanted.Address, s.wanted.Port).String()}
	counts, _ := s.front.Counts(context.Background())
	answers := s.watch.Standings()
	p := PoolStanding{}
	sum := 0
	for _, m := range s.wanted.Members {
		at := Standing{Member: Member{Name: m.Name, Address: netip.AddrPortFrom(m.Address, s.wanted.Port), Weight: m.Weight, Mode: m.Mode}}
		if i := slices.IndexFunc(counts, func(c direct.Count) bool { return c.Name == m.Name }); i >= 0 {
			at.Busy = int64(counts[i].Flows)
		}
		if a, known := answers[m.Name]; known {
			at.Health = Health{Down: a != direct.Open, Since: time.Now(), Why: a.Why()}
		}
		if m.Mode == Enabled && !at.Health.Down {
			at.Share = float64(max(m.Weight, 1))
			sum += max(m.Weight, 1)
		}
		p.Members = append(p.Members, at)
	}
	for i := range p.Members {
		p.Members[i].Share /= float64(max(sum, 1))
	}
	c.Pools = []PoolStanding{p}
}

// holding keeps a node's part of direct return: the address on its loopback.
type holding struct {
	file string
	now  *direct.Holding
	at   string // the address that is held
}

// want holds the address, or none. What was left by a process before is taken over or undone.
func (h *holding) want(at string) error {
	if h.now != nil && h.at == at {
		return nil
	}
	if h.now != nil {
		err := h.now.Close()
		if h.now, h.at = nil, ""; err != nil {
			return err
		}
	}
	if at == "" {
		_, err := direct.Release(h.file)
		return err
	}
	a, err := netip.ParseAddr(at)
	if err != nil {
		return err
	}
	h.now, err = direct.Hold(a, h.file)
	if err != nil {
		h.now = nil
		return err
	}
	h.at = at
	return nil
}

// leave keeps the address where it is, for the next process.
func (h *holding) leave() {
	if h.now != nil {
		h.now.Leave()
	}
}

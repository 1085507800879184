package direct

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Watch knocks at members' doors and keeps a front's spec in step with who answers.
type Watch struct {
	Front *Front
	Log   *slog.Logger
	Every time.Duration // 0: 250 ms

	mu     sync.Mutex
	wanted Spec
	trials map[string]trial
	macs   map[string]MAC
}

const usualEvery = 250 * time.Millisecond

// Want says what is wanted from now on. Of members it does not matter which hardware address they have and whether they
// are said to be down: that is found out.
func (w *Watch) Want(s Spec) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wanted = s
}

// Standings is what was last answered, by member.
func (w *Watch) Standings() map[string]Answer {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := map[string]Answer{}
	for name, t := range w.trials {
		all[name] = t.last
	}
	return all
}

// Run goes on until ctx ends, or the front refuses.
func (w *Watch) Run(ctx context.Context) error {
	w.mu.Lock()
	w.trials, w.macs = map[string]trial{}, map[string]MAC{}
	w.mu.Unlock()
	every := w.Every
	if every <= 0 {
		every = usualEvery
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	var done Spec
	for {
		w.mu.Lock()
		s := w.wanted
		w.mu.Unlock()
		s.Members = slices.Clone(s.Members)
		w.look(ctx, &s)
		if ctx.Err() != nil {
			return nil
		}
		if !same(s, done) {
			if err := w.Front.Set(ctx, s); err != nil && ctx.Err() == nil {
				return err
			}
			done = s
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// same reports whether two specs say the same.
func same(a, b Spec) bool {
	return a.Address == b.Address && a.Interface == b.Interface && slices.Equal(a.Ports, b.Ports) && slices.Equal(a.Members, b.Members)
}

// look finds out which members are there.
func (w *Watch) look(ctx context.Context, s *Spec) {
	answers, err := w.knock(ctx, s)
	if err != nil && ctx.Err() == nil {
		w.Log.Warn("members cannot be asked", "on", s.Interface, "error", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range s.Members {
		m := &s.Members[i]
		before := w.trials[m.Name]
		now := before.next(answers[i])
		w.trials[m.Name] = now
		m.MAC, m.Down = w.macs[m.Name], !now.up
		switch {
		case ctx.Err() != nil:
		case now.up && !before.up:
			w.Log.Info("a member is back", "member", m.Name)
		case !now.up && before.up || now.last != before.last && !now.up:
			w.Log.Warn("a member is down", "member", m.Name, "why", why(now.last))
		}
	}
}

// knock asks all members; of those that do not answer, the hardware address is asked for anew.
func (w *Watch) knock(ctx context.Context, s *Spec) ([]Answer, error) {
	answers := make([]Answer, len(s.Members))
	for i := range answers {
		answers[i] = Silent
	}
	link, err := net.InterfaceByName(s.Interface)
	if err != nil {
		return answers, err
	}
	own, _, err := ownAddress(link, s.Address)
	if err != nil {
		return answers, err
	}
	macs, missing := make([]MAC, len(s.Members)), []netip.Addr(nil)
	w.mu.Lock()
	for i, m := range s.Members {
		if macs[i] = w.macs[m.Name]; macs[i] == (MAC{}) || w.trials[m.Name].last == Silent {
			missing = append(missing, m.Address)
		}
	}
	w.mu.Unlock()
	if len(missing) > 0 {
		found, err := resolve(ctx, link, own, missing...)
		if err != nil {
			return answers, err
		}
		for i, m := range s.Members {
			if mac, ok := found[m.Address]; ok && !slices.Contains(macs, mac) {
				macs[i] = mac
			}
		}
	}
	got, err := knock(ctx, link, own, netip.AddrPortFrom(s.Address, s.Ports[0]), macs, 0)
	if err != nil {
		return answers, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, m := range s.Members {
		w.macs[m.Name] = macs[i]
	}
	return got, nil
}

// why is what an answer means, in words for a log.
func why(a Answer) string {
	switch a {
	case Refused:
		return "it holds the service address, and nothing listens there: its web server may listen at its own address only"
	case Silent:
		return "no answer: it is away, or does not hold the service address (bramble front direct-member)"
	}
	return string(a)
}

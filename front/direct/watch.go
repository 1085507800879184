package direct

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"bramble/fault"
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
	failed error         // of the last look
	short  time.Duration // how long one that is down may take to answer
}

const (
	usualEvery = 250 * time.Millisecond
	// How long a member that is up may take to answer, and one that is down: everybody waits for it.
	patience, impatience = 400 * time.Millisecond, 100 * time.Millisecond
)

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
	for round := 1; ; round++ {
		if w.short = patience; round > upAfter {
			w.short = impatience
		}
		w.mu.Lock()
		s := w.wanted
		w.mu.Unlock()
		s.Members = slices.Clone(s.Members)
		if err := w.look(ctx, &s); ctx.Err() != nil || err != nil {
			return err
		}
		if round < upAfter { // nobody can be up yet, and who is, is wanted at once
			continue
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

// look finds out which members are there. While nobody can be asked, all stay what they were: the front's own cable is not theirs.
func (w *Watch) look(ctx context.Context, s *Spec) error {
	if len(s.Ports) == 0 {
		return fault.New(fault.Misused, "direct return needs a port").Hint("--port 80")
	}
	link, err := net.InterfaceByName(s.Interface)
	if err != nil {
		return fault.New(fault.NotFound, "%s is gone: %w", s.Interface, err).Hint("ip -br link")
	}
	if err := w.Front.sees(link); err != nil {
		return err
	}
	var answers []Answer
	if link.Flags&net.FlagRunning == 0 {
		err = fault.New(fault.Failed, "its cable is out")
	} else {
		answers, err = w.knock(ctx, link, s)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil && ctx.Err() == nil && w.failed == nil {
		w.Log.Warn("members cannot be asked", "on", s.Interface, "error", err)
	}
	w.failed = err
	for i := range s.Members {
		m := &s.Members[i]
		if err == nil {
			w.judge(m.Name, answers[i])
		}
		m.MAC, m.Down = w.macs[m.Name], !w.trials[m.Name].up
	}
	return nil
}

// judge takes in what a member answered.
func (w *Watch) judge(name string, a Answer) {
	before := w.trials[name]
	now := before.next(a)
	w.trials[name] = now
	switch {
	case now.up && !before.up:
		w.Log.Info("a member is back", "member", name)
	case !now.up && a != Open && (before.up || a != before.last):
		w.Log.Warn("a member is down", "member", name, "why", now.last.Why())
	}
}

// knock asks those that are up, and then those that are not, whose hardware address may be another one by now.
func (w *Watch) knock(ctx context.Context, link *net.Interface, s *Spec) ([]Answer, error) {
	answers := slices.Repeat([]Answer{Silent}, len(s.Members))
	own, _, err := ownAddress(link, s.Address)
	if err != nil {
		return answers, err
	}
	up, down := w.known(s)
	at := netip.AddrPortFrom(s.Address, s.Ports[0])
	if err := take(answers, up)(knock(ctx, link, patience, own, at, up, 0)); err != nil {
		return answers, err
	}
	var missing []netip.Addr
	for i, m := range s.Members {
		if up[i] == (MAC{}) {
			missing = append(missing, m.Address)
		}
	}
	found, err := resolve(ctx, link, w.short, own, missing...)
	if err != nil {
		return answers, err
	}
	w.learn(s, found, up, down)
	return answers, take(answers, down)(knock(ctx, link, w.short, own, at, down, 0))
}

// learn takes in who has members' addresses now. A board that has another one than before is no longer who it was.
func (w *Watch) learn(s *Spec, found map[netip.Addr]MAC, up, down []MAC) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, m := range s.Members {
		mac, ok := found[m.Address]
		if !ok || mac == down[i] || up[i] != (MAC{}) || slices.Contains(up, mac) {
			continue
		}
		if j := slices.Index(down, mac); j >= 0 {
			down[j] = MAC{}
			delete(w.macs, s.Members[j].Name)
		}
		down[i], w.macs[m.Name] = mac, mac
	}
}

// known are the hardware addresses of members that are up, and of those that are not.
func (w *Watch) known(s *Spec) (up, down []MAC) {
	up, down = make([]MAC, len(s.Members)), make([]MAC, len(s.Members))
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, m := range s.Members {
		if w.trials[m.Name].up {
			up[i] = w.macs[m.Name]
		} else {
			down[i] = w.macs[m.Name]
		}
	}
	return up, down
}

// take takes over the answers of those that were asked.
func take(all []Answer, asked []MAC) func([]Answer, error) error {
	return func(got []Answer, err error) error {
		for i := range got {
			if asked[i] != (MAC{}) {
				all[i] = got[i]
			}
		}
		return err
	}
}

// why is what an answer means, in words for a log.
// Why is why nobody is sent to a member that answered so; "" is that it is well.
func (a Answer) Why() string {
	switch a {
	case Refused:
		return "it holds the service address, and nothing listens there: its web server may listen at its own address only"
	case Silent:
		return "no answer: it is away, or does not hold the service address (bramble front direct-member)"
	}
	return ""
}

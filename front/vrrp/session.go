package vrrp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"bramble/fault"
	"bramble/host/ether"
)

// session is a front's part at an interface, for as long as that is there.
type session struct {
	Options
	*machine
	segment *ether.Segment
	cover   cover // of what is sent: as the others do it
	has     bool  // the address
	warned  map[string]time.Time
}

// looking is how often it is found out whether the cable is in and there is somebody to ask.
const looking = 100 * time.Millisecond

// heard is something that came in.
type heard struct {
	advert advert
	cover  cover
	claim  ether.Claim
	odd    string // what is wrong with it
}

// run takes part until ctx ends, which is no error, or the interface goes away.
func (s *session) run(ctx context.Context) error {
	in := make(chan heard)
	listening, stop := context.WithCancel(context.Background())
	failed := make(chan error, 2)
	var listeners sync.WaitGroup
	listeners.Go(func() { failed <- s.listen(listening, in) })
	listeners.Go(func() { failed <- s.listenForClaims(listening, in) })
	defer listeners.Wait()
	defer s.segment.Close()
	defer stop()
	err := s.loop(ctx, in, failed)
	if s.has { // the interface or the right to change it is gone, so this may fail: the lease ends anyway
		s.note(false)
		err = errors.Join(err, s.segment.Drop(s.Address))
	}
	return err
}

// loop feeds the machine and does what it says.
func (s *session) loop(ctx context.Context, in <-chan heard, failed <-chan error) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var look time.Time
	ending := ctx.Done()
	for {
		var orders []order
		select {
		case <-ending:
			if context.Cause(ctx) == ErrHanded {
				s.has = false // the other process's now
				return nil
			}
			ending = nil
			orders = s.leave(time.Now())
		case err := <-failed:
			return fmt.Errorf("listening at %s: %w", s.segment.Name, err)
		case h := <-in:
			orders = s.take(h, time.Now())
		case <-timer.C:
			connected, err := s.segment.Connected()
			if err != nil {
				return fmt.Errorf("looking at %s: %w", s.segment.Name, err)
			}
			was, now := s.state, time.Now()
			orders = s.tick(now, connected, s.Healthy())
			s.tell(was, connected)
			look = now.Add(looking)
		}
		if err := s.obey(orders); errors.Is(err, errEnded) {
			return nil
		} else if err != nil {
			return err
		}
		next := look // which nothing that comes in puts off
		if due := s.next(); !due.IsZero() && due.Before(next) {
			next = due
		}
		timer.Reset(max(0, time.Until(next)))
	}
}

// take has the machine hear what came in.
func (s *session) take(h heard, now time.Time) []order {
	switch {
	case h.odd != "":
		s.warn(now, h.odd)
		return nil
	case h.claim.Addr.IsValid():
		if s.state == active && now.Sub(s.taken) > 2*lease+occupied {
			s.warn(now, "another machine says that it has the shared address too", "address", s.Address, "at", h.claim.MAC.String())
		}
		return s.contend(now, h.claim.MAC)
	}
	s.cover.Pseudo = h.cover.Pseudo
	return s.hear(now, h.cover.From, h.advert.Priority, h.advert.Interval)
}

// obey does what the machine says.
func (s *session) obey(orders []order) error {
	for _, o := range orders {
		if err := s.do(o); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) do(o order) error {
	switch o {
	case hold:
		if err := s.segment.Lease(s.Address, lease); err != nil {
			return fmt.Errorf("giving %s the address %s: %w", s.segment.Name, s.Address, err)
		}
		s.note(true)
	case drop:
		s.note(false)
		if err := s.segment.Drop(s.Address); err != nil {
			return fmt.Errorf("taking %s off %s: %w", s.Address, s.segment.Name, err)
		}
	case advertise: // who cannot do that must not keep the address, for another one takes it
		return s.say(s.priority())
	case resign: // twice, for what gets lost costs the others half a second
		return errors.Join(s.say(0), s.say(0))
	case claim:
		s.lost(s.segment.Claim(s.Address))
	case ask:
		s.lost(s.segment.Ask(s.Address))
	case yield:
		return fault.New(fault.Conflict, "%s belongs to another machine, at %s, which does not share it", s.Address, s.by).Hint("an address that nobody has")
	case done:
		return errEnded
	}
	return nil
}

// lost notes what could not be sent; that the cable is out is found out elsewhere.
func (s *session) lost(err error) {
	if err != nil {
		s.warn(time.Now(), "neighbours cannot be told by ARP", "interface", s.segment.Name, "error", err)
	}
}

func (s *session) say(priority uint8) error {
	a := advert{VRID: uint8(s.VRID), Priority: priority, Interval: interval, Shared: []netip.Addr{s.Address}}
	if err := s.segment.Send(a.marshal(s.cover)); err != nil {
		return fmt.Errorf("advertising at %s: %w", s.segment.Name, err)
	}
	return nil
}

// note tells whoever wants to know that this front has the address, or not any more.
func (s *session) note(has bool) {
	if s.has == has {
		return
	}
	s.has = has
	what := "another front may have the shared address"
	if has {
		what = "this front has the shared address"
	}
	s.Log.Info(what, "address", s.Address, "interface", s.segment.Name, "priority", s.priority())
	s.Changed(has)
}

// tell notes why a front is no part of the election, or was out of it.
func (s *session) tell(was state, connected bool) {
	switch {
	case s.lapsed > 0:
		s.Log.Warn("this process did not run, so another front may have taken the shared address", "for", s.lapsed.Round(time.Millisecond))
		s.lapsed = 0
	case was != initialize && s.state == initialize, was == initialize && !connected:
		s.warn(time.Now(), "the cable is out, so this front takes no part", "interface", s.segment.Name)
	}
}

// warn says something once in a minute.
func (s *session) warn(now time.Time, what string, args ...any) {
	if last, ok := s.warned[what]; ok && now.Sub(last) < time.Minute {
		return
	}
	s.warned[what] = now
	s.Log.Warn(what, args...)
}

// listen passes on the advertisements of those who share the address.
func (s *session) listen(ctx context.Context, in chan<- heard) error {
	for {
		p, err := s.segment.Hear()
		if err != nil {
			return err
		}
		h := heard{cover: cover{From: p.From, To: p.To}}
		if !s.concerns(p, &h) {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case in <- h:
		}
	}
}

// concerns reads a datagram, and reports whether it is about the shared address.
func (s *session) concerns(p ether.Packet, h *heard) (ours bool) {
	if p.TTL != 255 || p.To != group { // it came through a router, or was not sent as VRRP is
		return false
	}
	var err error
	h.advert, err = h.cover.read(p.Payload)
	if int(h.advert.VRID) != s.VRID && (err == nil || errors.Is(err, errVersion)) {
		return false
	}
	switch {
	case errors.Is(err, errVersion):
		h.odd = fmt.Sprintf("%s speaks another version of VRRP, which this front does not: keepalived needs vrrp_version 3", p.From)
	case err != nil:
		h.odd = fmt.Sprintf("what %s advertises cannot be read: %v", p.From, err)
	case !slices.Contains(h.advert.Shared, s.Address):
		h.odd = fmt.Sprintf("%s uses the VRID %d for other addresses: say vrid= with another number", p.From, s.VRID)
	}
	return true
}

// listenForClaims passes on what other machines say of the shared address by ARP.
func (s *session) listenForClaims(ctx context.Context, in chan<- heard) error {
	for {
		c, err := s.segment.HearClaim()
		if err != nil {
			return err
		}
		if c.Addr != s.Address {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case in <- heard{claim: c}:
		}
	}
}

// Package vrrp lets fronts have one address among them: one answers for it, and when that one dies, hangs, loses its cable or
// has nobody to ask, another one does, within a second.
//
// They elect who has it by VRRP version 3 (RFC 9568), so keepalived can be one of them. The address has no hardware address of
// its own: neighbours are told by gratuitous ARP. It is on the interface for a second at a time, so that the kernel takes it away
// when nobody is left to do so.
package vrrp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"bramble/fault"
	"bramble/host/ether"
)

// Options are what is shared, and how.
type Options struct {
	Address   netip.Addr // IPv4
	Interface string     // "": the one in whose network the address is
	Priority  int        // 2–254, the highest has the address; 0: 100
	VRID      int        // 1–255, the same at all that share the address and nobody else's; 0: by the address
	Held      bool       // by another process of this machine, which hands the address over: if it is still here, it stays
	Healthy   func() bool
	Changed   func(has bool) // called when this front has the address, and when not any more; nil: nobody wants to know
	Log       *slog.Logger
}

// DefaultPriority is the priority where none is said, as in RFC 9568. Among equals whoever has the address keeps it.
const DefaultPriority = 100

// filled are the options with what was not said.
func (o Options) filled() Options {
	if o.Priority == 0 {
		o.Priority = DefaultPriority
	}
	if o.VRID == 0 {
		b := o.Address.As4()
		o.VRID = max(int(b[3]), 1)
	}
	if o.Healthy == nil {
		o.Healthy = func() bool { return true }
	}
	if o.Changed == nil {
		o.Changed = func(bool) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// reopening is how long nothing is tried after an interface went away.
const reopening = time.Second

// ErrHanded is the cause of a context's end after which another process of this machine takes part: the address stays, and nobody is
// told anything.
var ErrHanded = errors.New("another process of this machine has the shared address")

// Run takes part in the election until ctx ends; then it hands the address over and returns. It returns before that when the
// address cannot be shared here, or another machine has it that does not share it.
func Run(ctx context.Context, o Options) error {
	o = o.filled()
	if err := ether.May(); err != nil {
		return err
	}
	m := newMachine(netip.Addr{}, uint8(o.Priority))
	for first := true; ; first = false {
		s, err := open(o, m)
		o.Held = false
		if err != nil && first {
			return err
		}
		if err == nil {
			if err = s.run(ctx); err == nil || fault.Is(err, fault.Conflict) {
				return err
			}
		}
		o.Log.Error("the address cannot be shared for now", "address", o.Address, "error", err)
		if pause(ctx, reopening) != nil {
			return nil
		}
	}
}

// open finds the interface and begins to listen there.
func open(o Options, m *machine) (*session, error) {
	ports, err := ether.Ports()
	if err != nil {
		return nil, fmt.Errorf("looking for interfaces: %w", err)
	}
	port, own, err := ether.Choose(ports, o.Address, o.Interface)
	if err != nil {
		return nil, err
	}
	segment, err := ether.Open(port, own, protocol, group)
	if err != nil {
		return nil, err
	}
	has, leased, err := segment.Leased(o.Address, lease)
	switch {
	case err == nil && has && !leased:
		err = fault.New(fault.Conflict, "this machine has %s by itself: it is not there to be shared", o.Address).Hint("ip addr del %s/… dev …, and take it out of the machine's settings", o.Address)
	case err == nil && leased && !o.Held: // by one who died a moment ago
		err = segment.Drop(o.Address)
	}
	if err != nil {
		segment.Close()
		return nil, err
	}
	if m.Self, m.state = own, initialize; o.Held && leased {
		m.inherit(time.Now())
	}
	return &session{Options: o, machine: m, segment: segment, cover: cover{From: own, To: group, Pseudo: true}, warned: map[string]time.Time{}}, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

var errEnded = errors.New("ended")

//go:build !linux

package ether

import (
	"net/netip"
	"syscall"
	"time"

	"bramble/fault"
)

// Segment is what a port is plugged into; there is none but on Linux.
type Segment struct {
	Port
	Own netip.Addr
}

func onlyLinux() error {
	return fault.New(fault.Failed, "an address is shared only on Linux").Hint("bramble front serve without --address")
}

// Ports works only on Linux, as all below.
func Ports() ([]Port, error) { return nil, onlyLinux() }

func May() error { return onlyLinux() }

func Open(Port, netip.Addr, uint8, netip.Addr) (*Segment, error) { return nil, onlyLinux() }

func Absent(string, string, syscall.RawConn) error { return onlyLinux() }

func (*Segment) Close()                                {}
func (*Segment) Send([]byte) error                     { return onlyLinux() }
func (*Segment) Hear() (Packet, error)                 { return Packet{}, onlyLinux() }
func (*Segment) HearClaim() (Claim, error)             { return Claim{}, onlyLinux() }
func (*Segment) Claim(netip.Addr) error                { return onlyLinux() }
func (*Segment) Ask(netip.Addr) error                  { return onlyLinux() }
func (*Segment) Connected() (bool, error)              { return false, onlyLinux() }
func (*Segment) Lease(netip.Addr, time.Duration) error { return onlyLinux() }
func (*Segment) Drop(netip.Addr) error                 { return onlyLinux() }
func (*Segment) Leased(netip.Addr, time.Duration) (bool, bool, error) {
	return false, false, onlyLinux()
}

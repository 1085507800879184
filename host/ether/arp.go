package ether

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// Claim is an ARP packet that says who has an IPv4 address.
type Claim struct {
	MAC  net.HardwareAddr
	Addr netip.Addr
}

// Operations of ARP, by RFC 826.
const (
	arpRequest = 1
	arpReply   = 2
	arpSize    = 28 // bytes, of an Ethernet and an IPv4 address
)

// arp is a packet from a MAC and an address to everybody; a sender of 0.0.0.0 asks without claiming (RFC 5227).
func arp(operation uint16, mac net.HardwareAddr, sender, target netip.Addr) []byte {
	b := binary.BigEndian.AppendUint16(nil, 1)      // Ethernet
	b = binary.BigEndian.AppendUint16(b, 0x0800)    // IPv4
	b = append(b, 6, 4)                             // bytes of each
	b = binary.BigEndian.AppendUint16(b, operation) //
	b = append(append(b, mac...), sender.AsSlice()...)
	if operation == arpReply {
		return append(append(b, mac...), target.AsSlice()...)
	}
	return append(append(b, 0, 0, 0, 0, 0, 0), target.AsSlice()...)
}

// readARP reads who claims which address; false for a question that claims none, and for what is no ARP.
func readARP(b []byte) (c Claim, ok bool) {
	if len(b) < arpSize || [6]byte(b[:6]) != [6]byte{0, 1, 8, 0, 6, 4} {
		return c, false
	}
	c = Claim{MAC: net.HardwareAddr(b[8:14:14]), Addr: netip.AddrFrom4([4]byte(b[14:18]))}
	return c, !c.Addr.IsUnspecified()
}

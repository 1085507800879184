// Package ether speaks on one Ethernet segment beside the kernel's own words: it takes addresses for a while, claims them by ARP,
// and sends and hears datagrams that have no ports.
package ether

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"bramble/fault"
)

// Port is an interface of this machine.
type Port struct {
	Name     string
	Index    int
	MAC      net.HardwareAddr
	Networks []netip.Prefix // its addresses, each with its network's bits
	Up       bool           // somebody switched it on; a cable is another matter
	Many     bool           // it reaches more than one other machine, by broadcast and multicast
}

// own is the port's first address in whose network another one lies.
func (p Port) own(shared netip.Addr) (netip.Prefix, bool) {
	at := slices.IndexFunc(p.Networks, func(n netip.Prefix) bool {
		return n.Addr() != shared && n.Contains(shared)
	})
	if at < 0 {
		return netip.Prefix{}, false
	}
	return p.Networks[at], true
}

// Choose finds the port in whose network an address lies, and the port's own address there. A name, unless it is empty, says which.
func Choose(ports []Port, shared netip.Addr, name string) (Port, netip.Addr, error) {
	var fit []Port
	for _, p := range ports {
		if name != "" && p.Name == name {
			return p.chosen(shared)
		}
		if _, in := p.own(shared); in && p.Many {
			fit = append(fit, p)
		}
	}
	switch {
	case name != "":
		return Port{}, netip.Addr{}, fault.New(fault.NotFound, "there is no interface %s; there are %s", name, list(ports)).Hint("on=%s", first(ports))
	case len(fit) == 0:
		return Port{}, netip.Addr{}, fault.New(fault.Misused, "%s is in no network of this machine: %s", shared, list(ports)).Hint("an address of one of these networks that nobody else has")
	case len(fit) > 1:
		return Port{}, netip.Addr{}, fault.New(fault.Misused, "%s is in the network of more than one interface: %s", shared, list(fit)).Hint("on=%s", fit[0].Name)
	}
	return fit[0].chosen(shared)
}

func (p Port) chosen(shared netip.Addr) (Port, netip.Addr, error) {
	own, _ := p.own(shared)
	return p, own.Addr(), p.check(shared)
}

// check is why an address cannot be shared at a port.
func (p Port) check(shared netip.Addr) error {
	_, in := p.own(shared)
	switch {
	case !p.Many:
		return fault.New(fault.Misused, "%s is no Ethernet: nobody could be told there who has %s", p.Name, shared).Hint("on=eth0, or another interface of a cable or a radio")
	case !p.Up:
		return fault.New(fault.Conflict, "the interface %s is down", p.Name).Hint("ip link set %s up", p.Name)
	case !in:
		return fault.New(fault.Misused, "%s is not in the network of %s: %s", shared, p.Name, list([]Port{p})).Hint("an address of that network that nobody else has")
	}
	return nil
}

// list names ports and their networks.
func list(ports []Port) string {
	var words []string
	for _, p := range ports {
		if !p.Many {
			continue
		}
		word := p.Name
		if !p.Up {
			word += " (down)"
		}
		for _, n := range p.Networks {
			word += " " + n.String()
		}
		words = append(words, word)
	}
	if len(words) == 0 {
		return "no interface"
	}
	return strings.Join(words, ", ")
}

// first is the name of a port that people may mean.
func first(ports []Port) string {
	for _, p := range ports {
		if p.Many {
			return p.Name
		}
	}
	return "eth0"
}

// Packet is an IPv4 datagram that was heard.
type Packet struct {
	From, To netip.Addr
	TTL      uint8
	Payload  []byte // valid until the next one is heard
}

// readPacket reads a datagram from its IPv4 header on (RFC 791); false for a fragment, or what is none.
func readPacket(b []byte) (p Packet, ok bool) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return p, false
	}
	header, total := int(b[0]&15)*4, int(b[2])<<8|int(b[3])
	if header < 20 || total < header || total > len(b) || b[6]&0x3f|b[7] != 0 {
		return p, false
	}
	return Packet{From: netip.AddrFrom4([4]byte(b[12:16])), To: netip.AddrFrom4([4]byte(b[16:20])), TTL: b[8], Payload: b[header:total]}, true
}

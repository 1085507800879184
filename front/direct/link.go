package direct

import (
	"net"
	"net/netip"

	"bramble/fault"
)

// ownAddress is an interface's own address in the network that has another one, and that network.
func ownAddress(link *net.Interface, a netip.Addr) (own netip.Addr, network netip.Prefix, err error) {
	all, err := link.Addrs()
	if err != nil {
		return own, network, err
	}
	for _, text := range all {
		p, err := netip.ParsePrefix(text.String())
		if err == nil && p.Addr().Is4() && p.Addr() != a && p.Bits() < 32 && p.Contains(a) {
			return p.Addr(), p.Masked(), nil
		}
	}
	return own, network, fault.New(fault.NotFound, "%s has no address in a network that %s belongs to", link.Name, a).
		Hint("an --address of the network on %s that nobody has; ip -br addr shows it", link.Name)
}

// LinkFor is the interface in whose network an address is.
func LinkFor(a netip.Addr) (string, error) {
	links, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	for _, l := range links {
		if _, _, err := ownAddress(&l, a); err == nil && l.Flags&net.FlagLoopback == 0 {
			return l.Name, nil
		}
	}
	return "", fault.New(fault.NotFound, "no interface here is in the network of %s", a).
		Hint("an address of your network: ip -br addr shows which that is; across routers only the proxy works: %s", Proxy)
}

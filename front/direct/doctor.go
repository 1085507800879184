package direct

import (
	"fmt"
	"net/netip"
	"slices"

	"bramble/host"
)

// FrontFacts is what matters of a machine that is to be a front.
type FrontFacts struct {
	Spec
	Link    Link
	Network netip.Prefix // of the interface, with the service address; zero where there is none
	Kernel  error        // why nft or the kernel does not take our table; nil: it does
	Taken   MAC          // who else says that it has the service address
	Doors   []Door       // of Spec.Members, in their order
}

// Link is an interface.
type Link struct {
	Name     string
	Ethernet bool
	Wireless bool
	Bridge   string // that it is a port of
	MAC      MAC
	MTU      int
	Up       bool
}

// Door is what was found of a member from the front.
type Door struct {
	Near    bool   // its address is in the interface's network
	MAC     MAC    // zero: nobody says that it has the address
	Own     bool   // a web server answers at its own address and the first port
	Service Answer // at the service address
	Large   Answer // the same, to a packet as large as the interface takes
}

// MemberFacts is what matters of a machine that is to be a member.
type MemberFacts struct {
	Address     netip.Addr
	Port        uint16
	Root        bool
	Link        Link // in the address's network; no name: there is none
	Gateway     netip.Addr
	GatewayLink string
	GatewayMAC  MAC
	Front       MAC // who says that it has the service address
	RPFilter    int // of the interface; 1 is strict
	Listening   []netip.Addr
}

// good and bad make a check.
func good(name, format string, args ...any) host.Check {
	return host.Check{Name: name, OK: true, Text: fmt.Sprintf(format, args...)}
}

func bad(try, name, format string, args ...any) host.Check {
	return host.Check{Name: name, Text: fmt.Sprintf(format, args...), Try: try + "; or the proxy, which works anyway: " + Proxy}
}

// Checks judges the front, its interface first and then its members.
func (f FrontFacts) Checks() []host.Check {
	return append(f.Machine(), f.members()...)
}

// Machine judges the front itself: what is bad of it keeps all from working.
func (f FrontFacts) Machine() []host.Check {
	checks := []host.Check{checkLink(f.Link)}
	switch {
	case !f.Network.IsValid():
		checks = append(checks, bad("--address with one of the network on "+f.Link.Name+" (ip -br addr)", "address", "%s is in no network of %s", f.Address, f.Link.Name))
	case f.Taken != MAC{}:
		checks = append(checks, bad("another --address, or on a member that says so: bramble front direct-member", "address", "%s says that it has %s already", f.Taken, f.Address))
	default:
		checks = append(checks, good("address", "%s, in %s, is nobody else's", f.Address, f.Network))
	}
	if f.Kernel != nil {
		c := broken("kernel", f.Kernel)
		return append(checks, c)
	}
	return append(checks, good("kernel", "nftables takes what is needed"))
}

func checkLink(l Link) host.Check {
	switch {
	case !l.Ethernet:
		return bad("--on with an interface of Ethernet", "interface", "%s is not Ethernet", l.Name)
	case l.Wireless:
		return bad("a cable, and --on eth0", "interface", "%s is wireless: access points do not carry packets for others as direct return needs it", l.Name)
	case l.Bridge != "":
		return bad("--on "+l.Bridge, "interface", "%s is a port of the bridge %s, which has its packets", l.Name, l.Bridge)
	case !l.Up:
		return bad("ip link set "+l.Name+" up, and the cable", "interface", "%s is down", l.Name)
	}
	return good("interface", "%s, %s, packets of up to %d bytes", l.Name, l.MAC, l.MTU)
}

func (f FrontFacts) members() (checks []host.Check) {
	var seen []MAC
	for i, m := range f.Members {
		d := f.Doors[i]
		name := "member " + m.Name
		switch {
		case !d.Near:
			checks = append(checks, bad("members on the front's own segment", name, "%s is not in %s, the network of %s: there is a router between", m.Address, f.Network, f.Link.Name))
		case d.MAC == f.Link.MAC || m.Address == f.Address:
			checks = append(checks, bad("leave it out", name, "%s is the front itself, which is no member", m.Address))
		case d.MAC == MAC{}:
			checks = append(checks, bad("ping "+m.Address.String()+", and its cable", name, "nobody says on %s that it has %s", f.Link.Name, m.Address))
		case slices.Contains(seen, d.MAC):
			checks = append(checks, bad("one address of each machine", name, "%s is the same machine as another member, %s", m.Address, d.MAC))
		default:
			checks = append(checks, f.door(name, m, d))
		}
		seen = append(seen, d.MAC)
	}
	return checks
}

// door judges what came of knocking.
func (f FrontFacts) door(name string, m Member, d Door) host.Check {
	at := netip.AddrPortFrom(f.Address, f.Ports[0])
	switch {
	case d.Service == Open && d.Large != Open:
		return bad(fmt.Sprintf("on it: ip link set eth0 mtu %d", f.Link.MTU), name, "it answers at %s, but not to packets of %d bytes, as large as visitors' may be", at, f.Link.MTU)
	case d.Service == Open:
		return good(name, "%s answers at %s", d.MAC, at)
	case d.Service == Refused && d.Own:
		return bad(fmt.Sprintf("have its web server listen at all addresses: 0.0.0.0:%d", f.Ports[0]), name, "its web server listens at %s only, and not at %s", m.Address, at)
	case d.Service == Refused:
		return bad("start its web server", name, "nothing listens at its port %d", f.Ports[0])
	case d.Own:
		return bad("on it: sudo bramble front direct-member --address "+f.Address.String(), name, "its web server answers at its own address, and not at %s: it does not hold that, or drops what comes by another way than answers go (rp_filter)", at)
	}
	return bad("on it: sudo bramble front direct-member --address "+f.Address.String()+", and bramble front doctor", name, "no answer at %s", at)
}

// Checks judges a member.
func (f MemberFacts) Checks() []host.Check {
	if f.Link.Name == "" {
		return append(f.Machine(), f.server())
	}
	return append(f.Machine(), f.front(), f.route(), f.server())
}

// Machine judges what keeps all from working.
func (f MemberFacts) Machine() (checks []host.Check) {
	if f.Root {
		checks = append(checks, good("account", "root, which may change addresses"))
	} else {
		checks = append(checks, bad("sudo bramble front direct-member", "account", "only root may give this machine the address %s", f.Address))
	}
	if f.Link.Name == "" {
		return append(checks, bad("an address of this machine's network (ip -br addr)", "interface", "no interface here is in the network of %s: there is a router between", f.Address))
	}
	return append(checks, checkLink(f.Link))
}

func (f MemberFacts) front() host.Check {
	if f.Front == (MAC{}) {
		return good("front", "nobody says on %s that it has %s; bramble front direct on the front does", f.Link.Name, f.Address)
	}
	return good("front", "%s says on %s that it has %s", f.Front, f.Link.Name, f.Address)
}

// route judges the way of answers.
func (f MemberFacts) route() host.Check {
	switch {
	case !f.Gateway.IsValid():
		return good("route", "there is no default route: visitors of this network only are answered")
	case f.Front != MAC{} && f.GatewayMAC == f.Front:
		return bad("ip route replace default via ROUTER", "route", "the default route goes to the front (%s), and so would all answers", f.Gateway)
	case f.GatewayLink != f.Link.Name && f.RPFilter == 1:
		return bad(fmt.Sprintf("sysctl -w net.ipv4.conf.%s.rp_filter=2", f.Link.Name), "route",
			"visitors' packets come by %s and answers go by %s, and such packets are dropped (rp_filter is 1)", f.Link.Name, f.GatewayLink)
	}
	return good("route", "answers go by %s to %s", f.GatewayLink, f.Gateway)
}

// server judges where the web server listens.
func (f MemberFacts) server() host.Check {
	for _, a := range f.Listening {
		if a.IsUnspecified() || a == f.Address {
			return good("server", "something listens at port %d of %s", f.Port, f.Address)
		}
	}
	if len(f.Listening) == 0 {
		return bad("start the web server", "server", "nothing listens at port %d", f.Port)
	}
	return bad(fmt.Sprintf("have it listen at all addresses: 0.0.0.0:%d", f.Port), "server", "the web server listens at %s only, and visitors come to %s", f.Listening[0], f.Address)
}

func broken(name string, err error) host.Check {
	return host.Check{Name: name, Text: err.Error(), Try: Proxy}
}

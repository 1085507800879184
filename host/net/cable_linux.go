package hostnet

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// What a shaper lets through at once, and how long a packet may wait for its turn.
const (
	shaperBurst   = 32 << 10 // bytes
	shaperLatency = 0.050    // seconds
)

// hub is the switch: a namespace and the bridge in it.
type hub struct {
	space
	bridge *netlink.Bridge
}

// newSwitch makes the switch. It forwards to nowhere but its own subnet, so a node that
// asks for anything else is told that the network is unreachable instead of waiting.
func (n *Network) newSwitch() (hub, error) {
	s, err := newSpace(switchNamespace(n.Lab))
	if err != nil {
		return hub{}, err
	}
	h := hub{space: s, bridge: newBridge(n.gateway())}
	if err := n.setUpSwitch(h); err != nil {
		h.close()
		return hub{}, err
	}
	return h, nil
}

func newBridge(addr netip.Addr) *netlink.Bridge {
	flood := false // nobody here asks for multicast groups, so all ports get them
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = bridgeLink, hardwareAddr(addr)
	return &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &flood}
}

func (n *Network) setUpSwitch(h hub) error {
	for _, p := range switchParameters {
		path := "/proc/sys/net/" + p.name // of the calling thread's network namespace
		err := os.WriteFile(path, []byte(p.value), 0)
		if err := ignore(err, os.ErrNotExist); err != nil { // a kernel without IPv6 has fewer
			return err
		}
	}
	if err := h.LinkAdd(h.bridge); err != nil {
		return err
	}
	return n.configure(h.space, h.bridge, n.gateway())
}

var switchParameters = []struct{ name, value string }{
	{"ipv4/ip_forward", "1"},                // or it would drop silently what it has no route for
	{"ipv4/icmp_ratelimit", "0"},            // or it would say so only every other second
	{"ipv6/conf/default/disable_ipv6", "1"}, // ports need no addresses
}

// plugMachine joins the machine to the switch by a cable that is not shaped.
func (n *Network) plugMachine(h hub, machine space) error {
	return n.plug(h, machine, cable{port: hostPort, link: hostLink(n.Lab), addr: n.Host})
}

// plugNode makes a node's namespace and joins it to the switch.
func (n *Network) plugNode(h hub, i int, rate Rate) error {
	node := n.Nodes[i]
	inside, err := newSpace(node.Namespace)
	if err != nil {
		return err
	}
	defer inside.close()
	c := cable{port: portOf(i), link: nodeLink, addr: node.Addr, label: node.Name + " " + node.Addr.String(), rate: rate}
	if err := n.plug(h, inside, c); err != nil {
		return err
	}
	loopback, err := inside.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := inside.LinkSetUp(loopback); err != nil {
		return err
	}
	return inside.RouteAdd(&netlink.Route{Gw: n.gateway().AsSlice()})
}

// cable is a veth pair from a port of the switch to a link in some namespace.
type cable struct {
	port, link string
	addr       netip.Addr // of the link
	label      string     // the port's alias, from which Open learns who is there
	rate       Rate
}

func (n *Network) plug(h hub, far space, c cable) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = c.port
	port := netlink.NewVeth(attrs)
	port.PeerName, port.PeerHardwareAddr, port.PeerNamespace = c.link, hardwareAddr(c.addr), netlink.NsFd(far.ns)
	if err := h.LinkAdd(port); err != nil {
		return err
	}
	link, err := far.LinkByName(c.link)
	if err != nil {
		return err
	}
	if err := c.rate.shape(h.space, port); err != nil {
		return err
	}
	if err := c.rate.shape(far, link); err != nil {
		return err
	}
	if err := h.LinkSetAlias(port, c.label); err != nil {
		return err
	}
	if err := h.LinkSetMaster(port, h.bridge); err != nil {
		return err
	}
	if err := h.LinkSetUp(port); err != nil {
		return err
	}
	return n.configure(far, link, c.addr)
}

// configure gives a link its address, starts it, and introduces everybody else. The
// kernel counts the neighbours that all namespaces found out in one small table, which
// a lab whose nodes all talk to each other would overflow; those told to it do not count.
func (n *Network) configure(s space, link netlink.Link, addr netip.Addr) error {
	own := &netlink.Addr{IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(subnetBits, 32)}}
	if err := s.AddrAdd(link, own); err != nil {
		return err
	}
	if err := s.LinkSetUp(link); err != nil {
		return err
	}
	for _, other := range n.addrs() {
		if other == addr {
			continue
		}
		err := s.NeighSet(&netlink.Neigh{
			LinkIndex: link.Attrs().Index, Family: netlink.FAMILY_V4, State: netlink.NUD_PERMANENT,
			IP: other.AsSlice(), HardwareAddr: hardwareAddr(other),
		})
		if err != nil {
			return fmt.Errorf("introducing %s: %w", other, err)
		}
	}
	return nil
}

// shape limits what leaves by a link, or lets it go unlimited. The sums are tc-tbf(8)'s.
func (r Rate) shape(s space, link netlink.Link) error {
	attrs := netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT}
	if r == 0 {
		err := s.QdiscDel(&netlink.Tbf{QdiscAttrs: attrs})
		return ignore(err, unix.ENOENT, unix.EINVAL) // there was none
	}
	bytes := uint64(r) / 8 // a second
	return s.QdiscReplace(&netlink.Tbf{
		QdiscAttrs: attrs,
		Rate:       bytes,
		Limit:      uint32(float64(bytes)*shaperLatency) + shaperBurst,
		Buffer:     netlink.Xmittime(bytes, shaperBurst),
	})
}

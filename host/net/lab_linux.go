package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"

	"bramble/fault"
)

// Open finds a lab that is up; fault.NotFound when there is none, or only a part of one.
func Open(lab string) (*Network, error) {
	s, err := openSpace(switchNamespace(lab))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "lab %s is not up", lab).Hint("bramble lab up")
	}
	if err != nil {
		return nil, explain(err)
	}
	defer s.close()
	n := &Network{Lab: lab}
	if err := n.readHost(); err != nil {
		return nil, fmt.Errorf("reading the machine's link to lab %s: %w", lab, err)
	}
	ports, err := s.LinkList()
	if err != nil {
		return nil, fmt.Errorf("reading the switch of lab %s: %w", lab, err)
	}
	for _, port := range ports { // in the order in which they were made
		name, text, ok := strings.Cut(port.Attrs().Alias, " ")
		addr, err := netip.ParseAddr(text)
		if !ok || err != nil || port.Attrs().Name != portOf(len(n.Nodes)) {
			continue
		}
		n.Nodes = append(n.Nodes, Node{Name: name, Addr: addr, Namespace: namespaceOf(lab, name)})
	}
	return n, nil
}

// readHost learns the subnet and the machine's place in it.
func (n *Network) readHost() error {
	link, err := netlink.LinkByName(hostLink(n.Lab))
	if err != nil {
		return err
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	for _, addr := range addrs {
		if host, ok := netip.AddrFromSlice(addr.IP.To4()); ok {
			n.Host = host
			n.Subnet = netip.PrefixFrom(host, subnetBits).Masked()
			return nil
		}
	}
	return fault.New(fault.NotFound, "%s has no address", link.Attrs().Name).Hint("bramble lab down")
}

// Labs lists the ids of all labs that left anything on this machine, whether they are up or not.
func Labs() ([]string, error) {
	names, err := namespacesOf("")
	if err != nil {
		return nil, err
	}
	var labs []string
	for _, name := range names { // sorted, so a lab's names are neighbours
		if lab := labOf(name); len(labs) == 0 || labs[len(labs)-1] != lab {
			labs = append(labs, lab)
		}
	}
	return labs, nil
}

// SetUp cuts a node's cable (false) or plugs it in again. A cut one carries nothing in
// either direction, as when it is pulled out of the switch; the node's own link keeps
// its addresses and routes.
func (n *Network) SetUp(node string, up bool) error {
	return n.atPort(node, func(h space, port netlink.Link) error {
		if up {
			return h.LinkSetUp(port)
		}
		return h.LinkSetDown(port)
	})
}

// SetRate changes the speed of a node's link in both directions; 0 lifts the limit.
func (n *Network) SetRate(node string, rate Rate) error {
	return n.atPort(node, func(h space, port netlink.Link) error {
		at, _, _ := n.node(node)
		inside, err := openSpace(at.Namespace)
		if err != nil {
			return err
		}
		defer inside.close()
		link, err := inside.LinkByName(nodeLink)
		if err != nil {
			return err
		}
		if err := rate.shape(h, port); err != nil {
			return err
		}
		return rate.shape(inside, link)
	})
}

// atPort calls f in the switch's namespace with a node's port.
func (n *Network) atPort(node string, f func(space, netlink.Link) error) error {
	_, port, err := n.node(node)
	if err != nil {
		return err
	}
	h, err := openSpace(switchNamespace(n.Lab))
	if err != nil {
		return explain(err)
	}
	defer h.close()
	link, err := h.LinkByName(port)
	if err == nil {
		err = f(h, link)
	}
	if err != nil {
		return fmt.Errorf("the link of %s: %w", node, err)
	}
	return nil
}

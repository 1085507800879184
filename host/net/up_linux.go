package hostnet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bramble/fault"
)

// Up makes a lab's network. It makes all of it or, when it fails or ctx ends, leaves
// nothing. fault.Conflict if the lab is there already, fault.Denied without root.
func Up(ctx context.Context, spec Spec) (*Network, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	unlock, err := lockMachine(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if found, err := exists(spec.Lab); err != nil {
		return nil, explain(err)
	} else if found {
		return nil, fault.New(fault.Conflict, "lab %s is up already, or was left by a crash", spec.Lab).Hint("bramble lab down")
	}
	taken, err := takenSubnets()
	if err != nil {
		return nil, err
	}
	subnet, err := chooseSubnet(spec.Lab, taken)
	if err != nil {
		return nil, err
	}
	n := newNetwork(spec, subnet)
	if err := onLostThread(func() error { return n.build(ctx, spec.Rate) }); err != nil {
		return nil, fmt.Errorf("making the network of lab %s: %w", spec.Lab, explain(errors.Join(err, remove(spec.Lab))))
	}
	return n, nil
}

// exists reports whether anything of a lab is there.
func exists(lab string) (bool, error) {
	names, err := namespacesOf(lab)
	if err != nil || len(names) > 0 {
		return true, err
	}
	_, err = netlink.LinkByName(hostLink(lab))
	if isMissing(err) {
		return false, nil
	}
	return true, err
}

// isMissing reports whether err says that there is no such link.
func isMissing(err error) bool {
	_, missing := errors.AsType[netlink.LinkNotFoundError](err)
	return missing
}

// takenSubnets are the destinations of all IPv4 routes of the machine, its own addresses and other labs included.
func takenSubnets() ([]netip.Prefix, error) {
	every := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, every, netlink.RT_FILTER_TABLE)
	for tries := 0; errors.Is(err, netlink.ErrDumpInterrupted) && tries < 20; tries++ { // they changed meanwhile
		routes, err = netlink.RouteListFiltered(netlink.FAMILY_V4, every, netlink.RT_FILTER_TABLE)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the machine's routes: %w", err)
	}
	var taken []netip.Prefix
	for _, route := range routes {
		if route.Dst == nil {
			continue
		}
		if addr, ok := netip.AddrFromSlice(route.Dst.IP.To4()); ok {
			bits, _ := route.Dst.Mask.Size()
			taken = append(taken, netip.PrefixFrom(addr, bits))
		}
	}
	return taken, nil
}

// build makes the switch, then plugs in the machine and one node after another.
func (n *Network) build(ctx context.Context, rate Rate) error {
	machine, err := thisSpace()
	if err != nil {
		return err
	}
	defer machine.close()
	if err := mountNames(); err != nil {
		return err
	}
	hub, err := n.newSwitch()
	if err != nil {
		return fmt.Errorf("switch: %w", err)
	}
	defer hub.close()
	if err := n.plugMachine(hub, machine); err != nil {
		return fmt.Errorf("the machine's own link: %w", err)
	}
	for i, node := range n.Nodes {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := n.plugNode(hub, i, rate); err != nil {
			return fmt.Errorf("%s: %w", node.Name, err)
		}
	}
	return nil
}

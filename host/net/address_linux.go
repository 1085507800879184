package hostnet

import (
	"errors"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// AddAddress gives one more IPv4 address to a link of this machine, without a network. It reports whether the link did not have it.
func AddAddress(link string, a netip.Addr) (added bool, err error) {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return false, err
	}
	err = netlink.AddrAdd(l, alone(a))
	if errors.Is(err, unix.EEXIST) {
		return false, nil
	}
	return err == nil, err
}

// RemoveAddress takes such an address from a link, if both are there.
func RemoveAddress(link string, a netip.Addr) error {
	l, err := netlink.LinkByName(link)
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return ignore(netlink.AddrDel(l, alone(a)), unix.EADDRNOTAVAIL)
}

// alone is an address that is its own network.
func alone(a netip.Addr) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(32, 32)}}
}

package ether

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bramble/fault"
)

// Segment is what a port is plugged into.
type Segment struct {
	Port
	Own   netip.Addr // the port's own address
	group netip.Addr
	link  netlink.Link

	out   *os.File // sends datagrams to the group
	in    *os.File // hears those that come to it
	arp   *os.File
	buf   [1500]byte // of in
	other [128]byte  // of arp
}

// Ports are the interfaces of this machine.
func Ports() (all []Port, err error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	const many = net.FlagBroadcast | net.FlagMulticast
	for _, l := range links {
		p := Port{Name: l.Name, Index: l.Index, MAC: l.HardwareAddr, Up: l.Flags&net.FlagUp != 0, Many: l.Flags&many == many && len(l.HardwareAddr) == 6}
		addrs, err := l.Addrs()
		if err != nil {
			continue // it went away meanwhile
		}
		for _, a := range addrs {
			n, err := netip.ParsePrefix(a.String())
			if err == nil && n.Addr().Is4() {
				p.Networks = append(p.Networks, n)
			}
		}
		all = append(all, p)
	}
	return all, nil
}

// May reports why this process may not open a segment, nil if it may.
func May() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	const need = 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW
	if data[0].Effective&need != need {
		return fault.New(fault.Denied, "sharing an address needs root, or the capabilities NET_ADMIN and NET_RAW").Hint("sudo bramble front serve …, or AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW CAP_NET_BIND_SERVICE in its unit")
	}
	return nil
}

// Open opens the segment at a port, to speak a protocol of IPv4 to a group of it.
func Open(p Port, own netip.Addr, protocol uint8, group netip.Addr) (*Segment, error) {
	s := &Segment{Port: p, Own: own, group: group}
	var err error
	if s.link, err = netlink.LinkByIndex(p.Index); err != nil {
		return nil, fmt.Errorf("opening %s: %w", p.Name, err)
	}
	if s.out, err = s.sender(int(protocol)); err == nil {
		if s.in, err = s.hearer(unix.ETH_P_IP, only(protocol)); err == nil {
			s.arp, err = s.hearer(unix.ETH_P_ARP, nil)
		}
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("opening %s: %w", p.Name, err)
	}
	return s, nil
}

// Close closes it, and ends whoever waits to hear something.
func (s *Segment) Close() {
	for _, f := range []*os.File{s.out, s.in, s.arp} {
		if f != nil {
			f.Close()
		}
	}
}

// sender is a raw socket whose datagrams leave by this port, as link-local protocols want them: none of them is passed on by a router.
func (s *Segment) sender(protocol int) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, err
	}
	const internetControl = 0xc0 // precedence, of IPv4's type of service
	err = errors.Join(
		unix.BindToDevice(fd, s.Name),
		unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(s.Index), Address: s.Own.As4()}),
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 255),
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0),
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TOS, internetControl),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 0), // what comes is heard elsewhere
		unix.Bind(fd, &unix.SockaddrInet4{Addr: s.Own.As4()}),
	)
	return file(fd, err)
}

// hearer is a socket that hears frames of a type as they come in, whatever a firewall of this machine says to them.
func (s *Segment) hearer(kind uint16, filter []unix.SockFilter) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if filter != nil { // before anything is heard
		err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
		err = errors.Join(err, unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, s.membership()))
	}
	return file(fd, errors.Join(err, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: swapped(kind), Ifindex: s.Index})))
}

// membership has the port's hardware let frames to the group pass (RFC 1112, section 6.4).
func (s *Segment) membership() *unix.PacketMreq {
	g := s.group.As4()
	return &unix.PacketMreq{Ifindex: int32(s.Index), Type: unix.PACKET_MR_MULTICAST, Alen: 6, Address: [8]byte{1, 0, 0x5e, g[1] & 0x7f, g[2], g[3]}}
}

// only lets IPv4 of one protocol pass, by the byte 9 of its header.
func only(protocol uint8) []unix.SockFilter {
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 9},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: uint32(protocol)},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1500},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
}

// swapped is a number in the order of bytes that packet sockets want.
func swapped(n uint16) uint16 {
	return binary.NativeEndian.Uint16([]byte{byte(n >> 8), byte(n)})
}

// file makes a socket one that the runtime waits for.
func file(fd int, err error) (*os.File, error) {
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "segment"), nil
}

// Send sends a payload to the group.
func (s *Segment) Send(payload []byte) error {
	return send(s.out, payload, &unix.SockaddrInet4{Addr: s.group.As4()})
}

func send(f *os.File, b []byte, to unix.Sockaddr) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Write(func(fd uintptr) bool {
		sent = unix.Sendto(int(fd), b, 0, to)
		return sent != unix.EAGAIN
	})
	if errors.Is(sent, unix.ENOBUFS) { // a full queue loses it, as a network may
		return err
	}
	return errors.Join(err, sent)
}

// Hear waits for a datagram of the protocol from somebody else. Only one may wait at a time.
func (s *Segment) Hear() (Packet, error) {
	for {
		n, err := s.in.Read(s.buf[:])
		if errors.Is(err, syscall.ENETDOWN) { // which is told once, when the port goes down
			continue
		}
		if err != nil {
			return Packet{}, err
		}
		if p, ok := readPacket(s.buf[:n]); ok && p.From != s.Own {
			return p, nil
		}
	}
}

// HearClaim waits until somebody else says by ARP that he has an address. Only one may wait at a time.
func (s *Segment) HearClaim() (Claim, error) {
	for {
		n, err := s.arp.Read(s.other[:])
		if errors.Is(err, syscall.ENETDOWN) {
			continue
		}
		if err != nil {
			return Claim{}, err
		}
		if c, ok := readARP(s.other[:n]); ok && string(c.MAC) != string(s.MAC) {
			return Claim{MAC: append(net.HardwareAddr(nil), c.MAC...), Addr: c.Addr}, nil
		}
	}
}

// Claim tells everybody by ARP that this port has an address, in both forms: not every machine takes both.
func (s *Segment) Claim(addr netip.Addr) error {
	return errors.Join(s.shout(arp(arpRequest, s.MAC, addr, addr)), s.shout(arp(arpReply, s.MAC, addr, addr)))
}

// Ask asks by ARP who has an address, without claiming anything.
func (s *Segment) Ask(addr netip.Addr) error {
	return s.shout(arp(arpRequest, s.MAC, netip.IPv4Unspecified(), addr))
}

func (s *Segment) shout(packet []byte) error {
	everybody := [8]byte{255, 255, 255, 255, 255, 255}
	return send(s.arp, packet, &unix.SockaddrLinklayer{Protocol: swapped(unix.ETH_P_ARP), Ifindex: s.Index, Halen: 6, Addr: everybody})
}

// Connected reports whether the port is up and its cable is in. It is an error if the port is no more.
func (s *Segment) Connected() (bool, error) {
	raw, err := s.out.SyscallConn()
	if err != nil {
		return false, err
	}
	request, err := unix.NewIfreq(s.Name)
	if err != nil {
		return false, err
	}
	var index uint32
	var flags uint16
	var failed error
	err = raw.Control(func(fd uintptr) {
		if failed = unix.IoctlIfreq(int(fd), unix.SIOCGIFINDEX, request); failed != nil {
			return
		}
		index = request.Uint32()
		failed = unix.IoctlIfreq(int(fd), unix.SIOCGIFFLAGS, request)
		flags = request.Uint16()
	})
	if err = errors.Join(err, failed); err != nil {
		return false, err
	}
	if int(index) != s.Index {
		return false, fmt.Errorf("%s is another interface now", s.Name)
	}
	const both = unix.IFF_UP | unix.IFF_RUNNING
	return flags&both == both, nil
}

// Lease gives the port an address for a while, in seconds, or for that much longer: when nobody renews it, because whoever did
// has died or hangs, the kernel takes it away.
func (s *Segment) Lease(addr netip.Addr, long time.Duration) error {
	seconds := int((long + time.Second - 1) / time.Second)
	return netlink.AddrReplace(s.link, &netlink.Addr{IPNet: alone(addr), ValidLft: seconds, PreferedLft: seconds})
}

// Drop takes an address off the port; it is no error if it is not there.
func (s *Segment) Drop(addr netip.Addr) error {
	err := netlink.AddrDel(s.link, &netlink.Addr{IPNet: alone(addr)})
	if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// Leased reports whether the machine has an address, and whether by a lease of at most so long.
func (s *Segment) Leased(addr netip.Addr, long time.Duration) (has, leased bool, err error) {
	all, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	for tries := 0; errors.Is(err, netlink.ErrDumpInterrupted) && tries < 20; tries++ {
		all, err = netlink.AddrList(nil, netlink.FAMILY_V4)
	}
	for _, a := range all {
		if at, ok := netip.AddrFromSlice(a.IP.To4()); ok && at == addr {
			ones, _ := a.Mask.Size()
			short := a.ValidLft > 0 && time.Duration(a.ValidLft)*time.Second <= long+time.Second
			return true, short && ones == 32, nil
		}
	}
	return false, false, err
}

// alone is an address without a network: nothing is routed by it, and no other address depends on it.
func alone(addr netip.Addr) *net.IPNet {
	return &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(32, 32)}
}

// Absent lets a socket be bound to an address that the machine does not have, or not yet: net.ListenConfig.Control.
func Absent(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1) })
	return errors.Join(err, failed)
}

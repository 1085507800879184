package direct

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"bramble/fault"
)

// ExamineFront finds out about this machine as a front, and knocks at members' doors.
func ExamineFront(ctx context.Context, s Spec) (f FrontFacts, err error) {
	f = FrontFacts{Spec: s, Doors: make([]Door, len(s.Members))}
	link, err := net.InterfaceByName(s.Interface)
	if err != nil {
		return f, fault.New(fault.NotFound, "there is no interface %s", s.Interface).Hint("ip -br link lists them")
	}
	f.Link = examineLink(link)
	own, network, err := ownAddress(link, s.Address)
	if err != nil || !f.Link.Ethernet {
		return f, nil // Checks says so
	}
	f.Kernel = able(ctx, s, link)
	f.Network = network
	wanted := []netip.Addr{s.Address}
	for i, m := range s.Members {
		if f.Doors[i].Near = network.Contains(m.Address); f.Doors[i].Near && m.Address != own {
			wanted = append(wanted, m.Address)
		}
	}
	found, err := resolve(ctx, link, patience, own, wanted...)
	if err != nil {
		return f, err
	}
	f.Taken = found[s.Address]
	macs := make([]MAC, len(s.Members))
	for i, m := range s.Members {
		if f.Doors[i].MAC = found[m.Address]; m.Address == own {
			f.Doors[i].MAC = f.Link.MAC
		} else {
			macs[i] = found[m.Address]
		}
	}
	return f, f.knock(ctx, link, own, macs)
}

// knock asks members for small and large packets, and in the way of any other client.
func (f *FrontFacts) knock(ctx context.Context, link *net.Interface, own netip.Addr, macs []MAC) error {
	at := netip.AddrPortFrom(f.Address, f.Ports[0])
	small, err := knock(ctx, link, patience, own, at, macs, 0)
	if err != nil {
		return err
	}
	large, err := knock(ctx, link, patience, own, at, macs, link.MTU)
	if err != nil {
		return err
	}
	for i, m := range f.Members {
		f.Doors[i].Service, f.Doors[i].Large = small[i], large[i]
		if macs[i] != (MAC{}) && small[i] != Open {
			conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", netip.AddrPortFrom(m.Address, f.Ports[0]).String())
			if f.Doors[i].Own = err == nil; err == nil {
				conn.Close()
			}
		}
	}
	return ctx.Err()
}

// ExamineMember finds out about this machine as a member.
func ExamineMember(ctx context.Context, a netip.Addr, port uint16) (f MemberFacts, err error) {
	f = MemberFacts{Address: a, Port: port, Root: os.Geteuid() == 0}
	f.Listening = append(listening("/proc/net/tcp", port), listening("/proc/net/tcp6", port)...)
	f.Gateway, f.GatewayLink = defaultRoute()
	name, err := LinkFor(a)
	if err != nil {
		return f, nil // Checks says so
	}
	link, err := net.InterfaceByName(name)
	if err != nil {
		return f, err
	}
	f.Link = examineLink(link)
	f.RPFilter = max(setting("all/rp_filter"), setting(name+"/rp_filter"))
	if !f.Root || !f.Link.Ethernet {
		return f, nil
	}
	own, _, err := ownAddress(link, a)
	if err != nil {
		return f, err
	}
	wanted := []netip.Addr{a}
	if f.Gateway.IsValid() && f.GatewayLink == name {
		wanted = append(wanted, f.Gateway)
	}
	found, err := resolve(ctx, link, patience, own, wanted...)
	f.Front, f.GatewayMAC = found[a], found[f.Gateway]
	return f, err
}

func examineLink(l *net.Interface) Link {
	dir := filepath.Join("/sys/class/net", l.Name)
	there := func(name string) bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil }
	found := Link{Name: l.Name, Ethernet: len(l.HardwareAddr) == 6 && l.Flags&(net.FlagLoopback|net.FlagPointToPoint) == 0, MTU: l.MTU,
		Wireless: there("wireless") || there("phy80211"), Up: l.Flags&net.FlagRunning != 0}
	copy(found.MAC[:], l.HardwareAddr)
	if bridge, err := os.Readlink(filepath.Join(dir, "master")); err == nil {
		found.Bridge = filepath.Base(bridge)
	}
	return found
}

func setting(name string) int {
	text, _ := os.ReadFile(settingsDir + name)
	n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return n
}

// defaultRoute reads /proc/net/route, of proc_net(5): addresses are in the machine's own order of bytes.
func defaultRoute() (gateway netip.Addr, link string) {
	f, err := os.Open("/proc/thread-self/net/route")
	if err != nil {
		return gateway, ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) < 8 || words[1] != "00000000" || words[7] != "00000000" {
			continue
		}
		if four, err := hex.DecodeString(words[2]); err == nil && len(four) == 4 {
			return nativeAddr(four), words[0]
		}
	}
	return gateway, ""
}

// listening are the addresses at which something listens at a port, of a file like /proc/net/tcp, of proc_net(5).
func listening(file string, port uint16) (all []netip.Addr) {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) < 4 || words[3] != "0A" { // TCP_LISTEN
			continue
		}
		address, at, _ := strings.Cut(words[1], ":")
		n, err := strconv.ParseUint(at, 16, 16)
		bytes, err2 := hex.DecodeString(address)
		if err == nil && err2 == nil && uint16(n) == port && (len(bytes) == 4 || len(bytes) == 16) {
			all = append(all, nativeAddr(bytes))
		}
	}
	return all
}

// nativeAddr reads an address whose words of 32 bits are in the machine's own order.
func nativeAddr(b []byte) netip.Addr {
	out := make([]byte, 0, 16)
	for ; len(b) >= 4; b = b[4:] {
		out = binary.NativeEndian.AppendUint32(out, binary.BigEndian.Uint32(b))
	}
	a, _ := netip.AddrFromSlice(out)
	return a.Unmap()
}

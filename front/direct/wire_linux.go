package direct

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"bramble/fault"
)

// again is after how long what was not answered is asked anew: a full link loses packets.
const again = 100 * time.Millisecond

// wire is an interface whose packets are written and read as they are.
type wire struct {
	link *net.Interface
	own  MAC
	fd   int
	file *os.File // the same, which can be waited for
}

const (
	everything = 0x0003 // ETH_P_ALL, of packet(7)
	ipv4Type   = 0x0800
	arpType    = 0x0806
)

// openWire listens to a protocol on an interface, of IPv4 only to what comes from an address.
func openWire(link *net.Interface, protocol uint16, from netip.Addr) (*wire, error) {
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_DGRAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, explain(os.NewSyscallError("socket", err))
	}
	w := &wire{link: link, fd: fd, file: os.NewFile(uintptr(fd), link.Name)}
	copy(w.own[:], link.HardwareAddr)
	if from.IsValid() {
		err = os.NewSyscallError("filter", syscall.AttachLsf(fd, onlyFrom(from)))
	}
	if err == nil {
		err = os.NewSyscallError("bind", syscall.Bind(fd, &syscall.SockaddrLinklayer{Protocol: network(protocol), Ifindex: link.Index}))
	}
	if err != nil {
		w.Close()
		return nil, explain(err)
	}
	return w, nil
}

// onlyFrom is a program of BPF that lets pass TCP over IPv4 from one address.
func onlyFrom(a netip.Addr) []syscall.SockFilter {
	four := a.As4()
	load := func(size uint16, at uint32) syscall.SockFilter {
		return syscall.SockFilter{Code: syscall.BPF_LD | size | syscall.BPF_ABS, K: at}
	}
	// Unless equal, skip to the end, which refuses.
	unless := func(k uint32, skip uint8) syscall.SockFilter {
		return syscall.SockFilter{Code: syscall.BPF_JMP | syscall.BPF_JEQ | syscall.BPF_K, Jf: skip, K: k}
	}
	return []syscall.SockFilter{
		load(syscall.BPF_B, 9), unless(6, 3),
		load(syscall.BPF_W, 12), unless(binary.BigEndian.Uint32(four[:]), 1),
		{Code: syscall.BPF_RET | syscall.BPF_K, K: 1 << 16},
		{Code: syscall.BPF_RET | syscall.BPF_K, K: 0},
	}
}

func network(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

func (w *wire) Close() error { return w.file.Close() }

func (w *wire) send(protocol uint16, to MAC, packet []byte) error {
	at := &syscall.SockaddrLinklayer{Protocol: network(protocol), Ifindex: w.link.Index, Halen: 6}
	copy(at.Addr[:], to[:])
	return os.NewSyscallError("send", syscall.Sendto(w.fd, packet, 0, at))
}

// read calls f with each packet until it wants no more, ctx ends or there is no time left.
func (w *wire) read(ctx context.Context, end time.Time, f func([]byte) (more bool)) error {
	w.file.SetReadDeadline(end)
	defer context.AfterFunc(ctx, func() { w.file.SetReadDeadline(time.Unix(1, 0)) })()
	buf := make([]byte, 2048)
	for {
		n, err := w.file.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		if !f(buf[:n]) {
			return nil
		}
	}
}

var everybody = MAC{255, 255, 255, 255, 255, 255}

// resolve asks who has addresses, in the name of one that is this machine's, or of nobody's, and returns who said so.
// It ends when each was answered, or patience does.
func resolve(ctx context.Context, link *net.Interface, patience time.Duration, own netip.Addr, wanted ...netip.Addr) (map[netip.Addr]MAC, error) {
	found := map[netip.Addr]MAC{}
	if len(wanted) == 0 {
		return found, nil
	}
	w, err := openWire(link, arpType, netip.Addr{})
	if err != nil {
		return nil, err
	}
	defer w.Close()
	missing := map[netip.Addr]bool{}
	for _, a := range wanted {
		missing[a] = true
	}
	for end := time.Now().Add(patience); len(missing) > 0 && time.Now().Before(end); {
		for a := range missing {
			if err := w.send(arpType, everybody, arp{mac: w.own, sender: own, searched: a}.bytes()); err != nil {
				return nil, err
			}
		}
		err := w.read(ctx, soon(end), func(b []byte) bool {
			if a, ok := parseARP(b); ok && a.reply && missing[a.sender] && a.mac != w.own {
				found[a.sender] = a.mac
				delete(missing, a.sender)
			}
			return len(missing) > 0
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// soon is when to ask anew, or the end.
func soon(end time.Time) time.Time {
	if next := time.Now().Add(again); next.Before(end) {
		return next
	}
	return end
}

// announce tells everybody on the segment who has an address now.
func announce(link *net.Interface, a netip.Addr) error {
	w, err := openWire(link, arpType, netip.Addr{})
	if err != nil {
		return err
	}
	defer w.Close()
	return w.send(arpType, everybody, arp{mac: w.own, sender: a, searched: a}.bytes())
}

// knock asks members for a connection with the service address, as a visitor would by way of the front, and takes it back
// at once. It ends when each has answered, or patience does. Size is that of the packet that asks.
func knock(ctx context.Context, link *net.Interface, patience time.Duration, own netip.Addr, service netip.AddrPort, members []MAC, size int) ([]Answer, error) {
	answers := make([]Answer, len(members))
	asks := map[uint16]segment{} // by our port
	whose := map[uint16]int{}
	port := uint16(20000 + rand.IntN(10000))
	for i, mac := range members {
		if answers[i] = Silent; mac != (MAC{}) {
			s := segment{from: netip.AddrPortFrom(own, port+uint16(i)), to: service, seq: rand.Uint32(), flags: flagSyn}
			asks[s.from.Port()], whose[s.from.Port()] = s, i
		}
	}
	if len(asks) == 0 {
		return answers, nil
	}
	w, err := openWire(link, everything, service.Addr())
	if err != nil {
		return nil, err
	}
	defer w.Close()
	for end := time.Now().Add(patience); len(asks) > 0 && time.Now().Before(end); {
		for port, s := range asks {
			if err := w.send(ipv4Type, members[whose[port]], s.bytes(size)); err != nil {
				return nil, err
			}
		}
		err := w.read(ctx, soon(end), func(b []byte) bool {
			s, ok := parseSegment(b)
			ask, ours := asks[s.to.Port()]
			if !ok || !ours || s.to != ask.from || s.from != service {
				return true
			}
			i := whose[s.to.Port()]
			switch {
			case s.flags&flagRst != 0:
				answers[i] = Refused
			case s.flags&(flagSyn|flagAck) == flagSyn|flagAck && s.ack == ask.seq+1:
				answers[i] = Open
				w.send(ipv4Type, members[i], segment{from: s.to, to: s.from, seq: s.ack, flags: flagRst}.bytes(0))
			default:
				return true
			}
			delete(asks, s.to.Port())
			return len(asks) > 0
		})
		if err != nil {
			return nil, err
		}
	}
	return answers, nil
}

// explain says what a person can do about a refusal of the kernel.
func explain(err error) error {
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		return fault.New(fault.Denied, "%w: direct return changes the kernel's settings, which needs root", err).
			Hint("sudo bramble front …; or without root, the proxy: %s", Proxy)
	}
	return err
}

package direct

import (
	"encoding/binary"
	"net/netip"
)

// Flags of a TCP segment, from RFC 9293.
const (
	flagSyn = 1 << 1
	flagRst = 1 << 2
	flagAck = 1 << 4
)

const headers = 40 // of IPv4 and TCP, without options

// segment is what matters of a TCP segment over IPv4.
type segment struct {
	from, to netip.AddrPort
	seq, ack uint32
	flags    byte
}

// bytes is the segment on the wire, padded with zeros to a size.
func (s segment) bytes(size int) []byte {
	b := make([]byte, max(size, headers))
	from, to := s.from.Addr().As4(), s.to.Addr().As4()
	b[0], b[6], b[8], b[9] = 0x45, 0x40, 64, 6 // version and length, do not fragment, time to live, TCP
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:], from[:])
	copy(b[16:], to[:])
	binary.BigEndian.PutUint16(b[10:], checksum(0, b[:20]))
	tcp := b[20:]
	binary.BigEndian.PutUint16(tcp[0:], s.from.Port())
	binary.BigEndian.PutUint16(tcp[2:], s.to.Port())
	binary.BigEndian.PutUint32(tcp[4:], s.seq)
	binary.BigEndian.PutUint32(tcp[8:], s.ack)
	tcp[12], tcp[13] = 5<<4, s.flags
	binary.BigEndian.PutUint16(tcp[14:], 1024) // window
	pseudo := append(append([]byte{}, b[12:20]...), 0, 6, byte(len(tcp)>>8), byte(len(tcp)))
	binary.BigEndian.PutUint16(tcp[16:], checksum(uint32(^checksum(0, pseudo)), tcp))
	return b
}

// parseSegment reads a packet that begins with its IPv4 header.
func parseSegment(b []byte) (s segment, ok bool) {
	if len(b) < headers || b[0]>>4 != 4 || b[9] != 6 {
		return s, false
	}
	length := int(b[0]&15) * 4
	if length < 20 || len(b) < length+20 {
		return s, false
	}
	tcp := b[length:]
	at := func(addr []byte, port []byte) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(addr)), binary.BigEndian.Uint16(port))
	}
	return segment{from: at(b[12:16], tcp[0:]), to: at(b[16:20], tcp[2:]), seq: binary.BigEndian.Uint32(tcp[4:]),
		ack: binary.BigEndian.Uint32(tcp[8:]), flags: tcp[13]}, true
}

// checksum is that of the internet, RFC 1071.
func checksum(sum uint32, b []byte) uint16 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// arp is what matters of a message of RFC 826 for IPv4 over Ethernet.
type arp struct {
	reply            bool
	mac              MAC // of the sender
	sender, searched netip.Addr
}

func (a arp) bytes() []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, 1}
	if a.reply {
		b[7] = 2
	}
	from, to := a.sender.As4(), a.searched.As4()
	b = append(append(b, a.mac[:]...), from[:]...)
	return append(append(b, make([]byte, 6)...), to[:]...)
}

func parseARP(b []byte) (a arp, ok bool) {
	if len(b) < 28 || string(b[:6]) != "\x00\x01\x08\x00\x06\x04" {
		return a, false
	}
	return arp{reply: b[7] == 2, mac: MAC(b[8:14]), sender: netip.AddrFrom4([4]byte(b[14:18])), searched: netip.AddrFrom4([4]byte(b[24:28]))}, true
}

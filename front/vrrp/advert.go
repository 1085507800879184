package vrrp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// protocol and group are where VRRP is spoken (RFC 9568, section 5.1).
const protocol = 112

var group = netip.AddrFrom4([4]byte{224, 0, 0, 18})

// advert is one advertisement of VRRP version 3 over IPv4 (RFC 9568, section 5.2):
//
//	0 version 3 in the upper four bits, type 1 in the lower   1 VRID   2 priority   3 number of addresses
//	4 interval in hundredths of a second, in the lower twelve bits   6 checksum   8 addresses of four bytes
type advert struct {
	VRID     uint8
	Priority uint8         // 0: whoever sent it gives up
	Interval time.Duration // until the next one
	Shared   []netip.Addr
}

// cover is what a checksum is made of besides the advertisement.
type cover struct {
	From, To netip.Addr
	Pseudo   bool // a pseudo-header is, as keepalived and FRR do it by RFC 5798; RFC 9568 has none for IPv4
}

const (
	versionAndType = 3<<4 | 1
	longestAdvert  = 40 * time.Second // what twelve bits hold, about
)

// marshal is the advertisement as it is sent.
func (a advert) marshal(c cover) []byte {
	b := []byte{versionAndType, a.VRID, a.Priority, uint8(len(a.Shared))}
	b = binary.BigEndian.AppendUint16(b, uint16(min(a.Interval, longestAdvert)/(10*time.Millisecond)))
	b = append(b, 0, 0)
	for _, at := range a.Shared {
		b = append(b, at.AsSlice()...)
	}
	binary.BigEndian.PutUint16(b[6:], ^c.sum(b))
	return b
}

// sum is the sum of RFC 1071, which is all ones over an advertisement that came as it was sent.
func (c cover) sum(b []byte) uint16 {
	total := uint32(0)
	add := func(b []byte) {
		for ; len(b) > 1; b = b[2:] {
			total += uint32(binary.BigEndian.Uint16(b))
		}
		if len(b) == 1 {
			total += uint32(b[0]) << 8
		}
	}
	if c.Pseudo {
		add(c.From.AsSlice())
		add(c.To.AsSlice())
		add([]byte{0, protocol, byte(len(b) >> 8), byte(len(b))})
	}
	add(b)
	for total>>16 != 0 {
		total = total&0xffff + total>>16
	}
	return uint16(total)
}

// errVersion is what another version of VRRP gives.
var errVersion = errors.New("this is another version of VRRP than 3")

// read reads an advertisement, and finds out what its checksum is made of.
func (c *cover) read(b []byte) (a advert, err error) {
	switch {
	case len(b) < 8:
		return a, fmt.Errorf("%d bytes are no advertisement", len(b))
	case b[0]>>4 != 3:
		return advert{VRID: b[1]}, errVersion
	case b[0] != versionAndType:
		return a, fmt.Errorf("type %d is no advertisement", b[0]&15)
	case len(b) < 8+4*int(b[3]):
		return a, fmt.Errorf("%d bytes cannot hold %d addresses", len(b), b[3])
	}
	c.Pseudo = false
	if c.sum(b) != 0xffff {
		c.Pseudo = true
		if c.sum(b) != 0xffff {
			return a, errors.New("the checksum is wrong")
		}
	}
	a = advert{VRID: b[1], Priority: b[2], Interval: time.Duration(binary.BigEndian.Uint16(b[4:])&0xfff) * 10 * time.Millisecond}
	if a.Interval == 0 {
		return a, errors.New("an interval of 0")
	}
	for at := b[8:]; len(a.Shared) < int(b[3]); at = at[4:] {
		a.Shared = append(a.Shared, netip.AddrFrom4([4]byte(at)))
	}
	return a, nil
}

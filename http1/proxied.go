package http1

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Of the header of the PROXY protocol: https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt.
const (
	signature1 = "PROXY "
	signature2 = "\r\n\r\n\x00\r\nQUIT\n"
	fixed2     = 16        // bytes of a header of version 2 before its addresses
	leastFirst = 15        // bytes that a header of either version has at least
	mostFirst1 = 107       // bytes that one of version 1 has at most
	mostFirst2 = 16 + 536  // of version 2, as far as we read
	unixBlock  = 108 + 108 // bytes of the addresses of local sockets
)

var badProxied = &Refusal{400, "the header of the PROXY protocol is missing or malformed"}

// parseProxied reads the header of the PROXY protocol, version 1 or 2, that b begins with. It returns the header's length and whom
// the connection is from; that is the zero address where the header does not say, so it is the proxy's. A length of 0 means that
// the header goes on for at least more bytes. What is no header is a *Refusal.
func parseProxied(b []byte) (from netip.AddrPort, n, more int, err error) {
	switch text := string(b[:min(len(b), fixed2)]); {
	case begins(text, signature2) && len(b) < fixed2:
		return from, 0, max(leastFirst-len(b), 1), nil
	case begins(text, signature2):
		return parseProxied2(b)
	case begins(text, signature1):
		return parseProxied1(b)
	}
	return from, 0, 0, badProxied
}

// begins reports whether text begins with a signature, as far as it goes.
func begins(text, signature string) bool {
	n := min(len(text), len(signature))
	return text[:n] == signature[:n]
}

// parseProxied1 reads a line of words, section 2.1.
func parseProxied1(b []byte) (from netip.AddrPort, n, more int, err error) {
	end := bytes.IndexByte(b[:min(len(b), mostFirst1)], '\n')
	switch {
	case end < 0 && len(b) >= mostFirst1, end == 0, end > 0 && b[end-1] != '\r':
		return from, 0, 0, badProxied
	case end < 0:
		return from, 0, max(leastFirst-len(b), 1), nil
	}
	words := strings.Split(string(b[:end-1]), " ")
	if len(words) >= 2 && words[1] == "UNKNOWN" {
		return from, end + 1, 0, nil
	}
	if len(words) != 6 || words[1] != "TCP4" && words[1] != "TCP6" {
		return from, 0, 0, badProxied
	}
	from, ok := wordsAddress(words[2], words[4], words[1] == "TCP4")
	if _, okTo := wordsAddress(words[3], words[5], words[1] == "TCP4"); !ok || !okTo {
		return netip.AddrPort{}, 0, 0, badProxied
	}
	return from, end + 1, 0, nil
}

// wordsAddress is an address and a port in their one way of writing.
func wordsAddress(address, port string, four bool) (at netip.AddrPort, ok bool) {
	a, err := netip.ParseAddr(address)
	if err != nil || a.Is4() != four || a.Zone() != "" {
		return at, false
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil || strconv.FormatUint(p, 10) != port {
		return at, false
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(p)), true
}

// parseProxied2 reads a binary header, section 2.2, the fixed part of which is there.
func parseProxied2(b []byte) (from netip.AddrPort, n, more int, err error) {
	command, family, size := b[12], b[13], int(binary.BigEndian.Uint16(b[14:]))
	n = fixed2 + size
	switch {
	case command != 0x20 && command != 0x21, n > mostFirst2:
		return from, 0, 0, badProxied
	case len(b) < n:
		return from, 0, n - len(b), nil
	case command == 0x20: // LOCAL: the proxy's own connection, whatever else is said
		return from, n, 0, nil
	}
	block := b[fixed2:n]
	var addresses int
	switch family {
	case 0x00: // unspecified: what follows is to be ignored
		return from, n, 0, nil
	case 0x11, 0x12:
		addresses = 12
	case 0x21, 0x22:
		addresses = 36
	case 0x31, 0x32:
		addresses = unixBlock
	default:
		return from, 0, 0, badProxied
	}
	if size < addresses || !wholeTLVs(block[addresses:]) {
		return from, 0, 0, badProxied
	}
	switch family {
	case 0x11:
		from = netip.AddrPortFrom(netip.AddrFrom4([4]byte(block)), binary.BigEndian.Uint16(block[8:]))
	case 0x21:
		from = netip.AddrPortFrom(netip.AddrFrom16([16]byte(block)).Unmap(), binary.BigEndian.Uint16(block[32:]))
	}
	return from, n, 0, nil
}

// wholeTLVs reports whether b is made of values that are as long as they say.
func wholeTLVs(b []byte) bool {
	for len(b) > 0 {
		if len(b) < 3 {
			return false
		}
		n := 3 + int(binary.BigEndian.Uint16(b[1:]))
		if n > len(b) {
			return false
		}
		b = b[n:]
	}
	return true
}

// readProxied reads the header from a connection, and no byte behind it.
func readProxied(conn net.Conn, limit time.Duration) (netip.AddrPort, error) {
	conn.SetReadDeadline(time.Now().Add(limit))
	defer conn.SetReadDeadline(time.Time{})
	var b [mostFirst2]byte
	for have := 0; ; {
		from, n, more, err := parseProxied(b[:have])
		if err != nil || n > 0 {
			return from, err
		}
		if _, err := io.ReadFull(conn, b[have:have+more]); err != nil {
			return netip.AddrPort{}, err
		}
		have += more
	}
}

// proxied reports whether connections from there begin with the header of the PROXY protocol.
func (r *run) proxied(from netip.Addr) bool {
	for _, p := range r.Proxies {
		if p.Contains(from) {
			return true
		}
	}
	return false
}

// introduced counts a connection for the visitor that the header names, or for the proxy where it names nobody. False is that
// the visitor has too many: it is to be closed.
func (r *run) introduced(from, proxy netip.AddrPort) (netip.AddrPort, bool) {
	if !from.IsValid() {
		from = proxy
	}
	if r.crowd.enter(from.Addr()) {
		return from, true
	}
	r.counters.refused(tooMany)
	return netip.AddrPort{}, false
}

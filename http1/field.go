package http1

import (
	"bytes"
	"net/netip"
)

// Why a message's framing or host is refused.
var (
	badLength   = &Refusal{400, "Content-Length is not one decimal number"}
	twoLengths  = &Refusal{400, "there is more than one Content-Length"}
	bothLengths = &Refusal{400, "there are both Content-Length and Transfer-Encoding"}
	badCoding   = &Refusal{400, "Transfer-Encoding is not chunked, said once"}
	otherCoding = &Refusal{501, "there is a transfer coding besides chunked"}
	oldCoding   = &Refusal{400, "there is a Transfer-Encoding in HTTP/1.0"}
	noHost      = &Refusal{400, "there is no Host"}
	badHost     = &Refusal{400, "Host is not one name or address, with or without a port"}
	badTrailer  = &Refusal{400, "a trailer may not be a field that frames or routes the message"}
	disguised   = &Refusal{400, "a field frames the message for those who take '_' for '-'"}
	badList     = &Refusal{400, "Connection is not a list of tokens"}
)

// emptied is a head without content that keeps the memory of its fields.
func (h *Head) emptied() Head { return Head{Fields: h.Fields[:0], Length: -1} }

// fields reads field lines and the empty line from b[i:], and returns where the head ends; 0 is that
// more bytes are needed: RFC 9112, 5.
func (h *Head) fields(b []byte, i int, l *Limits) (int, error) {
	for {
		switch {
		case len(b) == i, len(b) == i+1 && b[i] == '\r':
			return 0, nil
		case b[i] == '\r' && b[i+1] == '\n':
			return i + 2, nil
		case b[i] == '\r':
			return 0, badEnd
		case blank(b[i]):
			return 0, folded
		case len(h.Fields) >= l.Fields:
			return 0, manyFields
		}
		next, err := h.field(b, i, i+l.Line)
		if next == 0 || err != nil {
			return 0, err
		}
		i = next
	}
}

// field reads one field line that begins at i and returns where the next one begins.
func (h *Head) field(b []byte, i, limit int) (int, error) {
	colon := i
	for colon < len(b) && is(b[colon], inToken) {
		colon++
	}
	switch {
	case colon >= limit:
		return 0, longLine
	case colon == len(b):
		return 0, nil
	case b[colon] != ':' || colon == i:
		return 0, badName
	}
	end, err := value(b, colon+1, limit)
	if end == 0 || err != nil {
		return 0, err
	}
	f := Field{b[i:colon], trim(b[colon+1 : end])}
	h.Fields = append(h.Fields, f)
	return end + 2, h.understand(f)
}

// value returns where the value that begins at i ends: before CR LF, and before the limit.
func value(b []byte, i, limit int) (int, error) {
	for i < len(b) && is(b[i], inValue) {
		i++
	}
	switch {
	case i > limit:
		return 0, longLine
	case i == len(b), i+1 == len(b) && b[i] == '\r':
		return 0, nil
	case b[i] != '\r' || b[i+1] != '\n':
		return 0, badValue
	}
	return i, nil
}

// understand takes from a field what decides about the connection and the body.
func (h *Head) understand(f Field) error {
	switch len(f.Name) {
	case len("host"):
		if fold(f.Name, "host") {
			return h.setHost(f.Value)
		}
	case len("expect"):
		h.Expect = h.Expect || fold(f.Name, "expect")
	case len("upgrade"):
		h.Upgrade = h.Upgrade || fold(f.Name, "upgrade")
	case len("connection"):
		if fold(f.Name, "connection") {
			return h.setConnection(f.Value)
		}
	case len("content-length"):
		if fold(f.Name, "content-length") {
			return h.setLength(f.Value)
		}
		if fold(f.Name, "content_length") {
			return disguised
		}
	case len("transfer-encoding"):
		if fold(f.Name, "transfer-encoding") {
			return h.setCoding(f.Value)
		}
		if fold(f.Name, "transfer_encoding") {
			return disguised
		}
	}
	return nil
}

// setLength reads Content-Length (RFC 9110, 8.6); zeros before the number are refused, for some read them as octal.
func (h *Head) setLength(v []byte) error {
	const longest = 18 // digits, which an int64 holds whatever they are
	switch {
	case h.Length >= 0:
		return twoLengths
	case len(v) == 0 || len(v) > longest || !all(v, inDigit) || v[0] == '0' && len(v) > 1:
		return badLength
	}
	h.Length = 0
	for _, d := range v {
		h.Length = h.Length*10 + int64(d-'0')
	}
	return nil
}

// setCoding reads Transfer-Encoding: RFC 9112, 6.1.
func (h *Head) setCoding(v []byte) error {
	switch before, isList := bytes.CutSuffix(v, []byte(", chunked")); {
	case h.Chunked:
		return badCoding
	case fold(v, "chunked"):
		h.Chunked = true
		return nil
	case isList && len(before) > 0 && all(before, inToken) && !fold(before, "chunked"):
		return otherCoding
	}
	return badCoding
}

// setConnection reads Connection: RFC 9110, 7.6.1.
func (h *Head) setConnection(v []byte) error {
	for more := true; more; {
		var option []byte
		option, v, more = bytes.Cut(v, []byte{','})
		option = trim(option)
		if !all(option, inToken) {
			return badList
		}
		h.Close = h.Close || fold(option, "close")
		h.KeepAlive = h.KeepAlive || fold(option, "keep-alive")
	}
	return nil
}

// framed checks what only the whole head shows: RFC 9112, 6.3 and 9.3.
func (h *Head) framed() error {
	switch {
	case h.Chunked && h.Minor == 0:
		return oldCoding
	case h.Chunked && h.Length >= 0:
		return bothLengths
	case h.Chunked && !h.trailersAllowed():
		return badTrailer
	}
	h.Close = h.Close || h.Minor == 0 && !h.KeepAlive
	return nil
}

// trailersAllowed checks what Trailer announces: RFC 9110, 6.5.1.
func (h *Head) trailersAllowed() bool {
	for _, f := range h.Fields {
		if !fold(f.Name, "trailer") {
			continue
		}
		for v, more := f.Value, true; more; {
			var name []byte
			name, v, more = bytes.Cut(v, []byte{','})
			if forbidden(trim(name)) {
				return false
			}
		}
	}
	return true
}

// forbidden reports whether a field may not come as a trailer, because it frames, routes or steers the message.
func forbidden(name []byte) bool {
	for _, n := range [...]string{"content-length", "transfer-encoding", "trailer", "host", "connection", "te",
		"upgrade", "expect", "content-encoding", "content-type", "content-range", "authorization", "cookie"} {
		if fold(name, n) {
			return true
		}
	}
	return false
}

// setHost reads Host (RFC 9110, 7.2): a DNS name, an IPv4 address or an IPv6 address in brackets, and perhaps a port.
func (h *Head) setHost(v []byte) error {
	name, port := v, []byte(nil)
	if colon := bytes.LastIndexByte(v, ':'); colon >= 0 && v[len(v)-1] != ']' {
		name, port = v[:colon], v[colon+1:]
	}
	if h.host != nil || !validName(name) || !validPort(port) {
		return badHost
	}
	h.host = v
	return nil
}

func validName(name []byte) bool {
	if len(name) == 0 || len(name) > 255 {
		return false
	}
	if name[0] != '[' {
		return all(name, inHost)
	}
	inside, closed := bytes.CutSuffix(name[1:], []byte{']'})
	address, err := netip.ParseAddr(string(inside))
	return closed && err == nil && address.Is6() && address.Zone() == ""
}

func validPort(port []byte) bool {
	number := 0
	for _, d := range port {
		number = number*10 + int(d-'0')
	}
	return len(port) <= 5 && all(port, inDigit) && number <= 65535
}

package static

import (
	"bytes"
	"strconv"
)

// span is a part of a body.
type span struct{ offset, size int64 }

const mostSpans = 16 // of one answer; who asks for more gets the whole

// parseRange reads bytes=0-99,200-,-50 for a body of size bytes: RFC 9110, 14.1.2. ok is false for what is to be
// ignored; no spans are that none can be satisfied.
func parseRange(v []byte, size int64, space []span) (spans []span, ok bool) {
	const unit = "bytes="
	if len(v) < len(unit) || !same(v[:len(unit)], unit) {
		return nil, false
	}
	spans, total, given := space[:0], int64(0), 0
	for rest, more := v[len(unit):], true; more; {
		var one []byte
		one, rest, more = bytes.Cut(rest, []byte{','})
		if one = trim(one); len(one) == 0 {
			continue
		}
		s, valid := parseSpan(one, size)
		if given++; !valid || given > mostSpans {
			return nil, false
		}
		if s.size > 0 {
			spans, total = append(spans, s), total+s.size
		}
	}
	return spans, given > 0 && total <= size || given == 1
}

// parseSpan reads one part; size 0 is that it cannot be satisfied.
func parseSpan(one []byte, size int64) (span, bool) {
	before, after, found := bytes.Cut(one, []byte{'-'})
	first, ok1 := number(before)
	last, ok2 := number(after)
	switch {
	case !found || !ok1 || !ok2 || len(before) == 0 && len(after) == 0:
		return span{}, false
	case len(before) == 0:
		n := min(last, size)
		return span{size - n, n}, true
	case len(after) > 0 && last < first:
		return span{}, false
	case first >= size:
		return span{}, true
	case len(after) == 0 || last >= size:
		last = size - 1
	}
	return span{first, last - first + 1}, true
}

// number reads digits; none are 0, and what is too large is the largest.
func number(digits []byte) (int64, bool) {
	n := int64(0)
	for _, d := range digits {
		if d < '0' || d > '9' {
			return 0, false
		}
		if n > (1<<63-10)/10 {
			n = 1<<63 - 1
			continue
		}
		n = n*10 + int64(d-'0')
	}
	return n, true
}

// appendContentRange adds the line for a part.
func appendContentRange(b []byte, s span, size int64) []byte {
	b = appendNumber(b, "Content-Range: bytes ", s.offset, "-")
	b = appendNumber(b, "", s.offset+s.size-1, "/")
	return append(strconv.AppendInt(b, size, 10), "\r\n"...)
}

// multipart makes a body of several parts: RFC 9110, 14.6.
func multipart(boundary []byte, kind string, body []byte, spans []span) []byte {
	var out []byte
	for _, s := range spans {
		out = append(append(append(out, "\r\n--"...), boundary...), "\r\nContent-Type: "...)
		out = append(append(out, kind...), "\r\n"...)
		out = append(appendContentRange(out, s, int64(len(body))), "\r\n"...)
		out = append(out, body[s.offset:s.offset+s.size]...)
	}
	return append(append(append(out, "\r\n--"...), boundary...), "--\r\n"...)
}

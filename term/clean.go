package term

import (
	"fmt"
	"unicode/utf8"
)

const esc = 0x1b

// maxSGR is the longest colour sequence let through, in bytes; real ones stay below 40.
const maxSGR = 64

// Clean appends to dst the bytes of src made safe for an operator's terminal.
// src is one line or several whole ones, from anywhere. Printable UTF-8, tabs
// and newlines pass; so do SGR colour sequences when colour is true, ended by a
// reset in their own line, while without colour they vanish. A carriage return
// at a line's end is dropped. Every other control character, in either encoding
// of C1, and every bidirectional override becomes a visible stand-in, so that
// what follows it is shown as text; invalid UTF-8 becomes U+FFFD. The result is
// at most three times as long as src.
func Clean(dst, src []byte, colour bool) []byte {
	open := false
	for {
		n := plainPrefix(src)
		dst = append(dst, src[:n]...)
		src = src[n:]
		if len(src) == 0 {
			break
		}
		used := 1
		switch c := src[0]; {
		case c == '\n':
			dst, open = closeSGR(dst, open), false
			dst = append(dst, c)
		case c == '\r' && (len(src) == 1 || src[1] == '\n'):
		case c == esc && sgrLength(src) > 0:
			used = sgrLength(src)
			if colour {
				dst = append(dst, src[:used]...)
				open = !isReset(src[:used])
			}
		case c < 0x20:
			dst = utf8.AppendRune(dst, 0x2400+rune(c)) // the control pictures: ESC is ␛
		case c == 0x7f:
			dst = append(dst, "␡"...)
		default:
			var r rune
			r, used = utf8.DecodeRune(src)
			dst = appendVisible(dst, r)
		}
		src = src[used:]
	}
	return closeSGR(dst, open)
}

// plainPrefix is how many bytes of printable ASCII and tabs src starts with.
func plainPrefix(src []byte) int {
	for i, c := range src {
		if (c < 0x20 || c > 0x7e) && c != '\t' {
			return i
		}
	}
	return len(src)
}

func closeSGR(dst []byte, open bool) []byte {
	if !open {
		return dst
	}
	return append(dst, reset...)
}

// sgrLength is the length of the sequence ESC [ digits ; : m that src starts with, or 0.
func sgrLength(src []byte) int {
	if len(src) < 3 || src[1] != '[' {
		return 0
	}
	for i, c := range src[2:min(len(src), maxSGR)] {
		switch {
		case c == 'm':
			return i + 3
		case c >= '0' && c <= ';': // the digits, colon and semicolon
		default:
			return 0
		}
	}
	return 0
}

func isReset(sgr []byte) bool { return len(sgr) == 3 || string(sgr) == reset }

// appendVisible appends a rune beyond ASCII; utf8.RuneError stands for itself.
func appendVisible(dst []byte, r rune) []byte {
	switch {
	case r <= 0x9f:
		return utf8.AppendRune(dst, utf8.RuneError)
	case reorders(r), r == 0x2028, r == 0x2029:
		return fmt.Appendf(dst, "<%04X>", r)
	}
	return utf8.AppendRune(dst, r)
}

// reorders reports the embeddings, overrides and isolates that make text read
// in another order than it is stored (see CVE-2021-42574).
func reorders(r rune) bool {
	return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// cleanCell is Clean for a string that must stay on one line and in one cell.
func cleanCell(s string, colour bool) string {
	src := []byte(s)
	for i, c := range src {
		if c == '\t' || c == '\n' || c == '\r' {
			src[i] = ' '
		}
	}
	return string(Clean(nil, src, colour))
}

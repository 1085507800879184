package static

import (
	"strings"
	"unicode/utf8"
)

// decode takes escapes from a path, once. It refuses what could mean something else to another program: escaped
// slashes and NULs, and names that are . or .. .
func decode(raw string) (string, bool) {
	out := raw
	if strings.IndexByte(raw, '%') >= 0 {
		b, ok := appendDecoded(nil, []byte(raw))
		if !ok {
			return "", false
		}
		out = string(b)
	}
	return out, soundPath(out)
}

// appendDecoded adds raw without escapes to b.
func appendDecoded(b, raw []byte) ([]byte, bool) {
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c == '%' {
			if i+2 >= len(raw) {
				return b, false
			}
			high, low := unhex(raw[i+1]), unhex(raw[i+2])
			if c = high<<4 | low; high > 15 || low > 15 || c == '/' || c == 0 {
				return b, false
			}
			i += 2
		}
		b = append(b, c)
	}
	return b, true
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 0xff
}

// soundPath reports whether a decoded path has neither control characters nor names that are . or .. .
func soundPath[T string | []byte](path T) bool {
	for i := range len(path) {
		switch c := path[i]; {
		case c < ' ' || c == 0x7f:
			return false
		case c == '.' && (i == 0 || path[i-1] == '/'):
			rest := path[i+1:]
			if len(rest) > 0 && rest[0] == '.' {
				rest = rest[1:]
			}
			if len(rest) == 0 || rest[0] == '/' {
				return false
			}
		}
	}
	return true
}

// escape makes a decoded path, or a part of one, what may stand in a Location.
func escape(path string) string {
	const hex, plain = "0123456789ABCDEF", "-._~!$&'()*+,;=:@/"
	var out strings.Builder
	for _, c := range []byte(path) {
		if isLetter(c) || '0' <= c && c <= '9' || strings.IndexByte(plain, c) >= 0 {
			out.WriteByte(c)
			continue
		}
		out.WriteByte('%')
		out.WriteByte(hex[c>>4])
		out.WriteByte(hex[c&15])
	}
	return out.String()
}

// hidden reports whether a file is not for visitors: what begins with a dot, but for .well-known (RFC 8615), and the rules.
func hidden(name string) bool {
	if name == redirectsFile || name == headersFile {
		return true
	}
	name, _ = strings.CutPrefix(name, ".well-known/")
	return strings.HasPrefix(name, ".") || strings.Contains(name, "/.")
}

// escapeOdd escapes what an address may not have as it is, in a text whose escapes are there already.
func escapeOdd(address string) string {
	var out strings.Builder
	for i := range len(address) {
		if c := address[i]; c < 0x7f && c > ' ' && strings.IndexByte("\"<>^`{}|", c) < 0 || c == '\\' {
			out.WriteByte(c)
		} else {
			out.WriteString(escape(address[i : i+1]))
		}
	}
	return out.String()
}

func validText(s string) bool { return utf8.ValidString(s) }

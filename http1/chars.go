package http1

// class is a set of the roles that a byte may have.
type class uint8

const (
	inToken  class = 1 << iota // tchar (RFC 9110, 5.6.2)
	inMethod                   // what registered methods are made of
	inPath                     // pchar and "/" (RFC 3986, 3.3), without '%'
	inQuery                    // query (RFC 3986, 3.4), and what browsers leave as it is there, without '%'
	inValue                    // field-vchar, SP and HTAB (RFC 9110, 5.5)
	inHost                     // a DNS name or an IPv4 address
	inHex                      // HEXDIG
	inDigit
)

const (
	letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	small   = "abcdefghijklmnopqrstuvwxyz"
	digits  = "0123456789"
)

var classes = table{}.with(inToken, letters+small+digits+"!#$%&'*+-.^_`|~").
	with(inMethod, letters+"-_").
	with(inPath, letters+small+digits+"-._~!$&'()*+,;=:@/").
	with(inQuery, letters+small+digits+"-._~!$&'()*+,;=:@/?[]{}|\\^`").
	with(inHost, letters+small+digits+"-._~").
	with(inHex, digits+"ABCDEFabcdef").
	with(inDigit, digits).
	withRange(inValue, '\t', '\t').withRange(inValue, ' ', '~').withRange(inValue, 0x80, 0xff)

type table [256]class

func (t table) with(c class, bytes string) table {
	for _, b := range []byte(bytes) {
		t[b] |= c
	}
	return t
}

func (t table) withRange(c class, from, to int) table {
	for b := from; b <= to; b++ {
		t[b] |= c
	}
	return t
}

func is(b byte, c class) bool { return classes[b]&c != 0 }

// all reports whether every byte is of the class.
func all(text []byte, c class) bool {
	for _, b := range text {
		if !is(b, c) {
			return false
		}
	}
	return true
}

// fold reports whether a token is name, which has no byte above 0x7f, whatever the case of letters.
func fold(token []byte, name string) bool {
	if len(token) != len(name) {
		return false
	}
	for i, b := range token {
		if lower(b) != lower(name[i]) {
			return false
		}
	}
	return true
}

func lower(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		return b | 0x20
	}
	return b
}

// trim takes SP and HTAB from both ends.
func trim(text []byte) []byte {
	for len(text) > 0 && blank(text[0]) {
		text = text[1:]
	}
	for len(text) > 0 && blank(text[len(text)-1]) {
		text = text[:len(text)-1]
	}
	return text
}

func blank(b byte) bool { return b == ' ' || b == '\t' }

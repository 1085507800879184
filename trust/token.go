package trust

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"log/slog"
	"strings"
	"unicode"

	"bramble/fault"
)

// A token's text is "bt1-" and 64 characters of lower-case base32 in Crockford's
// alphabet (no i, l, o, u), which are these 40 bytes:
//
//	offset  bytes  what
//	0       5      ID; being 40 bits, it is the text's first eight characters
//	5       16     secret
//	21      16     pin: first 16 bytes of SHA-256 of the CA's SubjectPublicKeyInfo
//	37      3      checksum: first 3 bytes of SHA-256 of "bt1-", the ID's eight characters, secret and pin
//
// The 1 in "bt1-" is the layout's version. The checksum tells a typo from a wrong
// token before anything is sent. Reading forgives upper case, white space, and o, i, l for 0, 1, 1.
const (
	tokenPrefix  = "bt1-"
	tokenIDText  = 8
	tokenText    = 64
	tokenSize    = 40
	tokenLongest = 1 << 10 // text longer than this is not looked at
)

// Pin names a CA by its key: the first 16 bytes of SHA-256 of its SubjectPublicKeyInfo.
type Pin [16]byte

// PinOf is the pin of a CA's certificate.
func PinOf(ca *x509.Certificate) Pin {
	sum := sha256.Sum256(ca.RawSubjectPublicKeyInfo)
	return Pin(sum[:16])
}

// Token lets its holder join or sign in, and names the CA that the holder may trust.
type Token struct {
	ID     string   // eight characters of the alphabet
	Secret [16]byte // kept by the authority only as a hash
	CA     Pin
}

// newToken makes a token with a random ID and secret.
func newToken(ca Pin) Token {
	var id [tokenIDText * 5 / 8]byte
	rand.Read(id[:])
	t := Token{ID: crockford().EncodeToString(id[:]), CA: ca}
	rand.Read(t.Secret[:])
	return t
}

// String is the token's text, secret included.
func (t Token) String() string {
	sum := t.checksum()
	rest := bytes.Join([][]byte{t.Secret[:], t.CA[:], sum[:]}, nil)
	return tokenPrefix + t.ID + crockford().EncodeToString(rest)
}

// LogValue keeps the secret out of logs.
func (t Token) LogValue() slog.Value { return slog.StringValue(tokenPrefix + t.ID + "…") }

func (t Token) checksum() [3]byte {
	sum := sha256.Sum256(bytes.Join([][]byte{[]byte(tokenPrefix + t.ID), t.Secret[:], t.CA[:]}, nil))
	return [3]byte(sum[:3])
}

// ParseToken reads a token's text. What is not a token, or was mistyped, is fault.Misused.
func ParseToken(text string) (Token, error) {
	if len(text) > tokenLongest {
		return Token{}, notToken()
	}
	rest, err := tokenBody(strings.Map(forgive, text))
	if err != nil {
		return Token{}, err
	}
	raw, err := crockford().DecodeString(rest)
	if err != nil || len(raw) != tokenSize {
		return Token{}, mistyped("it has a character that no token has")
	}
	t := Token{ID: rest[:tokenIDText], Secret: [16]byte(raw[5:21]), CA: Pin(raw[21:37])}
	if t.checksum() != [3]byte(raw[37:]) {
		return Token{}, mistyped("its checksum does not fit")
	}
	return t, nil
}

// tokenBody takes the prefix off and judges the length.
func tokenBody(text string) (string, error) {
	rest, ok := strings.CutPrefix(text, tokenPrefix)
	switch {
	case ok && len(rest) == tokenText:
		return strings.Map(digit, rest), nil
	case ok:
		return "", mistyped("it has %d characters where a token has %d", len(text), len(tokenPrefix)+tokenText)
	case len(text) > 3 && text[:2] == "bt" && '2' <= text[2] && text[2] <= '9' && text[3] == '-':
		return "", fault.New(fault.Misused, "the token was made by a newer bramble than this one").
			Hint("bramble upgrade")
	}
	return "", notToken()
}

func notToken() error {
	return fault.New(fault.Misused, "that is not a token: a token begins with %s", tokenPrefix).
		Hint("make one on the head: bramble token create")
}

func mistyped(format string, args ...any) error {
	return fault.New(fault.Misused, "the token is mistyped: "+format, args...).
		Hint("copy it again whole, from %s to the end", tokenPrefix)
}

// forgive drops white space, which a terminal adds when it wraps, and folds case.
func forgive(r rune) rune {
	if unicode.IsSpace(r) {
		return -1
	}
	return lower(r)
}

// digit reads the letters that Crockford's alphabet leaves out as the digits they resemble.
func digit(r rune) rune {
	switch r {
	case 'o':
		return '0'
	case 'i', 'l':
		return '1'
	}
	return r
}

func crockford() *base32.Encoding {
	return base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)
}

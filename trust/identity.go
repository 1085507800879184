package trust

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"

	"bramble/fault"
)

// scheme begins the URI name that carries an Identity in a certificate.
const scheme = "bramble"

// maxLabel is the longest DNS label, RFC 1035 section 2.3.4, in bytes.
const maxLabel = 63

// String is the identity as people read it: head/NAME, node/NAME or client/USER/ROLE.
func (id Identity) String() string {
	if id.Kind == KindClient {
		return fmt.Sprintf("%s/%s/%s", id.Kind, id.Name, id.Role)
	}
	return fmt.Sprintf("%s/%s", id.Kind, id.Name)
}

// URI is the name a certificate carries for the identity.
func (id Identity) URI() string { return scheme + "://" + id.String() }

// Check reports what is wrong with an identity as fault.Misused.
func (id Identity) Check() error {
	switch id.Kind {
	case KindHead, KindNode:
		if id.Role != "" {
			return fault.New(fault.Misused, "a %s has no role, and this one has %q", id.Kind, id.Role)
		}
	case KindClient:
		if rank(id.Role) == 0 {
			return fault.New(fault.Misused, "%s is not a role", shown(string(id.Role))).
				Hint("one of %s, %s and %s", Viewer, Operator, Admin)
		}
	default:
		return fault.New(fault.Misused, "%s is not a kind of identity", shown(string(id.Kind)))
	}
	return ValidName(id.Name)
}

// Covers reports whether other is the same party and, when id names one certificate, the same certificate.
func (id Identity) Covers(other Identity) bool {
	return id.Kind == other.Kind && id.Name == other.Name && (id.Serial == "" || id.Serial == other.Serial)
}

// FromCertificate reads the identity that a certificate carries; it verifies nothing else.
// A certificate without exactly one well-formed name of ours is fault.Denied.
func FromCertificate(cert *x509.Certificate) (Identity, error) {
	if len(cert.URIs) != 1 {
		return Identity{}, fault.New(fault.Denied, "the certificate carries %d URI names where one is due", len(cert.URIs))
	}
	id, err := parseURI(cert.URIs[0])
	if err != nil {
		return Identity{}, err
	}
	id.Serial = serialOf(cert)
	return id, nil
}

// parseURI accepts only what URI writes, so that no name has two spellings.
func parseURI(uri *url.URL) (Identity, error) {
	text, ours := strings.CutPrefix(uri.String(), scheme+"://")
	id, err := ParseIdentity(text)
	if err != nil || !ours {
		return Identity{}, fault.New(fault.Denied, "the certificate's name %s is not one of a cluster's", shown(uri.String()))
	}
	return id, nil
}

// ParseIdentity reads what String writes, and nothing else; the rest is fault.Misused.
func ParseIdentity(text string) (Identity, error) {
	kind, name, _ := strings.Cut(text, "/")
	name, role, _ := strings.Cut(name, "/")
	id := Identity{Kind: Kind(kind), Name: name, Role: Role(role)}
	if err := id.Check(); err != nil {
		return Identity{}, err
	}
	if id.String() != text {
		return Identity{}, fault.New(fault.Misused, "%s is not an identity", shown(text)).
			Hint("%s/NAME, %s/NAME or %s/USER/ROLE", KindHead, KindNode, KindClient)
	}
	return id, nil
}

// serialOf writes a certificate's serial number as 32 hex digits.
func serialOf(cert *x509.Certificate) string { return fmt.Sprintf("%032x", cert.SerialNumber) }

func isSerial(text string) bool { return len(text) == 32 && isLabel(text) }

// ValidName reports why a node or user may not be called so, as fault.Misused with a name that would do.
// A name is one lower-case DNS label; "all" and "local" are words of the selection language.
func ValidName(name string) error {
	switch {
	case name == "":
		return fault.New(fault.Misused, "a name is missing").Hint("give one, such as %s", SuggestName(""))
	case reserved(name):
		return fault.New(fault.Misused, "the name %q has a meaning of its own", name).
			Hint("choose another, such as %s", SuggestName(name))
	case !isLabel(name):
		return fault.New(fault.Misused, "%s cannot be a name", shown(name)).
			Hint("use up to %d lower-case letters, digits and dashes, such as %s", maxLabel, SuggestName(name))
	}
	return nil
}

// SuggestName makes a valid name of a host name: its first label, with what does not fit turned into dashes.
func SuggestName(hostname string) string {
	label, _, _ := strings.Cut(hostname, ".")
	var name strings.Builder
	for _, r := range label {
		switch c := lower(r); {
		case name.Len() == maxLabel:
		case isAlnum(c):
			name.WriteRune(c)
		case name.Len() > 0 && !strings.HasSuffix(name.String(), "-"):
			name.WriteByte('-')
		}
	}
	switch made := strings.TrimRight(name.String(), "-"); {
	case made == "":
		return "node"
	case reserved(made):
		return made + "-node"
	default:
		return made
	}
}

func reserved(name string) bool { return name == "all" || name == "local" }

func isLabel(name string) bool {
	if name == "" || len(name) > maxLabel {
		return false
	}
	for _, r := range name {
		if !isAlnum(r) && r != '-' {
			return false
		}
	}
	return name[0] != '-' && name[len(name)-1] != '-'
}

func isAlnum(r rune) bool { return 'a' <= r && r <= 'z' || '0' <= r && r <= '9' }

// lower folds ASCII only: other alphabets have letters whose lower case is an ASCII one.
func lower(r rune) rune {
	if 'A' <= r && r <= 'Z' {
		return r + 'a' - 'A'
	}
	return r
}

// shown quotes text that came from outside, cut to a length that fits a line.
func shown(text string) string {
	if len(text) > maxLabel {
		return fmt.Sprintf("%q…", text[:maxLabel])
	}
	return fmt.Sprintf("%q", text)
}

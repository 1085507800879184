package trust_test

import (
	"crypto/x509"
	"net/url"
	"strings"
	"testing"

	"bramble/fault"
	"bramble/trust"
)

func TestValidName(t *testing.T) {
	long := strings.Repeat("a", 63)
	for _, good := range []string{"a", "7", "pi-1", "node007", "rack2-board-14", "0", long} {
		if err := trust.ValidName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	bad := []string{
		"", "all", "local", "-a", "a-", "-", "Pi", "a.b", "a b", "a_b", "a/b", "../x", "pi\n", "\x1b[2J", "ü", "ß",
		"*", ">", "a*", long + "a", strings.Repeat("x", 10<<20),
	}
	for _, name := range bad {
		err := trust.ValidName(name)
		refuses(t, err, fault.Misused, "name")
		if text := err.Error() + fault.Of(err).Try; len(text) > 500 || strings.ContainsAny(text, "\x1b\n") {
			t.Errorf("the error shows %d raw bytes: %.80q", len(text), text)
		}
	}
}

func TestSuggestName(t *testing.T) {
	tests := map[string]string{
		"raspberrypi":                   "raspberrypi",
		"Raspberry Pi":                  "raspberry-pi",
		"pi4.lan":                       "pi4",
		"__odd__name__":                 "odd-name",
		"Jürgen":                        "j-rgen",
		"":                              "node",
		"...":                           "node",
		"日本":                            "node",
		"all":                           "all-node",
		"LOCAL":                         "local-node",
		"\u212Aelvin":                   "elvin", // the Kelvin sign's lower case is an ASCII k
		strings.Repeat("a", 100):        strings.Repeat("a", 63),
		strings.Repeat("a", 62) + "--b": strings.Repeat("a", 62),
	}
	for hostname, want := range tests {
		got := trust.SuggestName(hostname)
		if got != want {
			t.Errorf("SuggestName(%q) = %q, want %q", hostname, got, want)
		}
		if err := trust.ValidName(got); err != nil {
			t.Errorf("SuggestName(%q): %v", hostname, err)
		}
	}
}

func TestIdentityRoundTrip(t *testing.T) {
	for _, id := range []trust.Identity{head("pi1"), node("7"), client("ann", trust.Viewer), client("bob", trust.Admin)} {
		got, err := trust.ParseIdentity(id.String())
		if err != nil || got != id {
			t.Errorf("%v became %v, %v", id, got, err)
		}
		uri, err := url.Parse(id.URI())
		must(t, err)
		got, err = trust.FromCertificate(&x509.Certificate{URIs: []*url.URL{uri}})
		got.Serial = ""
		if err != nil || got != id {
			t.Errorf("%s became %v, %v", uri, got, err)
		}
	}
}

func TestFromCertificateRefuses(t *testing.T) {
	uris := []string{
		"bramble://node", "bramble://node/", "bramble://node/pi1/", "bramble://node/pi1/admin", "bramble://node/pi1?x=1",
		"bramble://node/pi1#x", "bramble://u@node/pi1", "bramble://node:1/pi1", "bramble://NODE/pi1", "bramble://node/Pi1",
		"bramble://node/pi%31", "bramble:node/pi1", "bramble:///node/pi1", "https://node/pi1", "//node/pi1", "node/pi1",
		"bramble://client/ann", "bramble://client/ann/root", "bramble://client/ann/admin/x", "bramble://client//admin",
		"bramble://head/all", "bramble://other/pi1", "",
	}
	for _, text := range uris {
		uri, err := url.Parse(text)
		must(t, err)
		if id, err := trust.FromCertificate(&x509.Certificate{URIs: []*url.URL{uri}}); !fault.Is(err, fault.Denied) {
			t.Errorf("%q was read as %v, %v", text, id, err)
		}
	}
	one, err := url.Parse(node("a").URI())
	must(t, err)
	for _, several := range [][]*url.URL{nil, {one, one}} {
		if id, err := trust.FromCertificate(&x509.Certificate{URIs: several}); !fault.Is(err, fault.Denied) {
			t.Errorf("%d names were read as %v, %v", len(several), id, err)
		}
	}
}

func TestCovers(t *testing.T) {
	one := trust.Identity{Kind: trust.KindNode, Name: "a", Serial: "1"}
	two := trust.Identity{Kind: trust.KindNode, Name: "a", Serial: "2"}
	tests := []struct {
		id, other trust.Identity
		want      bool
	}{
		{node("a"), one, true},
		{one, one, true},
		{one, two, false},
		{node("b"), one, false},
		{head("a"), one, false},
		{client("ann", ""), client("ann", trust.Admin), true},
	}
	for _, test := range tests {
		if got := test.id.Covers(test.other); got != test.want {
			t.Errorf("%+v covers %+v: %v", test.id, test.other, got)
		}
	}
}

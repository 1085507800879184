package front

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"bramble/fault"
)

// Who is in one of the networks is led to the page, both ways through the front; for everybody else there is none.
func TestManagerPath(t *testing.T) {
	const page = "https://head:7652/front#front"
	b := newBackend(t, "b", nil)
	here, elsewhere := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for name, c := range map[string]struct {
		from, trusted []netip.Prefix
		target        string
		secure        int
		led           bool
	}{
		"from here":                         {from: here, target: "/balancer-manager", led: true},
		"with a question":                   {from: here, target: "/balancer-manager?b=x", led: true},
		"before TLS":                        {from: here, target: "/balancer-manager", secure: 443, led: true},
		"from elsewhere":                    {from: elsewhere, target: "/balancer-manager"},
		"by what a proxy says":              {from: elsewhere, trusted: here, target: "/balancer-manager"},
		"a proxy, for whom":                 {from: here, trusted: here, target: "/balancer-manager"},
		"nobody is led":                     {target: "/balancer-manager"},
		"another path":                      {from: here, target: "/balancer-manager/"},
		"another path, by how it is spelt":  {from: here, target: "/Balancer-manager"},
		"another path, by how it is quoted": {from: here, target: "/balancer%2dmanager"},
	} {
		spec := pool(b.Member)
		spec.Trusted, spec.Secure, spec.Manager = c.trusted, c.secure, Manager{c.from, page}
		w := serve(t, spec)
		for _, head := range []string{"GET %s HTTP/1.1\r\n", "POST %s HTTP/1.1\r\nContent-Length: 0\r\n"} {
			res, _ := w.ask(strings.ReplaceAll(head, "%s", c.target) + "Host: a\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n")
			heard := b.heard()
			if led := res.StatusCode == http.StatusFound && res.Header.Get("Location") == page && heard == ""; led != c.led {
				t.Errorf("%s, %.5q: %s to %q, and a member got %q", name, head, res.Status, res.Header.Get("Location"), heard)
			} else if !led && (res.StatusCode != http.StatusOK || !strings.Contains(heard, c.target)) {
				t.Errorf("%s, %.5q: %s, and a member got %q", name, head, res.Status, heard)
			}
		}
	}
}

func TestManagedFrom(t *testing.T) {
	limited := Front{Manager: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24"), netip.MustParsePrefix("fe80::/10")}}
	if err := (Front{Name: "front", Servers: []Backend{{}}, Manager: []netip.Prefix{{}}}).Check(); !fault.Is(err, fault.Misused) {
		t.Errorf("no network: %v", err)
	}
	for at, want := range map[string]bool{"192.168.1.7": true, "::ffff:192.168.1.7": true, "fe80::1%eth0": true, "192.168.2.1": false, "127.0.0.1": false, "::1": false} {
		a := netip.MustParseAddr(at)
		if got := limited.ManagedFrom(a); got != want {
			t.Errorf("%s: %v", at, got)
		}
		if !(Front{}).ManagedFrom(a) {
			t.Errorf("%s may not, where nothing is said", at)
		}
	}
}

// The head tells a front's nodes where its page is, and nothing of it where nobody is led there.
func TestManagerOrder(t *testing.T) {
	c := newWorld(t, "one")
	c.head.Page = "https://head:7652/front"
	a := newBackend(t, "a", nil)
	f := Front{Name: "front", On: "one", Doors: anyPort(t, "front", Spec{}).Doors, Servers: []Backend{{Member: Member{Name: "a"}, Server: a.Address.String()}}}
	w := &web{t: t, addr: f.Doors.Plain[0]}
	const raw = "GET /balancer-manager HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, from := range [][]netip.Prefix{nil, {netip.MustParsePrefix("127.0.0.1/32")}} {
		f.Manager = from
		if _, err := c.client().Up(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		c.settled("it is up", func(s Status) bool { return memberOf(s, "a").Share == 1 })
		if res, _ := w.ask(raw); from == nil && res.StatusCode != http.StatusOK || from != nil && res.Header.Get("Location") != "https://head:7652/front#front-front" {
			t.Errorf("from %v: %s, %q", from, res.Status, res.Header.Get("Location"))
		}
	}
}

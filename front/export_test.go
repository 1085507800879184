package front

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"bramble/fault"
)

// exportCase is a front to be written for other programs; again is that nginx can say all of it.
type exportCase struct {
	name  string
	setup Setup
	again bool
}

func parsed(all ...string) (out []Backend) {
	for _, text := range all {
		b, err := ParseBackend(text)
		if err != nil {
			panic(err)
		}
		out = append(out, b)
	}
	return out
}

func exports(cert, key string) []exportCase {
	return []exportCase{
		{"two members in turns", Setup{Listen: []string{":8080"}, Backends: parsed("http://10.0.0.11:80,weight=2", "http://10.0.0.12:80"),
			Common: Pool{Balance: ByRequests, MaxBody: 20 << 20}}, true},
		{"hosts, paths and TLS", Setup{Listen: []string{"127.0.0.1:8080"}, ListenTLS: []string{"127.0.0.1:8443", "[::1]:8443"}, Cert: []string{cert}, Key: []string{key},
			HTTPSOnly: true, Backends: parsed("http://10.0.0.11:80", "http://10.0.0.12:80,standby", "http://10.0.0.15:80,host=a.example,path=/app", "http://10.0.0.13:8080,host=a.example"),
			Common: Pool{Balance: ByBusyness, Wait: 1500 * time.Millisecond, FailOn: []int{502, 503}}}, true},
		{"all there is", Setup{Listen: []string{":8080"}, ListenTLS: []string{":8443"}, Cert: []string{cert, cert}, Key: []string{key, key}, AccessLog: "-", LogJSON: true,
			Metrics: "127.0.0.1:9100", Rate: 0.5, Burst: 10, Conns: 7, Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")},
			Proxied: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/32"), netip.MustParsePrefix("fd00::2/128")}, ACME: []string{"a.example"},
			Backends: parsed("http://10.0.0.11:80,route=a,set=1", "http://[::1]:8001,route=b", "http://10.0.0.12,spare,name=three", "http://10.0.0.13,host=b.example,path=/x/y"),
			Common:   Pool{Balance: ByTraffic, Sticky: "ROUTE", Slow: 10 * time.Second, MaxBody: 1500, FailOn: []int{418, 500}, Check: Check{Path: "/ok?a=b", Interval: 2 * time.Second}}}, false},
		{"nothing but members", Setup{Backends: parsed("http://10.0.0.11"), Common: Pool{Check: Check{Interval: -1}}}, false},
	}
}

func TestExportSaysWhatIsLacking(t *testing.T) {
	all := exports("/a.crt", "/a.pem")[2].setup
	for program, want := range map[string]string{
		"nginx":   "--acme-host --proxy-protocol --check --sticky --slow-start --metrics --log-json --cert spare set= --balance bytraffic --fail-on",
		"haproxy": "--acme-host --access-log --max-body --fail-on --key /a.pem spare set= --balance bytraffic",
	} {
		_, cannot, err := Export(program, all)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, u := range cannot {
			if u.Matters {
				got = append(got, u.Text)
			}
		}
		for _, flag := range strings.Split(strings.ReplaceAll(want, " ", "\n"), "\n") {
			if !strings.Contains(strings.Join(got, " "), flag) {
				t.Errorf("%s: %q does not name %s", program, got, flag)
			}
		}
	}
}

// Nothing becomes a statement of its own in another program's configuration.
func TestExportRefuses(t *testing.T) {
	for _, c := range []struct {
		setup Setup
		want  string
	}{
		{Setup{Backends: parsed("http://10.0.0.1,path=/a;return"), Common: Pool{}}, "something else"},
		{Setup{Backends: parsed("http://10.0.0.1,host=$x")}, "something else"},
		{Setup{Backends: parsed("http://10.0.0.1,host=*.example")}, "something else"},
		{Setup{Backends: parsed("http://10.0.0.1,host=~a")}, "no name"},
		{Setup{Backends: parsed("http://10.0.0.1"), Common: Pool{Sticky: "a\nserver {"}}, "something else"},
		{Setup{Backends: parsed("http://10.0.0.1"), AccessLog: "/my log"}, "something else"},
		{Setup{Backends: parsed("http://10.0.0.1"), Listen: []string{":0"}}, "no [ADDRESS]:PORT"},
		{Setup{Backends: parsed("http://10.0.0.1"), ListenTLS: []string{":443"}}, "needs certificates"},
		{Setup{Backends: parsed("http://10.0.0.1"), ListenTLS: []string{":443"}, ACME: []string{"a.example"}}, "certificates in files"},
		{Setup{Backends: parsed("http://10.0.0.1"), HTTPSOnly: true}, "needs a port with TLS"},
		{Setup{Backends: parsed("http://10.0.0.1", "http://10.0.0.1")}, "two members of the name"},
	} {
		if _, _, err := Export("nginx", c.setup); !fault.Is(err, fault.Misused) || !strings.Contains(err.Error(), c.want) || fault.Of(err).Try == "" {
			t.Errorf("%+v: %v; want %s", c.setup, err, c.want)
		}
	}
}

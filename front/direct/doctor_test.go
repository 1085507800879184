package direct

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"bramble/host"
)

var (
	frontMAC, routerMAC = MAC{2, 0, 0, 0, 0, 1}, MAC{2, 0, 0, 0, 0, 2}
	eth0                = Link{Name: "eth0", Ethernet: true, MAC: frontMAC, MTU: 1500, Up: true}
)

func wellFront() FrontFacts {
	return FrontFacts{
		Spec: Spec{Address: netip.MustParseAddr("10.0.0.100"), Ports: []uint16{80}, Interface: "eth0",
			Members: []Member{{Name: "a", Address: netip.MustParseAddr("10.0.0.11")}, {Name: "b", Address: netip.MustParseAddr("10.0.0.12")}}},
		Link: eth0, Network: netip.MustParsePrefix("10.0.0.0/24"),
		Doors: []Door{{Near: true, MAC: MAC{3}, Service: Open, Large: Open}, {Near: true, MAC: MAC{4}, Service: Open, Large: Open}},
	}
}

func TestFrontChecks(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(f *FrontFacts)
		check string // that is bad; "": none
		says  string
	}{
		"well":           {func(f *FrontFacts) {}, "", ""},
		"a tunnel":       {func(f *FrontFacts) { f.Link.Ethernet = false }, "interface", "not Ethernet"},
		"Wi-Fi":          {func(f *FrontFacts) { f.Link.Wireless = true }, "interface", "wireless"},
		"a port":         {func(f *FrontFacts) { f.Link.Bridge = "br0" }, "interface", "--on br0"},
		"no cable":       {func(f *FrontFacts) { f.Link.Up = false }, "interface", "is down"},
		"another net":    {func(f *FrontFacts) { f.Network = netip.Prefix{} }, "address", "in no network of eth0"},
		"taken":          {func(f *FrontFacts) { f.Taken = routerMAC }, "address", "02:00:00:00:00:02 says that it has"},
		"no nftables":    {func(f *FrontFacts) { f.Kernel = errors.New("no nft") }, "kernel", "no nft"},
		"a router":       {func(f *FrontFacts) { f.Doors[1].Near = false }, "member b", "there is a router between"},
		"the front":      {func(f *FrontFacts) { f.Doors[1].MAC = frontMAC }, "member b", "is the front itself"},
		"nobody":         {func(f *FrontFacts) { f.Doors[1].MAC = MAC{} }, "member b", "nobody says on eth0"},
		"one board":      {func(f *FrontFacts) { f.Doors[1].MAC = MAC{3} }, "member b", "the same machine"},
		"small packets":  {func(f *FrontFacts) { f.Doors[1].Large = Silent }, "member b", "not to packets of 1500 bytes"},
		"its own only":   {func(f *FrontFacts) { f.Doors[1].Service, f.Doors[1].Own = Refused, true }, "member b", "listen at all addresses: 0.0.0.0:80"},
		"no server":      {func(f *FrontFacts) { f.Doors[1].Service = Refused }, "member b", "nothing listens at its port 80"},
		"does not hold":  {func(f *FrontFacts) { f.Doors[1].Service, f.Doors[1].Own = Silent, true }, "member b", "direct-member --address 10.0.0.100"},
		"says not a bit": {func(f *FrontFacts) { f.Doors[1].Service = Silent }, "member b", "no answer at 10.0.0.100:80"},
	} {
		f := wellFront()
		test.spoil(&f)
		holds(t, name, f.Checks(), 5, test.check, test.says)
	}
}

func TestMemberChecks(t *testing.T) {
	service, own, any := netip.MustParseAddr("10.0.0.100"), netip.MustParseAddr("10.0.0.11"), netip.IPv6Unspecified()
	for name, test := range map[string]struct {
		spoil func(f *MemberFacts)
		check string
		says  string
	}{
		"well":                    {func(f *MemberFacts) {}, "", ""},
		"at the service address":  {func(f *MemberFacts) { f.Listening = []netip.Addr{own, service} }, "", ""},
		"no front yet":            {func(f *MemberFacts) { f.Front, f.GatewayMAC = MAC{}, MAC{} }, "", ""},
		"no route":                {func(f *MemberFacts) { f.Gateway = netip.Addr{} }, "", ""},
		"another way, and loose":  {func(f *MemberFacts) { f.GatewayLink, f.RPFilter = "wlan0", 2 }, "", ""},
		"not root":                {func(f *MemberFacts) { f.Root = false }, "account", "only root may"},
		"Wi-Fi":                   {func(f *MemberFacts) { f.Link.Wireless = true }, "interface", "wireless"},
		"by the front":            {func(f *MemberFacts) { f.GatewayMAC = frontMAC }, "route", "goes to the front"},
		"another way, and strict": {func(f *MemberFacts) { f.GatewayLink = "wlan0" }, "route", "net.ipv4.conf.eth0.rp_filter=2"},
		"at its own only":         {func(f *MemberFacts) { f.Listening = []netip.Addr{own} }, "server", "listens at 10.0.0.11 only"},
		"no server":               {func(f *MemberFacts) { f.Listening = nil }, "server", "nothing listens at port 80"},
	} {
		f := MemberFacts{Address: service, Port: 80, Root: true, Link: eth0, Gateway: netip.MustParseAddr("10.0.0.1"), GatewayLink: "eth0",
			GatewayMAC: routerMAC, Front: frontMAC, RPFilter: 1, Listening: []netip.Addr{any}}
		test.spoil(&f)
		holds(t, name, f.Checks(), 5, test.check, test.says)
	}
	far := MemberFacts{Address: service, Port: 80, Root: true, Listening: []netip.Addr{any}}
	holds(t, "another net", far.Checks(), 3, "interface", "there is a router between")
}

// holds wants so many checks, of which one at most is bad, and says so, and that the proxy works anyway.
func holds(t *testing.T, name string, checks []host.Check, many int, bad, says string) {
	t.Helper()
	found := ""
	for _, c := range checks {
		if c.OK {
			continue
		}
		if found += c.Name; !strings.Contains(c.Text+c.Try, says) || !strings.Contains(c.Try, "bramble front serve") {
			t.Errorf("%s: %s: %s; try: %s", name, c.Name, c.Text, c.Try)
		}
	}
	if found != bad || len(checks) != many {
		t.Errorf("%s: of %d checks %q are bad, want %q", name, len(checks), found, bad)
	}
}

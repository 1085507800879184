package ether

import (
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"

	"bramble/fault"
)

func TestChoose(t *testing.T) {
	port := func(name string, up bool, networks ...string) Port {
		p := Port{Name: name, Up: up, Many: name != "lo"}
		for _, n := range networks {
			p.Networks = append(p.Networks, netip.MustParsePrefix(n))
		}
		return p
	}
	ports := []Port{port("lo", true, "127.0.0.1/8"), port("eth0", true, "10.0.0.1/24", "10.0.0.200/32"), port("wlan0", true, "192.168.1.7/24"),
		port("wlan1", true, "192.168.1.8/24"), port("eth1", false, "172.16.0.1/16"), port("eth2", true)}
	for _, test := range []struct {
		shared, name string
		port, own    string
		code         fault.Code
		says         string
	}{
		{"10.0.0.10", "", "eth0", "10.0.0.1", "", ""},
		{"10.0.0.200", "", "eth0", "10.0.0.1", "", ""}, // it is there already
		{"192.168.1.10", "wlan1", "wlan1", "192.168.1.8", "", ""},
		{"192.168.1.10", "", "", "", fault.Misused, "more than one interface: wlan0 192.168.1.7/24, wlan1 192.168.1.8/24"},
		{"10.0.1.10", "", "", "", fault.Misused, "10.0.1.10 is in no network of this machine: eth0 10.0.0.1/24 10.0.0.200/32, wlan0"},
		{"10.0.1.10", "eth0", "", "", fault.Misused, "not in the network of eth0: eth0 10.0.0.1/24"},
		{"10.0.0.1", "", "", "", fault.Misused, "10.0.0.1 is in no network"}, // its own
		{"10.0.0.10", "eth9", "", "", fault.NotFound, "no interface eth9; there are eth0 10.0.0.1/24"},
		{"10.0.0.10", "eth2", "", "", fault.Misused, "not in the network of eth2: eth2"},
		{"172.16.0.9", "", "", "", fault.Conflict, "eth1 is down"},
		{"127.0.0.9", "lo", "", "", fault.Misused, "lo is no Ethernet"},
		{"127.0.0.9", "", "", "", fault.Misused, "in no network"},
	} {
		p, own, err := Choose(ports, netip.MustParseAddr(test.shared), test.name)
		switch {
		case test.says != "":
			if !fault.Is(err, test.code) || !strings.Contains(err.Error(), test.says) || fault.Of(err).Try == "" {
				t.Errorf("%s on %q: %v", test.shared, test.name, err)
			}
		case err != nil || p.Name != test.port || own.String() != test.own:
			t.Errorf("%s on %q: %s with %s, %v", test.shared, test.name, p.Name, own, err)
		}
	}
}

func TestARP(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	at := netip.MustParseAddr("10.0.0.10")
	for operation, want := range map[uint16]string{
		arpRequest: "00010800060400010200000000010a00000a0000000000000a00000a",
		arpReply:   "00010800060400020200000000010a00000a0200000000010a00000a",
	} {
		b := arp(operation, mac, at, at)
		if got := hex.EncodeToString(b); got != want {
			t.Errorf("operation %d: %s", operation, got)
		}
		if c, ok := readARP(append(b, make([]byte, 18)...)); !ok || c.Addr != at || c.MAC.String() != mac.String() {
			t.Errorf("operation %d is read as %v", operation, c)
		}
	}
	if _, ok := readARP(arp(arpRequest, mac, netip.IPv4Unspecified(), at)); ok {
		t.Error("a question is taken for a claim")
	}
	for _, b := range [][]byte{nil, make([]byte, 27), make([]byte, 28)} {
		if _, ok := readARP(b); ok {
			t.Errorf("%x is taken for a claim", b)
		}
	}
}

func TestReadPacket(t *testing.T) {
	good := func() []byte {
		b, _ := hex.DecodeString("46c0001c000000" + "00ff70ffff" + "0a000001e0000012" + "00000000" + "01020304" + "0000")
		return b
	}
	p, ok := readPacket(good())
	if !ok || p.From.String() != "10.0.0.1" || p.To.String() != "224.0.0.18" || p.TTL != 255 || hex.EncodeToString(p.Payload) != "01020304" {
		t.Errorf("%+v, %v", p, ok)
	}
	for name, change := range map[string]func(b []byte) []byte{
		"cut short":      func(b []byte) []byte { return b[:27] },
		"hardly begun":   func(b []byte) []byte { return b[:19] },
		"version 6":      func(b []byte) []byte { b[0] = 0x66; return b },
		"small header":   func(b []byte) []byte { b[0] = 0x44; return b },
		"more follow":    func(b []byte) []byte { b[6] = 0x20; return b },
		"a later piece":  func(b []byte) []byte { b[7] = 1; return b },
		"total too long": func(b []byte) []byte { b[3] = 40; return b },
	} {
		if _, ok := readPacket(change(good())); ok {
			t.Errorf("%s: it is taken", name)
		}
	}
}

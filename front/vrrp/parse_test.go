package vrrp

import (
	"net/netip"
	"strings"
	"testing"

	"bramble/fault"
)

func TestParse(t *testing.T) {
	at := netip.MustParseAddr("192.168.1.10")
	for text, want := range map[string]Options{
		"192.168.1.10":    {Address: at},
		"192.168.1.10/24": {Address: at},
		"192.168.1.10/24,priority=150,vrid=7,on=eth0":   {Address: at, Priority: 150, VRID: 7, Interface: "eth0"},
		"192.168.1.10/32,on=enx001122334455,priority=2": {Address: at, Priority: 2, Interface: "enx001122334455"},
	} {
		if got, err := Parse(text); err != nil || got.Address != want.Address || got.Priority != want.Priority || got.VRID != want.VRID || got.Interface != want.Interface {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for text, why := range map[string]string{
		"":                            "is no address",
		"front":                       "front is no address",
		"192.168.1.10/33":             "is no address",
		"fd00::10/64":                 "only addresses of IPv4",
		"127.0.0.1/8":                 "no address that a machine has in a network",
		"224.0.0.1/24":                "no address that a machine has in a network",
		"192.168.1.10,priority=255":   "from 2 to 254",
		"192.168.1.10,priority=1":     "from 2 to 254",
		"192.168.1.10,vrid=0":         "from 1 to 255",
		"192.168.1.10,on=":            "needs the name of an interface",
		"192.168.1.10,eth0":           `there is no "eth0"`,
		"192.168.1.10/24,priority=%d": "from 2 to 254",
	} {
		if _, err := Parse(text); !fault.Is(err, fault.Misused) || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestVRID(t *testing.T) {
	for text, want := range map[string]int{"192.168.1.10": 10, "192.168.1.255": 255, "10.0.1.0": 1, "10.0.0.1,vrid=200": 200} {
		o, err := Parse(text)
		if got := o.filled().VRID; err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
}

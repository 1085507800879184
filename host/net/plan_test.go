package hostnet_test

import (
	"testing"

	"bramble/fault"
	hostnet "bramble/host/net"
)

func TestParseRate(t *testing.T) {
	for text, want := range map[string]hostnet.Rate{
		"100mbit": 100e6, "1gbit": 1e9, "10mbit/s": 10e6, " 2.5Gbit ": 2.5e9, "56kbit": 56_000, "9600bit": 9600,
		"0mbit": 0, "mbit": 0, "": 0, "100": 0, "100mbps": 0, "-1mbit": 0, "1e3mbit": 0, "infgbit": 0, "nanbit": 0,
		"1bit": 0, "999999999999999999999gbit": 0, "1.2.3mbit": 0, "0x10mbit": 0,
	} {
		got, err := hostnet.ParseRate(text)
		if got != want || (want == 0) != fault.Is(err, fault.Misused) {
			t.Errorf("ParseRate(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestRateSurvivesText(t *testing.T) {
	for _, want := range []hostnet.Rate{0, 9600, 56_000, 1_500_000, 100e6, 2.5e9, 1e9} {
		text, err := want.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		got := hostnet.Rate(1)
		if err := got.UnmarshalText(text); err != nil || got != want {
			t.Errorf("%d became %q became %d, %v", want, text, got, err)
		}
	}
}

func TestIDIsALabsID(t *testing.T) {
	a, b := hostnet.ID("/var/lib/a"), hostnet.ID("/var/lib/b")
	if a == b || a != hostnet.ID("/var/lib/a") || len(a) != 6 {
		t.Errorf("ids %q and %q", a, b)
	}
}

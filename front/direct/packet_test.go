package direct

import (
	"encoding/hex"
	"net/netip"
	"testing"
)

// The sums of such a packet were computed by hand after RFC 1071, over its words of 16 bits.
func TestSegment(t *testing.T) {
	s := segment{from: netip.MustParseAddrPort("10.0.0.1:20000"), to: netip.MustParseAddrPort("10.0.0.100:80"), seq: 1, flags: flagSyn}
	b := s.bytes(0)
	const want = "45000028000040004006266c0a0000010a000064" + "4e200050000000010000000050020400490d0000"
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, size := range []int{0, 40, 41, 1500} {
		b := s.bytes(size)
		sum := append(append([]byte{}, b[12:20]...), 0, 6, byte((len(b)-20)>>8), byte(len(b)-20))
		if checksum(0, b[:20]) != 0 || checksum(0, append(sum, b[20:]...)) != 0 || len(b) != max(size, 40) {
			t.Errorf("a packet of %d bytes has wrong sums or length", size)
		}
		if again, ok := parseSegment(b); !ok || again != s {
			t.Errorf("of %d bytes it is read as %+v, %t", size, again, ok)
		}
	}
}

func TestParseRefusesWhatIsShort(t *testing.T) {
	b := segment{from: netip.MustParseAddrPort("10.0.0.1:1"), to: netip.MustParseAddrPort("10.0.0.2:2")}.bytes(0)
	for n := range b {
		if _, ok := parseSegment(b[:n]); ok {
			t.Errorf("%d bytes are taken for a packet", n)
		}
	}
	for at, v := range map[int]byte{0: 0x65, 9: 17} { // IPv6, UDP
		wrong := append([]byte{}, b...)
		wrong[at] = v
		if _, ok := parseSegment(wrong); ok {
			t.Errorf("with byte %d of %d it is taken for a packet", at, v)
		}
	}
	b[0] = 0x4f // options of 40 bytes, which are not there
	if _, ok := parseSegment(b); ok {
		t.Error("a header that is longer than the packet is read")
	}
}

func TestARP(t *testing.T) {
	a := arp{reply: true, mac: MAC{1, 2, 3, 4, 5, 6}, sender: netip.MustParseAddr("10.0.0.1"), searched: netip.MustParseAddr("10.0.0.2")}
	b := a.bytes()
	if got := hex.EncodeToString(b); got != "0001080006040002"+"0102030405060a000001"+"0000000000000a000002" {
		t.Errorf("got %s", got)
	}
	if again, ok := parseARP(b); !ok || again != a {
		t.Errorf("read as %+v, %t", again, ok)
	}
	if _, ok := parseARP(b[:27]); ok {
		t.Error("a short one is read")
	}
}

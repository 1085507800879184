package vrrp

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestAdvert(t *testing.T) {
	from := netip.MustParseAddr("10.77.0.2")
	want := advert{VRID: 10, Priority: 150, Interval: 200 * time.Millisecond, Shared: []netip.Addr{netip.MustParseAddr("10.77.0.10")}}
	for _, test := range []struct {
		pseudo bool
		bytes  string
	}{
		{true, "310a9601001443ab0a4d000a"},
		{false, "310a960100142e890a4d000a"},
	} {
		c := cover{From: from, To: group, Pseudo: test.pseudo}
		b := want.marshal(c)
		if got := hex.EncodeToString(b); got != test.bytes {
			t.Errorf("pseudo-header %v: %s", test.pseudo, got)
		}
		back := cover{From: from, To: group}
		if got, err := back.read(b); err != nil || !reflect.DeepEqual(got, want) || back != c {
			t.Errorf("%+v is read as %+v, %+v, %v", want, got, back, err)
		}
		b[2]++
		if _, err := back.read(b); err == nil {
			t.Error("a wrong checksum is not seen")
		}
	}
}

func TestAdvertRefused(t *testing.T) {
	good := advert{VRID: 1, Priority: 1, Interval: time.Second, Shared: []netip.Addr{group}}
	c := cover{From: group, To: group}
	summed := func(b []byte) []byte { // with the right checksum for what it is
		b[6], b[7] = 0, 0
		binary.BigEndian.PutUint16(b[6:], ^c.sum(b))
		return b
	}
	for name, change := range map[string]func([]byte) []byte{
		"too short":     func(b []byte) []byte { return b[:7] },
		"addresses":     func(b []byte) []byte { b[3] = 2; return summed(b) },
		"another type":  func(b []byte) []byte { b[0] = 3<<4 | 2; return summed(b) },
		"no interval":   func([]byte) []byte { a := good; a.Interval = 0; return a.marshal(c) },
		"wrong version": func(b []byte) []byte { b[0] = 2<<4 | 1; return b },
	} {
		read := c
		_, err := read.read(change(good.marshal(c)))
		if err == nil || errors.Is(err, errVersion) != strings.Contains(name, "version") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzAdvert(f *testing.F) {
	f.Add(advert{VRID: 1, Priority: 1, Interval: time.Second, Shared: []netip.Addr{group}}.marshal(cover{From: group, To: group}))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := cover{From: group, To: group}
		a, err := c.read(b)
		if err != nil {
			return
		}
		again := c
		if back, err := again.read(a.marshal(c)); err != nil || !reflect.DeepEqual(a, back) {
			t.Errorf("%+v becomes %+v, %v", a, back, err)
		}
	})
}

package direct

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"bramble/fault"
)

// As nft 1.0.6 prints them.
const (
	listedMembers = `{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"set": {"family": "netdev", "name": "members", "table": "bramble_direct", "type": "ether_addr", "handle": 7, "elem": [{"elem": {"val": "aa:2c:9f:b1:58:9c", "counter": {"packets": 3, "bytes": 180}}}, {"elem": {"val": "f2:6b:c9:f3:c9:ba", "counter": {"packets": 0, "bytes": 0}}}], "stmt": [{"counter": null}]}}]}`
	listedFlows   = `{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"map": {"family": "netdev", "name": "flows", "table": "bramble_direct", "type": ["ipv4_addr", "inet_service", "inet_service"], "map": "ether_addr", "elem": [[{"elem": {"val": {"concat": ["10.77.0.13", 50382, 80]}, "timeout": 60, "expires": 59}}, "f2:6b:c9:f3:c9:ba"], [{"elem": {"val": {"concat": ["10.77.0.13", 50386, 80]}}}, "f2:6b:c9:f3:c9:ba"]]}}]}`
	listedNone    = `{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"map": {"family": "netdev", "name": "flows", "table": "bramble_direct"}}]}`
)

func TestReadListings(t *testing.T) {
	counts, err := readCounts([]byte(listedMembers))
	if want := map[string]Count{"aa:2c:9f:b1:58:9c": {Packets: 3, Bytes: 180}, "f2:6b:c9:f3:c9:ba": {}}; err != nil || !reflect.DeepEqual(counts, want) {
		t.Errorf("%+v, %v", counts, err)
	}
	flows, err := readFlows([]byte(listedFlows))
	if want := map[string]int{"f2:6b:c9:f3:c9:ba": 2}; err != nil || !reflect.DeepEqual(flows, want) {
		t.Errorf("%v, %v", flows, err)
	}
	if flows, err := readFlows([]byte(listedNone)); err != nil || len(flows) > 0 {
		t.Errorf("%v, %v", flows, err)
	}
	for _, text := range []string{"", "{", `{"nftables": [{"map": {"elem": [3]}}]}`, `{"nftables": [{"map": {"elem": [[1, 2]]}}]}`} {
		if _, err := readFlows([]byte(text)); err == nil {
			t.Errorf("%q is read", text)
		}
	}
}

func TestFill(t *testing.T) {
	s := Spec{Ports: []uint16{80, 443}, Members: []Member{{Name: "a", MAC: MAC{1}}, {Name: "b", MAC: MAC{2}, Down: true}, {Name: "c", MAC: MAC{3}, Draining: true}}}
	text := fill(s, assign(s.Members, [Slots]string{}), []MAC{{1}, {2}, {4}})
	for _, want := range []string{
		"ports { 80, 443, }", "add element netdev bramble_direct members { 01:00:00:00:00:00 }", "add element netdev bramble_direct members { 03:00:00:00:00:00 }",
		"delete element netdev bramble_direct members { 02:00:00:00:00:00 }", "delete element netdev bramble_direct members { 04:00:00:00:00:00 }",
		"flush map netdev bramble_direct slots", "0 : 01:00:00:00:00:00, ", "1023 : 01:00:00:00:00:00, ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in %.600s", want, text)
		}
	}
	s.Members = nil
	if text := fill(s, assign(nil, [Slots]string{}), nil); strings.Contains(text, "add element netdev bramble_direct slots") {
		t.Errorf("without members there are slots: %s", text)
	}
}

func TestSpecCheck(t *testing.T) {
	well := func() Spec {
		return Spec{Address: netip.MustParseAddr("10.0.0.100"), Ports: []uint16{80}, Interface: "eth0",
			Members: []Member{{Name: "a", MAC: MAC{1}}, {Name: "b", MAC: MAC{2}}, {Name: "c", Down: true}, {Name: "d", Down: true}}}
	}
	if err := well().check(); err != nil {
		t.Fatal(err)
	}
	for what, spoil := range map[string]func(s *Spec){
		"an IPv4 address":                func(s *Spec) { s.Address = netip.MustParseAddr("fd00::1") },
		"and 127.0.0.1 is none":          func(s *Spec) { s.Address = netip.MustParseAddr("127.0.0.1") },
		"1 to 64 ports":                  func(s *Spec) { s.Ports = nil },
		"1 to 64 ports, from":            func(s *Spec) { s.Ports = []uint16{80, 0} },
		"is no interface":                func(s *Spec) { s.Interface = `eth0" drop` },
		"two members of the name a":      func(s *Spec) { s.Members[1].Name = "a" },
		"b has weight 101":               func(s *Spec) { s.Members[1].Weight = 101 },
		"address of b is not known":      func(s *Spec) { s.Members[1].MAC = MAC{} },
		"a and b are one machine":        func(s *Spec) { s.Members[1].MAC = MAC{1} },
		"a front has at most 256 member": func(s *Spec) { s.Members = make([]Member, 257) },
	} {
		s := well()
		spoil(&s)
		if err := s.check(); !fault.Is(err, fault.Misused) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

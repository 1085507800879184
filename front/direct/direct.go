// Package direct lets visitors in through one machine, the front, and has members answer them straight: direct server
// return. The front's kernel rewrites the hardware address of each packet and sends it on by the same interface; a member,
// which holds the service address on its loopback without saying so on the network, answers the visitor itself.
//
// So the front carries requests only, and answers are as fast as all members' links together. It works for TCP over
// IPv4, where the front and all members are on one segment of a layer-2 network. The front is no member itself.
package direct

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"bramble/fault"
)

const (
	// Slots is into how many parts visitors are divided, each of which is one member's.
	Slots = 1024
	// MaxMembers and MaxWeight keep a part for each member.
	MaxMembers, MaxWeight = 256, 100
	maxPorts              = 64
)

// MAC is a hardware address of Ethernet.
type MAC [6]byte

func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// Member is a machine that answers visitors.
type Member struct {
	Name     string
	Address  netip.Addr // its own, in the front's network
	MAC      MAC
	Weight   int  // 1 to MaxWeight; 0 is 1
	Draining bool // keeps its connections, and gets no new ones
	Down     bool // has lost its connections
}

// Spec is a front.
type Spec struct {
	Address   netip.Addr // that visitors know: the service address
	Ports     []uint16   // of it; the rest of the address is the front's own
	Interface string     // where visitors come, and members are
	Members   []Member
}

// Count is what went to a member since it is one, or came back.
type Count struct {
	Name           string `json:"member"`
	Packets, Bytes uint64 // of visitors
	Flows          int    // connections that are open, or were a minute ago
}

// check refuses what cannot be done. It reads the spec alone.
func (s Spec) check() error {
	wrong := func(format string, args ...any) *fault.Error { return fault.New(fault.Misused, format, args...) }
	if err := CheckAddress(s.Address); err != nil {
		return err
	}
	if len(s.Ports) == 0 || len(s.Ports) > maxPorts || slices.Contains(s.Ports, 0) {
		return wrong("direct return needs 1 to %d ports, from 1 to 65535", maxPorts).Hint("--port 80")
	}
	if s.Interface == "" || len(s.Interface) > 15 || strings.ContainsAny(s.Interface, "\"\\/ \t\n") {
		return wrong("%q is no interface", s.Interface).Hint("--on eth0; ip -br link lists them")
	}
	if len(s.Members) > MaxMembers {
		return wrong("a front has at most %d members", MaxMembers)
	}
	names, boards := map[string]bool{}, map[MAC]string{}
	for _, m := range s.Members {
		switch other, twice := boards[m.MAC]; {
		case names[m.Name]:
			return wrong("there are two members of the name %s", m.Name)
		case m.Weight < 0 || m.Weight > MaxWeight:
			return wrong("%s has weight %d", m.Name, m.Weight).Hint("a weight is a number from 1 to %d", MaxWeight)
		case m.MAC == MAC{} && !m.Down:
			return wrong("the hardware address of %s is not known", m.Name).Hint("bramble front doctor")
		case twice && m.MAC != MAC{}:
			return wrong("%s and %s are one machine: both are at %s", other, m.Name, m.MAC).Hint("one --member for each machine")
		}
		names[m.Name], boards[m.MAC] = true, m.Name
	}
	return nil
}

// CheckAddress refuses what cannot be a service address.
func CheckAddress(a netip.Addr) error {
	if !a.Is4() || a.IsLoopback() || a.IsMulticast() || a.IsUnspecified() {
		return fault.New(fault.Misused, "direct return needs an IPv4 address of your network that nobody has yet, and %s is none", a).
			Hint("--address 10.0.0.100, or the proxy, which has IPv6 as well: %s", Proxy)
	}
	return nil
}

// Proxy is what works where direct return does not.
const Proxy = "bramble front serve --backend http://MEMBER"

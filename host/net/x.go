// Package hostnet makes a lab's network out of one Linux machine: a switch, and
// nodes that each have a network namespace, an address, a shaped link and, for
// their programs, a host name and a /tmp of their own. Making one needs root.
//
// The kernel is the only record: every process may open a lab by its id and act
// on it, and Down finds by name what a crashed one left.
package hostnet

import "net/netip"

// EnterVerb is the hidden verb of the binary that calls Enter with its one argument.
const EnterVerb = "lab-enter"

// Spec is a network to make.
type Spec struct {
	Lab   string   // id of 1–8 characters, a-z and 0-9, which names everything; see ID
	Nodes []string // host names: lower case letters, digits and dashes
	Rate  Rate     // of every node's link in each direction; 0 is unshaped
}

// Network is a lab's network as it stands in the kernel.
//
// Its switch is a bridge in a namespace of its own, so that no firewall rule of
// the machine sees what nodes say to each other; the machine is plugged into it
// as one more host. Nodes reach each other and the machine's own address on the
// switch, and nothing else: all other destinations are answered as unreachable.
type Network struct {
	Lab    string
	Subnet netip.Prefix
	Host   netip.Addr // the machine's own address on the switch
	Nodes  []Node
}

// Node is one namespace plugged into the switch.
type Node struct {
	Name      string
	Addr      netip.Addr
	Namespace string // as `ip netns` lists it
}

// Entry is a program to start on a node, and what it finds there.
type Entry struct {
	Namespace string   `json:"namespace"`
	Hostname  string   `json:"hostname"`
	Home      string   `json:"home"`           // absolute; holds the node's tmp, hosts and hostname
	Keep      []string `json:"keep,omitempty"` // files and folders that stay visible though they lie below /tmp
	Args      []string `json:"args"`           // Args[0] is looked up in PATH
}

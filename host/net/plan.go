package hostnet

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"bramble/fault"
)

const (
	prefix       = "brm" // begins every name that a lab leaves in the kernel
	subnetBits   = 20
	firstNode    = 0x101  // offset of the first node's address in the subnet
	maxNodes     = 0xe00  // as many as fit between firstNode and the subnet's broadcast address
	shortestDest = 8      // routes shorter than this are default routes in disguise (0/1, 128/1)
	nodeLink     = "eth0" // a node's end of its cable
	hostPort     = "host" // the switch's end of the machine's cable
	bridgeLink   = "br0"  // the bridge in the switch's namespace
)

const letters = "abcdefghijklmnopqrstuvwxyz0123456789"

func isLabID(s string) bool { return s != "" && len(s) <= 8 && strings.Trim(s, letters) == "" }

// isHostName reports whether a name is one lower-case DNS label.
func isHostName(s string) bool {
	return s != "" && len(s) <= 63 && strings.Trim(s, letters+"-") == "" && s[0] != '-' && s[len(s)-1] != '-'
}

// ID is a lab's id made from the absolute path of its state folder.
func ID(state string) string {
	sum := sha256.Sum256([]byte(state))
	return hex.EncodeToString(sum[:3])
}

// check refuses what could not be named or numbered.
func (s Spec) check() error {
	if !isLabID(s.Lab) {
		return fault.New(fault.Misused, "%q is not a lab's id", s.Lab)
	}
	if len(s.Nodes) > maxNodes {
		return fault.New(fault.Misused, "%d nodes are too many for one lab", len(s.Nodes)).Hint("at most %d", maxNodes)
	}
	seen := map[string]bool{}
	for _, name := range s.Nodes {
		if !isHostName(name) {
			return fault.New(fault.Misused, "%q is not a host name", name).Hint("lower case letters, digits and dashes")
		}
		if seen[name] {
			return fault.New(fault.Misused, "two nodes are called %s", name)
		}
		seen[name] = true
	}
	return nil
}

// newNetwork numbers the nodes of a spec.
func newNetwork(s Spec, subnet netip.Prefix) *Network {
	n := &Network{Lab: s.Lab, Subnet: subnet, Host: offset(subnet, 2)}
	for i, name := range s.Nodes {
		n.Nodes = append(n.Nodes, Node{Name: name, Addr: offset(subnet, firstNode+i), Namespace: namespaceOf(s.Lab, name)})
	}
	return n
}

// gateway is the switch's own address: the nodes' default route, where all that is not on the switch ends.
func (n *Network) gateway() netip.Addr { return offset(n.Subnet, 1) }

// addrs are all that there are on the switch.
func (n *Network) addrs() []netip.Addr {
	all := []netip.Addr{n.gateway(), n.Host}
	for _, node := range n.Nodes {
		all = append(all, node.Addr)
	}
	return all
}

// node finds a node and its port by name.
func (n *Network) node(name string) (node Node, port string, err error) {
	i := slices.IndexFunc(n.Nodes, func(node Node) bool { return node.Name == name })
	if i < 0 {
		return Node{}, "", fault.New(fault.NotFound, "the lab has no node %q", name)
	}
	return n.Nodes[i], portOf(i), nil
}

func switchNamespace(lab string) string   { return prefix + "-" + lab }
func namespaceOf(lab, node string) string { return prefix + "-" + lab + "-" + node }
func hostLink(lab string) string          { return prefix + lab }
func portOf(i int) string                 { return fmt.Sprintf("port%d", i+1) }

// labOf is the lab that a namespace's name says it belongs to, or "".
func labOf(namespace string) string {
	rest, ok := strings.CutPrefix(namespace, prefix+"-")
	if lab, _, _ := strings.Cut(rest, "-"); ok && isLabID(lab) {
		return lab
	}
	return ""
}

// chooseSubnet finds a private subnet that overlaps nothing taken: the same one for the same lab, while it is free.
func chooseSubnet(lab string, taken []netip.Prefix) (netip.Prefix, error) {
	taken = slices.DeleteFunc(slices.Clone(taken), func(p netip.Prefix) bool { return p.Bits() < shortestDest })
	sum := sha256.Sum256([]byte(lab))
	first := binary.BigEndian.Uint64(sum[:])
	for _, pool := range []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"} {
		pool := netip.MustParsePrefix(pool)
		count := uint64(1) << (subnetBits - pool.Bits())
		for i := range count {
			at := int((first+i)%count) << (32 - subnetBits)
			subnet := netip.PrefixFrom(offset(pool, at), subnetBits)
			if !slices.ContainsFunc(taken, subnet.Overlaps) {
				return subnet, nil
			}
		}
	}
	return netip.Prefix{}, fault.New(fault.Full, "every private subnet is in use on this machine").Hint("bramble lab down")
}

// offset is the address at a distance from a subnet's first.
func offset(subnet netip.Prefix, distance int) netip.Addr {
	base := subnet.Addr().As4()
	binary.BigEndian.PutUint32(base[:], binary.BigEndian.Uint32(base[:])+uint32(distance))
	return netip.AddrFrom4(base)
}

// hardwareAddr is the locally administered address that goes with an IPv4 address, so that everybody knows it without asking.
func hardwareAddr(addr netip.Addr) net.HardwareAddr {
	ip := addr.As4()
	return net.HardwareAddr{0x02, 'b', ip[0], ip[1], ip[2], ip[3]}
}

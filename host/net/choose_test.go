package hostnet

import (
	"net/netip"
	"testing"

	"bramble/fault"
)

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

func TestChooseSubnet(t *testing.T) {
	free, err := chooseSubnet("a1b2c3", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		taken  []netip.Prefix
		within string
		same   bool
	}{
		"nothing is taken":          {nil, "10.0.0.0/8", true},
		"others are":                {prefixes("192.168.0.0/16", "127.0.0.0/8"), "10.0.0.0/8", true},
		"the default route is not":  {prefixes("0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1"), "10.0.0.0/8", true},
		"one address of it is":      {[]netip.Prefix{netip.PrefixFrom(offset(free, 7), 32)}, "10.0.0.0/8", false},
		"it lies in a wider one":    {[]netip.Prefix{netip.PrefixFrom(free.Addr(), 16).Masked()}, "10.0.0.0/8", false},
		"all of ten is":             {prefixes("10.0.0.0/8"), "172.16.0.0/12", false},
		"only the smallest is free": {prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/17"), "192.168.128.0/17", false},
	} {
		got, err := chooseSubnet("a1b2c3", test.taken)
		within := netip.MustParsePrefix(test.within)
		if err != nil || got != got.Masked() || got.Bits() != subnetBits || !within.Contains(got.Addr()) || (got == free) != test.same {
			t.Errorf("%s: %v, %v; alone it is %v", name, got, err, free)
		}
	}
	if got, err := chooseSubnet("a", prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")); !fault.Is(err, fault.Full) {
		t.Errorf("nothing is free: %v, %v", got, err)
	}
}

func TestChooseSubnetSpreadsLabs(t *testing.T) {
	a, _ := chooseSubnet("a", nil)
	b, _ := chooseSubnet("b", nil)
	if a == b {
		t.Errorf("labs a and b both get %v", a)
	}
}

func TestNumbering(t *testing.T) {
	names := make([]string, maxNodes)
	n := newNetwork(Spec{Lab: "a", Nodes: names}, netip.MustParsePrefix("10.1.16.0/20"))
	seen := map[netip.Addr]bool{offset(n.Subnet, 0): true, offset(n.Subnet, 0xfff): true}
	for _, addr := range n.addrs() {
		if seen[addr] || !n.Subnet.Contains(addr) {
			t.Fatalf("%v is a second time, or outside %v", addr, n.Subnet)
		}
		seen[addr] = true
	}
	if got := n.Nodes[0].Addr.String(); got != "10.1.17.1" {
		t.Errorf("the first node is %s", got)
	}
}

func TestSpecCheck(t *testing.T) {
	for name, test := range map[string]struct {
		spec Spec
		ok   bool
	}{
		"plain":           {Spec{Lab: "a1b2c3", Nodes: []string{"head", "node-01"}}, true},
		"no nodes":        {Spec{Lab: "a"}, true},
		"no lab":          {Spec{Nodes: []string{"a"}}, false},
		"lab with a dash": {Spec{Lab: "a-b"}, false},
		"long lab":        {Spec{Lab: "a12345678"}, false},
		"capital":         {Spec{Lab: "a", Nodes: []string{"Node"}}, false},
		"path":            {Spec{Lab: "a", Nodes: []string{"../x"}}, false},
		"dash first":      {Spec{Lab: "a", Nodes: []string{"-x"}}, false},
		"newline":         {Spec{Lab: "a", Nodes: []string{"x\n"}}, false},
		"twice":           {Spec{Lab: "a", Nodes: []string{"x", "y", "x"}}, false},
		"too many":        {Spec{Lab: "a", Nodes: make([]string, maxNodes+1)}, false},
	} {
		if err := test.spec.check(); (err == nil) != test.ok || !test.ok && !fault.Is(err, fault.Misused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLabOf(t *testing.T) {
	for namespace, want := range map[string]string{
		"brm-a1": "a1", "brm-a1-node01": "a1", "brm-a1-node-01": "a1", namespaceOf("x", "y-z"): "x", switchNamespace("x"): "x",
		"brm": "", "brm-": "", "brma1": "", "other": "", "brm-TOOBIG": "", "brm-123456789-a": "", "": "",
	} {
		if got := labOf(namespace); got != want {
			t.Errorf("labOf(%q) = %q, want %q", namespace, got, want)
		}
	}
	if len(hostLink("12345678")) > 15 || len(portOf(maxNodes)) > 15 {
		t.Error("a link's name is longer than the kernel takes")
	}
}

package vrrp

import (
	"net/netip"
	"strconv"
	"strings"

	"bramble/fault"
)

// Parse reads what --address says: ADDRESS/BITS, and after commas priority=N, vrid=N, on=INTERFACE.
func Parse(text string) (o Options, err error) {
	words := strings.Split(text, ",")
	wrong := func(format string, args ...any) (Options, error) {
		return o, fault.New(fault.Misused, "--address "+strings.ReplaceAll(text, "%", "%%")+": "+format, args...).Hint("--address 192.168.1.10/24,priority=150,on=eth0")
	}
	if o.Address, err = parseAddress(words[0]); err != nil {
		return wrong("%s is no address", words[0])
	}
	switch {
	case !o.Address.Is4():
		return wrong("only addresses of IPv4 are shared")
	case !o.Address.IsGlobalUnicast():
		return wrong("this is no address that a machine has in a network")
	}
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		n, bad := strconv.Atoi(value)
		switch key {
		case "priority":
			if o.Priority = n; bad != nil || n < 2 || n > 254 {
				return wrong("a priority is a number from 2 to 254")
			}
		case "vrid":
			if o.VRID = n; bad != nil || n < 1 || n > 255 {
				return wrong("a VRID is a number from 1 to 255")
			}
		case "on":
			if o.Interface = value; value == "" {
				return wrong("on= needs the name of an interface")
			}
		default:
			return wrong("there is no %q; there are priority=, vrid= and on=", word)
		}
	}
	return o, nil
}

// parseAddress reads an address. The bits of its network may follow, as people are used to; the interface knows them better.
func parseAddress(text string) (netip.Addr, error) {
	if !strings.Contains(text, "/") {
		return netip.ParseAddr(text)
	}
	p, err := netip.ParsePrefix(text)
	return p.Addr(), err
}

package direct

import (
	"encoding/json"
	"fmt"
	"strings"
)

// table is the name of everything that is ours in the kernel's nftables.
const table = "bramble_direct"

// seed is of the hash that divides visitors; any will do, as long as it stays.
const seed = "0x62726d62"

// frame is the table without members: sets that visitors' packets are looked up in, and chains that say how.
// It can be loaded over itself, and what is known of connections stays.
//
// A flow is a visitor's address and port with the port that it asks for. It stays with its member as long as that is one,
// however slots move: 15 minutes after its last packet, one minute when it was closed or only began.
func frame(s Spec, own MAC) string {
	r := strings.NewReplacer("TABLE", table, "LINK", `"`+s.Interface+`"`, "ADDRESS", s.Address.String(), "OWN", own.String(),
		"SLOTS", fmt.Sprint(Slots), "SEED", seed, "FLOW", "ip saddr . tcp sport . tcp dport", "TYPE", "ipv4_addr . inet_service . inet_service")
	return r.Replace(`table netdev TABLE {
	set ports { type inet_service; }
	set members { type ether_addr; counter; }
	map slots { type mark : ether_addr; }
	map flows { type TYPE : ether_addr; flags dynamic, timeout; timeout 15m; size 131072; }
	set closing { type TYPE; flags dynamic, timeout; timeout 1m; size 131072; }
	chain known { }
	chain begin { }
	chain fresh { }
	chain visit { }
	chain arrive { type filter hook ingress device LINK priority -100; policy accept; }
}
flush chain netdev TABLE known
flush chain netdev TABLE begin
flush chain netdev TABLE fresh
flush chain netdev TABLE visit
flush chain netdev TABLE arrive
table netdev TABLE {
	chain known {
		tcp flags & (fin | rst) != 0 update @closing { FLOW }
		FLOW @closing update @flows { FLOW timeout 1m : ether daddr } fwd to LINK
		update @flows { FLOW timeout 15m : ether daddr }
		fwd to LINK
	}
	chain begin {
		tcp flags & (fin | rst) == 0 add @flows { FLOW timeout 1m : ether daddr }
		fwd to LINK
	}
	chain fresh {
		meta mark set jhash ip saddr . tcp sport mod SLOTS seed SEED
		ether daddr set meta mark map @slots ether daddr @members goto begin
	}
	chain visit {
		ether saddr set OWN
		ether daddr set FLOW map @flows ether daddr @members goto known
		delete @flows { FLOW : ether daddr }
		goto fresh
	}
	chain arrive {
		ip saddr ADDRESS drop comment "answers to the front's own knocks"
		ip daddr ADDRESS tcp dport @ports goto visit
		ip daddr ADDRESS icmp type destination-unreachable icmp code frag-needed ether saddr set OWN ether daddr set ff:ff:ff:ff:ff:ff fwd to LINK comment "whose connection it is knows its member"
	}
}
`)
}

// fill replaces what is in the sets. Counters of members that stay go on.
func fill(s Spec, slots [Slots]int, before []MAC) string {
	var b strings.Builder
	fmt.Fprintf(&b, "flush set netdev %s ports\nadd element netdev %[1]s ports { ", table)
	for _, p := range s.Ports {
		fmt.Fprintf(&b, "%d, ", p)
	}
	b.WriteString("}\n")
	now := map[MAC]bool{}
	for _, m := range s.Members {
		if !m.Down {
			now[m.MAC] = true
			fmt.Fprintf(&b, "add element netdev %s members { %s }\n", table, m.MAC)
		}
	}
	for _, mac := range before {
		if !now[mac] {
			fmt.Fprintf(&b, "delete element netdev %s members { %s }\n", table, mac)
		}
	}
	fmt.Fprintf(&b, "flush map netdev %s slots\n", table)
	if len(slots) > 0 && slots[0] >= 0 { // all have a member, or none
		fmt.Fprintf(&b, "add element netdev %s slots { ", table)
		for i, at := range slots {
			fmt.Fprintf(&b, "%d : %s, ", i, s.Members[at].MAC)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// remove takes the table away, also where there is none.
func remove() string { return "add table netdev " + table + "\ndelete table netdev " + table + "\n" }

// listing is what nft -j prints of sets and maps.
type listing struct {
	Items []struct {
		Set, Map *struct {
			Name  string            `json:"name"`
			Elems []json.RawMessage `json:"elem"`
		}
	} `json:"nftables"`
}

// readCounts reads packets and bytes by member, of a set whose elements count.
func readCounts(text []byte) (map[string]Count, error) {
	var l listing
	if err := json.Unmarshal(text, &l); err != nil {
		return nil, err
	}
	all := map[string]Count{}
	for _, item := range l.Items {
		if item.Set == nil {
			continue
		}
		for _, raw := range item.Set.Elems {
			var e struct {
				Elem struct {
					Val     string
					Counter struct{ Packets, Bytes uint64 }
				}
			}
			if err := json.Unmarshal(raw, &e); err != nil {
				return nil, err
			}
			all[e.Elem.Val] = Count{Packets: e.Elem.Counter.Packets, Bytes: e.Elem.Counter.Bytes}
		}
	}
	return all, nil
}

// readFlows counts flows by member, of a map whose elements are pairs of a flow and a hardware address.
func readFlows(text []byte) (map[string]int, error) {
	var l listing
	if err := json.Unmarshal(text, &l); err != nil {
		return nil, err
	}
	all := map[string]int{}
	for _, item := range l.Items {
		if item.Map == nil {
			continue
		}
		for _, raw := range item.Map.Elems {
			var pair [2]json.RawMessage
			var mac string
			if err := json.Unmarshal(raw, &pair); err != nil {
				return nil, err
			}
			if err := json.Unmarshal(pair[1], &mac); err != nil {
				return nil, err
			}
			all[mac]++
		}
	}
	return all, nil
}

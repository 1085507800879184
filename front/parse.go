package front

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"bramble/fault"
)

// Backend is a member as people write it: http://HOST[:PORT] and, after commas, weight=N, set=N, route=NAME, name=NAME, standby,
// spare, host=NAME and path=/PREFIX. The last two put it into a pool of its own.
type Backend struct {
	Member Member `json:"member"` // without an address
	Server string `json:"server"` // host:port
	Host   string `json:"host,omitempty"`
	Path   string `json:"path,omitempty"`
}

// ParseBackend reads a backend. Errors are faults of misuse.
func ParseBackend(text string) (b Backend, err error) {
	wrong := func(format string, args ...any) (Backend, error) {
		return b, fault.New(fault.Misused, "backend %q: "+format, append([]any{text}, args...)...).
			Hint("--backend http://192.168.1.11:8080,weight=2")
	}
	at, rest, _ := strings.Cut(text, ",")
	u, err := url.Parse(at)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		return wrong("this is no address of the form http://HOST:PORT")
	case u.Scheme != "http" && u.Scheme != "h2c":
		return wrong("only http:// is spoken with members, and h2c://, which is HTTP/2 without TLS")
	case u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return wrong("an address has no user, path or query")
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	b.Server = net.JoinHostPort(u.Hostname(), port)
	b.Member.Name, b.Member.Second = b.Server, u.Scheme == "h2c"
	for rest != "" {
		var item string
		item, rest, _ = strings.Cut(rest, ",")
		if wrongly := b.set(strings.TrimSpace(item)); wrongly != "" {
			return wrong("%s", wrongly)
		}
	}
	return b, nil
}

// set takes one item after a comma; it returns what is wrong.
func (b *Backend) set(item string) string {
	key, value, has := strings.Cut(item, "=")
	n, err := strconv.Atoi(value)
	switch {
	case item == "standby":
		b.Member.Duty = Standby
	case item == "spare":
		b.Member.Duty = Spare
	case !has || value == "":
		return strconv.Quote(item) + " is none of weight=, set=, route=, name=, host=, path=, standby and spare"
	case key == "weight" && (err != nil || n < 1 || n > MaxWeight):
		return "a weight is a number from 1 to " + strconv.Itoa(MaxWeight)
	case key == "weight":
		b.Member.Weight = n
	case key == "set" && (err != nil || n < 0 || n > 99):
		return "a set is a number from 0 to 99"
	case key == "set":
		b.Member.Set = n
	case key == "route" && !plainName(value):
		return "a route has letters, digits, '-' and '_' only"
	case key == "route":
		b.Member.Route = value
	case key == "name" && !plainName(value):
		return "a name has letters, digits, '-' and '_' only"
	case key == "name":
		b.Member.Name = value
	case key == "host":
		b.Host = strings.ToLower(strings.TrimSuffix(value, "."))
	case key == "path" && value[0] != '/':
		return "a path begins with /"
	case key == "path":
		b.Path = value
	default:
		return strconv.Quote(key) + " is none of weight, set, route, name, host, path, standby and spare"
	}
	return ""
}

// plainName reports whether text can be a route or a name: a cookie holds it, and no dot, which would end it.
func plainName(text string) bool {
	for _, c := range []byte(text) {
		if !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return text != "" && len(text) <= 64
}

// Pools makes pools of backends, with what all have in common, and looks up their addresses.
func Pools(ctx context.Context, backends []Backend, common Pool) ([]Pool, error) {
	if err := common.check(); err != nil {
		return nil, err
	}
	return pooled(backends, common, func(server string) ([]netip.AddrPort, error) { return lookUp(ctx, server) })
}

// pooled makes pools of backends whose addresses are looked up.
func pooled(backends []Backend, common Pool, look func(server string) ([]netip.AddrPort, error)) ([]Pool, error) {
	var pools []Pool
	for _, b := range backends {
		addresses, err := look(b.Server)
		if err != nil {
			return nil, err
		}
		at := -1
		for i, p := range pools {
			if p.Host == b.Host && p.Path == b.Path {
				at = i
			}
		}
		if at < 0 {
			p := common
			p.Host, p.Path, p.Members = b.Host, b.Path, nil
			pools, at = append(pools, p), len(pools)
		}
		for i, a := range addresses {
			m := b.Member
			m.Address = a
			if len(addresses) > 1 {
				m.Name += "." + strconv.Itoa(i+1)
			}
			for _, other := range pools[at].Members {
				if other.Name == m.Name {
					return nil, fault.New(fault.Misused, "there are two members of the name %s", m.Name).Hint("name=ONE behind a comma")
				}
			}
			pools[at].Members = append(pools[at].Members, m)
		}
		if len(pools[at].Members) > MaxMembers {
			return nil, fault.New(fault.Misused, "a pool has at most %d members", MaxMembers)
		}
	}
	return pools, nil
}

// lookUp are the addresses of HOST:PORT. A name with several is several members, of one kind of address only.
func lookUp(ctx context.Context, server string) ([]netip.AddrPort, error) {
	host, port, _ := net.SplitHostPort(server)
	number, err := net.LookupPort("tcp", port)
	if err != nil || number == 0 {
		return nil, fault.New(fault.Misused, "backend %s: %q is no port", server, port).Hint("a number from 1 to 65535")
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fault.New(fault.NotFound, "backend %s: nobody knows the address of %s", server, host).Hint("its address in numbers")
	}
	var all []netip.AddrPort
	for _, four := range []bool{true, false} {
		for _, a := range found {
			if a = a.Unmap(); a.Is4() == four {
				all = append(all, netip.AddrPortFrom(a, uint16(number)))
			}
		}
		if len(all) > 0 {
			break
		}
	}
	slices.SortFunc(all, netip.AddrPort.Compare) // name servers turn them
	return all, nil
}

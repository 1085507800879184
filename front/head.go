package front

import (
	"bytes"
	"net/netip"
	"strconv"

	"bramble/http1"
)

// hop reports whether a field is between two neighbours only: RFC 9110, 7.6.1, and what was so before it.
func hop(f http1.Field) bool {
	switch len(f.Name) {
	case len("te"):
		return f.Is("te")
	case len("upgrade"):
		return f.Is("upgrade")
	case len("connection"):
		return f.Is("connection") || f.Is("keep-alive")
	case len("proxy-connection"):
		return f.Is("proxy-connection")
	case len("transfer-encoding"):
		return f.Is("transfer-encoding")
	case len("proxy-authenticate"):
		return f.Is("proxy-authenticate")
	case len("proxy-authorization"):
		return f.Is("proxy-authorization")
	}
	return false
}

// ours reports whether a request's field says what only a proxy may say, also for those who take '_' for '-'; or is one that
// programs behind old interfaces take for a setting of theirs (CVE-2016-5385).
func ours(f http1.Field) bool {
	switch f.Name[0] | 0x20 {
	case 'x', 'f', 'p':
	default:
		return false
	}
	switch len(f.Name) {
	case len("proxy"):
		return f.Is("proxy")
	case len("forwarded"):
		return f.Is("forwarded") || f.Is("x-real-ip") || f.Is("x_real_ip")
	case len("x-forwarded-for"):
		return f.Is("x-forwarded-for") || f.Is("x_forwarded_for")
	case len("x-forwarded-host"):
		return f.Is("x-forwarded-host") || f.Is("x_forwarded_host") || f.Is("x-forwarded-port") || f.Is("x_forwarded_port")
	case len("x-forwarded-proto"):
		return f.Is("x-forwarded-proto") || f.Is("x_forwarded_proto")
	case len("x-forwarded-server"):
		return f.Is("x-forwarded-server") || f.Is("x_forwarded_server") || f.Is("x-forwarded-prefix") || f.Is("x_forwarded_prefix")
	}
	return false
}

// named reports whether the Connection fields of a head name a field, which then is between neighbours too.
func named(h *http1.Head, f http1.Field) bool {
	for _, c := range h.Fields {
		if !c.Is("connection") {
			continue
		}
		for v, more := c.Value, true; more; {
			var option []byte
			option, v, more = bytes.Cut(v, []byte{','})
			if option = bytes.TrimSpace(option); len(option) > 0 && (http1.Field{Name: option}).Is(string(f.Name)) {
				return true
			}
		}
	}
	return false
}

// names reports whether a Connection field names more than what becomes of the connection.
func names(h *http1.Head) bool {
	for _, c := range h.Fields {
		if c.Is("connection") && !(http1.Field{Name: c.Value}).Is("close") && !(http1.Field{Name: c.Value}).Is("keep-alive") {
			return true
		}
	}
	return false
}

// appendRequest makes the request that a member gets of one without a body over plain HTTP.
func appendRequest(b []byte, r *http1.Request, trusted bool) []byte {
	b = append(append(append(append(b, r.Method...), ' '), r.Target...), " HTTP/1.1\r\nHost: "...)
	b = append(append(b, r.Host()...), "\r\n"...)
	lists := names(&r.Head)
	for _, f := range r.Fields {
		if f.Is("host") || hop(f) || ours(f) || lists && named(&r.Head, f) {
			continue
		}
		b = appendField(b, f)
	}
	b = append(b, "X-Forwarded-For: "...)
	if trusted {
		for _, f := range r.Fields {
			if f.Is("x-forwarded-for") {
				b = append(append(b, f.Value...), ", "...)
			}
		}
	}
	b = r.Remote.Addr().AppendTo(b)
	proto, host := []byte("http"), r.Host()
	if trusted {
		if v := r.Get("x-forwarded-proto"); len(v) > 0 {
			proto = v
		}
		if v := r.Get("x-forwarded-host"); len(v) > 0 {
			host = v
		}
	}
	b = append(append(b, "\r\nX-Forwarded-Proto: "...), proto...)
	b = append(append(b, "\r\nX-Forwarded-Host: "...), host...)
	return append(b, "\r\n\r\n"...)
}

func appendField(b []byte, f http1.Field) []byte {
	return append(append(append(append(b, f.Name...), ": "...), f.Value...), "\r\n"...)
}

// appendAnswer makes what a visitor gets of an answer's head, without what frames its body.
func appendAnswer(b []byte, res *http1.Response, cookie string) []byte {
	b = strconv.AppendInt(append(b, "HTTP/1.1 "...), int64(res.Status), 10)
	b = append(append(append(b, ' '), res.Reason...), "\r\n"...)
	lists := names(&res.Head)
	for _, f := range res.Fields {
		if hop(f) || f.Is("content-length") || lists && named(&res.Head, f) {
			continue
		}
		b = appendField(b, f)
	}
	if cookie != "" {
		b = append(append(append(b, "Set-Cookie: "...), cookie...), "\r\n"...)
	}
	return b
}

// claimOf is what a request says of whom it wants, in the cookie or parameter of that name: see routeOf.
func claimOf(r *http1.Request, name string) []byte {
	for _, f := range r.Fields {
		if !f.Is("cookie") {
			continue
		}
		if v := parameter(f.Value, name, ';'); v != nil {
			return v
		}
	}
	if v := parameter(r.Query, name, '&'); v != nil {
		return v
	}
	if at := bytes.IndexByte(r.Path, ';'); at >= 0 { // /page;jsessionid=1234.node1
		return parameter(r.Path[at+1:], name, ';')
	}
	return nil
}

// routeOf is the route that a claim names: what is after its last '.' where there is one, as servlet containers write it behind
// a session's name, or all of it.
func routeOf(claim []byte) []byte { return claim[bytes.LastIndexByte(claim, '.')+1:] }

// sets reports whether a Set-Cookie field sets the cookie of that name.
func sets(value []byte, name string) bool {
	return len(value) > len(name) && value[len(name)] == '=' && string(value[:len(name)]) == name
}

// parameter is the value of name=value in a list, nil without one.
func parameter(list []byte, name string, between byte) []byte {
	for len(list) > 0 {
		item := list
		if at := bytes.IndexByte(list, between); at >= 0 {
			item, list = list[:at], list[at+1:]
		} else {
			list = nil
		}
		item = bytes.TrimLeft(item, " ")
		if len(item) > len(name) && item[len(name)] == '=' && string(item[:len(name)]) == name {
			return item[len(name)+1:]
		}
	}
	return nil
}

// within reports whether an address is in one of the networks.
func within(networks []netip.Prefix, at netip.Addr) bool {
	for _, p := range networks {
		if p.Contains(at) {
			return true
		}
	}
	return false
}

package front

import (
	"slices"
	"strings"
)

// locations takes those of a server, and those within them.
func (n *nginx) locations(s *site, all []*directive, outer nginxScope) error {
	for _, d := range all {
		if d.name != "location" {
			continue
		}
		path := d.arg(len(d.args) - 1)
		modifier := ""
		if len(d.args) > 1 {
			modifier = d.arg(0)
		}
		if modifier == "=" && slices.ContainsFunc(all, func(o *directive) bool { return o.arg(0) == path+"/" && passes(o) != "" && passes(o) == passes(d) }) {
			continue // as a front's paths are
		}
		if modifier != "" && modifier != "^~" || !strings.HasPrefix(path, "/") {
			n.leave(d, "a front knows paths by how they begin")
			continue
		}
		scope := outer
		inner := n.common(d.body, &scope)
		var to *directive
		for _, one := range inner {
			switch one.name {
			case "proxy_pass":
				to = one
			case "location":
			case "return":
				if s.secure != one && len(inner) > 1 {
					n.leave(one, "a front answers nothing itself")
				}
			case "root", "alias", "try_files", "index", "autoindex", "internal":
				n.pass(one, "it is about files of this machine")
			default:
				n.other(one)
			}
		}
		if to != nil {
			if err := n.add(s, n.passTo(path, d, to, scope), false); err != nil {
				return err
			}
		} else if s.secure == nil || len(inner) != 1 || inner[0] != s.secure {
			n.leave(d, "no server is behind it: what is below %s goes where a shorter path leads, or nowhere", path)
		}
		if err := n.locations(s, inner, scope); err != nil {
			return err
		}
	}
	return nil
}

// passes is a location's proxy_pass.
func passes(d *directive) string {
	for _, one := range d.body {
		if one.name == "proxy_pass" {
			return one.arg(0)
		}
	}
	return ""
}

// passTo makes a place of a proxy_pass.
func (n *nginx) passTo(path string, location, d *directive, s nginxScope) *place {
	scheme, rest, ok := strings.Cut(d.arg(0), "://")
	server, uri, replaced := strings.Cut(rest, "/")
	switch {
	case !ok || strings.Contains(rest, "$"):
		n.leave(d, "where it leads must be said, without variables")
		return nil
	case scheme != "http":
		n.leave(d, "only http:// is spoken with members")
		return nil
	case replaced && "/"+uri != path:
		n.leave(d, "members get the path as visitors asked for it: %s cannot become /%s there", path, uri)
		return nil
	}
	if !s.host {
		n.keepsHost(d, "proxy_set_header Host $http_host")
	}
	if !strings.HasSuffix(path, "/") {
		n.pass(location, "a path ends where a segment does: %s/more belongs to it, %smore does not", path, path)
	}
	c := n.clusters[server]
	if c == nil {
		b, why := serverAt(server)
		if why != "" {
			n.leave(d, "%s: %s", server, why)
			return nil
		}
		c = &cluster{d: d, members: []Backend{b}, common: Pool{Balance: ByRequests}}
	}
	c.used = true
	made := *c
	made.common.Wait, made.common.FailOn, made.common.MaxBody = s.wait, s.failOn, s.maxBody
	return n.place(d, path, &made)
}

// nginxOwn are directives about nginx itself, or of what a front does in ways of its own: how they begin.
var nginxOwn = []string{"worker_", "pid", "error_log", "load_module", "user", "sendfile", "tcp_no", "keepalive_", "types_hash", "server_names_hash",
	"server_tokens", "default_type", "log_format", "ssl_", "proxy_http_version", "proxy_buffer", "proxy_busy", "proxy_connect_timeout",
	"proxy_send_timeout", "proxy_request_buffering", "proxy_next_upstream_", "proxy_socket_keepalive", "proxy_temp", "proxy_max_temp", "client_header",
	"client_body", "send_timeout", "reset_timedout", "large_client", "multi_accept", "use", "variables_hash", "map_hash", "resolver",
	"proxy_headers_hash", "http2_", "underscores_in_headers", "access_log", "proxy_pass_request", "charset", "open_file", "etag",
	"chunked_transfer", "pcre_jit", "daemon", "master_process", "lingering", "aio", "directio", "output_buffers", "postpone_output"}

// other takes or names what is the same at each level.
func (n *nginx) other(d *directive) {
	switch {
	case d.name == "http2" || d.name == "proxy_http_version" || d.name == "allow" && d.arg(0) == "all",
		d.name == "proxy_redirect" && (d.arg(0) == "off" || d.arg(0) == "default"), d.name == "access_log" && d.arg(0) == "off":
	case d.name == "include" && strings.HasSuffix(d.arg(0), "mime.types"):
		n.pass(d, "it is about files of this machine")
	case d.name == "include":
		n.leave(d, "what it includes is not read: import it by itself")
	case d.name == "allow" || d.name == "deny":
		n.leave(d, "a front does not choose visitors by their addresses")
	case d.name == "ssl_client_certificate" || d.name == "ssl_verify_client" || d.name == "ssl_trusted_certificate":
		n.leave(d, "a front does not ask visitors for certificates")
	case strings.HasPrefix(d.name, "gzip"):
		n.pass(d, "answers are as members make them")
	case d.name == "access_log":
		n.pass(d, "--access-log FILE notes visits, in the form combined")
	case strings.HasPrefix(d.name, "limit_"):
		n.leave(d, "--rate, --burst and --client-connections limit what one address may do")
	case slices.ContainsFunc(nginxOwn, func(own string) bool { return strings.HasPrefix(d.name, own) }):
		n.pass(d, "it is about nginx itself")
	default:
		n.leave(d, "it has no counterpart in a front")
	}
}

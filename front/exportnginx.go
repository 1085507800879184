package front

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// nginx writes what is within http { } of nginx.conf.
func (e *exporter) nginx() {
	if slices.ContainsFunc(slices.Concat(e.plain, e.secure), func(at string) bool { return strings.HasSuffix(at, ":80") }) {
		e.line("# Debian's /etc/nginx/sites-enabled/default has port 80 too: take it away.")
	}
	e.nginxLacks()
	e.line("map $http_upgrade $bramble_connection {\n\tdefault upgrade;\n\t'' '';\n}")
	trusted := e.nginxTrusted()
	if e.Rate > 0 {
		rate := fmt.Sprintf("%gr/s", e.Rate)
		if e.Rate != math.Trunc(e.Rate) {
			rate = fmt.Sprintf("%.0fr/m", max(1, e.Rate*60))
		}
		e.line("limit_req_zone $binary_remote_addr zone=bramble_rate:10m rate=%s;", rate)
	}
	if e.Conns > 0 {
		e.line("limit_conn_zone $binary_remote_addr zone=bramble_connections:10m;")
	}
	for _, p := range e.pools {
		e.nginxUpstream(p)
	}
	if e.HTTPSOnly {
		e.line("server {")
		e.nginxListen(e.plain, " default_server")
		e.line("\tserver_name _;\n\treturn 308 https://$host%s$request_uri;\n}", e.securePort())
	}
	var hosts []string
	for _, p := range e.pools {
		if !slices.Contains(hosts, p.host) {
			hosts = append(hosts, p.host)
		}
	}
	if !slices.Contains(hosts, "") {
		hosts = append(hosts, "")
	}
	for _, host := range hosts {
		e.nginxServer(host, trusted)
	}
}

// nginxLacks notes what nginx does not do.
func (e *exporter) nginxLacks() {
	if c := e.Common.Check; c.Path != "" {
		e.lack(true, "--check", "members are not looked at: one that fails visitors three times in 10 s is left alone for 10 s")
	} else if c.active() {
		e.lack(false, "--every", "members are not looked at: one that fails visitors three times in 10 s is left alone for 10 s")
	}
	if e.Common.Sticky != "" {
		e.lack(true, "--sticky", "it makes no such cookie; ip_hash, in each upstream, has visitors stay by their addresses")
	}
	if e.Common.Slow > 0 {
		e.lack(true, "--slow-start", "who comes back gets all of its share at once")
	}
	if e.Metrics != "" {
		e.lack(true, "--metrics", "there are none")
	}
	if e.AccessLog != "" && e.LogJSON {
		e.lack(true, "--log-json", "visits are noted in the form combined")
	}
	if len(e.Proxied) > 0 {
		e.lack(true, "--proxy-protocol", "a port takes its header from everybody or from nobody: here from nobody")
	}
	if len(e.Cert) > 1 {
		e.lack(true, "--cert", "a certificate is not chosen by its names: each server has the first one")
	}
}

// nginxTrusted writes what says whose X-Forwarded fields are passed on, if anybody's.
func (e *exporter) nginxTrusted() bool {
	if len(e.Trusted) == 0 {
		return false
	}
	e.line("geo $bramble_trusted {\n\tdefault 0;")
	for _, p := range e.Trusted {
		e.line("\t%s 1;", p)
	}
	e.line("}\nmap $bramble_trusted $bramble_for {\n\t0 $remote_addr;\n\t1 $proxy_add_x_forwarded_for;\n}")
	for _, field := range [][2]string{{"proto", "$scheme"}, {"host", "$http_host"}} {
		e.line("map $bramble_trusted:$http_x_forwarded_%s $bramble_%[1]s {\n\tdefault %s;\n\t\"~^1:(.+)$\" $1;\n}", field[0], field[1])
	}
	return true
}

// nginxUpstream writes a pool's members.
func (e *exporter) nginxUpstream(p exported) {
	backup := e.backup(p)
	e.line("upstream %s {\n\tzone %s 256k;", p.name, p.name)
	switch e.Common.Balance {
	case ByRequests:
	case ByTraffic:
		e.lack(true, "--balance bytraffic", "least_conn is the nearest: who has the fewest requests under way")
		e.line("\tleast_conn;")
	case ByBusyness:
		e.line("\tleast_conn;")
	default:
		if slices.ContainsFunc(p.members, backup) {
			e.lack(false, "--balance two-choices", "it is not done with backups: least_conn is the nearest")
			e.line("\tleast_conn;")
		} else {
			e.line("\trandom two least_conn;")
		}
	}
	for _, b := range p.members {
		text := "\tserver " + b.Server
		if b.Member.Second {
			e.lack(true, "h2c://"+b.Server, "it asks members in HTTP/1 only")
		}
		if b.Member.Weight > 1 {
			text += fmt.Sprintf(" weight=%d", b.Member.Weight)
		}
		text += " max_fails=3"
		if backup(b) {
			text += " backup"
		}
		e.line("%s;", text)
	}
	e.line("\tkeepalive 64;\n}")
}

func (e *exporter) nginxListen(doors []string, options string) {
	for _, at := range doors {
		for _, a := range addresses(at) {
			e.line("\tlisten %s%s;", a, options)
		}
	}
}

// nginxServer writes what answers for a host.
func (e *exporter) nginxServer(host string, trusted bool) {
	e.line("server {")
	first, name := "", host
	if host == "" {
		first, name = " default_server", "_"
	}
	if !e.HTTPSOnly {
		e.nginxListen(e.plain, first)
	}
	e.nginxListen(e.secure, " ssl http2"+first)
	e.line("\tserver_name %s;", name)
	if len(e.secure) > 0 {
		e.line("\tssl_certificate %s;\n\tssl_certificate_key %s;", e.Cert[0], e.Key[0])
	}
	e.nginxCommon(trusted)
	paths := map[string]bool{}
	for _, p := range e.pools { // those without a host are the last, for what the host itself has not
		if p.host != host && p.host != "" || paths[p.path] {
			continue
		}
		paths[p.path] = true
		if p.path != "" {
			e.line("\tlocation = %s { proxy_pass http://%s; }", p.path, p.name)
		}
		e.line("\tlocation %s/ { proxy_pass http://%s; }", p.path, p.name)
	}
	if !paths[""] {
		e.line("\tlocation / { return 404; }")
	}
	e.line("}")
}

// nginxCommon writes what is the same for all paths.
func (e *exporter) nginxCommon(trusted bool) {
	from, proto, asked := "$remote_addr", "$scheme", "$http_host"
	if trusted {
		from, proto, asked = "$bramble_for", "$bramble_proto", "$bramble_host"
	}
	e.line("\tproxy_http_version 1.1;\n\tproxy_buffering off;\n\tproxy_request_buffering off;\n\tclient_max_body_size %s;", cmp.Or(size(e.Common.MaxBody), "0"))
	for _, f := range [][2]string{{"Host", "$http_host"}, {"Connection", "$bramble_connection"}, {"Upgrade", "$http_upgrade"},
		{"X-Forwarded-For", from}, {"X-Forwarded-Proto", proto}, {"X-Forwarded-Host", asked},
		{"X-Real-IP", `""`}, {"Forwarded", `""`}, {"Proxy", `""`}} {
		e.line("\tproxy_set_header %s %s;", f[0], f[1])
	}
	next := "error timeout"
	for _, status := range e.Common.FailOn {
		switch status {
		case 403, 404, 429, 500, 502, 503, 504:
			next += fmt.Sprintf(" http_%d", status)
		default:
			e.lack(true, "--fail-on", "%d does not count as a failure", status)
		}
	}
	e.line("\tproxy_connect_timeout 2s;\n\tproxy_read_timeout %s;\n\tproxy_next_upstream %s;\n\tproxy_next_upstream_tries 3;", e.wait(), next)
	if e.Rate > 0 {
		e.line("\tlimit_req zone=bramble_rate burst=%d nodelay;\n\tlimit_req_status 429;", max(e.Burst, 1))
	}
	if e.Conns > 0 {
		e.line("\tlimit_conn bramble_connections %d;", e.Conns)
	}
	switch e.AccessLog {
	case "":
		e.line("\taccess_log off;")
	case "-":
		e.line("\taccess_log /dev/stdout combined;")
	default:
		e.line("\taccess_log %s combined;", e.AccessLog)
	}
}

package front

import (
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
)

// haproxy writes all of haproxy.cfg.
func (e *exporter) haproxy() {
	e.line("global\n\tssl-load-extra-del-ext")
	switch e.AccessLog {
	case "":
	case "-":
		e.line("\tlog stdout format raw local0")
	default:
		e.lack(true, "--access-log", "it writes to no file: visits go to the system's log, as local0")
		e.line("\tlog /dev/log local0")
	}
	if e.AccessLog != "" {
		e.lack(true, "--access-log", "visits are noted in HAProxy's own form")
	}
	e.line("\ndefaults\n\tmode http\n\ttimeout connect 2s\n\ttimeout client 60s\n\ttimeout server %s\n\ttimeout http-request 10s\n\ttimeout tunnel 1h", e.wait())
	e.line("\tretries 2\n\toption redispatch 1\n\tretry-on conn-failure empty-response%s", e.haproxyRetries())
	if e.AccessLog != "" {
		e.line("\tlog global\n\toption httplog")
	}
	if e.HTTPSOnly {
		e.haproxyFrontend("plain")
		e.haproxyBind(e.plain, "")
		e.line("\thttp-request redirect code 308 prefix https://%%[req.hdr(host),field(1,:)]%s", e.securePort())
	}
	e.haproxyFrontend("visitors")
	if !e.HTTPSOnly {
		e.haproxyBind(e.plain, "")
	}
	if len(e.secure) > 0 {
		options := " ssl alpn h2,http/1.1"
		for i, cert := range e.Cert {
			options += " crt " + cert
			if at := strings.LastIndexByte(cert, '.'); e.Key[i] != cert && (at < 0 || e.Key[i] != cert[:at]+".key") {
				e.lack(true, "--key "+e.Key[i], "the key of %s is in that file, or beside it with .key at the end of its name", cert)
			}
		}
		e.haproxyBind(e.secure, options)
	}
	e.haproxyLimits()
	e.haproxyBody()
	e.haproxyFields()
	e.haproxyRoutes()
	for _, p := range e.pools {
		e.haproxyBackend(p)
	}
	e.line("\nbackend nobody\n\thttp-request deny deny_status 404")
	if e.Metrics != "" {
		e.lack(false, "--metrics", "they have HAProxy's own names")
		e.line("\nfrontend metrics\n\tbind %s\n\thttp-request use-service prometheus-exporter if { path /metrics }\n\thttp-request deny deny_status 404", e.Metrics)
	}
}

// haproxyRetries are the statuses of --fail-on that it has.
func (e *exporter) haproxyRetries() (text string) {
	for _, status := range e.Common.FailOn {
		switch status {
		case 401, 403, 404, 408, 425, 500, 501, 502, 503, 504:
			text += fmt.Sprintf(" %d", status)
		default:
			e.lack(true, "--fail-on", "%d does not count as a failure", status)
		}
	}
	return text
}

// haproxyFrontend begins a frontend.
func (e *exporter) haproxyFrontend(name string) {
	e.line("\nfrontend %s", name)
	for _, p := range e.Proxied {
		e.line("\ttcp-request connection expect-proxy layer4 if { src %s }", p)
	}
}

func (e *exporter) haproxyBind(doors []string, options string) {
	for _, at := range doors {
		if host, port, _ := net.SplitHostPort(at); host == "" {
			at = ":::" + port + " v4v6"
		}
		e.line("\tbind %s%s", at, options)
	}
}

// haproxyLimits writes what one address may do.
func (e *exporter) haproxyLimits() {
	if len(e.Trusted) > 0 {
		text := "\tacl trusted src"
		for _, p := range e.Trusted {
			text += " " + p.String()
		}
		e.line("%s", text)
	}
	when := "connection"
	if len(e.Proxied) > 0 { // who the visitor is comes later
		when = "session"
	}
	if e.Rate > 0 || e.Conns > 0 {
		e.line("\tstick-table type ipv6 size 100k expire 1m store conn_cur,http_req_rate(10s)\n\ttcp-request %s track-sc0 src", when)
	}
	if e.Conns > 0 {
		e.line("\ttcp-request %s reject if { sc_conn_cur(0) gt %d }", when, e.Conns)
	}
	if e.Rate > 0 {
		unless := ""
		if len(e.Trusted) > 0 {
			unless = " !trusted"
		}
		e.lack(false, "--rate", "it is counted over 10 s")
		e.line("\thttp-request deny deny_status 429 if { sc_http_req_rate(0) gt %d }%s", int64(math.Ceil(min(e.Rate*10, 1e9)))+int64(e.Burst), unless)
	}
}

// haproxyBody writes how large requests may say they are.
func (e *exporter) haproxyBody() {
	if most := e.Common.MaxBody; most > 0 {
		e.lack(true, "--max-body", "only what Content-Length says is looked at: a chunked body, and one of HTTP/2 that does not say its length, may be of any size")
		e.line("\thttp-request deny deny_status 413 if { req.hdr_val(content-length) gt %d }", most)
	}
}

// haproxyFields writes what members learn of visitors.
func (e *exporter) haproxyFields() {
	unless := ""
	if len(e.Trusted) > 0 {
		unless = " if !trusted"
	}
	for _, name := range []string{"Forwarded", "Proxy", "X-Real-IP", "X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-Prefix"} {
		e.line("\thttp-request del-header %s", name)
	}
	for _, name := range []string{"For", "Proto", "Host"} {
		e.line("\thttp-request del-header X-Forwarded-%s%s", name, unless)
	}
	e.line("\toption forwardfor")
	e.line("\thttp-request set-header X-Forwarded-Proto %%[ssl_fc,iif(https,http)] unless { req.hdr(X-Forwarded-Proto) -m found }")
	e.line("\thttp-request set-header X-Forwarded-Host %%[req.hdr(host)] unless { req.hdr(X-Forwarded-Host) -m found }")
}

// haproxyRoutes writes which pool answers for what.
func (e *exporter) haproxyRoutes() {
	rest := "nobody"
	for _, p := range e.pools {
		host := ""
		if p.host != "" {
			host = "{ req.hdr(host),field(1,:),lower -m str " + p.host + " }"
		}
		switch {
		case p.path != "":
			e.line("\tuse_backend %s if %s { path %s }\n\tuse_backend %[1]s if %[2]s { path_beg %[3]s/ }", p.name, host, p.path)
		case host != "":
			e.line("\tuse_backend %s if %s", p.name, host)
		default:
			rest = p.name
		}
	}
	e.line("\tdefault_backend %s", rest)
}

// haproxyBackend writes a pool's members.
func (e *exporter) haproxyBackend(p exported) {
	backup := e.backup(p)
	e.line("\nbackend %s\n\thttp-request disable-l7-retry unless METH_GET", p.name)
	switch e.Common.Balance {
	case ByRequests:
		e.line("\tbalance roundrobin")
	case ByTraffic:
		e.lack(true, "--balance bytraffic", "leastconn is the nearest: who has the fewest requests under way")
		e.line("\tbalance leastconn")
	case ByBusyness:
		e.line("\tbalance leastconn")
	default:
		e.line("\tbalance random(2)")
	}
	if slices.ContainsFunc(p.members, backup) {
		e.line("\toption allbackups")
	}
	if e.Common.Sticky != "" {
		e.lack(false, "--sticky", "the name is that of a cookie only, not of a parameter")
		e.line("\tcookie %s insert httponly attr SameSite=Lax", e.Common.Sticky)
	}
	check := ""
	if c := e.Common.Check.filled(); c.active() {
		check = fmt.Sprintf(" check inter %s rise %d fall %d on-marked-down shutdown-sessions", milliseconds(c.Interval), c.Rise, max(c.Fall, 1))
		e.line("\ttimeout check %s", milliseconds(c.Timeout))
		if c.Path != "" {
			e.line("\toption httpchk GET %s", c.Path)
		}
	} else if e.Common.Check.Path != "" {
		e.lack(true, "--check", "members are not looked at with --every 0")
	}
	if e.Common.Slow > 0 {
		check += " slowstart " + milliseconds(e.Common.Slow)
	}
	for i, b := range p.members {
		name := b.Member.Name
		if strings.ContainsAny(name, "[]") {
			name = fmt.Sprintf("member.%d", i+1)
		}
		text := fmt.Sprintf("\tserver %s %s", name, b.Server)
		if b.Member.Second {
			text += " proto h2"
		}
		if b.Member.Weight > 1 {
			text += fmt.Sprintf(" weight %d", b.Member.Weight)
		}
		if e.Common.Sticky != "" && b.Member.Route != "" {
			text += " cookie " + b.Member.Route
		}
		if backup(b) {
			text += " backup"
		}
		e.line("%s%s", text, check)
	}
}

package front

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"bramble/term"
)

// nginx reads a configuration of nginx.
type nginx struct {
	importer
	clusters map[string]*cluster
	sites    []*site
}

// nginxScope is what blocks within others begin with.
type nginxScope struct {
	wait      time.Duration
	host      bool // members get the visitor's Host
	failOn    []int
	maxBody   int64
	cert, key string
}

// ImportNginx reads a configuration of nginx, the whole one or what is included in it. Errors are faults of misuse.
func ImportNginx(text string) (Imported, error) {
	if err := readable(text, "nginx"); err != nil {
		return Imported{}, err
	}
	tree, err := nginxTree(text)
	if err != nil {
		return Imported{}, err
	}
	n := &nginx{clusters: map[string]*cluster{}}
	if err := n.http(tree, nginxScope{}); err != nil {
		return Imported{}, err
	}
	for _, c := range n.clusters {
		if !c.used {
			n.pass(c.d, "no line that was taken leads to it")
		}
	}
	return n.setups(n.sites, "nginx")
}

// http takes what is outside of servers.
func (n *nginx) http(all []*directive, s nginxScope) error {
	all = n.common(all, &s)
	for _, d := range all {
		if d.name == "upstream" {
			n.upstream(d)
		}
	}
	for _, d := range all {
		switch d.name {
		case "upstream":
		case "http":
			if err := n.http(d.body, s); err != nil {
				return err
			}
		case "server":
			if err := n.server(d, s); err != nil {
				return err
			}
		case "stream", "mail":
			n.leave(d, "a front speaks HTTP only")
		case "map", "geo":
			n.pass(d, "a front has no variables")
		case "events", "types":
			n.pass(d, "it is about nginx itself")
		default:
			n.other(d)
		}
	}
	return nil
}

// common takes what may be at any level, and returns the rest.
func (n *nginx) common(all []*directive, s *nginxScope) (rest []*directive) {
	if slices.ContainsFunc(all, func(d *directive) bool { return d.name == "proxy_set_header" }) {
		s.host = false // one takes the place of all further out
	}
	for _, d := range all {
		switch d.name {
		case "proxy_set_header":
			n.field(d, s)
		case "proxy_read_timeout":
			wait, ok := lasting(d.arg(0))
			if !ok {
				n.leave(d, "this is no time")
				continue
			}
			s.wait = wait
		case "proxy_next_upstream":
			n.nextUpstream(d, s)
		case "client_max_body_size":
			n.maxBody(d, s)
		case "ssl_certificate", "ssl_certificate_key":
			file := d.arg(0)
			if !printable(file) || strings.Contains(file, "$") {
				n.leave(d, "this is no file's name that can be typed as it is")
				continue
			}
			n.relative(d, file)
			if d.name == "ssl_certificate" {
				s.cert = file
			} else {
				s.key = file
			}
		default:
			rest = append(rest, d)
		}
	}
	return rest
}

// field takes a field that members get.
func (n *nginx) field(d *directive, s *nginxScope) {
	value := strings.NewReplacer("{", "", "}", "").Replace(d.arg(1))
	switch strings.ToLower(d.arg(0)) {
	case "host":
		switch value {
		case "$host", "$http_host", "$host:$server_port", "$host:$proxy_port", "$server_name":
			s.host = true
		default:
			n.leave(d, "members get the Host that visitors asked for")
		}
	case "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "connection", "upgrade", "proxy", "te":
	case "x-real-ip":
		if value != "" {
			n.leave(d, "members get the visitor's address in X-Forwarded-For alone")
		}
	case "forwarded", "x-forwarded-port", "x-forwarded-server", "x-forwarded-prefix":
		if value != "" {
			n.leave(d, "members get X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host alone")
		}
	default:
		n.leave(d, "a front adds no fields")
	}
}

// maxBody takes how large a body may be.
func (n *nginx) maxBody(d *directive, s *nginxScope) {
	most, err := term.ParseBytes(d.arg(0))
	if err != nil || most > math.MaxInt64/2 {
		n.leave(d, "this is no size")
		return
	}
	s.maxBody = most
}

// nextUpstream takes when another member is asked.
func (n *nginx) nextUpstream(d *directive, s *nginxScope) {
	s.failOn = nil
	for _, when := range d.args {
		status, err := strconv.Atoi(strings.TrimPrefix(when, "http_"))
		switch {
		case err == nil && status >= 100 && status <= 599:
			s.failOn = append(s.failOn, status)
		case when == "off":
			n.leave(d, "what does no harm when it is asked twice is asked elsewhere after a failure")
		case when == "non_idempotent":
			n.leave(d, "what may do harm when it is asked twice is not")
		case when != "error" && when != "timeout" && when != "invalid_header":
			n.leave(d, "%s has no counterpart in a front", when)
		}
	}
}

// upstream takes a group of servers.
func (n *nginx) upstream(d *directive) {
	c := &cluster{d: d, common: Pool{Balance: ByRequests}}
	if n.clusters[d.arg(0)] != nil {
		n.leave(d, "another upstream before it has this name")
		return
	}
	n.clusters[d.arg(0)] = c
	for _, one := range d.body {
		switch one.name {
		case "server":
			n.member(c, one)
		case "least_conn":
			c.common.Balance = ByBusyness
		case "random":
			c.common.Balance = TwoChoices
			if one.arg(0) != "two" || one.arg(1) != "" && one.arg(1) != "least_conn" {
				n.leave(one, "--balance two-choices is the nearest: of two at random the one that is less busy")
			}
		case "ip_hash", "hash":
			n.leave(one, "visitors stay with a member by a cookie: --sticky NAME, and route= behind each --backend")
		case "sticky", "sticky_cookie_insert":
			n.leave(one, "--sticky NAME does that, with route= behind each --backend")
		case "keepalive", "keepalive_timeout", "keepalive_requests", "keepalive_time", "zone", "resolver":
		default:
			n.leave(one, "it has no counterpart in a front")
		}
	}
}

// member takes a server of an upstream.
func (n *nginx) member(c *cluster, d *directive) {
	b, why := serverAt(d.arg(0))
	if why != "" {
		n.leave(d, "%s", why)
		return
	}
	for _, param := range d.args[1:] {
		key, value, _ := strings.Cut(param, "=")
		switch key {
		case "weight":
			if w, err := strconv.Atoi(value); err == nil && w >= 1 && w <= 1_000_000 {
				b.Member.Weight = 100 * w
			} else {
				n.leave(d, "%s is no weight", param)
			}
		case "backup":
			b.Member.Duty = Standby
		case "down":
			n.leave(d, "the member gets no visitors, so it is left out")
			return
		case "route":
			if b.Member.Route = value; !plainName(value) {
				b.Member.Route = ""
				n.leave(d, "%s: a route has letters, digits, '-' and '_' only", param)
			}
		case "max_fails", "fail_timeout":
			n.pass(d, "%s=: a member that is gone is back as soon as it is well, which is looked at", key)
		case "resolve":
			n.pass(d, "a name is looked up when a front starts")
		default:
			n.leave(d, "%s has no counterpart in a front", param)
		}
	}
	c.members = append(c.members, b)
}

// server takes a server block.
func (n *nginx) server(d *directive, s nginxScope) error {
	one := &site{d: d}
	n.sites = append(n.sites, one)
	all := n.common(d.body, &s)
	one.cert, one.key = s.cert, s.key
	if one.cert == "" || one.key == "" {
		one.cert, one.key = "", ""
	}
	legacy := slices.ContainsFunc(all, func(d *directive) bool { return d.name == "ssl" && on(d) })
	for _, d := range all {
		switch d.name {
		case "listen":
			n.listen(one, d, legacy)
		case "server_name":
			for _, name := range d.args {
				if name = strings.TrimSuffix(strings.ToLower(name), "."); name == "_" || name == "" {
				} else if !hostName(name) {
					n.leave(d, "%s: a front knows whole names only", name)
				} else if !slices.Contains(one.names, name) {
					one.names = append(one.names, name)
				}
			}
		case "return":
			n.gives(one, d)
		case "if":
			if arg := strings.TrimPrefix(d.arg(0), "("); len(d.body) == 1 && d.body[0].name == "return" && (arg == "$scheme" || arg == "$host" || arg == "$https") {
				n.gives(one, d.body[0])
			} else {
				n.leave(d, "a front has no conditions")
			}
		case "location":
			if strings.HasPrefix(d.arg(0), "/") && trimSlash(d.arg(0)) == "" && len(d.body) == 1 && d.body[0].name == "return" {
				n.gives(one, d.body[0])
			}
		case "ssl", "root", "index":
		default:
			n.other(d)
		}
	}
	if len(one.doors) == 0 && !slices.ContainsFunc(all, func(d *directive) bool { return d.name == "listen" }) {
		one.doors = []door{{":80", legacy}}
	}
	if err := n.room(1 + len(one.doors)); err != nil {
		return err
	}
	if one.secure != nil && !slices.ContainsFunc(one.doors, func(d door) bool { return d.tls }) {
		return nil
	}
	if err := n.locations(one, all, s); err != nil {
		return err
	}
	if files := slices.IndexFunc(all, func(d *directive) bool { return d.name == "root" }); files >= 0 {
		n.files(one, all[files])
	}
	return nil
}

// listen takes where a server's visitors come.
func (n *nginx) listen(s *site, d *directive, tls bool) {
	text := d.arg(0)
	if strings.HasSuffix(text, "]") || doorAt(text) == "" && !strings.Contains(text, ":") {
		text += ":80" // an address alone
	}
	at := doorAt(text)
	if at == "" {
		n.leave(d, "a front listens at [ADDRESS:]PORT")
		return
	}
	for _, option := range d.args[min(1, len(d.args)):] {
		switch key, _, _ := strings.Cut(option, "="); key {
		case "ssl":
			tls = true
		case "default_server", "default":
			s.first = true
		case "quic":
			n.leave(d, "a front speaks HTTP/1 and HTTP/2")
			return
		case "proxy_protocol":
			n.leave(d, "a front takes it from those whom --proxy-protocol names, not from everybody")
		case "http2", "ipv6only", "reuseport", "deferred", "backlog", "rcvbuf", "sndbuf", "so_keepalive", "fastopen", "bind", "accept_filter", "setfib":
		default:
			n.leave(d, "%s has no counterpart in a front", option)
		}
	}
	if !slices.Contains(s.doors, door{at, tls}) {
		s.doors = append(s.doors, door{at, tls})
	}
}

// gives takes a return.
func (n *nginx) gives(s *site, d *directive) {
	to, ok := strings.CutPrefix(d.arg(len(d.args)-1), "https://")
	host, rest, _ := strings.Cut(to, "$request_uri")
	host, port, _ := strings.Cut(host, ":")
	switch {
	case ok && rest == "" && (host == "$host" || host == "$http_host" || host == "$server_name" || slices.Contains(s.names, host)):
		s.secure, s.port = d, strings.TrimSuffix(":"+port, ":")
	case len(d.args) == 1 && (d.arg(0) == "404" || d.arg(0) == "444"): // as a front answers where nobody is
	default:
		n.leave(d, "a front sends visitors to https:// and the name that they came to only")
	}
}

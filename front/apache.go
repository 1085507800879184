package front

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// apache reads a configuration of Apache's mod_proxy_balancer.
type apache struct {
	importer
	listens []string
	cookies map[string]bool // that a Header line makes with a member's route
}

// apacheServer is the main server or a virtual host.
type apacheServer struct {
	site
	clusters map[string]*cluster
	passes   []apachePass // in their order
	located  []apachePass // those of <Location>
	wait     time.Duration
	maxBody  *int64 // nil: nothing is said
	host     bool   // members get the visitor's Host
	tls      bool
	goes     []*directive // redirects of everything
	files    *directive   // DocumentRoot
	when     string       // the RewriteCond before a RewriteRule: "", "plain", "upgrade" or "other"
}

// apachePass is a ProxyPass.
type apachePass struct {
	d      *directive
	path   string
	target string
	params []string

	maxBody *int64 // of its <Location>
}

// ImportApache reads a configuration of Apache 2.4. Errors are faults of misuse.
func ImportApache(text string) (Imported, error) {
	if err := readable(text, "Apache"); err != nil {
		return Imported{}, err
	}
	tree, err := apacheTree(text)
	if err != nil {
		return Imported{}, err
	}
	a := &apache{cookies: map[string]bool{}}
	a.findCookies(tree)
	main := &apacheServer{clusters: map[string]*cluster{}}
	main.d = &directive{name: "the main server", line: 1}
	var hosts []*apacheServer
	for _, d := range a.flat(tree) {
		switch strings.ToLower(d.name) {
		case "<virtualhost":
			s := &apacheServer{clusters: map[string]*cluster{}}
			s.d = d
			for _, inner := range a.flat(d.body) {
				a.take(s, inner)
			}
			hosts = append(hosts, s)
		case "listen":
			if at := doorAt(d.arg(0)); at == "" {
				a.leave(d, "this is no [ADDRESS:]PORT")
			} else if !slices.Contains(a.listens, at) && a.room(1) == nil {
				a.listens = append(a.listens, at)
			}
		default:
			a.take(main, d)
		}
	}
	var sites []*site
	for _, s := range append(hosts, main) {
		if err := a.doors(s, main, hosts); err != nil {
			return Imported{}, err
		}
		if err := a.finish(s, main); err != nil {
			return Imported{}, err
		}
		sites = append(sites, &s.site)
	}
	return a.setups(sites, "Apache")
}

// findCookies notes the cookies that lines make for sticky visitors, wherever they are.
func (a *apache) findCookies(all []*directive) {
	for _, d := range all {
		if cookie, ok := routeCookie(d); ok {
			a.cookies[cookie] = true
		}
		a.findCookies(d.body)
	}
}

// routeCookie is the cookie of Header add Set-Cookie "NAME=.%{BALANCER_WORKER_ROUTE}e; path=/".
func routeCookie(d *directive) (name string, ok bool) {
	at := slices.IndexFunc(d.args, func(s string) bool { return strings.EqualFold(s, "set-cookie") })
	if !strings.EqualFold(d.name, "header") || at < 0 || !strings.Contains(d.arg(at+1), "BALANCER_WORKER_ROUTE") {
		return "", false
	}
	name, _, ok = strings.Cut(d.arg(at+1), "=")
	return name, ok
}

// doors are where a server's visitors come.
func (a *apache) doors(s, main *apacheServer, hosts []*apacheServer) error {
	add := func(at string) error {
		if at == "" {
			return nil
		}
		s.doors = append(s.doors, door{at, s.tls})
		return a.room(1)
	}
	if s == main {
		listens := a.listens
		if len(listens) == 0 && len(hosts) == 0 {
			listens = []string{":80"}
		}
		for _, at := range listens {
			taken := slices.ContainsFunc(hosts, func(h *apacheServer) bool {
				return slices.ContainsFunc(h.doors, func(d door) bool { return d.at == at })
			})
			if !taken {
				if err := add(at); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for _, text := range s.d.args {
		host, port := text, ""
		if at := strings.LastIndexByte(text, ':'); at > strings.LastIndexByte(text, ']') {
			host, port = text[:at], strings.TrimPrefix(text[at:], ":*")
		}
		listens := slices.DeleteFunc(slices.Clone(a.listens), func(l string) bool { return port != "" && portOf(l) != port })
		if len(listens) == 0 {
			listens = []string{cmp.Or(port, ":80")}
		}
		for _, l := range listens {
			at := doorAt(host + portOf(l))
			if at == "" {
				a.leave(s.d, "%s is no address", text)
			} else if at[0] == ':' {
				at = l
			}
			if err := add(at); err != nil {
				return err
			}
		}
	}
	return nil
}

// finish makes a server's places: what <Location> says counts first, the last one before others, then its own, then the main server's.
func (a *apache) finish(s, main *apacheServer) error {
	var passes []apachePass
	for _, from := range []*apacheServer{s, main} {
		for i := range from.located {
			passes = append(passes, from.located[len(from.located)-1-i])
		}
		if passes = append(passes, from.passes...); s == main {
			break
		}
	}
	for _, d := range s.goes {
		to, err := url.Parse(d.args[len(d.args)-1])
		if err == nil && (len(s.names) == 0 || slices.Contains(s.names, strings.ToLower(to.Hostname()))) {
			s.secure, s.port = d, strings.TrimSuffix(":"+to.Port(), ":")
		} else {
			a.leave(d, "--https-only sends visitors to the name that they came to")
		}
	}
	if len(s.doors) == 0 || s.secure != nil && !s.tls {
		return nil
	}
	for _, p := range passes {
		if err := a.room(1); err != nil {
			return err
		}
		if err := a.add(&s.site, a.resolve(s, main, p), true); err != nil {
			return err
		}
	}
	if s.files != nil {
		a.files(&s.site, s.files)
	}
	return nil
}

// resolve makes a place of a ProxyPass.
func (a *apache) resolve(s, main *apacheServer, p apachePass) *place {
	if p.target == "!" {
		a.leave(p.d, "what is below %s goes to the members as well: a front has no exceptions", p.path)
		return nil
	}
	scheme, rest, ok := strings.Cut(p.target, "://")
	server, path, slash := strings.Cut(rest, "/")
	if path = "/" + path; !ok || trimSlash(path) != trimSlash(p.path) && (slash || p.path != "/") {
		a.leave(p.d, "members get the path as visitors asked for it: %s cannot become %s there", p.path, p.target)
		return nil
	}
	if !s.host && !main.host {
		a.keepsHost(p.d, "ProxyPreserveHost On")
	}
	c := &cluster{d: p.d, common: Pool{Balance: ByRequests}}
	if strings.EqualFold(scheme, "balancer") {
		name := strings.ToLower(server)
		if c = s.clusters[name]; c == nil {
			c = main.clusters[name]
		}
		if c == nil {
			a.leave(p.d, "there is no <Proxy balancer://%s> in this file", server)
			return nil
		}
		for _, param := range p.params {
			a.set(c, p.d, param)
		}
	} else {
		a.member(c, p.d, p.target, p.params)
	}
	for _, wait := range []time.Duration{s.wait, main.wait} {
		if c.common.Wait == 0 {
			c.common.Wait = wait
		}
	}
	made := a.place(p.d, p.path, c)
	if most := cmp.Or(p.maxBody, s.maxBody, main.maxBody); made != nil && most != nil {
		made.common.MaxBody = *most
	}
	return made
}

// member adds a BalancerMember.
func (a *apache) member(c *cluster, d *directive, target string, params []string) {
	scheme, server, _ := strings.Cut(target, "://")
	server, path, _ := strings.Cut(server, "/")
	switch strings.ToLower(scheme) {
	case "http", "ws":
	default:
		a.leave(d, "only http:// is spoken with members")
		return
	}
	b, why := serverAt(server)
	if why != "" {
		a.leave(d, "%s: %s", server, why)
		return
	}
	if path != "" && strings.EqualFold(d.name, "balancermember") {
		a.leave(d, "members get the path as visitors asked for it: /%s cannot go before it", path)
		return
	}
	for _, param := range params {
		if !a.memberParam(c, &b, d, param) {
			return
		}
	}
	c.members = append(c.members, b)
}

// memberParam takes a parameter of a member; false is that nobody may be asked there.
func (a *apache) memberParam(c *cluster, b *Backend, d *directive, param string) bool {
	key, value, _ := strings.Cut(param, "=")
	n, err := strconv.Atoi(value)
	switch key = strings.ToLower(key); key {
	case "loadfactor":
		f, err := strconv.ParseFloat(value, 64)
		if err != nil || !(f >= 1 && f <= 100) {
			a.leave(d, "loadfactor=%s is no number from 1 to 100", value)
			return true
		}
		b.Member.Weight = int(f*100 + 0.5)
	case "lbset":
		if err != nil || n < 0 || n > 99 {
			a.leave(d, "lbset=%s is no number from 0 to 99", value)
			return true
		}
		b.Member.Set = n
	case "route":
		if !plainName(value) {
			a.leave(d, "route=%s: a route has letters, digits, '-' and '_' only", value)
			return true
		}
		b.Member.Route = value
	case "status":
		return a.status(b, d, value)
	case "timeout":
		wait, ok := lasting(value)
		if !ok {
			a.leave(d, "timeout=%s is no time", value)
		} else if c.common.Wait != 0 && c.common.Wait != wait {
			a.leave(d, "timeout=%s: all members have one --timeout: the longest one is taken", value)
		}
		c.common.Wait = max(c.common.Wait, wait)
	case "hcuri":
		if !pathName(value) {
			a.leave(d, "hcuri=%s is no path", value)
			return true
		}
		c.common.Check.Path = value
	case "hcinterval":
		every, ok := lasting(value)
		if !ok {
			a.leave(d, "hcinterval=%s is no time", value)
		}
		c.common.Check.Interval = every
	case "hcmethod", "failontimeout", "flushpackets", "upgrade":
	case "retry", "ping", "hcpasses", "hcfails":
		a.pass(d, "%s=: a member that is gone is back as soon as it is well, which is looked at", key)
	case "max", "min", "smax", "acquire", "ttl", "keepalive", "disablereuse", "enablereuse", "connectiontimeout", "iobuffersize",
		"receivebuffersize", "responsefieldsize", "flushwait", "addressttl":
		a.pass(d, "%s=: a front keeps connections as it needs them", key)
	default:
		a.leave(d, "%s= has no counterpart in a front", key)
	}
	return true
}

// status takes +H and the like; false is that the member is left out.
func (a *apache) status(b *Backend, d *directive, text string) bool {
	on, asked := true, true
	for _, c := range strings.ToUpper(text) {
		switch {
		case c == '+' || c == '-':
			on = c == '+'
		case c == 'H' && on:
			b.Member.Duty = Standby
		case c == 'R' && on:
			b.Member.Duty = Spare
		case strings.ContainsRune("DSN", c) && on:
			a.leave(d, "status=%s: the member gets no new visitors, so it is left out", text)
			asked = false
		case on:
			a.leave(d, "status=%s: there is no such state", text)
		}
	}
	return asked
}

// set takes a parameter of a balancer.
func (a *apache) set(c *cluster, d *directive, param string) {
	key, value, _ := strings.Cut(param, "=")
	switch key = strings.ToLower(key); key {
	case "lbmethod":
		if b := Balance(strings.ToLower(value)); b != TwoChoices && slices.Contains(Balances, b) {
			c.common.Balance = b
		} else {
			c.common.Balance = ByBusyness
			a.leave(d, "lbmethod=%s: members tell nobody how busy they are; --balance bybusyness is the nearest", value)
		}
	case "stickysession":
		cookie, parameter, two := strings.Cut(value, "|")
		switch {
		case !a.cookies[cookie] || !printable(cookie):
			a.leave(d, "%s is a cookie of the members' own, which that of --sticky would take the place of", cookie)
		case two && parameter != cookie:
			a.leave(d, "--sticky takes one name: %s, but not %s", cookie, parameter)
			fallthrough
		default:
			c.common.Sticky = cookie
		}
	case "failonstatus":
		c.common.FailOn = nil
		for _, text := range strings.Split(value, ",") {
			n, err := strconv.Atoi(strings.TrimSpace(text))
			if err != nil || n < 100 || n > 599 {
				a.leave(d, "failonstatus=%s is no list of statuses", value)
				continue
			}
			c.common.FailOn = append(c.common.FailOn, n)
		}
	case "nofailover":
		if !strings.EqualFold(value, "off") {
			a.leave(d, "nofailover=: visitors of a member that is gone are sent to another one")
		}
	case "stickysessionsep":
		if value != "." {
			a.leave(d, "stickysessionsep=: a route comes after the last '.' of a cookie")
		}
	case "timeout", "maxattempts", "forcerecovery", "nonce", "growth", "scolonpathdelim", "failontimeout", "bgrowth", "persist":
		a.pass(d, "%s=: nobody waits for a member to be free, and at most three are asked", key)
	default:
		a.leave(d, "%s= has no counterpart in a front", key)
	}
}

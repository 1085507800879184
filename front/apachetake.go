package front

import (
	"slices"
	"strconv"
	"strings"
)

// take takes a directive of a server, outside of <Location>.
func (a *apache) take(s *apacheServer, d *directive) {
	switch name := strings.ToLower(d.name); name {
	case "<proxy":
		a.proxy(s, d)
	case "<location":
		a.location(s, d)
	case "<locationmatch", "<proxymatch", "proxypassmatch", "redirectmatch":
		a.leave(d, "a pattern: a front knows paths by how they begin")
	case "<directory", "<files", "<filesmatch", "<directorymatch":
		a.pass(d, "it is about files of this machine")
	case "documentroot":
		s.files = d
	case "servername", "serveralias":
		for _, text := range d.args {
			if _, behind, ok := strings.Cut(text, "://"); ok {
				text = behind
			}
			text, _, _ = strings.Cut(strings.ToLower(text), ":")
			if text = strings.TrimSuffix(text, "."); !hostName(text) {
				a.leave(d, "%s: a front knows whole names only", text)
			} else if !slices.Contains(s.names, text) {
				s.names = append(s.names, text)
			}
		}
	case "balancermember", "proxyset":
		a.outside(s, d)
	case "proxypass":
		a.passTo(&s.passes, d, d.args)
	case "proxytimeout", "timeout":
		if wait, ok := lasting(d.arg(0)); !ok {
			a.leave(d, "this is no time")
		} else if s.wait == 0 || name == "proxytimeout" {
			s.wait = wait
		}
	case "limitrequestbody":
		s.maxBody = a.maxBody(d)
	case "proxypreservehost":
		s.host = on(d)
	case "sslengine":
		s.tls = on(d)
	case "sslcertificatefile", "sslcertificatekeyfile":
		a.certificate(s, d, name)
	case "redirect", "redirectpermanent", "redirecttemp":
		args := d.args
		if len(args) > 2 {
			args = args[1:]
		}
		if len(args) == 2 && args[0] == "/" && strings.HasPrefix(args[1], "https://") {
			s.goes = append(s.goes, d)
		} else {
			a.leave(d, "a front sends visitors to https:// only, and from everywhere")
		}
	case "rewritecond", "rewriterule":
		a.rewrite(s, d, name)
	default:
		a.other(d)
	}
}

func on(d *directive) bool { return strings.EqualFold(d.arg(0), "on") }

// proxy takes a <Proxy> section.
func (a *apache) proxy(s *apacheServer, d *directive) {
	name, ok := strings.CutPrefix(strings.ToLower(d.arg(0)), "balancer://")
	if ok {
		name = strings.TrimSuffix(name, "/")
		if s.clusters[name] == nil {
			s.clusters[name] = &cluster{d: d, common: Pool{Balance: ByRequests}}
		}
	}
	for _, inner := range a.flat(d.body) {
		switch key := strings.ToLower(inner.name); {
		case ok && (key == "balancermember" || key == "proxyset"):
			a.inCluster(s.clusters[name], inner, inner.args)
		default:
			a.other(inner)
		}
	}
}

// inCluster takes BalancerMember and ProxySet.
func (a *apache) inCluster(c *cluster, d *directive, args []string) {
	if strings.EqualFold(d.name, "proxyset") {
		for _, param := range args {
			a.set(c, d, param)
		}
	} else if len(args) > 0 {
		a.member(c, d, args[0], args[1:])
	}
}

// outside takes the same with the balancer's name.
func (a *apache) outside(s *apacheServer, d *directive) {
	name, ok := strings.CutPrefix(strings.ToLower(d.arg(0)), "balancer://")
	if !ok {
		a.leave(d, "it is not said which balancer this is for")
		return
	}
	name = strings.TrimSuffix(name, "/")
	if s.clusters[name] == nil {
		s.clusters[name] = &cluster{d: d, common: Pool{Balance: ByRequests}}
	}
	a.inCluster(s.clusters[name], d, d.args[1:])
}

// passTo notes a ProxyPass.
func (a *apache) passTo(to *[]apachePass, d *directive, args []string) {
	if len(args) < 2 || args[0] == "" || args[0][0] != '/' {
		a.leave(d, "a path and where it leads belong here")
		return
	}
	params := slices.DeleteFunc(slices.Clone(args[2:]), func(s string) bool { return strings.EqualFold(s, "nocanon") })
	*to = append(*to, apachePass{d: d, path: args[0], target: args[1], params: params})
}

// maxBody is how large a body may be.
func (a *apache) maxBody(d *directive) *int64 {
	most, err := strconv.ParseInt(d.arg(0), 10, 64)
	if err != nil || most < 0 {
		a.leave(d, "this is no number of bytes")
		return nil
	}
	return &most
}

// location takes a <Location> section.
func (a *apache) location(s *apacheServer, d *directive) {
	path := d.arg(0)
	body := a.flat(d.body)
	for _, inner := range body {
		if handler := strings.ToLower(inner.arg(0)); strings.EqualFold(inner.name, "sethandler") && handler != "none" {
			why := "a front has no such page: what is below %s goes to the members"
			if handler == "balancer-manager" {
				why = "front serve has no such page: --control is for front status, drain, weight and so on, and a front of a cluster has the page Fronts of the dashboard; what is below %s goes to the members"
			}
			a.leave(d, why, path)
			for _, inner := range body {
				a.pass(inner, "it belongs to that page")
			}
			return
		}
	}
	first := len(s.located)
	var most *int64
	for _, inner := range body {
		switch name := strings.ToLower(inner.name); {
		case name == "proxypass" && len(inner.args) > 0 && len(d.args) == 1:
			a.passTo(&s.located, inner, append([]string{path}, inner.args...))
		case name == "limitrequestbody" && slices.ContainsFunc(body, func(d *directive) bool { return strings.EqualFold(d.name, "proxypass") }):
			most = a.maxBody(inner)
		case name == "proxypreservehost":
			a.leave(inner, "members always get the Host that visitors asked for")
		default:
			a.other(inner)
		}
	}
	for i := range s.located[first:] {
		s.located[first+i].maxBody = most
	}
}

// certificate takes a file; one of both kinds at most.
func (a *apache) certificate(s *apacheServer, d *directive, name string) {
	file := d.arg(0)
	into := &s.cert
	if name == "sslcertificatekeyfile" {
		into = &s.key
	}
	switch {
	case !printable(file) || strings.Contains(file, "${"):
		a.leave(d, "this is no file's name that can be typed as it is")
		return
	case *into != "" && *into != file && !(into == &s.key && s.key == s.cert):
		a.leave(d, "a server has one certificate here: the first one is taken")
		return
	}
	*into = file
	a.relative(d, file)
	if s.key == "" {
		s.key = s.cert // which may hold it
	}
}

// relative notes a file's name that only its program can find.
func (im *importer) relative(d *directive, file string) {
	if !strings.HasPrefix(file, "/") {
		im.pass(d, "the file is looked for where bramble is started")
	}
}

// rewrite takes what sends visitors to https:// and what WebSocket needed.
func (a *apache) rewrite(s *apacheServer, d *directive, name string) {
	if name == "rewritecond" {
		when := "other"
		switch test, pattern := strings.ToLower(d.arg(0)), strings.ToLower(strings.TrimPrefix(d.arg(1), "=")); {
		case test == "%{https}" && (pattern == "off" || pattern == "!on" || pattern == "!=on"),
			test == "%{server_port}" && (pattern == "80" || pattern == "^80$" || pattern == "!443" || pattern == "!^443$"):
			when = "plain"
		case test == "%{http:upgrade}" || test == "%{http:connection}":
			when = "upgrade"
		}
		if s.when != "" && s.when != when {
			when = "other"
		}
		if s.when = when; when == "other" {
			a.leave(d, "a front does not rewrite")
		}
		return
	}
	when := s.when
	s.when = ""
	all := slices.Contains([]string{"^", "^/", ".*", "^.*$", "(.*)", "^(.*)$", "^/(.*)$", "^/?(.*)", "^/?(.*)$", "^/(.*)", "^.*"}, d.arg(0))
	switch to := strings.ToLower(d.arg(1)); {
	case all && (when == "" || when == "plain") && (strings.HasPrefix(to, "https://%{http_host}") || strings.HasPrefix(to, "https://%{server_name}")):
		s.secure = d
	case when == "upgrade" && (strings.HasPrefix(to, "ws://") || strings.HasPrefix(to, "balancer://")):
		a.pass(d, "WebSocket goes to the members as everything does")
	default:
		a.leave(d, "a front does not rewrite")
	}
}

// apacheSilent are directives that say what a front does anyway.
var apacheSilent = []string{"proxypassreverse", "rewriteengine", "namevirtualhost", "order", "define", "sethandler none"}

// apacheOwn are directives about Apache itself, or how directives of that kind begin.
var apacheOwn = []string{"loadmodule", "serverroot", "pidfile", "user", "group", "errorlog", "loglevel", "logformat", "keepalive", "maxkeepaliverequests",
	"keepalivetimeout", "serveradmin", "servertokens", "serversignature", "hostnamelookups", "mutex", "directoryindex", "sslprotocol", "sslciphersuite",
	"sslhonorcipherorder", "sslsession", "sslstapling", "sslusestapling", "sslrandomseed", "sslpassphrasedialog", "ssloptions", "sslcompression",
	"sslopensslconfcmd", "proxyvia", "proxybadheader", "proxyiobuffersize", "proxyreceivebuffersize", "proxystatus", "balancerpersist", "balancergrowth",
	"traceenable", "usecanonicalname", "startservers", "minspare", "maxspare", "maxrequest", "threads", "maxconn", "listenbacklog", "defaultruntimedir",
	"accessfilename", "typesconfig", "addtype", "protocols", "extendedstatus", "coredumpdirectory", "scoreboardfile", "bufferedlogs"}

// other takes or names what is no different in a section of its own.
func (a *apache) other(d *directive) {
	name, value := strings.ToLower(d.name), strings.ToLower(strings.Join(d.args, " "))
	_, sticky := routeCookie(d)
	switch {
	case slices.Contains(apacheSilent, name) || sticky,
		name == "proxyrequests" && !on(d), name == "proxyaddheaders" && on(d), name == "allowoverride",
		name == "require" && value == "all granted", name == "allow" && value == "from all",
		name == "requestheader" && strings.Contains(value, "set x-forwarded-proto "):
	case name == "proxyrequests":
		a.leave(d, "a front is never a proxy that visitors choose")
	case name == "limitrequestbody":
		a.leave(d, "--max-body is for all that a front serves")
	case name == "require" || name == "allow" || name == "deny" || name == "satisfy":
		a.leave(d, "a front does not choose visitors by their addresses")
	case strings.HasPrefix(name, "include"):
		a.leave(d, "what it includes is not read: import it by itself")
	case name == "sslcertificatechainfile":
		a.leave(d, "its certificates belong behind those of --cert, in the same file")
	case name == "customlog" || name == "transferlog":
		a.pass(d, "--access-log FILE notes visits, in the form combined")
	case slices.ContainsFunc(apacheOwn, func(own string) bool { return strings.HasPrefix(name, own) }):
		a.pass(d, "it is about Apache itself")
	default:
		a.leave(d, "it has no counterpart in a front")
	}
}

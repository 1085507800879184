package front

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"bramble/fault"
	"bramble/sorts"
)

// exporter writes a configuration of another program, and notes what that does not do.
type exporter struct {
	Setup
	program string
	b       strings.Builder
	pools   []exported
	plain   []string // doors, as HOST:PORT
	secure  []string
	cannot  []Untaken
}

// exported is a pool with members whose addresses nobody has looked up.
type exported struct {
	name       string
	host, path string // without a '/' at the end
	members    []Backend
}

// Export writes a configuration of "nginx" or "haproxy" that does the same, with what cannot be done in comments before it. Errors are faults of misuse.
func Export(program string, s Setup) (text string, cannot []Untaken, err error) {
	e := &exporter{Setup: s, program: program}
	if err := e.prepare(); err != nil {
		return "", nil, err
	}
	head := "# Written by bramble front export nginx: for /etc/nginx/conf.d/, or within http { } of nginx.conf.\n"
	if program == "haproxy" {
		e.haproxy()
		head = "# Written by bramble front export haproxy: for /etc/haproxy/haproxy.cfg.\n"
	} else {
		e.nginx()
	}
	for _, u := range e.cannot {
		head += "# " + program + " cannot: " + u.Text + ": " + u.Why + "\n"
	}
	return head + e.b.String(), e.cannot, nil
}

func (e *exporter) line(format string, args ...any) { fmt.Fprintf(&e.b, format+"\n", args...) }

// lack notes a wish that the program does not fulfil.
func (e *exporter) lack(matters bool, flag, why string, args ...any) {
	u := Untaken{Text: flag, Why: fmt.Sprintf(why, args...), Matters: matters}
	if !slices.Contains(e.cannot, u) {
		e.cannot = append(e.cannot, u)
	}
}

// prepare gathers backends to pools, and refuses what would be something else in the form of the other program.
func (e *exporter) prepare() error {
	if len(e.ACME) > 0 && len(e.Cert) == 0 {
		return fault.New(fault.Misused, "%s needs certificates in files, which --acme-host does not give it", e.program).
			Hint("--cert FILE --key FILE, as another program gets them")
	}
	if len(e.Cert) != len(e.Key) || len(e.ListenTLS) > 0 && len(e.Cert) == 0 {
		return fault.New(fault.Misused, "--listen-tls needs certificates, and each --cert a --key").Hint("--cert site.crt --key site.key")
	}
	if e.HTTPSOnly && len(e.ListenTLS) == 0 {
		return fault.New(fault.Misused, "--https-only needs a port with TLS").Hint("--listen-tls :443 --cert site.crt --key site.key")
	}
	if e.plain = e.Listen; len(e.plain)+len(e.ListenTLS) == 0 {
		e.plain = []string{":8080"}
	}
	e.secure = e.ListenTLS
	if len(e.ACME) > 0 {
		e.lack(true, "--acme-host", "it gets no certificates itself: another program is to")
	}
	for _, at := range slices.Concat(e.plain, e.secure) {
		if doorAt(at) == "" || !strings.Contains(at, ":") {
			return fault.New(fault.Misused, "%s is no [ADDRESS]:PORT that can be written down", at).Hint("--listen :80")
		}
	}
	words := slices.Concat(e.Cert, e.Key, []string{e.Common.Sticky, e.Common.Check.Path, e.AccessLog, e.Metrics})
	for _, b := range e.Backends {
		words = append(words, b.Server, b.Path, b.Host)
	}
	for _, w := range words {
		for _, c := range []byte(w) {
			if !letter(c) && strings.IndexByte("-._/:@+=~,&[]?", c) < 0 {
				return fault.New(fault.Misused, "%q has a character that is something else in a configuration of %s", w, e.program).
					Hint("letters, digits and -._/:@+=~,& only")
			}
		}
	}
	for _, b := range e.Backends {
		if b.Host != "" && !hostName(b.Host) {
			return fault.New(fault.Misused, "host=%s is no name", b.Host).Hint("host=shop.example")
		}
		if err := e.gather(b); err != nil {
			return err
		}
	}
	// Whoever has a host comes before those without, and the longest path first.
	sorts.Stable(e.pools, func(a, b exported) int {
		if (a.host == "") != (b.host == "") {
			return strings.Compare(b.host, a.host)
		}
		return cmp.Or(strings.Compare(a.host, b.host), cmp.Compare(len(b.path), len(a.path)))
	})
	for i := range e.pools {
		e.pools[i].name = "bramble" + strconv.Itoa(i+1)
	}
	return nil
}

// gather adds a member to its pool.
func (e *exporter) gather(b Backend) error {
	b.Path = trimSlash(b.Path)
	at := slices.IndexFunc(e.pools, func(p exported) bool { return p.host == b.Host && p.path == b.Path })
	if at < 0 {
		at, e.pools = len(e.pools), append(e.pools, exported{host: b.Host, path: b.Path})
	}
	p := &e.pools[at]
	if slices.ContainsFunc(p.members, func(o Backend) bool { return o.Member.Name == b.Member.Name }) {
		return fault.New(fault.Misused, "there are two members of the name %s", b.Member.Name).Hint("name=ONE behind a comma")
	}
	p.members = append(p.members, b)
	return nil
}

// backup reports which members are asked only when nobody else can be, where a program has one such level.
func (e *exporter) backup(p exported) func(Backend) bool {
	level := func(b Backend) int {
		if b.Member.Duty == Regular {
			return 2 * b.Member.Set
		}
		return 2*b.Member.Set + 1
	}
	var levels []int
	for _, b := range p.members {
		if b.Member.Duty == Spare {
			e.lack(true, "spare", "a spare comes in the place of one member; here it is asked when all others are gone")
		}
		if l := level(b); !slices.Contains(levels, l) {
			levels = append(levels, l)
		}
	}
	if len(levels) > 2 {
		e.lack(true, "set=", "there are members and backups, and nothing between: all but the first are backups")
	}
	first := slices.Min(levels)
	return func(b Backend) bool { return level(b) > first }
}

// milliseconds is a time as both programs have it.
func milliseconds(d time.Duration) string {
	if d%time.Second == 0 {
		return strconv.FormatInt(int64(d/time.Second), 10) + "s"
	}
	return strconv.FormatInt(max(d.Milliseconds(), 1), 10) + "ms"
}

// wait is how long members may take.
func (e *exporter) wait() string {
	if e.Common.Wait <= 0 {
		return "60s"
	}
	return milliseconds(e.Common.Wait)
}

// securePort is where visitors without TLS are sent, ":PORT" unless it is TLS's own.
func (e *exporter) securePort() string {
	if _, port, _ := net.SplitHostPort(e.secure[0]); port != "443" {
		return ":" + port
	}
	return ""
}

// addresses are a door's, two where it is all of this machine's.
func addresses(at string) []string {
	host, port, _ := net.SplitHostPort(at)
	if host == "" {
		return []string{port, "[::]:" + port}
	}
	return []string{at}
}

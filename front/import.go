package front

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"bramble/fault"
)

const (
	// MaxImport is how many bytes a configuration may have.
	MaxImport = 1 << 20

	maxTokens = 100_000
	maxDepth  = 32
	maxBuilt  = 10_000 // backends of all commands together, and places of all sites
)

// Imported is what was read of another program's configuration.
type Imported struct {
	Setups  []Setup   // one for each command line
	Untaken []Untaken // by line
}

// Matter is how many of the lines that were not taken matter.
func (im Imported) Matter() (n int) {
	for _, u := range im.Untaken {
		if u.Matters {
			n++
		}
	}
	return n
}

// directive is one statement of a configuration, a block with those within it.
type directive struct {
	name string // Apache's sections begin with '<' here
	args []string
	line int
	body []*directive
}

// text is the statement in a line, cut off where it is long.
func (d *directive) text() string {
	text := []rune(strings.Join(append([]string{d.name}, d.args...), " "))
	if len(text) > 100 {
		text = append(text[:99], '…')
	}
	if strings.HasPrefix(d.name, "<") {
		text = append(text, '>')
	}
	return string(text)
}

// arg is an argument, empty when there is none.
func (d *directive) arg(i int) string {
	if i >= 0 && i < len(d.args) {
		return d.args[i]
	}
	return ""
}

// site is what a server of a configuration says.
type site struct {
	d         *directive
	doors     []door
	names     []string
	first     bool       // it is who answers for names that nobody has
	secure    *directive // sends visitors without TLS to where it is
	port      string     // which is ":PORT", or empty for 443
	cert, key string
	places    []place
}

// door is where visitors come.
type door struct {
	at  string
	tls bool
}

// place is a path and who answers below it.
type place struct {
	d        *directive
	path     string // without a '/' at the end
	backends []Backend
	common   Pool
}

// cluster is a group of servers with a name.
type cluster struct {
	d       *directive
	members []Backend // with weights in hundredths
	common  Pool
	used    bool
}

// importer notes what is not taken.
type importer struct {
	untaken []Untaken
	noted   map[Untaken]bool
	hosted  bool // it was said that members get the visitor's Host
	built   int
}

// leave notes a line that is not taken, and one that matters.
func (im *importer) leave(d *directive, why string, args ...any) { im.note(d, true, why, args...) }

// pass notes one that nobody will miss.
func (im *importer) pass(d *directive, why string, args ...any) { im.note(d, false, why, args...) }

func (im *importer) note(d *directive, matters bool, why string, args ...any) {
	u := Untaken{Line: d.line, Text: d.text(), Why: fmt.Sprintf(why, args...), Matters: matters}
	if im.noted == nil {
		im.noted = map[Untaken]bool{}
	}
	if !im.noted[u] {
		im.noted[u] = true
		im.untaken = append(im.untaken, u)
	}
}

// keepsHost says once that members get the visitor's Host.
func (im *importer) keepsHost(d *directive, with string) {
	if !im.hosted {
		im.hosted = true
		im.pass(d, "members get the Host that visitors asked for, as with %s", with)
	}
}

// files names the files of this machine that a site has beside its places.
func (im *importer) files(s *site, d *directive) {
	if len(s.places) > 0 && !slices.ContainsFunc(s.places, func(p place) bool { return p.path == "" }) {
		im.leave(d, "files of this machine are not served by a front: bramble site publish does that")
	}
}

// kinds are the programs whose configurations are known by sight, with how lines of theirs begin.
var kinds = []struct {
	program string
	begins  []string
}{
	{"Apache", []string{"<virtualhost", "<proxy", "<location", "<ifmodule", "proxypass", "balancermember", "loadmodule"}},
	{"nginx", []string{"upstream ", "server {", "server{", "http {", "http{", "events {", "location ", "proxy_pass "}},
	{"HAProxy", []string{"frontend ", "backend ", "global", "defaults"}},
}

// readable refuses what is no configuration of a program, or too large.
func readable(text, program string) error {
	if len(text) > MaxImport {
		return fault.New(fault.Misused, "the file has more than %d KiB", MaxImport>>10).Hint("the part with the balancer in a file of its own")
	}
	if strings.IndexByte(text, 0) >= 0 {
		return fault.New(fault.Misused, "this is no text file").Hint("the configuration of %s", program)
	}
	for line := range strings.Lines(text) {
		line = strings.ToLower(strings.TrimSpace(line))
		for _, k := range kinds {
			for _, begin := range k.begins {
				if !strings.HasPrefix(line, begin) {
					continue
				}
				if k.program == program {
					return nil
				}
				wrong := fault.New(fault.Misused, "this looks like a configuration of %s, not of %s", k.program, program)
				if k.program == "HAProxy" {
					return wrong.Hint("bramble front serve --help; only those of Apache and nginx are read")
				}
				return wrong.Hint("bramble front import %s FILE", strings.ToLower(k.program))
			}
		}
	}
	return nil
}

// unreadable is that a file is not of the form that it should have.
func unreadable(line int, what string, args ...any) error {
	return fault.New(fault.Misused, "line %d: "+what, append([]any{line}, args...)...).Hint("a file that the program itself accepts: apache2 -t, nginx -t")
}

// serverAt is a server of a configuration, HOST[:PORT]; why is what is wrong with it.
func serverAt(server string) (b Backend, why string) {
	b, err := ParseBackend("http://" + server)
	if err != nil || strings.Contains(server, ",") {
		return b, "this is no address of the form HOST:PORT"
	}
	host, port, _ := strings.Cut(b.Server, ":")
	if strings.HasPrefix(b.Server, "[") {
		at, err := netip.ParseAddrPort(b.Server)
		if err != nil || at.Addr().Zone() != "" {
			return b, "this is no address of the form HOST:PORT"
		}
		host, port = "six", strconv.Itoa(int(at.Port()))
	}
	if n, err := strconv.Atoi(port); !hostName(host) || err != nil || n < 1 || n > math.MaxUint16 {
		return b, "this is no address of the form HOST:PORT"
	}
	b.Member.Weight = 100
	return b, ""
}

// hostName reports whether text can be a host's name.
func hostName(text string) bool {
	for _, c := range []byte(text) {
		if !letter(c) && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return text != "" && len(text) <= 253 && text[0] != '-' && text[0] != '.'
}

// pathName reports whether text can be a path of a backend.
func pathName(text string) bool {
	for _, c := range []byte(text) {
		if c <= ' ' || c > '~' || strings.IndexByte(`,"'\?#`, c) >= 0 {
			return false
		}
	}
	return len(text) > 0 && text[0] == '/'
}

// printable reports whether a file's name or a cookie's may be shown as it is.
func printable(text string) bool {
	return text != "" && strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) < 0 && text[0] != '-'
}

// doorAt is where [HOST:]PORT is; "" is that it cannot be read.
func doorAt(text string) string {
	host, port := "", text
	if at := strings.LastIndexByte(text, ':'); at >= 0 {
		host, port = text[:at], text[at+1:]
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return ""
	}
	port = strconv.FormatUint(n, 10)
	bare := strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	a, err := netip.ParseAddr(bare)
	switch {
	case host == "" || host == "*" || strings.EqualFold(host, "_default_") || err == nil && a.IsUnspecified():
		return ":" + port
	case err == nil && a.Is6() && a.Zone() == "":
		return "[" + a.String() + "]:" + port
	case err == nil && a.Is4() || hostName(host):
		return host + ":" + port
	}
	return ""
}

// portOf is the end of ADDRESS:PORT from ':' on.
func portOf(at string) string { return at[max(strings.LastIndexByte(at, ':'), 0):] }

// lasting reads a time: seconds, or a number with a unit.
func lasting(text string) (time.Duration, bool) {
	if _, err := strconv.Atoi(text); err == nil {
		text += "s"
	}
	if strings.HasSuffix(text, "min") {
		text = strings.TrimSuffix(text, "in")
	}
	d, err := time.ParseDuration(text)
	return d, err == nil && d > 0 && d <= 24*time.Hour
}

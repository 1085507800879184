package front

import (
	"crypto/x509"
	"encoding/base64"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/acme"

	"bramble/fault"
	"bramble/fleet"
	"bramble/term"
	"bramble/trust"
)

// Front is a load balancer of a cluster: some nodes have its doors, and pass visitors on to the members of its pools.
type Front struct {
	Name    string             `json:"name"`
	On      string             `json:"on"` // which nodes have its doors
	Doors   Doors              `json:"doors"`
	Sites   []SiteRef          `json:"sites,omitempty"`   // whose nodes are members
	Servers []Backend          `json:"servers,omitempty"` // members by address
	Common  Pool               `json:"common"`            // what all pools have: no host, path or members
	Trusted []netip.Prefix     `json:"trusted,omitempty"`
	Manager []netip.Prefix     `json:"manager,omitempty"` // from where members may be changed in a browser; none: from anywhere
	Rate    Rate               `json:"rate"`
	Changed map[string]Setting `json:"changed,omitempty"` // of members, by name, since the front was put up
}

// Doors are where visitors come in, on each node that has them.
type Doors struct {
	Plain     []string       `json:"plain,omitempty"` // [ADDRESS]:PORT
	TLS       []string       `json:"tls,omitempty"`
	Address   string         `json:"address,omitempty"` // that the front's nodes share, as vrrp.Parse has it
	Direct    bool           `json:"direct,omitempty"`  // members answer visitors of the address themselves
	HTTPSOnly bool           `json:"https_only,omitempty"`
	Pairs     []Pair         `json:"pairs,omitempty"`   // certificates, the first for visitors that name no host, or an unknown one
	ACME      *Issuer        `json:"acme,omitempty"`    // of names that no pair is for
	Conns     int            `json:"conns,omitempty"`   // connections of one address; 0: any
	Proxies   []netip.Prefix `json:"proxies,omitempty"` // whose connections begin with who the visitor is, in the PROXY protocol
	Log       bool           `json:"log,omitempty"`     // requests are noted in a file
	JSON      bool           `json:"json,omitempty"`    // as JSON
}

// Issuer is who certifies names by ACME, to whose terms of service its user agrees.
type Issuer struct {
	Hosts     []string `json:"hosts"`
	Email     string   `json:"email,omitempty"`
	Directory string   `json:"directory,omitempty"` // "": Let's Encrypt
	Roots     string   `json:"roots,omitempty"`     // who has certified the directory's address, in PEM; "": whom the head trusts
	Binding   Binding  `json:"binding,omitzero"`
}

// Binding is by whom an account with a CA is known there already: RFC 8555, 7.3.4. The zero value: by nobody.
type Binding struct {
	KID string `json:"kid"`           // as the CA calls the key
	Key string `json:"key,omitempty"` // in base64url
}

// parse is the binding for the CA, nil for none. Errors are fault.Misused.
func (b Binding) parse() (*acme.ExternalAccountBinding, error) {
	if b == (Binding{}) {
		return nil, nil
	}
	key, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(b.Key), "="))
	if err != nil || len(key) == 0 || b.KID == "" {
		return nil, fault.New(fault.Misused, "a CA's external account is a key's name and a file with the key in base64url").Hint("--acme-eab-kid NAME --acme-eab-key FILE")
	}
	return &acme.ExternalAccountBinding{KID: b.KID, Key: key}, nil
}

// ACME is a client of the issuer, which is not open yet. Errors are fault.Misused.
func (i Issuer) ACME(log *slog.Logger) (*ACME, error) {
	a := &ACME{Hosts: i.Hosts, Email: i.Email, Directory: i.Directory, Log: log}
	if i.Roots != "" {
		if a.Roots = x509.NewCertPool(); !a.Roots.AppendCertsFromPEM([]byte(i.Roots)) {
			return nil, fault.New(fault.Misused, "this is no certificate in PEM").Hint("--acme-ca FILE")
		}
	}
	var err error
	if a.Binding, err = i.Binding.parse(); err != nil {
		return nil, err
	}
	return a, a.settle()
}

// ACMEIn is an open client of the issuer that keeps what it gets below a folder.
func (i Issuer) ACMEIn(dir string, log *slog.Logger) (*ACME, error) {
	a, err := i.ACME(log)
	if err != nil {
		return nil, err
	}
	a.Shelf = folder(filepath.Join(dir, shelfName(a.Directory)))
	return a, a.Open()
}

// Pair is a certificate chain and its key, in PEM.
type Pair struct {
	Cert string `json:"cert"`
	Key  string `json:"key,omitempty"`
}

// SiteRef is a site behind a front.
type SiteRef struct {
	Name string `json:"name"`
	Host string `json:"host,omitempty"` // "": those that the site has, or any
	Path string `json:"path,omitempty"`
}

// Setting is what people changed of a member; nil is as before.
type Setting struct {
	Weight *int    `json:"weight,omitempty"`
	Mode   *Mode   `json:"mode,omitempty"`
	Route  *string `json:"route,omitempty"`
}

// Limits of fronts.
const (
	maxFronts = 12 // whose ports can all be handed over at once
	maxDoors  = 16
	maxSites  = 256
	maxPEM    = 64 << 10
	maxWait   = 24 * time.Hour
	minEvery  = 50 * time.Millisecond
)

// Source knows where sites are served.
type Source interface {
	// Served is where a site is served now; fault.NotFound when there is none of the name.
	Served(site string) (Served, error)
}

// Served is where a site is served.
type Served struct {
	Hosts  []string
	Places []Place
	Silent []Place // nodes of the site that have not said yet whether they serve it, since the head began; without addresses
}

// Place is a node that serves a site.
type Place struct {
	Node    string         `json:"node"`
	Address netip.AddrPort `json:"address"`
	Drained bool           `json:"-"`
}

// Order is what the head wants of a node for one front.
type Order struct {
	Name  string `json:"name"`
	Rev   string `json:"rev"` // changes with the rest
	Doors Doors  `json:"doors"`
	Spec  Spec   `json:"spec"`

	Issued map[string]string `json:"issued,omitempty"` // keys and certificates by ACME, in PEM, by name; "" until there is one
	Proofs map[string]string `json:"proofs,omitempty"` // what their CA is to find, by path

	Straight *Straight `json:"straight,omitempty"` // instead of Spec, where members answer themselves
}

// orders is all that the head wants of a node.
type orders struct {
	Fronts []Order `json:"fronts"`
	Hold   string  `json:"hold,omitempty"` // an address that the node holds for a front with direct return
}

// Carried is how a front does on one node.
type Carried struct {
	Rev   string         `json:"rev,omitempty"` // of the order that is carried out
	Plain []string       `json:"plain,omitempty"`
	TLS   []string       `json:"tls,omitempty"`
	Has   string         `json:"has,omitempty"` // the address that fronts share, while it is on this node
	Pools []PoolStanding `json:"pools,omitempty"`
	Count Counts         `json:"count"`
	Error string         `json:"error,omitempty"`
}

// report is what a node says of its fronts, whenever something about them changed.
type report struct {
	Hello  bool              `json:"hello,omitempty"` // the node has just connected
	Fronts map[string]string `json:"fronts"`          // revisions that it knows of
	Hold   string            `json:"hold,omitempty"`  // as it knows of
}

// OnNode is a front on one of its nodes.
type OnNode struct {
	Node    string      `json:"node"`
	Address string      `json:"address"`
	State   fleet.State `json:"state"`
	Current bool        `json:"current"` // it does what is wanted
	Carried
}

// Status is a front with how it does on its nodes.
type Status struct {
	Front     Front       `json:"front"`
	Nodes     []OnNode    `json:"nodes"`
	Certified []Certified `json:"certified,omitempty"` // names, by ACME
}

// Certified is how a name stands with its CA.
type Certified struct {
	Name  string    `json:"name"`
	Until time.Time `json:"until,omitzero"` // of its certificate; zero: it has none
	Next  time.Time `json:"next,omitzero"`  // not before this another attempt is made
	Why   string    `json:"why,omitempty"`  // the last one failed
}

// Change is a change of members of a front.
type Change struct {
	Front  string `json:"front"`  // "": the only one
	Member string `json:"member"` // its name, in whatever pools
	Setting
}

// Check reports as fault.Misused what is wrong with a front.
func (f Front) Check() error {
	if f.Name == "" || trust.ValidName(f.Name) != nil {
		return fault.New(fault.Misused, "%.80q cannot be a front's name", f.Name).Hint("letters, digits and dashes, such as front")
	}
	networks := slices.Concat(f.Trusted, f.Manager, f.Doors.Proxies)
	switch {
	case len(f.Sites)+len(f.Servers) == 0:
		return fault.New(fault.Misused, "a front needs somebody to pass visitors on to").Hint("--site NAME, or --backend http://HOST:PORT")
	case len(f.Sites) > maxSites || len(f.Servers) > MaxMembers || len(networks) > maxSites:
		return fault.New(fault.Misused, "a front has at most %d sites or networks, and %d servers by address", maxSites, MaxMembers)
	case slices.ContainsFunc(networks, func(p netip.Prefix) bool { return !p.IsValid() }):
		return fault.New(fault.Misused, "a front's networks are addresses with a length").Hint("10.0.0.0/8")
	}
	if err := f.Doors.check(); err != nil {
		return err
	}
	if f.Doors.Direct && (len(f.Sites) != 1 || len(f.Servers) > 0 || f.Sites[0].Path != "" || f.Common.Sticky != "") {
		return fault.New(fault.Misused, "direct return is for one site of the cluster, whole").Hint("--site NAME, or leave --direct out")
	}
	if f.Doors.Direct && f.Common.MaxBody > 0 {
		return fault.New(fault.Misused, "with direct return members read what visitors send, and nothing on the way limits it").Hint("leave --max-body out, or --direct")
	}
	if err := f.Rate.Check(); err != nil {
		return err
	}
	return f.Common.check()
}

// check reports as fault.Misused what is wrong with doors.
func (d Doors) check() error {
	switch {
	case len(d.Plain)+len(d.TLS) > maxDoors || len(d.Pairs) > maxDoors:
		return fault.New(fault.Misused, "a front has at most %d ports, and as many certificates", maxDoors)
	case d.Direct && d.Address == "":
		return fault.New(fault.Misused, "direct return needs an address of your network that nobody has yet").Hint("--address 10.0.0.100")
	case d.Direct && len(d.Plain)+len(d.TLS)+len(d.Pairs) > 0:
		return fault.New(fault.Misused, "with direct return visitors come to the port of the site, and nothing on the way speaks TLS").Hint("leave --listen and --listen-tls out, or --direct")
	case d.ACME != nil && (len(d.TLS) == 0 || len(d.Plain) == 0):
		return fault.New(fault.Misused, "--acme-host needs a port without TLS, at which the CA asks, and one with it").Hint("--listen :80 --listen-tls :443")
	case d.ACME != nil && (len(d.ACME.Hosts) > maxDoors || len(d.ACME.Roots)+len(d.ACME.Binding.Key)+len(d.ACME.Binding.KID) > maxPEM):
		return fault.New(fault.Misused, "a front gets at most %d certificates by ACME", maxDoors)
	case d.HTTPSOnly && len(d.TLS) == 0:
		return fault.New(fault.Misused, "--https-only needs a port with TLS").Hint("--listen-tls :443")
	}
	if d.ACME != nil {
		if _, err := d.ACME.ACME(nil); err != nil {
			return err
		}
	}
	for _, at := range slices.Concat(d.Plain, d.TLS) {
		if err := checkDoor(at); err != nil {
			return err
		}
	}
	for _, p := range d.Pairs {
		if len(p.Cert)+len(p.Key) > maxPEM {
			return fault.New(fault.Misused, "a certificate and its key have at most %s", term.Bytes(maxPEM))
		}
		if _, err := p.parse(); err != nil {
			return err
		}
	}
	_, err := d.shared()
	return err
}

// check reports as fault.Misused what is wrong with what pools have in common.
func (p Pool) check() error {
	switch {
	case p.Balance != "" && !slices.Contains(Balances, p.Balance):
		return fault.New(fault.Misused, "%.40q is no way to choose a member", p.Balance).Hint("one of %v", Balances)
	case p.Wait < 0 || p.Slow < 0 || p.Check.Timeout < 0 || p.Wait > maxWait || p.Slow > maxWait || p.Check.Interval > maxWait:
		return fault.New(fault.Misused, "a time of a front is from 0 to %s", maxWait)
	case p.Check.Interval > 0 && p.Check.Interval < minEvery:
		return fault.New(fault.Misused, "members are looked at every %s at most", minEvery).Hint("--every 250ms")
	case p.Check.Path != "" && p.Check.Path[0] != '/' || strings.ContainsAny(p.Check.Path+p.Check.Host, " \r\n") || len(p.Check.Path) > 1024:
		return fault.New(fault.Misused, "%.80q cannot be asked for", p.Check.Path).Hint("--check /")
	case p.MaxBody < 0:
		return fault.New(fault.Misused, "a body has 0 bytes or more").Hint("--max-body 64m")
	case p.Sticky != "" && !plainName(p.Sticky):
		return fault.New(fault.Misused, "a cookie's name has letters, digits, '-' and '_' only").Hint("--sticky ROUTE")
	}
	return nil
}

// checkDoor accepts [ADDRESS]:PORT.
func checkDoor(at string) error {
	text := at
	if strings.HasPrefix(text, ":") {
		text = "0.0.0.0" + text
	}
	if a, err := netip.ParseAddrPort(text); err != nil || a.Port() == 0 {
		return fault.New(fault.Misused, "%.80q is no port, and no address with one", at).Hint("--listen :8080, or --listen 192.168.1.5:80")
	}
	return nil
}

// ParseSite reads NAME and, after commas, host=NAME and path=/PREFIX.
func ParseSite(text string) (s SiteRef, err error) {
	name, rest, _ := strings.Cut(text, ",")
	s.Name = name
	for rest != "" {
		var item string
		item, rest, _ = strings.Cut(rest, ",")
		switch key, value, _ := strings.Cut(strings.TrimSpace(item), "="); {
		case key == "host" && value != "":
			s.Host = strings.ToLower(strings.TrimSuffix(value, "."))
		case key == "path" && strings.HasPrefix(value, "/"):
			s.Path = value
		default:
			return s, fault.New(fault.Misused, "site %q: %q is neither host=NAME nor path=/PREFIX", text, item).Hint("--site blog,host=blog.example.org")
		}
	}
	return s, nil
}

// hidden is the front without its secrets.
func (f Front) hidden() Front {
	pairs := f.Doors.Pairs
	f.Doors.Pairs = nil
	for _, p := range pairs {
		f.Doors.Pairs = append(f.Doors.Pairs, Pair{Cert: p.Cert})
	}
	if f.Doors.ACME != nil {
		issuer := *f.Doors.ACME
		issuer.Binding.Key = ""
		f.Doors.ACME = &issuer
	}
	return f
}

package front

import (
	"cmp"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"bramble/fault"
	"bramble/sorts"
)

// place makes one of a cluster's members; nil is that nobody is left.
func (im *importer) place(d *directive, path string, c *cluster) *place {
	p := place{d: d, path: trimSlash(path), common: c.common}
	if p.path != "" && !pathName(p.path) {
		im.leave(d, "this path cannot be that of a backend")
		return nil
	}
	if p.common.Wait == time.Minute { // as without a word
		p.common.Wait = 0
	}
	seen := map[string]bool{}
	for _, b := range c.members {
		if seen[b.Server] {
			im.leave(c.d, "%s is there more than once: the first one is taken", b.Server)
			continue
		}
		seen[b.Server] = true
		p.backends = append(p.backends, b)
	}
	switch n := len(p.backends); {
	case n == 0:
		im.leave(d, "no member is left for it")
		return nil
	case n > MaxMembers:
		im.leave(d, "a pool has at most %d members", MaxMembers)
		return nil
	}
	if !whole(p.backends) {
		im.pass(c.d, "a weight is a whole number from 1 to %d: they are rounded", MaxWeight)
	}
	return &p
}

// whole makes weights the smallest whole numbers of the same proportions, among those that are asked at the same time; false is
// that they had to be rounded.
func whole(all []Backend) bool {
	type group struct {
		set     int
		standby bool
	}
	groups := map[group][]int{}
	for i, b := range all {
		g := group{b.Member.Set, b.Member.Duty == Standby}
		groups[g] = append(groups[g], i)
	}
	exact := true
	for _, group := range groups {
		gcd, most := 0, 0
		for _, i := range group {
			w := all[i].Member.Weight
			most = max(most, w)
			for w != 0 {
				gcd, w = w, gcd%w
			}
		}
		over := float64(most/gcd) / MaxWeight
		exact = exact && over <= 1
		for _, i := range group {
			w := &all[i].Member.Weight
			if *w /= gcd; over > 1 {
				*w = max(1, int(math.Round(float64(*w)/over)))
			}
			if *w == 1 {
				*w = 0
			}
		}
	}
	return exact
}

// add gives a site a place, unless one before it takes what comes there already, where the first one counts.
func (im *importer) add(s *site, p *place, firstCounts bool) error {
	if p == nil {
		return nil
	}
	for _, other := range s.places {
		if other.path == p.path || firstCounts && (other.path == "" || strings.HasPrefix(p.path, other.path+"/")) {
			im.leave(p.d, "line %d takes what comes there before it", other.d.line)
			return nil
		}
	}
	s.places = append(s.places, *p)
	return im.room(1)
}

// room counts what is built of a file, which is small itself.
func (im *importer) room(n int) error {
	if im.built += n; im.built > maxBuilt {
		return fault.New(fault.Misused, "this makes more than %d backends", maxBuilt).Hint("one site after the other, each in a file of its own")
	}
	return nil
}

// setups are the commands that do what sites say: one for all doors that lead to the same.
func (im *importer) setups(sites []*site, program string) (Imported, error) {
	var doors []door
	on := map[door][]*site{}
	for _, s := range sites {
		for _, d := range s.doors {
			if on[d] == nil {
				doors = append(doors, d)
			}
			if !slices.Contains(on[d], s) {
				on[d] = append(on[d], s)
			}
		}
	}
	var all []*Setup
	redirects := map[door]*site{}
	for _, d := range doors {
		here := on[d]
		if all := portOf(d.at); d.at != all && (on[door{all, false}] != nil || on[door{all, true}] != nil) || !d.tls && on[door{d.at, true}] != nil {
			im.leave(here[0].d, "%s is served as all of its port is, not otherwise", d.at)
			continue
		}
		if at := slices.IndexFunc(here, func(s *site) bool { return s.first }); at > 0 {
			here = slices.Concat(here[at:at+1], here[:at], here[at+1:])
		}
		s, err := im.behind(d, here)
		if err != nil {
			return Imported{}, err
		}
		if len(s.Backends) == 0 {
			if !d.tls && here[0].secure != nil {
				redirects[d] = here[0]
			}
			continue
		}
		all = im.merge(all, s, d, here)
	}
	for _, d := range doors {
		if from := redirects[d]; from != nil {
			im.redirect(all, d.at, from)
		}
	}
	sorts.Stable(im.untaken, func(a, b Untaken) int { return cmp.Compare(a.Line, b.Line) })
	if len(all) == 0 {
		wrong := fault.New(fault.Misused, "no line of this says which server visitors go to in a way that a front can take")
		if at := slices.IndexFunc(im.untaken, func(u Untaken) bool { return u.Matters }); at >= 0 {
			first := im.untaken[at]
			wrong = fault.New(fault.Misused, "%s; of what is not taken the first is line %d: %s: %s", wrong.Text, first.Line, first.Text, first.Why)
		}
		return Imported{}, wrong.Hint("the file of %s with %s", program, map[string]string{"Apache": "ProxyPass", "nginx": "proxy_pass"}[program])
	}
	done := Imported{Untaken: im.untaken}
	for _, s := range all {
		done.Setups = append(done.Setups, *s)
	}
	return done, nil
}

// behind is what is behind a door: the first site answers for names that nobody has.
func (im *importer) behind(d door, here []*site) (*Setup, error) {
	s := &Setup{}
	set := false
	taken := map[string]bool{}
	rest := len(here[0].places) > 0 && (d.tls || here[0].secure == nil)
	for i, one := range here {
		if !d.tls && one.secure != nil {
			if i > 0 && len(s.Backends) > 0 {
				im.leave(one.secure, "--https-only is for all that comes to a port, and %s has other sites", d.at)
			}
			continue
		}
		if i > 0 && !d.tls && here[0].secure != nil {
			im.leave(here[0].secure, "--https-only is for all that comes to a port, and %s has other sites", d.at)
		}
		hosts := one.names
		if i == 0 {
			hosts = []string{""}
		} else if len(hosts) == 0 {
			im.leave(one.d, "it has no name that a front could know it by, and another one answers for the rest")
		}
		for _, host := range hosts {
			if taken[host] {
				im.leave(one.d, "a server before it has the name %s", host)
				continue
			}
			taken[host] = true
			if err := im.room(1); err != nil {
				return nil, err
			}
			whole := false
			for _, p := range one.places {
				if err := im.room(len(p.backends)); err != nil {
					return nil, err
				}
				for _, b := range p.backends {
					b.Host, b.Path = host, p.path
					s.Backends = append(s.Backends, b)
				}
				whole = whole || p.path == ""
				if !set {
					s.Common, set = p.common, true
				} else if !reflect.DeepEqual(s.Common, p.common) {
					im.leave(p.d, "all that a front serves has the same --balance, --sticky, --check, --timeout, --fail-on and --max-body: those of what comes first are taken")
				}
			}
			if i > 0 && rest && !whole {
				im.leave(one.d, "what none of its paths takes goes to where %s leads for other names", d.at)
			}
		}
		if d.tls && one.cert != "" && !slices.Contains(s.Cert, one.cert) {
			s.Cert, s.Key = append(s.Cert, one.cert), append(s.Key, one.key)
		}
	}
	return s, nil
}

// merge adds what is behind a door to the commands.
func (im *importer) merge(all []*Setup, s *Setup, d door, here []*site) []*Setup {
	if d.tls && len(s.Cert) == 0 {
		im.leave(here[0].d, "no line names a certificate for its port with TLS")
		return all
	}
	at := slices.IndexFunc(all, func(o *Setup) bool {
		return reflect.DeepEqual(o.Backends, s.Backends) && reflect.DeepEqual(o.Common, s.Common) &&
			(len(o.Cert) == 0 || len(s.Cert) == 0 || slices.Equal(o.Cert, s.Cert))
	})
	if at < 0 {
		at, all = len(all), append(all, s)
	}
	o := all[at]
	if d.tls {
		o.Cert, o.Key, o.ListenTLS = s.Cert, s.Key, append(o.ListenTLS, d.at)
	} else {
		o.Listen = append(o.Listen, d.at)
	}
	return all
}

// redirect has a command send visitors who come without TLS to where it is.
func (im *importer) redirect(all []*Setup, at string, from *site) {
	for _, s := range all {
		if len(s.ListenTLS) > 0 && portOf(s.ListenTLS[0]) == cmp.Or(from.port, ":443") && (len(s.Listen) == 0 || s.HTTPSOnly) {
			s.Listen, s.HTTPSOnly = append(s.Listen, at), true
			return
		}
	}
	im.leave(from.secure, "nothing here is served with TLS alone, where it could send visitors")
}

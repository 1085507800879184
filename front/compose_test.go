package front

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"bramble/fault"
)

// literal looks nothing up but addresses, and one name that has two.
func literal(server string) ([]netip.AddrPort, error) {
	if server == "two.example:80" {
		return []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:80"), netip.MustParseAddrPort("192.0.2.2:80")}, nil
	}
	at, err := netip.ParseAddrPort(server)
	if err != nil {
		return nil, fault.New(fault.NotFound, "nobody knows %s", server)
	}
	return []netip.AddrPort{at}, nil
}

func placeOf(node, at string) Place { return Place{Node: node, Address: netip.MustParseAddrPort(at)} }

// text is pools in a line each.
func text(pools []Pool) string {
	var b strings.Builder
	for _, p := range pools {
		b.WriteString(p.Host + p.Path + ":")
		for _, m := range p.Members {
			b.WriteString(" " + m.Name + "@" + m.Address.String())
			for _, x := range []string{m.Route, string(m.Mode), strings.Repeat("+", m.Weight)} {
				if x != "" {
					b.WriteString("/" + x)
				}
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestCompose(t *testing.T) {
	four, drain, enabled, route := 4, Draining, Enabled, "r"
	blog := Served{Hosts: []string{"a.example", "b.example"}, Places: []Place{placeOf("n1", "10.0.0.1:80"), placeOf("n2", "10.0.0.2:80")}}
	drained := Served{Places: []Place{{Node: "n1", Address: netip.MustParseAddrPort("10.0.0.1:80"), Drained: true}, placeOf("n2", "10.0.0.2:80")}}
	for name, c := range map[string]struct {
		front  Front
		served map[string]Served
		want   string
	}{
		"a site has its hosts": {Front{Sites: []SiteRef{{Name: "blog"}}}, map[string]Served{"blog": blog},
			"a.example: n1@10.0.0.1:80 n2@10.0.0.2:80\nb.example: n1@10.0.0.1:80 n2@10.0.0.2:80\n"},
		"or the one that is said": {Front{Sites: []SiteRef{{"blog", "c.example", "/x"}}}, map[string]Served{"blog": blog},
			"c.example/x: n1@10.0.0.1:80 n2@10.0.0.2:80\n"},
		"nobody serves it yet": {Front{Sites: []SiteRef{{Name: "blog"}}}, map[string]Served{"blog": {}}, ":\n"},
		"or it was removed":    {Front{Sites: []SiteRef{{Name: "blog"}}}, nil, ":\n"},
		"cookies name nodes": {Front{Sites: []SiteRef{{Name: "blog", Host: "c"}}, Common: Pool{Sticky: "R"}}, map[string]Served{"blog": blog},
			"c: n1@10.0.0.1:80/n1 n2@10.0.0.2:80/n2\n"},
		"a drained node":                {Front{Sites: []SiteRef{{Name: "blog"}}}, map[string]Served{"blog": drained}, ": n1@10.0.0.1:80/drain n2@10.0.0.2:80\n"},
		"is not enabled by hand":        {Front{Sites: []SiteRef{{Name: "blog"}}, Changed: map[string]Setting{"n1": {Mode: &enabled}}}, map[string]Served{"blog": drained}, ": n1@10.0.0.1:80/drain n2@10.0.0.2:80\n"},
		"changes":                       {Front{Sites: []SiteRef{{Name: "blog", Host: "c"}}, Changed: map[string]Setting{"n2": {Weight: &four, Mode: &drain, Route: &route}, "n9": {Weight: &four}}}, map[string]Served{"blog": blog}, "c: n1@10.0.0.1:80 n2@10.0.0.2:80/r/drain/++++\n"},
		"servers by address beside it":  {Front{Sites: []SiteRef{{Name: "blog", Host: "c"}}, Servers: []Backend{{Member: Member{Name: "x"}, Server: "10.9.9.9:3000", Host: "c"}}}, map[string]Served{"blog": blog}, "c: n1@10.0.0.1:80 n2@10.0.0.2:80 x@10.9.9.9:3000\n"},
		"a name that has two addresses": {Front{Servers: []Backend{{Member: Member{Name: "x"}, Server: "two.example:80"}}}, nil, ": x.1@192.0.2.1:80 x.2@192.0.2.2:80\n"},
	} {
		spec, err := compose(c.front, c.served, literal)
		if err != nil || text(spec.Pools) != c.want {
			t.Errorf("%s: got\n%s%v", name, text(spec.Pools), err)
		}
	}
	if _, err := compose(Front{Servers: []Backend{{Server: "nosuch:80"}}}, nil, literal); !fault.Is(err, fault.NotFound) {
		t.Errorf("an unknown name: %v", err)
	}
}

// With direct return all nodes but the front's own are members, at one port.
func TestStraighten(t *testing.T) {
	f := Front{Sites: []SiteRef{{Name: "blog"}}, Doors: Doors{Direct: true, Address: "10.0.0.100/24"}}
	four, drain := 4, Draining
	f.Changed = map[string]Setting{"b": {Weight: &four, Mode: &drain}}
	compose := func(places ...Place) (*Straight, error) {
		spec, err := compose(f, map[string]Served{"blog": {Places: places}}, literal)
		if err != nil {
			t.Fatal(err)
		}
		return straighten(f, []string{"head"}, spec)
	}
	s, err := compose(placeOf("a", "10.0.0.1:80"), placeOf("b", "10.0.0.2:80"), placeOf("head", "10.0.0.9:8080"))
	want := []StraightMember{{Name: "a", Address: netip.MustParseAddr("10.0.0.1")}, {Name: "b", Address: netip.MustParseAddr("10.0.0.2"), Weight: 4, Mode: Draining}}
	if err != nil || s.Port != 80 || s.Address.String() != "10.0.0.100" || !slices.Equal(s.Members, want) {
		t.Errorf("got %+v, %v", s, err)
	}
	if _, err := compose(placeOf("a", "10.0.0.1:80"), placeOf("b", "10.0.0.2:8080")); !fault.Is(err, fault.Conflict) {
		t.Errorf("two ports: %v", err)
	}
	for name, bad := range map[string]Front{
		"no address":      {Name: "a", Sites: f.Sites, Doors: Doors{Direct: true}},
		"a port":          {Name: "a", Sites: f.Sites, Doors: Doors{Direct: true, Address: "10.0.0.100", Plain: []string{":80"}}},
		"two sites":       {Name: "a", Sites: []SiteRef{{Name: "x"}, {Name: "y"}}, Doors: f.Doors},
		"another server":  {Name: "a", Sites: f.Sites, Servers: []Backend{{}}, Doors: f.Doors},
		"a part of one":   {Name: "a", Sites: []SiteRef{{Name: "x", Path: "/y"}}, Doors: f.Doors},
		"sticky visitors": {Name: "a", Sites: f.Sites, Doors: f.Doors, Common: Pool{Sticky: "R"}},
	} {
		if err := bad.Check(); !fault.Is(err, fault.Misused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Nodes that have not said yet what they serve serve what they did; one that has said it, or is none of the site's any more, does not.
func TestRecall(t *testing.T) {
	before := []Place{placeOf("a", "10.0.0.1:80"), placeOf("b", "10.0.0.2:80"), placeOf("c", "10.0.0.3:80")}
	now := recall(Served{Places: []Place{placeOf("b", "10.0.0.9:80")}, Silent: []Place{{Node: "a", Drained: true}, {Node: "new"}}}, before)
	want := []Place{{"a", before[0].Address, true}, placeOf("b", "10.0.0.9:80")}
	if !slices.Equal(now.Places, want) {
		t.Errorf("got %+v", now.Places)
	}
}

// The revision of an order changes with what is in it, and only then.
func TestOrdered(t *testing.T) {
	f := Front{Name: "front", Doors: Doors{Plain: []string{":80"}}}
	spec := Spec{Pools: []Pool{{Members: []Member{{Name: "a"}}}}}
	one := ordered(f, spec, nil).Rev
	if again := ordered(f, spec, nil).Rev; again != one {
		t.Error("the same has another revision")
	}
	f.Doors.Plain[0] = ":81"
	if ordered(f, spec, nil).Rev == one {
		t.Error("another port has the same revision")
	}
	f.Doors.Plain[0] = ":80"
	spec.Pools[0].Members[0].Mode = Draining
	if ordered(f, spec, nil).Rev == one {
		t.Error("another state has the same revision")
	}
}

func TestFrontCheck(t *testing.T) {
	site := []SiteRef{{Name: "blog"}}
	for name, f := range map[string]Front{
		"no name":            {Sites: site},
		"a name with a path": {Name: "../x", Sites: site},
		"nobody behind it":   {Name: "a"},
		"no port":            {Name: "a", Sites: site, Doors: Doors{Plain: []string{"80x"}}},
		"port 0":             {Name: "a", Sites: site, Doors: Doors{TLS: []string{":0"}}},
		"only https":         {Name: "a", Sites: site, Doors: Doors{HTTPSOnly: true}},
		"no certificate":     {Name: "a", Sites: site, Doors: Doors{TLS: []string{":443"}, Pairs: []Pair{{"x", "y"}}}},
		"many ports":         {Name: "a", Sites: site, Doors: Doors{Plain: slices.Repeat([]string{":80"}, maxDoors+1)}},
		"no such choice":     {Name: "a", Sites: site, Common: Pool{Balance: "best"}},
		"no size":            {Name: "a", Sites: site, Common: Pool{MaxBody: -1}},
		"size behind direct": {Name: "a", Sites: site, Common: Pool{MaxBody: 1}, Doors: Doors{Direct: true, Address: "10.0.0.100"}},
		"no time":            {Name: "a", Sites: site, Common: Pool{Wait: -time.Second}},
	} {
		if err := f.Check(); !fault.Is(err, fault.Misused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (Front{Name: "front", Sites: site, Doors: Doors{Plain: []string{":80", "[::1]:8080"}}}).Check(); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"blog,host", "blog,path=x", "blog,what=1", "blog,host="} {
		if _, err := ParseSite(text); !fault.Is(err, fault.Misused) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if s, err := ParseSite("blog,host=A.example.,path=/x"); err != nil || s != (SiteRef{"blog", "a.example", "/x"}) {
		t.Errorf("got %+v, %v", s, err)
	}
}

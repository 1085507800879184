package cli

import (
	"context"
	"fmt"
	"time"

	"bramble/fault"
	"bramble/fleet"
	"bramble/front"
)

type frontUpCmd struct {
	Name string   `arg:"" optional:"" help:"Name of the front." default:"front"`
	Site []string `help:"A site, whose nodes are members: they come and go by themselves. NAME, and after commas host=NAME (else those that the site has), path=/PREFIX; can be repeated." sep:"none" placeholder:"NAME"`
	On   string   `help:"Nodes that take visitors in, as for run." default:"role=head"`

	Listen    []string `help:"Where visitors come: [ADDRESS]:PORT; can be repeated. Port 80 where nothing is said, and 8000 where that is taken." placeholder:"[ADDR]:PORT"`
	ListenTLS []string `name:"listen-tls" help:"Where visitors come over TLS, with HTTP/2; can be repeated." placeholder:"[ADDR]:PORT"`
	Cert      []string `help:"Certificate chain in PEM, kept by the cluster; can be repeated, and is chosen by its names. Without: one by the cluster's own CA." type:"path" sep:"none" placeholder:"FILE"`
	Key       []string `help:"Its key; as often as --cert." type:"path" sep:"none" placeholder:"FILE"`
	acmeNames `embed:""`
	Address   string   `help:"An address that the front's nodes share: one of them has it, and when that one dies another does, within about a second. ADDRESS/BITS, and after commas priority=N, vrid=N, on=INTERFACE." sep:"none" env:"-" placeholder:"ADDR/BITS"`
	Direct    bool     `help:"Members answer visitors of --address themselves, as fast as all their links together: for one site, nodes on one switch, and one of --on that is no member."`
	HTTPSOnly bool     `name:"https-only" help:"Send visitors without TLS to where it is."`
	Backend   []string `help:"A web server that is none of the cluster's sites: http://HOST:PORT, or h2c://HOST:PORT for HTTP/2 without TLS, as gRPC has it; and after commas weight=N, set=N, route=NAME, name=NAME, standby, spare, host=NAME, path=/PREFIX; can be repeated." sep:"none" placeholder:"URL"`

	balanceFlags `embed:""`

	Log     bool `help:"Note requests on the nodes that take them in, for front log: at most 16 MiB on each, in node/front/log of the state folder."`
	LogJSON bool `name:"log-json" help:"Note them as JSON, with the member that answered; else in the form that Apache calls combined."`

	visitorFlags `embed:""`

	Manager []string `help:"From where members may be changed on the dashboard's page Fronts: addresses or networks, which /balancer-manager on the front's ports leads to it. Without: from wherever somebody is signed in, and it leads nowhere." placeholder:"ADDR|NET"`
}

func (frontUpCmd) Examples() string {
	return "bramble front up --site blog                                  # on the head, port 80 or 8000\n" +
		"bramble front up --site blog --on node1 --listen :80 --listen-tls :443 --https-only\n" +
		"bramble front up --site blog --site shop,host=shop.example.org --backend http://10.0.0.50:3000,path=/api\n" +
		"bramble front up --site blog --on 'node[1-2]' --address 192.168.1.10/24   # two nodes, of which one has the address\n" +
		"bramble front up --site blog --direct --address 192.168.1.10             # the nodes answer themselves\n" +
		"bramble front up desk --backend http://10.0.0.11 --backend http://10.0.0.12,standby --listen :8080\n"
}

func (c *frontUpCmd) Run(e *env) error {
	f, err := c.front()
	if err != nil {
		return err
	}
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	if _, err := cl.Fronts.Up(e.ctx, f); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(e.ctx, 20*time.Second)
	defer cancel()
	st, err := cl.Fronts.Await(ctx, f.Name, front.Status.Settled)
	if err != nil && e.ctx.Err() != nil {
		return fault.New(fault.Interrupted, "stopped waiting; the front %s comes up by itself", f.Name).Hint("bramble front status %s", f.Name)
	}
	if err == nil && c.shares() {
		st = c.awaitTaken(e, cl.Fronts, st)
	}
	return c.tell(e, st)
}

// shares reports whether the front's nodes share an address.
func (c *frontUpCmd) shares() bool { return c.Address != "" && !c.Direct }

// electing is how long nodes may take to agree on who has the address that they share.
const electing = 10 * time.Second

// awaitTaken is the front when one of its nodes has the address, for that is where visitors come in.
func (c *frontUpCmd) awaitTaken(e *env, fronts front.Fronts, st front.Status) front.Status {
	ctx, cancel := context.WithTimeout(e.ctx, electing)
	defer cancel()
	if now, err := front.Await(ctx, fronts, st.Front.Name, front.Status.Taken); err == nil {
		return now
	}
	fmt.Fprintf(e.out.Stderr, "no node has %s yet; bramble front status %s says when one does\n", c.Address, st.Front.Name)
	return st
}

// front is what the flags say.
func (c *frontUpCmd) front() (f front.Front, err error) {
	f = front.Front{Name: c.Name, On: c.On, Rate: front.Rate{Each: c.Rate, Burst: c.Burst}, Doors: front.Doors{
		Address: c.Address, Direct: c.Direct, Plain: c.Listen, TLS: c.ListenTLS, HTTPSOnly: c.HTTPSOnly, Conns: c.Conns, Log: c.Log, JSON: c.LogJSON}}
	if f.Common, err = c.common(); err != nil {
		return f, err
	}
	if f.Servers, err = backends(c.Backend); err != nil {
		return f, err
	}
	for _, text := range c.Site {
		s, err := front.ParseSite(text)
		if err != nil {
			return f, err
		}
		f.Sites = append(f.Sites, s)
	}
	if f.Doors.Pairs, err = front.LoadPairs(c.Cert, c.Key); err != nil {
		return f, err
	}
	if len(f.Doors.Pairs) > 0 && len(c.ListenTLS) == 0 {
		return f, fault.New(fault.Misused, "--cert is for a port with TLS").Hint("--listen-tls :443")
	}
	if f.Doors.ACME, err = c.issuer(); err != nil {
		return f, err
	}
	if f.Trusted, err = networks("--trust", c.Trust); err != nil {
		return f, err
	}
	if f.Doors.Proxies, err = networks("--proxy-protocol", c.Proxied); err != nil {
		return f, err
	}
	if f.Manager, err = networks("--manager", c.Manager); err != nil {
		return f, err
	}
	return f, f.Check()
}

// tell says where visitors come in, or why they cannot.
func (c *frontUpCmd) tell(e *env, st front.Status) error {
	bad := 0
	for _, n := range st.Nodes {
		for _, url := range n.URLs() {
			fmt.Fprintf(e.out.Stdout, "%s is up at %s on %s\n", st.Front.Name, url, n.Node)
		}
		switch {
		case n.Error != "":
			bad++
			fmt.Fprintf(e.out.Stderr, "%s: %s\n", n.Node, clean(n.Error))
		case n.State != fleet.Up:
			fmt.Fprintf(e.out.Stderr, "%s is %s, and follows when it is back\n", n.Node, n.State)
		case !n.Current:
			bad++
			fmt.Fprintf(e.out.Stderr, "%s has not said yet that it does this\n", n.Node)
		}
	}
	if bad > 0 {
		return fault.New(fault.Partial, "the front %s is not up on %d of %d nodes", st.Front.Name, bad, len(st.Nodes)).Hint("bramble front status %s", st.Front.Name)
	}
	return nil
}

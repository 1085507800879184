package cli

import (
	"net"

	"bramble/fault"
	"bramble/front"
)

// alone lets the front be looked after at its socket, which is open then.
func (c *frontServeCmd) alone(s *front.Server, listeners []net.Listener) (a *front.Alone, err error) {
	f := front.Front{Rate: s.Spec.Rate, Trusted: s.Spec.Trusted, Doors: front.Doors{Plain: c.Listen, TLS: c.ListenTLS, Address: c.Address,
		HTTPSOnly: c.HTTPSOnly, Conns: c.Conns, Proxies: s.Proxies, Log: c.AccessLog != "", JSON: c.LogJSON}}
	if f.Common, err = c.common(); err != nil {
		return nil, err
	}
	if f.Servers, err = backends(c.Backend); err != nil {
		return nil, err
	}
	a = &front.Alone{Server: s, Front: f, Log: s.Log}
	a.Plain, a.TLS = c.addresses(listeners)
	return a, a.Listen(c.Control)
}

// controlFlag leads to a front of this machine instead of the cluster's.
type controlFlag struct {
	Control string `help:"Instead of a front of the cluster: the socket of a front serve --control PATH on this machine." type:"path" placeholder:"PATH"`
}

// fronts are the cluster's, or the one at the socket; name is that of a front in the cluster.
func (c controlFlag) fronts(e *env, name string) (fronts front.Fronts, done func(), err error) {
	switch {
	case c.Control != "" && name != "":
		return nil, nil, fault.New(fault.Misused, "--control is for a front of this machine, and %s one of the cluster", name).Hint("leave one of them out")
	case c.Control != "":
		return front.Local{Socket: c.Control}, func() {}, nil
	}
	cl, err := e.open()
	if err != nil {
		return nil, nil, err
	}
	return cl.Fronts, func() { cl.Close() }, nil
}

package front

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"

	"bramble/accesslog"
	"bramble/fault"
	"bramble/http1"
)

// carrier is one front at work in a process.
type carrier struct {
	p       *Process
	order   Order
	server  *Server
	doors   []*opened
	certs   atomic.Pointer[Certificates]
	shares  *sharing      // nil: no address
	direct  *straightener // nil: no direct return
	stop    func()
	stays   context.Context // until it leaves
	leaving context.CancelFunc
	failed  error
}

// opened is a port that is listened on.
type opened struct {
	key   string // which of the front's doors it is
	said  string // [ADDRESS]:PORT
	tls   bool
	raw   *net.TCPListener
	stop  context.CancelFunc
	ended chan struct{}
}

// Where a front listens when nobody has said it: 80, and where that is taken, the other one.
var usualDoors = []string{":80", ":8000"}

func newCarrier(p *Process, o Order) *carrier {
	log := p.Log.With("front", o.Name)
	c := &carrier{p: p, server: &Server{Log: log, Proxies: o.Doors.Proxies, Limits: http1.Limits{Address: o.Doors.Conns}}}
	c.stays, c.leaving = context.WithCancel(p.life)
	c.server.Access = &AccessLog{JSON: o.Doors.JSON}
	if o.Doors.Log {
		c.server.Access.To = accesslog.File(p.logFile(o.Name))
	}
	c.server.Issued = &Issued{}
	c.stop = c.server.Start()
	if a, err := o.Doors.shared(); a != nil && err == nil {
		a.Healthy, a.Log = c.server.Well, log
		a.Held = p.kept[o.Name] == a.Address.String()
		c.shares = share(*a)
	}
	return c
}

// set carries an order out. Doors that are open already stay so; one that cannot be opened keeps none of the others closed.
func (c *carrier) set(o Order) {
	c.order, c.failed = o, nil
	if o.Straight != nil {
		if c.direct == nil {
			c.direct = startStraight(filepath.Join(c.p.Dir, "direct.json"), c.p.Log.With("front", o.Name), *o.Straight)
		} else {
			c.direct.set(*o.Straight)
		}
		return
	}
	if certs, err := NewCertificates(o.Doors.Pairs, c.p.Log); err != nil {
		c.failed = err
	} else {
		certs.Issued = c.server.Issued
		c.certs.Store(certs)
	}
	c.failed = errors.Join(c.failed, c.server.Issued.set(o.Issued, o.Proofs))
	spec := o.Spec
	if o.Doors.HTTPSOnly {
		spec.Secure = o.Doors.secure()
	}
	c.server.Set(spec) // before anybody can come in
	c.failed = errors.Join(c.failed, c.openDoors(o))
}

// entry is a port that is wanted.
type entry struct {
	key string
	at  string // [ADDRESS]:PORT; "": one of the usual ones
	tls bool
}

// entries are the ports of an order.
func (o Order) entries() (all []entry) {
	plain := o.Doors.Plain
	if len(plain)+len(o.Doors.TLS) == 0 {
		plain = []string{""}
	}
	for _, at := range plain {
		all = append(all, entry{o.Name + " plain " + at, at, false})
	}
	for _, at := range o.Doors.TLS {
		all = append(all, entry{o.Name + " tls " + at, at, true})
	}
	return all
}

// openDoors closes what is not wanted any more, and opens what is not open.
func (c *carrier) openDoors(o Order) error {
	entries := o.entries()
	c.doors = slices.DeleteFunc(c.doors, func(d *opened) bool {
		if slices.ContainsFunc(entries, func(e entry) bool { return e.key == d.key }) {
			return false
		}
		d.stop()
		c.p.ending.Go(func() { <-d.ended })
		return true
	})
	var broken []error
	for _, e := range entries {
		broken = append(broken, c.open(e))
	}
	return errors.Join(broken...)
}

// secure is the port of the first door with TLS; 0 is none.
func (d Doors) secure() int {
	if len(d.TLS) == 0 {
		return 0
	}
	_, text, _ := net.SplitHostPort(d.TLS[0])
	port, _ := strconv.Atoi(text)
	return port
}

// open opens a door, unless it is open.
func (c *carrier) open(e entry) error {
	if slices.ContainsFunc(c.doors, func(d *opened) bool { return d.key == e.key }) {
		return nil
	}
	raw, err := c.listen(e.key, e.at)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(c.p.life)
	d := &opened{key: e.key, said: doorOf(raw.Addr()), tls: e.tls, raw: raw, stop: stop, ended: make(chan struct{})}
	c.doors = append(c.doors, d)
	var l net.Listener = raw
	if e.tls {
		l = tls.NewListener(raw, c.tls())
	}
	go func() {
		defer close(d.ended)
		if err := c.server.Serve(ctx, l); err != nil {
			c.p.Log.Error("a port is served no more", "address", d.said, "error", err)
		}
	}()
	return nil
}

// tls is with the certificates of the moment.
func (c *carrier) tls() *tls.Config {
	return &tls.Config{NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.certs.Load().Get(hello)
		}}
}

// listen opens a port, or takes the socket of the process before.
func (c *carrier) listen(key, at string) (*net.TCPListener, error) {
	if l, ok := c.p.handed[key].(*net.TCPListener); ok {
		delete(c.p.handed, key)
		return l, nil
	}
	try := []string{at}
	if at == "" {
		try = usualDoors
	}
	shared, _ := c.order.Doors.shared() // it was checked
	var first error
	for _, at := range try {
		if at[0] == ':' && c.p.Host != "" {
			at = net.JoinHostPort(c.p.Host, at[1:])
		}
		l, err := Listen(c.p.life, at, shared)
		if err == nil {
			return l, nil
		}
		first = cmp.Or(first, err)
	}
	switch {
	case errors.Is(first, syscall.EADDRINUSE) && at == "":
		return nil, fault.New(fault.Conflict, "the ports 80 and 8000 are taken here").Hint("--listen :8001")
	case errors.Is(first, syscall.EADDRINUSE):
		return nil, fault.New(fault.Conflict, "%s is taken here: another front, a site or another web server listens there", at).Hint("--listen :8000, or --on another node")
	case errors.Is(first, syscall.EACCES):
		return nil, fault.New(fault.Denied, "%s may not be opened: ports below 1024 are root's", cmp.Or(at, ":80")).Hint("--listen :8000")
	}
	return nil, fault.New(fault.Failed, "%s: %w", at, first)
}

// goesOn reports whether the front can do what is wanted as it is. What is not named in settled needs another one.
func (c *carrier) goesOn(o Order) bool {
	was, is := c.order.Straight, o.Straight
	same := was == nil && is == nil || was != nil && is != nil && was.Address == is.Address && was.Port == is.Port
	return same && reflect.DeepEqual(c.order.Doors.settled(), o.Doors.settled())
}

// settled is the doors without what may change while a front works.
func (d Doors) settled() Doors {
	d.Plain, d.TLS, d.HTTPSOnly, d.Pairs = nil, nil, false, nil
	return d
}

// sockets are copies of those that it listens on, by door.
func (c *carrier) sockets() (keys []string, files []*os.File) {
	for _, d := range c.doors {
		f, err := d.raw.File()
		if err != nil || len(files) == maxDoors {
			c.p.Log.Error("a listening socket cannot be handed over", "address", d.said, "error", err)
			continue
		}
		keys, files = append(keys, d.key), append(files, f)
	}
	return keys, files
}

// giveWay ends the front when who is connected has had an answer.
func (c *carrier) giveWay(ctx context.Context) {
	c.leave()
	c.server.Retire()
	ctx, cancel := context.WithTimeout(ctx, lastAnswers)
	defer cancel()
	c.outlast(ctx)
	c.close()
}

// outlast waits until all doors have ended, or ctx.
func (c *carrier) outlast(ctx context.Context) {
	for _, d := range c.doors {
		select {
		case <-d.ended:
		case <-ctx.Done():
			return
		}
	}
}

// leave lets another front have the address, and those who follow the log.
func (c *carrier) leave() {
	c.part()
	c.shares.leave()
}

// part lets go of what another carrier has from now on, but for a shared address.
func (c *carrier) part() {
	c.leaving()
	if c.direct != nil {
		c.direct.leave()
	}
}

// close ends a front, whose address goes first.
func (c *carrier) close() {
	c.leave()
	if c.direct != nil {
		c.direct.undo()
	}
	for _, d := range c.doors {
		d.stop()
	}
	for _, d := range c.doors {
		<-d.ended
	}
	c.stop()
}

// carried is how the front does.
func (c *carrier) carried() Carried {
	s := Carried{Rev: c.order.Rev, Pools: c.server.Standing(), Count: c.server.Counts()}
	for _, d := range c.doors {
		if d.tls {
			s.TLS = append(s.TLS, d.said)
		} else {
			s.Plain = append(s.Plain, d.said)
		}
	}
	if c.direct != nil {
		c.direct.carried(&s)
	}
	has, why := c.shares.stands()
	if s.Has = has; c.failed != nil || why != nil {
		s.Error = errors.Join(c.failed, why).Error()
	}
	return s
}

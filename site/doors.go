package site

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"bramble/fault"
	"bramble/http1"
)

// doors are the ports that a node serves sites on, by what people said of them.
type doors struct {
	node *Node
	mu   sync.Mutex // for opening; what is open is guarded by the node's lock
	all  map[string]*door
}

// door is one port: the sites behind it are told apart by the host that a request names.
type door struct {
	said   string // [ADDRESS]:PORT, without an address: on every link
	sites  map[*hosted][]string
	routes atomic.Pointer[routes]
	server *http1.Server
	stop   context.CancelFunc
	ended  chan struct{}
}

// routes is who answers to which host.
type routes struct {
	hosts map[string]*hosted
	rest  *hosted // may be nil
}

// find is the door of a site, if it is open; the node's lock is held.
func (d *doors) find(s Spec) *door { return d.all[s.Listen] }

// open opens the door of a site. before is where it was when this agent ran last.
func (d *doors) open(s Spec, before string) (*door, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.node.mu.Lock()
	open := d.find(s)
	d.node.mu.Unlock()
	if open != nil {
		return open, nil
	}
	l, err := d.listen(s, before)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	x := &door{said: l.Addr().String(), sites: map[*hosted][]string{}, stop: stop, ended: make(chan struct{})}
	if at := l.Addr().(*net.TCPAddr); at.IP.IsUnspecified() {
		_, port, _ := net.SplitHostPort(x.said)
		x.said = ":" + port
	}
	x.routes.Store(&routes{})
	x.server = &http1.Server{Handler: x.lean, Fallback: x, Log: d.node.Log}
	d.node.traffic.enter(x.server)
	go func() {
		defer close(x.ended)
		err := x.server.Serve(ctx, l)
		d.node.traffic.leave(x.server)
		if err != nil {
			d.node.Log.Error("a port is served no more", "address", x.said, "error", err)
		}
	}()
	d.node.mu.Lock()
	defer d.node.mu.Unlock()
	d.all[s.Listen] = x
	return x, nil
}

// listen opens the port that was said, else the usual one: 80 where we may, else 8080, else any. Nodes that share an address
// with others, as in a lab, take any port in the place of one that is taken.
func (d *doors) listen(s Spec, before string) (net.Listener, error) {
	shared := net.ParseIP(d.node.Host).IsLoopback()
	var tries []string
	if s.Listen == "" {
		tries = append(tries, before)
		if !shared && os.Geteuid() == 0 {
			tries = append(tries, ":80")
		}
		if !shared {
			tries = append(tries, ":8080")
		}
		tries = append(tries, ":0")
	} else if tries = append(tries, s.Listen); shared {
		tries = append(tries, before, ":0")
	}
	var last error
	for _, address := range tries {
		if address == "" {
			continue
		}
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		l, err := net.Listen("tcp", net.JoinHostPort(cmp.Or(host, d.node.Host), port))
		if err == nil {
			return l, nil
		}
		last = err
	}
	if op, ok := errors.AsType[*net.OpError](last); ok {
		last = op.Err
	}
	return nil, fault.New(fault.Conflict, "cannot serve at %s: %w", s.Listen, last).Hint("another port: --listen :8080")
}

// place puts a site behind a door, and behind no other; the node's lock is held.
func (d *doors) place(h *hosted, s Spec, x *door) {
	if h.door != nil && h.door != x {
		d.leave(h)
	}
	h.door = x
	x.sites[h] = s.Hosts
	x.route()
}

// leave takes a site from its door, which is closed behind the last one; the node's lock is held.
func (d *doors) leave(h *hosted) {
	x := h.door
	if x == nil {
		return
	}
	h.door = nil
	delete(x.sites, h)
	if x.route(); len(x.sites) > 0 {
		return
	}
	for listen, y := range d.all {
		if y == x {
			delete(d.all, listen)
		}
	}
	x.stop()
}

// sweep closes doors that were opened for what never came; the node's lock is held.
func (d *doors) sweep() {
	for _, h := range d.node.hosted {
		if h.stagings > 0 || len(h.staged) > 0 {
			return
		}
	}
	for listen, x := range d.all {
		if len(x.sites) == 0 {
			delete(d.all, listen)
			x.stop()
		}
	}
}

func (d *doors) closeAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, x := range d.all {
		x.stop()
		<-x.ended
	}
}

// route settles who answers to whom; of two sites for all hosts the first by name does.
func (x *door) route() {
	r := &routes{hosts: map[string]*hosted{}}
	sites := slices.SortedFunc(maps.Keys(x.sites), func(a, b *hosted) int { return strings.Compare(b.name, a.name) })
	for _, h := range sites {
		for _, host := range x.sites[h] {
			r.hosts[host] = h
		}
		if len(x.sites[h]) == 0 {
			r.rest = h
		}
	}
	x.routes.Store(r)
}

// pick is who answers to a host; nil: nobody.
func (r *routes) pick(host []byte) *hosted {
	if len(r.hosts) == 0 {
		return r.rest
	}
	var space [256]byte
	if h := r.hosts[string(http1.HostName(space[:0], host))]; h != nil {
		return h
	}
	return r.rest
}

func (x *door) lean(req *http1.Request, a *http1.Answer) bool {
	h := x.routes.Load().pick(req.Host())
	if h == nil || !h.server.Lean(req, a) {
		return false
	}
	h.lean(req, a)
	return true
}

func (x *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := x.routes.Load().pick([]byte(r.Host))
	if h == nil {
		http.Error(w, "no site of this name is served here", http.StatusNotFound)
		return
	}
	out := &http1.Measured{ResponseWriter: w}
	h.server.ServeHTTP(out, r)
	h.other(r, out)
}

package front

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"bramble/http1"
)

// Server is a front at work.
type Server struct {
	Spec   Spec // what it begins with; Set changes it
	Limits http1.Limits
	Loops  int        // threads for requests without a body, of each listener; 0: one for each core
	Access *AccessLog // nil: none
	Log    *slog.Logger

	Proxies []netip.Prefix // whose connections begin with who the visitor is, in the PROXY protocol
	ACME    *ACME          // opened, asks a CA for certificates while the front works; nil: none
	Issued  *Issued        // what a CA has issued, and is answered; ACME's where there is one

	web      *http1.Server
	checking context.Context
	rates    limits
	denied   denied
	setting  sync.Mutex // one change at a time, and of the next two
	said     Spec       // to Set, last
	changed  map[string]Setting
	now      atomic.Pointer[state]
}

// state is what a front does now. It is not changed, but made anew.
type state struct {
	spec   Spec
	groups []*group // of each pool
	routes *routes
	proxy  *httputil.ReverseProxy
}

// Run serves the listeners until ctx ends, lets what is under way finish for at most Limits.Grace, and returns when everything it
// started has ended.
func (s *Server) Run(ctx context.Context, listeners ...net.Listener) error {
	defer s.Start()()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { ended <- s.Serve(ctx, l) }()
	}
	var first error
	for range listeners {
		if err := <-ended; err != nil && first == nil {
			first = err
		}
		cancel()
	}
	return first
}

// Start has the front look at its members, so that it can serve, until stop is called, which is when nothing is served any more.
func (s *Server) Start() (stop func()) {
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	s.rates = limits{now: time.Now, spent: map[netip.Addr]*bucket{}}
	s.web = &http1.Server{Handler: s.lean, Fallback: s, Proxies: s.Proxies, Limits: s.Limits, Loops: s.Loops, Log: s.Log}
	checking, cancel := context.WithCancel(context.Background())
	s.checking = checking
	if s.ACME != nil {
		s.Issued = &s.ACME.Issued
	}
	s.Set(s.Spec)
	var ticking sync.WaitGroup
	ticking.Go(func() { s.tick(checking) })
	if s.ACME != nil {
		ticking.Go(func() { s.ACME.run(checking) })
	}
	if s.Access != nil {
		s.Access.Log = s.Log
		ticking.Go(func() { s.Access.run(checking.Done()) })
	}
	return func() {
		cancel()
		for _, g := range s.now.Load().groups {
			g.close()
		}
		ticking.Wait()
	}
}

// Serve lets visitors in by a listener until ctx ends, and what is under way then finish for at most Limits.Grace.
func (s *Server) Serve(ctx context.Context, l net.Listener) error { return s.web.Serve(ctx, l) }

// Retire takes no more visitors, and lets those that are connected have one more answer each; Serve returns when all are gone.
func (s *Server) Retire() { s.web.Retire() }

// Follow looks every so often whether what is wanted has changed, as what a name stands for, and takes that up, until ctx ends. What
// cannot be found out stays as it was.
func (s *Server) Follow(ctx context.Context, every time.Duration, look func(context.Context) (Spec, error)) {
	now := s.Spec
	for wait(ctx, every) {
		spec, err := look(ctx)
		if err != nil {
			s.Log.Warn("members stay what they were", "error", err)
			continue
		}
		if spec.Secure = now.Secure; !reflect.DeepEqual(spec, now) {
			s.Log.Info("members are others now")
			s.Set(spec)
			now = spec
		}
	}
}

// Heed takes up how busy the machines of members are, by name: the busy share of all processors, 0 to 1.
func (s *Server) Heed(loads map[string]float64) {
	for _, g := range s.now.Load().groups {
		g.heed(loads)
	}
}

// Set takes up new settings, with what Change has changed. Pools go on that have the same host, path and patience, and in them the members of the same name and
// address; nobody else's request or connection is touched by what comes and goes.
func (s *Server) Set(spec Spec) {
	s.setting.Lock()
	defer s.setting.Unlock()
	s.said = spec
	s.take(spec.with(s.changed))
}

// Change changes a member, in all of its pools and for as long as the server is there.
func (s *Server) Change(member string, c Setting) error {
	if err := c.check(); err != nil {
		return err
	}
	s.setting.Lock()
	defer s.setting.Unlock()
	if err := (Order{Spec: s.said}).has(member); err != nil {
		return err
	}
	if s.changed == nil {
		s.changed = map[string]Setting{}
	}
	s.changed[member] = s.changed[member].with(c)
	s.take(s.said.with(s.changed))
	return nil
}

// Changed is what was changed, by member.
func (s *Server) Changed() map[string]Setting {
	s.setting.Lock()
	defer s.setting.Unlock()
	return maps.Clone(s.changed)
}

// take is Set with all that is to be; setting is held.
func (s *Server) take(spec Spec) {
	var old []*group
	if before := s.now.Load(); before != nil {
		old = slices.Clone(before.groups)
	}
	next := &state{spec: spec, proxy: newProxy(spec.Trusted)}
	for _, p := range spec.Pools {
		at := slices.IndexFunc(old, func(g *group) bool { return g.goesOnAs(p) })
		var g *group
		if at < 0 {
			g = newGroup(s.checking, p, s.Log, s.web.Break)
		} else {
			g = old[at]
			old = slices.Delete(old, at, at+1)
			g.set(p)
		}
		next.groups = append(next.groups, g)
	}
	next.routes = newRoutes(next.groups)
	s.now.Store(next)
	for _, g := range old {
		g.close()
	}
}

// tick lets time change who may be asked.
func (s *Server) tick(ctx context.Context) {
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			for _, g := range s.now.Load().groups {
				g.tick()
			}
		}
	}
}

// lean is http1.Server's Handler.
func (s *Server) lean(r *http1.Request, a *http1.Answer) bool {
	if !r.Relays {
		return false
	}
	if text, ok := s.Issued.proof(r.Path); ok {
		s.say(r, a, http.StatusOK, text)
		return true
	}
	now := s.now.Load()
	g := now.routes.find(r.Host(), r.Path)
	if g != nil && g.ring.Load().second {
		return false
	}
	trusted := within(now.spec.Trusted, r.Remote.Addr())
	switch {
	case !trusted && !s.allow(now.spec.Rate, r.Remote.Addr()):
		s.refuse(r, a, http.StatusTooManyRequests, "Retry-After", "1")
	case now.spec.Manager.leads(r.Path, r.Remote.Addr(), trusted):
		s.refuse(r, a, http.StatusFound, "Location", now.spec.Manager.Page)
	case now.spec.Secure > 0:
		s.refuse(r, a, http.StatusPermanentRedirect, "Location", secured(string(r.Host()), string(r.Target), now.spec.Secure))
	case g == nil:
		s.refuse(r, a, http.StatusNotFound)
	default:
		g.lean(r, a, trusted, s.Access.wanted())
	}
	return true
}

// allow takes one request of an address; false is that it has had too many.
func (s *Server) allow(r Rate, from netip.Addr) bool {
	ok := s.rates.allow(r, from)
	if !ok {
		s.denied.hurried.Add(1)
	}
	return ok
}

// texts are what the front says itself, besides pages.
var texts = map[int]string{
	http.StatusRequestEntityTooLarge: "the request is larger than is taken here\n",
	http.StatusTooManyRequests:       "too many requests: slow down\n",
	http.StatusPermanentRedirect:     "",
	http.StatusFound:                 "",
	http.StatusNotFound:              "nothing of this name is served here\n",
}

// refuse answers without asking a member.
func (s *Server) refuse(r *http1.Request, a *http1.Answer, status int, fields ...string) {
	s.say(r, a, status, texts[status], fields...)
}

// say answers with a text of the front's own.
func (s *Server) say(r *http1.Request, a *http1.Answer, status int, text string, fields ...string) {
	a.Body = []byte(text)
	a.Head = http1.MakeHead(status, int64(len(a.Body)), append(fields, "Content-Type", "text/plain; charset=utf-8")...)
	if log := s.Access.wanted(); log != nil {
		v := noted(r)
		v.Status, v.Bytes = status, int64(len(a.Body))
		log.note(*v)
	}
}

// secured is the address of the same with TLS.
func secured(host, target string, port int) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		if host = name; strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
	}
	if port != 443 {
		host += ":" + strconv.Itoa(port)
	}
	if !strings.HasPrefix(target, "/") { // OPTIONS *
		target = "/"
	}
	return "https://" + host + target
}

// ServeHTTP answers what is more than a request without a body.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var m *measured
	if log := s.Access.wanted(); log != nil {
		m = &measured{Measured: http1.Measured{ResponseWriter: w}}
		defer log.other(r, m, time.Now())
		w = m
	}
	if text, ok := s.Issued.proof([]byte(r.URL.Path)); ok {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, text)
		return
	}
	from := addressOf(r.RemoteAddr)
	now := s.now.Load()
	path := []byte(r.URL.EscapedPath())
	g := now.routes.find([]byte(r.Host), path)
	trusted := within(now.spec.Trusted, from)
	lead := func(status int, to string) { w.Header().Set("Location", to); w.WriteHeader(status) }
	switch {
	case !trusted && !s.allow(now.spec.Rate, from):
		w.Header().Set("Retry-After", "1")
		tellText(w, http.StatusTooManyRequests)
	case now.spec.Manager.leads(path, from, trusted):
		lead(http.StatusFound, now.spec.Manager.Page)
	case now.spec.Secure > 0 && r.TLS == nil:
		lead(http.StatusPermanentRedirect, secured(r.Host, r.URL.RequestURI(), now.spec.Secure))
	case g == nil:
		tellText(w, http.StatusNotFound)
	case g.larger(r):
		s.denied.large.Add(1)
		tellOf(w, r, http.StatusRequestEntityTooLarge)
	default:
		http.NewResponseController(w).EnableFullDuplex() // an answer may come before the request is whole; HTTP/2 needs no such word
		w.Header()["Content-Type"] = nil                 // else one is guessed where a member gives none
		now.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), errandKey{}, errand{g, m, &s.denied})))
	}
}

// Standing is how the members of each pool do, and which pools those are; nil before Start.
func (s *Server) Standing() []PoolStanding {
	now := s.now.Load()
	if now == nil {
		return nil
	}
	all := make([]PoolStanding, len(now.groups))
	for i, g := range now.groups {
		all[i] = PoolStanding{Host: now.spec.Pools[i].Host, Path: now.spec.Pools[i].Path, Members: g.standings()}
	}
	return all
}

// Well reports whether there is anybody to ask: a member of any pool that is up. It is false before Run.
func (s *Server) Well() bool {
	for _, pool := range s.Standing() {
		for _, m := range pool.Members {
			if !m.Health.Down {
				return true
			}
		}
	}
	return false
}

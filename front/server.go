package front

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"bramble/http1"
)

// Server is a front at work.
type Server struct {
	Spec   Spec
	Limits http1.Limits
	Loops  int        // threads for requests without a body, of each listener; 0: one for each core
	Access *AccessLog // nil: none
	Rate   float64    // requests a second of one address; 0: any
	Burst  int        // of them at once
	Secure int        // the port that requests without TLS are sent to; 0: they are answered
	Log    *slog.Logger

	Proxies []netip.Prefix // whose connections begin with who the visitor is, in the PROXY protocol
	ACME    *ACME          // opened; nil: none

	routes  atomic.Pointer[routes] // nil until all below is there
	groups  []*group
	servers []*http1.Server
	proxy   *httputil.ReverseProxy

	transport *http1.Transport
	rates     limits
}

// Run serves the listeners until ctx ends, lets what is under way finish for at most Limits.Grace, and returns when everything it
// started has ended.
func (s *Server) Run(ctx context.Context, listeners ...net.Listener) error {
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	s.rates = limits{rate: s.Rate, burst: float64(s.Burst), now: time.Now, spent: map[netip.Addr]*bucket{}}
	wait := longestWait(s.Spec.Pools)
	s.transport = &http1.Transport{Answer: wait, Stall: wait}
	defer s.transport.CloseIdle()
	s.proxy = newProxy(s.transport, s.Spec.Trusted)
	for range listeners {
		s.servers = append(s.servers, &http1.Server{Handler: s.lean, Fallback: s, Proxies: s.Proxies, Limits: s.Limits, Loops: s.Loops, Log: s.Log})
	}
	checking, stop := context.WithCancel(context.WithoutCancel(ctx)) // what is under way still asks who is well
	defer stop()
	for _, p := range s.Spec.Pools {
		g := &group{ctx: checking, log: s.Log, broke: s.broke, now: time.Now}
		g.set(p)
		s.groups = append(s.groups, g)
		defer g.close()
	}
	s.routes.Store(newRoutes(s.groups))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var ticking sync.WaitGroup
	defer ticking.Wait()
	defer stop()
	ticking.Go(func() { s.tick(checking) })
	if s.ACME != nil {
		ticking.Go(func() { s.ACME.run(checking) })
	}
	if s.Access != nil {
		s.Access.Log = s.Log
		ticking.Go(func() { s.Access.run(checking.Done()) })
	}
	ended := make(chan error, len(listeners))
	for i, l := range listeners {
		go func() { ended <- s.servers[i].Serve(ctx, l) }()
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

// tick lets time change who may be asked.
func (s *Server) tick(ctx context.Context) {
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			for _, g := range s.groups {
				g.tick()
			}
		}
	}
}

// broke ends the connections with a member.
func (s *Server) broke(o *http1.Origin) {
	for _, h := range s.servers {
		h.Break(o)
	}
	s.transport.Break(o.Address.String())
}

// longestWait is how long the most patient of pools waits for an answer; 0 is the default.
func longestWait(pools []Pool) (most time.Duration) {
	for _, p := range pools {
		most = max(most, p.Wait)
	}
	return most
}

// lean is http1.Server's Handler.
func (s *Server) lean(r *http1.Request, a *http1.Answer) bool {
	if !r.Relays {
		return false
	}
	if text, ok := s.ACME.proof(r.Path); ok {
		s.say(r, a, http.StatusOK, text)
		return true
	}
	g := s.routes.Load().find(r.Host(), r.Path)
	trusted := trusts(s.Spec.Trusted, r.Remote.Addr())
	switch {
	case !trusted && !s.rates.allow(r.Remote.Addr()):
		s.refuse(r, a, http.StatusTooManyRequests, "Retry-After", "1")
	case s.Secure > 0:
		s.refuse(r, a, http.StatusPermanentRedirect, "Location", secured(string(r.Host()), string(r.Target), s.Secure))
	case g == nil:
		s.refuse(r, a, http.StatusNotFound)
	default:
		g.lean(r, a, trusted, s.Access)
	}
	return true
}

// texts are what the front says itself, besides pages.
var texts = map[int]string{
	http.StatusTooManyRequests:   "too many requests: slow down\n",
	http.StatusPermanentRedirect: "",
	http.StatusNotFound:          "nothing of this name is served here\n",
}

// refuse answers without asking a member.
func (s *Server) refuse(r *http1.Request, a *http1.Answer, status int, fields ...string) {
	s.say(r, a, status, texts[status], fields...)
}

// say answers with a text of the front's own.
func (s *Server) say(r *http1.Request, a *http1.Answer, status int, text string, fields ...string) {
	a.Body = []byte(text)
	a.Head = http1.MakeHead(status, int64(len(a.Body)), append(fields, "Content-Type", "text/plain; charset=utf-8")...)
	if s.Access != nil {
		v := noted(r)
		v.Status, v.Bytes = status, int64(len(a.Body))
		s.Access.note(*v)
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
	if s.Access != nil {
		m = &measured{Measured: http1.Measured{ResponseWriter: w}}
		defer s.Access.other(r, m, time.Now())
		w = m
	}
	if text, ok := s.ACME.proof([]byte(r.URL.Path)); ok {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, text)
		return
	}
	from := addressOf(r.RemoteAddr)
	g := s.routes.Load().find([]byte(r.Host), []byte(r.URL.EscapedPath()))
	say := func(status int) { http.Error(w, strings.TrimSuffix(texts[status], "\n"), status) }
	switch {
	case !trusts(s.Spec.Trusted, from) && !s.rates.allow(from):
		w.Header().Set("Retry-After", "1")
		say(http.StatusTooManyRequests)
	case s.Secure > 0 && r.TLS == nil:
		w.Header().Set("Location", secured(r.Host, r.URL.RequestURI(), s.Secure))
		w.WriteHeader(http.StatusPermanentRedirect)
	case g == nil:
		say(http.StatusNotFound)
	default:
		http.NewResponseController(w).EnableFullDuplex() // an answer may come before the request is whole; HTTP/2 needs no such word
		w.Header()["Content-Type"] = nil                 // else one is guessed where a member gives none
		s.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), errandKey{}, errand{g, m})))
	}
}

// Standings are the members of each pool, in the order of Spec; nil before Run.
func (s *Server) Standings() [][]Standing {
	var all [][]Standing
	if s.routes.Load() == nil {
		return nil
	}
	for _, g := range s.groups {
		all = append(all, g.standings())
	}
	return all
}

package front

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"sync/atomic"
	"time"

	"bramble/http1"
)

// Server is a front at work.
type Server struct {
	Spec   Spec
	Limits http1.Limits
	Loops  int // threads for requests without a body, of each listener; 0: one for each core
	Log    *slog.Logger

	routes  atomic.Pointer[routes]
	groups  []*group
	servers []*http1.Server
	proxy   *httputil.ReverseProxy
}

// Run serves the listeners until ctx ends, lets what is under way finish for at most Limits.Grace, and returns when everything it
// started has ended.
func (s *Server) Run(ctx context.Context, listeners ...net.Listener) error {
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	transport := &http.Transport{DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext, MaxIdleConnsPerHost: 64,
		IdleConnTimeout: 4 * time.Second, DisableCompression: true, ResponseHeaderTimeout: time.Minute}
	defer transport.CloseIdleConnections()
	s.proxy = newProxy(transport, s.Spec.Trusted)
	for range listeners {
		s.servers = append(s.servers, &http1.Server{Handler: s.lean, Fallback: s, Limits: s.Limits, Loops: s.Loops, Log: s.Log})
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
}

// lean is http1.Server's Handler.
func (s *Server) lean(r *http1.Request, a *http1.Answer) bool {
	if !r.Relays {
		return false
	}
	g := s.routes.Load().find(r.Host(), r.Path)
	if g == nil {
		a.Body = strange
		a.Head = http1.MakeHead(http.StatusNotFound, int64(len(a.Body)), "Content-Type", "text/plain; charset=utf-8")
		return true
	}
	g.lean(r, a, trusts(s.Spec.Trusted, r.Remote.Addr()))
	return true
}

var strange = []byte("nothing of this name is served here\n")

// ServeHTTP answers what is more than a request without a body.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g := s.routes.Load().find([]byte(r.Host), []byte(r.URL.EscapedPath()))
	if g == nil {
		http.Error(w, "nothing of this name is served here", http.StatusNotFound)
		return
	}
	s.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), groupKey{}, g)))
}

// Standings are the members of each pool, in the order of Spec.
func (s *Server) Standings() [][]Standing {
	var all [][]Standing
	for _, g := range s.groups {
		all = append(all, g.standings())
	}
	return all
}

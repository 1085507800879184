package site

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"bramble/artefact"
	"bramble/bus"
	"bramble/event"
	"bramble/fault"
	"bramble/fleet"
	"bramble/metric"
	"bramble/trust"
)

// Service is the head's half: it decides what is live.
type Service struct {
	Conn    *bus.Conn
	Books   Books
	Store   *artefact.Store
	Fleet   Fleet
	Sign    func(purpose string, data []byte) ([]byte, error)
	Events  *event.Log
	Metrics *metric.Set
	Now     func() time.Time
	Log     *slog.Logger
	// OnChange is told that a site may be served somewhere else than before; it must not block. Nil: nobody is told.
	OnChange func()

	life    context.Context
	work    sync.WaitGroup
	commits *metric.Counter

	mu      sync.Mutex
	sites   map[string]Site
	staging map[string]artefact.Ref // by site: what is being published, "" while its files are on their way
	reports map[string]report       // by node
	changed chan struct{}           // closed and replaced when a report came
	telling sync.Mutex              // nodes hear orders in the order in which they were decided
}

// Fleet knows the nodes.
type Fleet interface {
	Select(selection string) ([]fleet.Node, error)
	Nodes() []fleet.Node
}

// remindEvery is how often nodes that do not do what is wanted of them are told again.
const remindEvery = 2 * time.Second

// Open reads the books, so that nothing that is live is collected from the store.
func (s *Service) Open(ctx context.Context) error {
	s.staging, s.reports, s.changed = map[string]artefact.Ref{}, map[string]report{}, make(chan struct{})
	return s.load(ctx)
}

// Run serves until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	s.life = ctx
	s.commits = s.Metrics.Counter("bramble_site_commits_total", "Releases of sites that became live, by publication or rollback.")
	s.Metrics.Gauge("bramble_site_sites", "Sites.", func() float64 { return float64(len(s.list())) })
	err := errors.Join(
		bus.HandleStream(ctx, s.Conn, "site.do.publish", s.publish),
		bus.HandleStream(ctx, s.Conn, "site.do.rollback", s.rollback),
		bus.Handle(ctx, s.Conn, "site.do.remove", s.remove),
		bus.HandleStream(ctx, s.Conn, "site.read.list", s.sendList),
		bus.HandleStream(ctx, s.Conn, "site.read.diff", s.sendDiff),
		bus.HandleStream(ctx, s.Conn, "site.read.status", s.sendStatus),
		bus.HandleStream(ctx, s.Conn, "site.do.log", s.sendLog),
		s.Conn.Subscribe(ctx, bus.From("site", "*", "report"), s.heard),
	)
	if err != nil {
		return err
	}
	tick := time.NewTicker(remindEvery)
	defer tick.Stop()
	defer s.work.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.remind()
		}
	}
}

// heard takes in what a node says of its sites.
func (s *Service) heard(m bus.Message) {
	var r report
	if m.Caller.Kind != trust.KindNode || m.Decode(&r) != nil {
		return
	}
	s.mu.Lock()
	s.reports[m.Caller.Name] = r
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	if s.OnChange != nil {
		s.OnChange()
	}
	if r.Hello && !satisfied(s.wantsOf(m.Caller.Name, s.selected()), r) {
		s.tell(m.Caller.Name)
	}
}

// remind tells nodes again that do not do what is wanted of them; an order may have been lost with a connection.
func (s *Service) remind() {
	selected := s.selected()
	for _, n := range s.Fleet.Nodes() {
		s.mu.Lock()
		r := s.reports[n.Name]
		s.mu.Unlock()
		if n.State == fleet.Up && !satisfied(s.wantsOf(n.Name, selected), r) {
			s.tell(n.Name)
		}
	}
}

// selected are the nodes of each site.
func (s *Service) selected() map[string]map[string]bool {
	all := map[string]map[string]bool{}
	for _, site := range s.list() {
		all[site.Name] = map[string]bool{}
		for _, n := range s.nodesOf(site) {
			all[site.Name][n.Name] = true
		}
	}
	return all
}

// nodesOf are the nodes of a site now; there may be none.
func (s *Service) nodesOf(site Site) []fleet.Node { return fleet.Meant(site.On, s.Fleet.Nodes()) }

// wantsOf is all that is wanted of a node.
func (s *Service) wantsOf(node string, selected map[string]map[string]bool) wants {
	s.mu.Lock()
	staging := maps.Clone(s.staging)
	s.mu.Unlock()
	w := wants{Sites: []wanted{}, Staging: staging}
	for _, site := range s.list() {
		if one, ok := want(site); ok && selected[site.Name][node] {
			w.Sites = append(w.Sites, one)
		}
	}
	return w
}

// tell sends nodes all that is wanted of them.
func (s *Service) tell(nodes ...string) {
	s.telling.Lock()
	defer s.telling.Unlock()
	selected := s.selected()
	for _, node := range nodes {
		if err := s.Conn.Publish(bus.Node("site", node, "want"), s.wantsOf(node, selected)); err != nil {
			s.Log.Warn("a node is not told of its sites", "node", node, "error", err)
		}
	}
}

// find is a site that there is.
func (s *Service) find(name string) (Site, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	site, ok := s.sites[name]
	if !ok || site.Removed {
		return Site{}, fault.New(fault.NotFound, "there is no site %.80s", name).Hint("bramble site list")
	}
	return site, nil
}

// enter lets one change of a site happen at a time.
func (s *Service) enter(name string) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, busy := s.staging[name]; busy {
		return nil, fault.New(fault.Conflict, "somebody publishes %s just now", name).Hint("the same again when that has ended: bramble site status %s", name)
	}
	s.staging[name] = ""
	return func() {
		s.mu.Lock()
		delete(s.staging, name)
		s.mu.Unlock()
		if err := s.unpin(); err != nil {
			s.Log.Warn("old releases stay in the store", "error", err)
		}
	}, nil
}

func (s *Service) record(user, format string, args ...any) {
	s.Events.Record(event.Event{Kind: event.Audit, Room: "site", User: user, Text: fmt.Sprintf(format, args...)})
}

type none struct{}

// removal is what site.do.remove is asked.
type removal struct {
	Name string `json:"name"`
}

// remove takes a site from all nodes.
func (s *Service) remove(ctx context.Context, who bus.Caller, req removal) (none, error) {
	site, err := s.find(req.Name)
	if err != nil {
		return none{}, err
	}
	leave, err := s.enter(site.Name)
	if err != nil {
		return none{}, err
	}
	defer leave()
	nodes := s.nodesOf(site)
	if err := s.save(ctx, Site{Spec: Spec{Name: site.Name}, Seq: site.Seq + 1, Removed: true}); err != nil {
		return none{}, err
	}
	s.record(who.Name, "%s removes the site %s", who.Name, site.Name)
	s.tell(names(nodes)...)
	return none{}, nil
}

func names(nodes []fleet.Node) []string {
	list := make([]string, len(nodes))
	for i, n := range nodes {
		list[i] = n.Name
	}
	return list
}

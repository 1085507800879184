package artefact

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"bramble/bus"
	"bramble/fleet"
)

// lookEvery is how often it is looked whether a node is slow, and joinEvery whether one has come.
const (
	lookEvery = 500 * time.Millisecond
	joinEvery = time.Second
)

// spreading is a tree of the head's store on its way to nodes. What happens is taken in by one goroutine.
type spreading struct {
	s      *Service
	out    told
	task   fetchTask
	on     string
	names  map[string]bool // of all nodes that were chosen
	nodes  []fleet.Node    // those at work or done, as routes has them
	routes *Routes
	heard  chan report
	gate   chan struct{} // lets so many be at work at the same time
	atWork int
}

// report is what a node has said: how far it is, or how it ended.
type report struct {
	node int
	link *bus.Stream
	done int64
	end  *End
}

// spread has nodes bring a tree that is here, and lay it out. Nodes of the selection that come meanwhile have it too.
func (s *Service) spread(ctx context.Context, out told, on string, nodes []fleet.Node, t fetchTask) error {
	m, err := s.Store.GetManifest(ctx, t.Ref)
	if err != nil {
		return err
	}
	out.entry.weigh(sumOf(m).Bytes)
	p := &spreading{s: s, out: out, task: t, on: on, names: map[string]bool{}, heard: make(chan report)}
	for _, n := range nodes {
		if p.names[n.Name] = true; n.State != fleet.Down {
			p.nodes = append(p.nodes, n)
		}
	}
	p.routes = newRoutes(p.nodes, s.linkOfHead(), sumOf(m).Bytes, t.Limit)
	p.gate = make(chan struct{}, max(width, len(p.nodes)))
	if p.routes.plan.star() {
		p.gate = make(chan struct{}, width)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for i := range p.nodes {
		p.begin(ctx, i)
	}
	err = p.follow(ctx)
	stop()
	for p.atWork > 0 {
		p.take(<-p.heard)
	}
	if err != nil {
		return err
	}
	return p.rest()
}

// begin sets a node to work.
func (p *spreading) begin(ctx context.Context, i int) {
	n, t := p.nodes[i], p.task
	t.From = p.routes.From(i)
	p.atWork++
	go func() {
		p.gate <- struct{}{}
		defer func() { <-p.gate }()
		var end *End
		if data, err := json.Marshal(t); err != nil {
			end = failed(err)
		} else {
			end = p.s.follow(ctx, n, "fetch", data, func(ev Event, link *bus.Stream) error {
				if ev.Step == Fetching {
					p.heard <- report{node: i, link: link, done: ev.Done}
				}
				return p.out.SendJSON(ev)
			})
		}
		p.heard <- report{node: i, end: end}
	}()
}

// follow takes in what nodes report, and changes the plan, until all have ended.
func (p *spreading) follow(ctx context.Context) error {
	look, join := time.NewTicker(lookEvery), time.NewTicker(joinEvery)
	defer look.Stop()
	defer join.Stop()
	for p.atWork > 0 {
		select {
		case r := <-p.heard:
			if err := p.take(r); err != nil {
				return err
			}
		case <-look.C:
			p.routes.look(p.turned)
		case <-join.C:
			if err := p.welcome(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// take takes a report in.
func (p *spreading) take(r report) error {
	if r.end == nil {
		p.routes.Progress(r.node, r.link, r.done)
		return nil
	}
	p.atWork--
	p.routes.Leave(r.node, r.end.OK())
	return p.out.SendJSON(Event{Kind: Ended, Node: p.nodes[r.node].Name, End: r.end})
}

// turned notes that a node was told to turn to others.
func (p *spreading) turned(i int, from []string) {
	p.s.Log.Info("files come from another node now", "node", p.nodes[i].Name, "from", from)
}

// welcome sets nodes to work that are up and were not before.
func (p *spreading) welcome(ctx context.Context) error {
	all, err := p.s.Select(p.on)
	if err != nil {
		return nil // a name in the selection may be gone
	}
	for _, n := range all {
		if n.State != fleet.Up || slices.ContainsFunc(p.nodes, func(m fleet.Node) bool { return m.Name == n.Name }) {
			continue
		}
		if !p.names[n.Name] {
			p.names[n.Name] = true
			if err := p.out.SendJSON(Event{Kind: Chosen, Names: []string{n.Name}}); err != nil {
				return err
			}
		}
		p.nodes = append(p.nodes, n)
		p.begin(ctx, p.routes.join(n))
	}
	return nil
}

// rest tells of the nodes that never came.
func (p *spreading) rest() error {
	for _, n := range p.nodes {
		delete(p.names, n.Name)
	}
	for name := range p.names {
		if err := p.out.SendJSON(Event{Kind: Ended, Node: name, End: isDown()}); err != nil {
			return err
		}
	}
	return nil
}

// hopOf is a node's place in a chain; who is not up gives nothing to others.
func hopOf(n fleet.Node) hop {
	h := hop{Switch: n.Labels["switch"], Mbits: linkOf(n)}
	if n.State == fleet.Up {
		h.Peer = n.Peer
	}
	return h
}

// linkOf is the speed of a node's link in Mbit/s; 0 when it is not known.
func linkOf(n fleet.Node) (mbits int) {
	for _, l := range n.Facts.Links {
		if l.Default {
			mbits = l.Mbits
		}
	}
	return mbits
}

// linkOfHead is the speed of the head's link in Mbit/s; 0 when it is not known.
func (s *Service) linkOfHead() (mbits int) {
	all, err := s.Select("all")
	if err != nil {
		return 0
	}
	for _, n := range all {
		if slices.Contains(n.Roles, fleet.RoleHead) {
			mbits = linkOf(n)
		}
	}
	return mbits
}

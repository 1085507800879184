package site

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"bramble/artefact"
	"bramble/bus"
	"bramble/fault"
	"bramble/fleet"
)

// rollout brings a release to the nodes of a site and makes it live: until it is written down that it is, every node
// serves what it served before; from then on every node comes to serve it, now or when it is back.
type rollout struct {
	s       *Service
	who     bus.Caller
	site    Site
	release Release
	out     *bus.Stream
	begun   time.Time
	nodes   []fleet.Node // of the selection, those that are up

	courtesy bool // files come as far as visitors leave room
}

// choose finds the nodes and tells who they are.
func (r *rollout) choose() error {
	all := r.s.nodesOf(r.site)
	if len(all) == 0 {
		return fault.New(fault.NotFound, "the site %s is for %s, and no node is that now", r.site.Name, r.site.On).Hint("bramble site publish DIR --name %s --on all", r.site.Name)
	}
	ev := Event{Kind: Chosen, Names: names(all), Live: r.site.Live, Folder: r.site.Folder}
	for _, n := range all {
		if n.State == fleet.Down {
			ev.Away = append(ev.Away, n.Name)
		} else {
			r.nodes = append(r.nodes, n)
		}
	}
	if len(r.nodes) == 0 {
		return fault.New(fault.Unreachable, "all nodes of the site %s are down: %s", r.site.Name, fleet.Fold(ev.Away)).Hint("bramble nodes")
	}
	return r.out.SendJSON(ev)
}

// staged is what became of one node's staging.
type staged struct {
	node  string
	moved int64
	lost  bool
	fault *fault.Error
}

// run stages, decides and commits.
func (r *rollout) run(ctx context.Context, did string) error {
	r.stages(r.release.ID)
	staging, stop := context.WithCancel(r.s.life) // who is slow goes on after the decision
	results := r.stage(staging)
	ready, err := r.await(ctx, results)
	if err != nil {
		stop()
		r.stages("")
		r.s.tell(names(r.nodes)...) // to forget what was staged
		return err
	}
	next := committed(r.site, r.release)
	if err := r.s.save(r.s.life, next); err != nil {
		stop()
		return fmt.Errorf("write down which release is live: %w", err)
	}
	r.s.tell(names(r.nodes)...)
	r.s.commits.Add(1)
	r.s.record(r.who.Name, "%s %s the site %s: release %s on %s", r.who.Name, did, next.Name, Short(r.release.ID), fleet.Fold(names(r.nodes)))
	r.s.work.Go(func() { // those that are slow
		defer stop()
		for range results {
		}
	})
	if err := r.out.SendJSON(Event{Kind: Committed}); err != nil {
		return err
	}
	behind := r.confirm(ctx, next, ready)
	return r.out.SendJSON(Event{Kind: Finished, Site: &next, Behind: behind, Seconds: r.s.Now().Sub(r.begun).Seconds()})
}

// stages notes what nodes shall keep ready.
func (r *rollout) stages(id artefact.Ref) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.s.staging[r.site.Name] = id
}

// stage has every node make the release ready; the channel is closed when all have ended.
func (r *rollout) stage(ctx context.Context) <-chan staged {
	m, err := r.s.Store.GetManifest(ctx, r.release.ID)
	_, bytes := m.Sum()
	routes := artefact.RoutesOf(r.nodes, bytes)
	var list int64
	if info, err := r.s.Store.Stat(r.release.ID); err == nil {
		list = info.Size()
	}
	results := make(chan staged, len(r.nodes))
	var wg sync.WaitGroup
	for i, n := range r.nodes {
		order := stageOrder{Spec: r.site.Spec, Release: r.release, Way: artefact.Way{From: routes.From(i), Courtesy: r.courtesy}, List: list}
		wg.Go(func() {
			if err != nil {
				results <- staged{node: n.Name, fault: fault.Of(err)}
				return
			}
			end := r.stageOn(ctx, n.Name, order, func(link *bus.Stream, done int64) { routes.Progress(i, link, done) })
			routes.Leave(i, end.fault == nil)
			results <- end
		})
	}
	following, stop := context.WithCancel(ctx)
	r.s.work.Go(func() { wg.Wait(); stop(); close(results) })
	r.s.work.Go(func() {
		routes.Follow(following, func(i int, from []string) {
			r.s.Log.Info("files come from another node now", "site", r.site.Name, "node", r.nodes[i].Name, "from", from)
		})
	})
	return results
}

// stageOn has one node make the release ready, and passes on how far it is, also to progress.
func (r *rollout) stageOn(ctx context.Context, node string, order stageOrder, progress func(link *bus.Stream, done int64)) staged {
	lost := staged{node: node, lost: true, fault: fault.New(fault.Unreachable, "no answer").Hint("bramble nodes")}
	in, err := r.s.Conn.Open(ctx, bus.Node("site", node, "stage"), order)
	if err != nil {
		return lost
	}
	defer in.Close()
	for {
		data, err := in.Recv()
		if err == io.EOF || fault.Is(err, fault.Unreachable) || ctx.Err() != nil {
			return lost
		}
		var news stageNews
		if err == nil {
			err = json.Unmarshal(data, &news)
		}
		switch {
		case err != nil:
			return staged{node: node, fault: fault.Of(err)}
		case news.Ended:
			return staged{node: node, moved: news.Moved, fault: news.Fault}
		}
		progress(in, news.Done)
		r.out.SendJSON(Event{Kind: Moving, Node: node, Done: news.Done, Total: news.Total}) // who has gone is noticed elsewhere
	}
}

// await returns the nodes that are ready once they are enough, or why they cannot be.
func (r *rollout) await(ctx context.Context, results <-chan staged) (ready []string, err error) {
	t := tally{quorum: r.site.Quorum, nodes: len(r.nodes)}
	for {
		switch decide(t) {
		case commit:
			return r.rest(ready, results), nil
		case giveUp:
			return nil, fault.New(fault.Partial, "%d of %d nodes are ready, which is no quorum of %d%%: %s stays as it was", t.ready, t.nodes, t.quorum, r.site.Name).
				Hint("the lines above say why; --quorum goes on without some: bramble site publish --help")
		}
		select {
		case <-ctx.Done():
			return nil, fault.New(fault.Interrupted, "interrupted; %s stays as it was", r.site.Name)
		case x := <-results:
			switch {
			case x.fault == nil:
				t.ready++
				ready = append(ready, x.node)
			case x.lost:
				t.missing++
			default:
				t.failed++
			}
			if err := r.say(x); err != nil {
				return nil, err
			}
		}
	}
}

// rest adds those that are ready already.
func (r *rollout) rest(ready []string, results <-chan staged) []string {
	for {
		select {
		case x, more := <-results:
			if !more {
				return ready
			}
			if x.fault == nil {
				ready = append(ready, x.node)
			}
			r.say(x)
		default:
			return ready
		}
	}
}

// say tells what became of a node's staging.
func (r *rollout) say(x staged) error {
	ev := Event{Kind: Ready, Node: x.node, Moved: x.moved}
	if x.fault != nil {
		ev = Event{Kind: Failed, Node: x.node, Code: x.fault.Code, Error: x.fault.Text, Try: x.fault.Try}
	}
	return r.out.SendJSON(ev)
}

// confirm waits for the nodes that were ready to say that they serve it, and returns those that will follow.
func (r *rollout) confirm(ctx context.Context, site Site, ready []string) (behind []string) {
	deadline := time.NewTimer(confirmWithin)
	defer deadline.Stop()
	waiting := slices.Clone(ready)
	for {
		r.s.mu.Lock()
		changed := r.s.changed
		var there []Event
		waiting = slices.DeleteFunc(waiting, func(name string) bool {
			h := r.s.reports[name].Sites[site.Name]
			done := h.Release == site.Live && h.Seq == site.Seq
			if done {
				there = append(there, Event{Kind: Live, Node: name, Error: h.Error})
			}
			return done
		})
		r.s.mu.Unlock()
		for _, ev := range there {
			r.out.SendJSON(ev)
		}
		if len(waiting) == 0 {
			break
		}
		select {
		case <-changed:
			continue
		case <-deadline.C:
		case <-ctx.Done():
		}
		break
	}
	for _, n := range r.nodes {
		if !slices.Contains(ready, n.Name) || slices.Contains(waiting, n.Name) {
			behind = append(behind, n.Name)
		}
	}
	return behind
}

// addressOf is where a node serves, for others.
func addressOf(n fleet.Node, said string) string {
	if said == "" {
		return ""
	}
	host, port, err := net.SplitHostPort(said)
	if err != nil {
		return said
	}
	if host == "" {
		host = n.Address
	}
	return net.JoinHostPort(host, port)
}

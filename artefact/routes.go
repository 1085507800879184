package artefact

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"bramble/bus"
	"bramble/fleet"
)

// Routes is whom each of some nodes has files from while they spread: tell it how far they are, and have it Follow them.
// Nodes that are not up give nothing to others.
type Routes struct {
	mu    sync.Mutex
	plan  *chains
	links []*bus.Stream // of nodes that have said something, and have not ended
}

// RoutesOf plans for so many bytes of files.
func RoutesOf(nodes []fleet.Node, bytes int64) *Routes {
	return newRoutes(nodes, 0, bytes, 0)
}

func newRoutes(nodes []fleet.Node, headMbits int, bytes, limit int64) *Routes {
	hops := make([]hop, len(nodes))
	for i, n := range nodes {
		hops[i] = hopOf(n)
	}
	return &Routes{plan: newChains(hops, headMbits, bytes, limit), links: make([]*bus.Stream, len(nodes))}
}

// join takes a node in that has only now come, and returns its number.
func (r *Routes) join(n fleet.Node) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.links = append(r.links, nil)
	i, _ := r.plan.join(hopOf(n))
	return i
}

// From is whom the node of this number turns to, the nearest first.
func (r *Routes) From(node int) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.plan.stations[node].near
}

// Progress takes in how many bytes a node has. The other end of the link reads Turns from it.
func (r *Routes) Progress(node int, link *bus.Stream, done int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.links[node] = link
	r.plan.progress(node, done, time.Now())
}

// Leave takes in that a node is told nothing any more, since it has all or has failed.
func (r *Routes) Leave(node int, whole bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.links[node] = nil; whole {
		r.plan.progress(node, r.plan.bytes, time.Now())
	} else {
		r.plan.leave(node)
	}
}

// Follow looks at how they do and tells nodes whom to turn to now, until ctx ends; turned hears of each that was told.
func (r *Routes) Follow(ctx context.Context, turned func(node int, from []string)) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			r.look(turned)
		}
	}
}

// look is one look of Follow.
func (r *Routes) look(turned func(node int, from []string)) {
	r.mu.Lock()
	changes, links := r.plan.turn(time.Now()), slices.Clone(r.links)
	r.mu.Unlock()
	for _, c := range changes {
		if link := links[c.node]; link != nil {
			turned(c.node, c.near)
			link.SendJSON(reroute{c.near}) // one that does not hear it goes on as it did
		}
	}
}

// Turns is whom a node's files shall come from, as whoever gave the order says while they come. It reads the stream until
// that or ctx ends.
func Turns(ctx context.Context, from *bus.Stream) <-chan []string {
	turns := make(chan []string)
	from.Go(func() {
		for {
			data, err := from.Recv()
			var turn reroute
			if err != nil || json.Unmarshal(data, &turn) != nil {
				return
			}
			select {
			case turns <- turn.From:
			case <-ctx.Done():
				return
			}
		}
	})
	return turns
}

package artefact

import (
	"context"
	"slices"
	"sync"

	"bramble/bus"
	"bramble/fleet"
	"bramble/sorts"
)

// Report is how safe what is kept is: one Standing at a time, and at last the rest.
type Report struct {
	Standing *Standing `json:"standing,omitempty"`
	Nodes    []string  `json:"nodes,omitempty"`   // of the Standing: who keeps it
	Risks    []Risk    `json:"risks,omitempty"`   // what would be lost with each node
	Silent   []string  `json:"silent,omitempty"`  // nodes that keep something and do not say what
	Unknown  []string  `json:"unknown,omitempty"` // nodes that hold what the head knows nothing of
}

// maxRisk is how many names of what would be lost are told for each node.
const maxRisk = 20

// standing counts copies by asking the nodes what they have.
func (s *Stores) standing(ctx context.Context, _ bus.Caller, name string, out *bus.Stream) error {
	list := s.kept()
	if name != "" {
		d, err := s.find(name)
		if err != nil {
			return err
		}
		list = []Durable{d}
	}
	held, silent := s.census(ctx, list)
	risks := map[string]*Risk{}
	for _, d := range list {
		blobs, err := s.blobsOf(ctx, d)
		if err != nil {
			s.Log.Warn("a durable artefact cannot be counted", "name", d.Name, "error", err)
			blobs = []Blob{{d.Ref, 0}}
		}
		has := func(node string, ref Ref) bool {
			h, ok := held[node][d.ID]
			return ok && !slices.Contains(h.Missing, ref)
		}
		alone := func(node string, b Blob) { riskOf(risks, node).add(d.Name, b) }
		st := standingOf(d, blobs, has, alone)
		if err := out.SendJSON(Report{Standing: &st, Nodes: nodesOf(d.Ring)}); err != nil {
			return err
		}
	}
	last := Report{Silent: silent, Unknown: s.unknown(held)}
	for _, r := range risks {
		last.Risks = append(last.Risks, *r)
	}
	sorts.By(last.Risks, func(a, b Risk) int { return fleet.NaturalCompare(a.Node, b.Node) })
	return out.SendJSON(last)
}

func riskOf(all map[string]*Risk, node string) *Risk {
	if all[node] == nil {
		all[node] = &Risk{Node: node}
	}
	return all[node]
}

func (r *Risk) add(name string, b Blob) {
	r.Blobs++
	r.Bytes += b.Size
	if len(r.Names) < maxRisk && !slices.Contains(r.Names, name) {
		r.Names = append(r.Names, name)
	}
}

// census asks all nodes that keep some of it what they have, and the others that are up; silent are those that should
// have something and do not answer.
func (s *Stores) census(ctx context.Context, list []Durable) (held map[string]map[string]heldPin, silent []string) {
	should := map[string]bool{}
	for _, d := range list {
		for _, h := range d.Ring {
			should[h.Node] = true
		}
	}
	var ask []string
	for _, n := range s.Nodes() {
		if n.State == fleet.Up && n.Peer != "" {
			ask = append(ask, n.Name)
		}
	}
	var mu sync.Mutex
	held = map[string]map[string]heldPin{}
	parallel(ctx, width, len(ask), func(ctx context.Context, i int) error {
		h, err := s.heldBy(ctx, ask[i])
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			held[ask[i]] = h
		}
		return nil
	})
	for node := range should {
		if held[node] == nil {
			silent = append(silent, node)
		}
	}
	slices.SortFunc(silent, fleet.NaturalCompare)
	return held, silent
}

// unknown are the nodes that hold something of which nothing is in the book: it is never let go of by itself, as the book
// may have been lost.
func (s *Stores) unknown(held map[string]map[string]heldPin) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var nodes []string
	for node, pins := range held {
		for id := range pins {
			if s.all[id] == nil {
				nodes = append(nodes, node)
				break
			}
		}
	}
	slices.SortFunc(nodes, fleet.NaturalCompare)
	return nodes
}

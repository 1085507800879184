package web

import (
	"hash/maphash"
	"reflect"
	"slices"
	"sync"

	"bramble/fleet"
)

// watcher follows all nodes for all pages: it keeps their histories, and renders each tile
// once for everybody who looks.
type watcher struct {
	pages pages
	seed  maphash.Seed

	mu    sync.Mutex
	order []string
	seen  map[string]*watched
	known bool // the head has told its nodes
}

// watched is a node, its history, and its tiles as last drawn.
type watched struct {
	node    fleet.Node
	history *history
	tiles   [2]fragment // large and small; without HTML when the node changed since
}

func newWatcher(p pages) *watcher {
	return &watcher{pages: p, seed: maphash.MakeSeed(), seen: map[string]*watched{}}
}

func (w *watcher) take(list []fleet.Node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known = true
	w.order = w.order[:0]
	for i := range list {
		n := &list[i]
		w.order = append(w.order, n.Name)
		old := w.seen[n.Name]
		if old == nil {
			old = &watched{history: newHistory()}
			w.seen[n.Name] = old
		}
		if old.history.add(n.Sample, n.Cores) || !reflect.DeepEqual(&old.node, n) {
			old.node, old.tiles = *n, [2]fragment{}
		}
	}
	if len(w.seen) > len(list) {
		for name := range w.seen {
			if !slices.Contains(w.order, name) {
				delete(w.seen, name)
			}
		}
	}
}

// list is all nodes in order; ok is false until the head has told them.
func (w *watcher) list() (nodes []fleet.Node, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range w.order {
		nodes = append(nodes, w.seen[name].node)
	}
	return nodes, w.known
}

// node is one node and a copy of its history.
func (w *watcher) node(name string) (fleet.Node, *history, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	found := w.seen[name]
	if found == nil {
		return fleet.Node{}, nil, false
	}
	h := *found.history
	return found.node, &h, true
}

// tiles is what is drawn of the nodes, in the order of names.
func (w *watcher) tiles(names []string, size tileSize) ([]fragment, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := make([]fragment, 0, len(names))
	for _, name := range names {
		found := w.seen[name]
		if found == nil {
			continue
		}
		tile := &found.tiles[size]
		if tile.HTML == "" {
			html, err := w.pages.part("nodes", size.template(), size.of(found.node, found.history))
			if err != nil {
				return nil, err
			}
			*tile = fragment{ID: tileID(name), HTML: html, Hash: maphash.String(w.seed, string(html))}
		}
		list = append(list, *tile)
	}
	return list, nil
}

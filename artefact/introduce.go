package artefact

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// Nodes that need the same tree at about the same time, as those of a job do, are not planned by anybody: each learns from the
// head, with the list of the tree, who asked for it before, and has its files from there. Nobody waits for one that asked
// later, so no two ever wait for each other.
const (
	headerNear = "Bramble-Near" // in a question: "ask"; in the answer: agents of nodes, HOST:PORT, the latest first
	knownTrees = 256            // whose nodes are remembered
	knownNodes = 256            // of each
	chainFrom  = 1 << 20        // bytes of a tree from which on it is not had from the head
)

// Introduce lets next answer, and tells who asks for a list who asked before. peer is where the node that asks gives files to
// others; "" when it does not.
func Introduce(next http.Handler, peer func(*http.Request) string) http.Handler {
	asked := &asked{by: map[Ref][]string{}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ref := Ref(strings.TrimPrefix(r.URL.Path, prefix))
		if r.Method == http.MethodGet && r.Header.Get(headerNear) != "" && ref.Valid() {
			if near := asked.next(ref, peer(r)); len(near) > 0 {
				w.Header().Set(headerNear, strings.Join(near, ","))
			}
		}
		next.ServeHTTP(w, r)
	})
}

// asked is who asked for which tree, in order.
type asked struct {
	mu    sync.Mutex
	by    map[Ref][]string
	order []Ref
}

// next takes in that a node asks, and returns those that did before it, the latest first.
func (a *asked) next(ref Ref, peer string) (near []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	all, known := a.by[ref]
	at := len(all)
	if peer != "" {
		if i := slices.Index(all, peer); i >= 0 {
			at = i
		} else {
			a.by[ref] = append(all[max(0, at+1-knownNodes):], peer)
		}
	}
	if !known && peer != "" {
		if a.order = append(a.order, ref); len(a.order) > knownTrees {
			delete(a.by, a.order[0])
			a.order = a.order[1:]
		}
	}
	for i := at - 1; i >= max(0, at-nearest); i-- {
		near = append(near, all[i])
	}
	return near
}

// FetchHeld brings a tree that Collect leaves alone, from the moment that its list is known until release is called. What is
// large comes from nodes that asked for it before, where there are any. what it is for, as job-7, is for people to read.
func (n *Node) FetchHeld(ctx context.Context, what string, ref Ref) (m Manifest, release func(), err error) {
	list := n.Store.Hold(ref)
	m, near, err := n.Blobs.fetchList(ctx, n.Store, ref)
	if err != nil {
		list()
		return m, nil, err
	}
	files := n.Store.Hold(refsOf(m)...)
	release = func() { list(); files() }
	if _, bytes := m.Sum(); bytes < chainFrom {
		near = nil
	}
	chain := &Chain{Head: n.Blobs, Near: n.near(near), Log: n.Log}
	h := n.herald(what, ref)
	if err = chain.Fetch(ctx, n.Store, m.Blobs(), h.over(nil)); err != nil {
		release()
	}
	h.end(err)
	return m, release, err
}

// fetchList brings only the manifest that ref names, and says whom the head has seen ask for it before.
func (c *Client) fetchList(ctx context.Context, s *Store, ref Ref) (Manifest, []string, error) {
	f := &fetching{c: c, s: s, most: MaxManifest, meter: &meter{}, introduce: true}
	want, err := f.plan([]Blob{{ref, -1}})
	if err != nil {
		return Manifest{}, nil, err
	}
	for _, b := range want {
		if err := f.one(ctx, b); err != nil {
			return Manifest{}, nil, err
		}
	}
	m, err := s.GetManifest(ctx, ref)
	return m, f.near, err
}

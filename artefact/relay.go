package artefact

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"bramble/fault"
	"bramble/fleet"
	"bramble/trust"
)

// A client has a durable artefact's blobs from the head, which has most of them not itself: it passes on what a node
// gives, and keeps nothing of it. Bramble-Name says under which name the blob is kept, Bramble-Try how often it came
// wrong, so that another node is asked.
const (
	headerName = "Bramble-Name"
	headerTry  = "Bramble-Try"
)

// Relay answers for blobs that nodes keep, and lets next answer all else. who is the caller, who may have files at all.
func (s *Stores) Relay(next http.Handler, who func(*http.Request) (trust.Identity, error)) http.Handler {
	slots := make(chan struct{}, 64)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, ref := r.Header.Get(headerName), Ref(strings.TrimPrefix(r.URL.Path, prefix))
		if name == "" || r.Method != http.MethodGet || !ref.Valid() {
			next.ServeHTTP(w, r)
			return
		}
		if _, here := s.Store.stat(ref); here {
			next.ServeHTTP(w, r)
			return
		}
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		default:
			w.Header().Set("Retry-After", "1")
			refuse(w, http.StatusTooManyRequests, fault.New(fault.Unreachable, "all transfers are taken"))
			return
		}
		sources, err := s.sources(r, name, ref, who)
		if err == nil {
			err = pass(w, r, ref, sources)
		}
		if err != nil {
			refuse(w, statusOf(err), err)
		}
	})
}

// sources are the nodes that should have a blob, for somebody who may have it.
func (s *Stores) sources(r *http.Request, name string, ref Ref, who func(*http.Request) (trust.Identity, error)) ([]*Client, error) {
	id, err := who(r)
	if err != nil {
		return nil, err
	}
	d, err := s.find(name)
	if err != nil {
		return nil, err
	}
	if id.Kind == trust.KindClient && !d.readable(id.Name, id.Role) {
		return nil, fault.New(fault.Denied, "%s is %s's, who keeps it private", d.Name, d.Owner)
	}
	names := keepers(ref, d.Ring, d.Copies)
	if n, err := strconv.Atoi(r.Header.Get(headerTry)); err == nil && n > 0 && len(names) > 0 {
		n %= len(names)
		names = slices.Concat(names[n:], names[:n])
	}
	for _, node := range nodesOf(d.Ring) {
		if !slices.Contains(names, node) {
			names = append(names, node) // where it was before a move
		}
	}
	var all []*Client
	peers := s.peers()
	for _, node := range names {
		if peers[node] != "" {
			all = append(all, s.Near(peers[node]))
		}
	}
	if len(all) == 0 {
		return nil, fault.New(fault.NotFound, "no node that keeps %s is there: %s", d.Name, fleet.Fold(names)).Hint("bramble store doctor; bramble nodes")
	}
	return all, nil
}

// pass sends what the first node gives that has the blob.
func pass(w http.ResponseWriter, r *http.Request, ref Ref, sources []*Client) error {
	err := error(fault.New(fault.NotFound, "no node that is there has blob %s", ref.short()))
	for _, c := range sources {
		x, stop := c.exchange(r.Context())
		resp, failure := x.send(http.MethodGet, string(ref), nil, func(req *http.Request) {
			for _, h := range []string{"Range", headerVerify} {
				if v := r.Header.Get(h); v != "" {
					req.Header.Set(h, v)
				}
			}
			if req.Header.Get(headerVerify) != "" {
				x.alive(10 * x.idle())
			}
		})
		if failure != nil {
			stop()
			continue
		}
		if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent {
			resp.Body.Close()
			stop()
			continue
		}
		for _, h := range []string{"Content-Type", "Content-Length", "Content-Range", "ETag"} {
			if v := resp.Header.Get(h); v != "" {
				w.Header().Set(h, v)
			}
		}
		w.WriteHeader(resp.StatusCode)
		out := &pacedWriter{w, http.NewResponseController(w), 30 * time.Second}
		_, failure = copyBytes(x.ctx, out, &watchedReader{x: x, r: resp.Body, then: func(int) {}}, resp.ContentLength)
		resp.Body.Close()
		stop()
		if failure != nil {
			panic(http.ErrAbortHandler) // the other side sees that this is not all, and goes on from there
		}
		return nil
	}
	return err
}

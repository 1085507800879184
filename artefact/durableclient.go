package artefact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"bramble/bus"
	"bramble/fault"
	"bramble/term"
)

// Durables asks for what is kept: Put, Get and the rest of it.
type Durables struct {
	Conn  *bus.Conn
	Blobs *Client
}

// Put scans req.Source, brings it to the nodes that are to keep it and yields what happens. The last event has Kept: then
// all copies are on disks. An error before it means that nothing is kept that was not before.
func (c Durables) Put(ctx context.Context, req Put) iter.Seq2[PutEvent, error] {
	return eventsOf(ctx, func(ctx context.Context, tell func(PutEvent)) error { return c.put(ctx, req, tell) })
}

func (c Durables) put(ctx context.Context, req Put, tell func(PutEvent)) error {
	if err := req.check(); err != nil {
		return err
	}
	tree, err := Scan(ctx, []string{req.Source})
	if err != nil {
		return err
	}
	defer tree.Close()
	if len(tree.Skipped) > 0 {
		tell(PutEvent{Event: Event{Kind: LeftOut, Skipped: tree.Skipped}})
	}
	if len(tree.Manifest.Entries) == 0 {
		return fault.New(fault.Misused, "there is nothing to keep")
	}
	s, err := c.Conn.Open(ctx, "artefact.do.put", req)
	if err != nil {
		return err
	}
	defer s.Close()
	if _, err := s.Recv(); err != nil { // nobody uploads what may not be kept
		return err
	}
	ref, err := c.Blobs.Upload(ctx, tree, tree.Manifest, func(done, total int64) {
		tell(PutEvent{Event: Event{Kind: Uploading, Done: done, Total: total}})
	})
	if err == nil {
		err = s.SendJSON(ref)
	}
	if err != nil {
		return err
	}
	for kept := false; ; {
		data, err := s.Recv()
		if err == io.EOF && !kept {
			return fault.New(fault.Failed, "the head did not say that it is kept").Hint("bramble store stat %s", req.Name)
		}
		if err == io.EOF {
			return nil
		}
		var ev PutEvent
		if err == nil {
			err = json.Unmarshal(data, &ev)
		}
		if err != nil {
			return err
		}
		kept = kept || ev.Kept != nil
		tell(ev)
	}
}

// List is what is kept, by name.
func (c Durables) List(ctx context.Context) ([]Durable, error) { return c.list(ctx, "") }

// Find is what is under a name.
func (c Durables) Find(ctx context.Context, name string) (Durable, error) {
	if err := checkDurable(name); err != nil {
		return Durable{}, err
	}
	list, err := c.list(ctx, name)
	if err != nil || len(list) != 1 {
		return Durable{}, cmpErr(err, fault.New(fault.Failed, "the head said nothing about %s", name))
	}
	return list[0], nil
}

func cmpErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func (c Durables) list(ctx context.Context, name string) (all []Durable, err error) {
	return received[Durable](ctx, c.Conn, "artefact.read.names", name)
}

// Remove ends a name; the nodes let go of what it kept.
func (c Durables) Remove(ctx context.Context, name string) error {
	if err := checkDurable(name); err != nil {
		return err
	}
	return c.Conn.Call(ctx, "artefact.do.remove", name, nil)
}

// Doctor tells how safe what is kept is: one Report for each name, or for the one, and a last with the rest.
func (c Durables) Doctor(ctx context.Context, name string) ([]Report, error) {
	return received[Report](ctx, c.Conn, "artefact.read.standing", name)
}

// Stores asks the stores of a selection for something and yields what they report: one End for every node.
func (c Durables) Stores(ctx context.Context, req StoreRequest) iter.Seq2[StoreEvent, error] {
	class := "read"
	switch req.Task.Op {
	case OpGC, OpVerify, OpPin, OpUnpin:
		class = "do"
	case OpSet:
		class = "admin"
	}
	return func(yield func(StoreEvent, error) bool) {
		for ev, err := range bus.Ask[StoreEvent](ctx, c.Conn, "artefact."+class+".store", req) {
			if !yield(ev, err) {
				return
			}
		}
	}
}

// received is all that a stream brings.
func received[T any](ctx context.Context, conn *bus.Conn, subject string, req any) (all []T, err error) {
	for v, err := range bus.Ask[T](ctx, conn, subject, req) {
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

// wrongTries is how often a tree may come with wrong bytes before it is given up.
const wrongTries = 3

// Get lays out what is kept under a name at a place, as cp has its destination. Every byte is verified before a file gets
// its name. fault.Conflict when something else is there, unless it may be overwritten.
func (c Durables) Get(ctx context.Context, name, to string, overwrite bool, tell Progress) (Durable, error) {
	d, err := c.Find(ctx, name)
	if err != nil {
		return d, err
	}
	if d.Ref == "" {
		return d, fault.New(fault.Denied, "%s is %s's, who keeps it private", d.Name, d.Owner)
	}
	from := &remote{c: c.Blobs, name: name, meter: &meter{tell: tell}, sizes: map[Ref]int64{d.Ref: -1}}
	for from.wrong = 0; ; from.wrong++ {
		err = c.get(ctx, from, d, to, overwrite)
		if from.wrong+1 == wrongTries || !errors.Is(err, ErrMismatch) && !(from.wrong > 0 && fault.Is(err, fault.NotFound)) {
			return d, err
		}
	}
}

func (c Durables) get(ctx context.Context, from *remote, d Durable, to string, overwrite bool) error {
	var list strings.Builder
	if _, err := from.Copy(ctx, &list, d.Ref); err != nil {
		return err
	}
	m, err := DecodeManifest([]byte(list.String()))
	if err != nil {
		return err
	}
	if from.meter.total == 0 {
		from.meter.add(0, sumOf(m).Bytes)
	}
	for _, b := range m.Blobs() {
		from.sizes[b.Ref] = b.Size
	}
	found, err := lookAt(to)
	if err != nil {
		return blame(err, "look at the destination")
	}
	landing, err := Land(sourcesOf(tops(m) != 1), filepath.ToSlash(to), found)
	if err != nil {
		return err
	}
	return Place(ctx, from, m, landing.Dir, PlaceOptions{As: landing.Name, Overwrite: overwrite})
}

// tops is how many things a tree has that are in no folder of it.
func tops(m Manifest) (n int) {
	for _, e := range m.Entries {
		if path.Dir(e.Path) == "." {
			n++
		}
	}
	return n
}

// remote is a Source whose blobs come from the head as they are asked for: nothing of them is kept here but in their place.
type remote struct {
	c     *Client
	name  string
	meter *meter
	sizes map[Ref]int64 // -1: not known
	wrong int           // times that something came wrong
}

// Has says that nothing is missing: what is shows when it is asked for.
func (r *remote) Has([]Ref) []Ref { return nil }

func (r *remote) Copy(ctx context.Context, w io.Writer, ref Ref) (int64, error) {
	size, known := r.sizes[ref]
	if !known {
		return 0, fault.New(fault.NotFound, "blob %s is not of this tree", ref.short())
	}
	if size < 0 {
		size = MaxManifest
	}
	in := &tap{remote: r, ref: ref, most: size, out: newDigest(w)}
	err := r.c.persist(ctx, "get blob "+ref.short(), in.pour)
	if err == nil && in.out.ref() != ref {
		err = mismatch(ref)
	}
	if err != nil {
		r.meter.add(-in.n, 0)
	}
	return in.n, err
}

// tap is one blob on its way.
type tap struct {
	*remote
	ref  Ref
	most int64
	n    int64 // bytes that came
	out  *digest
}

// pour is one try to have the rest of it.
func (t *tap) pour(ctx context.Context) try {
	x, stop := t.c.exchange(ctx)
	defer stop()
	resp, err := x.send(http.MethodGet, string(t.ref), nil, func(r *http.Request) {
		r.Header.Set(headerName, t.name)
		if t.n > 0 {
			r.Header.Set("Range", fmt.Sprintf("bytes=%d-", t.n))
		}
		if t.wrong > 0 {
			r.Header.Set(headerVerify, "yes")
			r.Header.Set(headerTry, strconv.Itoa(t.wrong))
			x.alive(10 * x.idle())
		}
	})
	if err != nil {
		return x.failed(err)
	}
	defer resp.Body.Close()
	whole := resp.StatusCode == http.StatusOK && t.n == 0
	rest := resp.StatusCode == http.StatusPartialContent && strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", t.n))
	if !whole && !rest {
		if resp.StatusCode < 300 {
			return try{outcome: final, err: mismatch(t.ref)}
		}
		return x.refused(resp)
	}
	from := &watchedReader{x: x, r: io.LimitReader(resp.Body, t.most-t.n+1), then: func(n int) { t.meter.add(int64(n), 0) }}
	n, err := copyBytes(x.ctx, t.out, from, resp.ContentLength)
	t.n += n
	switch {
	case t.out.err != nil:
		return try{outcome: final, err: t.out.err}
	case t.n > t.most:
		return try{outcome: final, err: mismatch(t.ref)}
	case err != nil:
		f := x.failed(fmt.Errorf("after %s: %w", term.Bytes(t.n), err))
		f.moved = n > 0
		return f
	}
	return try{}
}

package artefact

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"sync"

	"bramble/bus"
	"bramble/fault"
)

// Copier copies files from this machine to many nodes, and back.
type Copier struct {
	Conn  *bus.Conn
	Blobs *Client
}

// Push scans req.Sources, brings them to the nodes and yields what happens: one Ended for every node that was Chosen.
// An error is one of this machine or of the head. Cancelling ctx stops it everywhere; what was on its way stays
// there for a while, so that the same Push goes on from it.
func (c Copier) Push(ctx context.Context, req Push) iter.Seq2[Event, error] {
	return eventsOf(ctx, func(ctx context.Context, tell func(Event)) error { return c.push(ctx, req, tell) })
}

// Pull brings files of the nodes here, each node's into req.Dir/NODE, and yields what happens, as Push does.
func (c Copier) Pull(ctx context.Context, req Pull) iter.Seq2[Event, error] {
	return eventsOf(ctx, func(ctx context.Context, tell func(Event)) error { return c.pull(ctx, req, tell) })
}

// eventsOf yields what work tells, and at last its error.
func eventsOf[E any](ctx context.Context, work func(ctx context.Context, tell func(E)) error) iter.Seq2[E, error] {
	return func(yield func(E, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		told, ended := make(chan E), make(chan error, 1)
		go func() {
			defer close(told)
			ended <- work(ctx, func(ev E) {
				select {
				case told <- ev:
				case <-ctx.Done():
				}
			})
		}()
		defer func() {
			cancel()
			for range told { // until work has ended
			}
		}()
		for ev := range told {
			if !yield(ev, nil) {
				return
			}
		}
		if err := <-ended; err != nil {
			var none E
			yield(none, err)
		}
	}
}

func (c Copier) push(ctx context.Context, req Push, tell func(Event)) error {
	if len(req.Sources) == 0 {
		_, err := Land(nil, req.To, Nothing)
		return err
	}
	req.Many = len(req.Sources) > 1 || isContent(filepath.ToSlash(req.Sources[0]))
	tree, err := Scan(ctx, req.Sources)
	if err != nil {
		return err
	}
	defer tree.Close()
	if len(tree.Skipped) > 0 {
		tell(Event{Kind: LeftOut, Skipped: tree.Skipped})
	}
	if len(tree.Manifest.Entries) == 0 {
		return fault.New(fault.Misused, "there is nothing to copy")
	}
	s, err := c.Conn.Open(ctx, "artefact.do.push", req)
	if err != nil {
		return err
	}
	defer s.Close()
	first, err := nextEvent(s) // nobody uploads for a selection that means nothing
	if err != nil {
		return err
	}
	tell(first)
	ref, err := c.Blobs.Limited(req.Limit).Upload(ctx, tree, tree.Manifest, func(done, total int64) { tell(Event{Kind: Uploading, Done: done, Total: total}) })
	if err == nil {
		err = s.SendJSON(ref)
	}
	if err != nil {
		return err
	}
	for {
		ev, err := nextEvent(s)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		tell(ev)
	}
}

func nextEvent(s *bus.Stream) (ev Event, err error) {
	data, err := s.Recv()
	if err == nil {
		err = json.Unmarshal(data, &ev)
	}
	if err == nil && ev.Kind == Ended && ev.End == nil {
		err = fault.New(fault.Failed, "an unreadable report of %s", ev.Node)
	}
	return ev, err
}

// receivers is how many nodes' files are laid out here at the same time.
const receivers = 4

func (c Copier) pull(ctx context.Context, req Pull, tell func(Event)) error {
	cache, err := openCache(req)
	if err != nil {
		return err
	}
	s, err := c.Conn.Open(ctx, "artefact.do.pull", req)
	if err != nil {
		cache.close(true)
		return err
	}
	defer s.Close() // the head lets its copies go
	p := &pulling{c: c, dir: req.Dir, store: cache.Store, tell: tell, gate: make(chan struct{}, receivers)}
	err = p.all(ctx, s)
	cache.close(err == nil && !p.failed)
	return err
}

// pulling is one Pull under way.
type pulling struct {
	c      Copier
	dir    string
	store  *Store
	tell   func(Event)
	gate   chan struct{}
	mu     sync.Mutex
	failed bool // a node's files are not all here
}

// all lays a node's files out as soon as the node has given them, and returns when all nodes have ended.
func (p *pulling) all(ctx context.Context, s *bus.Stream) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var busy sync.WaitGroup
	defer busy.Wait()
	for names, ended := 0, 0; names == 0 || ended < names; {
		ev, err := nextEvent(s)
		if err != nil {
			cancel()
			return err
		}
		names += len(ev.Names)
		if ev.Kind != Ended {
			p.tell(ev)
			continue
		}
		ended++
		busy.Go(func() { p.end(ctx, ev) })
	}
	busy.Wait()
	return ctx.Err()
}

// end takes a node's files and tells how that went.
func (p *pulling) end(ctx context.Context, ev Event) {
	if ev.End.OK() {
		p.gate <- struct{}{}
		if err := p.receive(ctx, ev.Node, ev.End.Ref); err != nil {
			ev.End = failed(fmt.Errorf("here: %w", err))
		}
		<-p.gate
	}
	if !ev.End.OK() {
		p.mu.Lock()
		p.failed = true
		p.mu.Unlock()
	}
	p.tell(ev)
}

func (p *pulling) receive(ctx context.Context, node string, ref Ref) error {
	if checkPath(node) != nil || filepath.Base(node) != node {
		return fault.New(fault.Failed, "%q is no node's name", node)
	}
	m, err := p.c.Blobs.FetchTree(ctx, p.store, ref, func(done, total int64) {
		p.tell(Event{Kind: Moving, Node: node, Step: Receiving, Done: done, Total: total})
	})
	if err != nil {
		return err
	}
	return Place(ctx, p.store, m, filepath.Join(p.dir, node), PlaceOptions{Overwrite: true})
}

// cache is where a Pull keeps blobs until they are laid out.
type cache struct {
	*Store
	dir  string
	keep bool // what is left may help the next Pull
}

func openCache(req Pull) (*cache, error) {
	if req.Cache != "" {
		s, err := OpenStore(req.Cache, Options{})
		if err == nil {
			return &cache{s, req.Cache, true}, nil
		}
		if !fault.Is(err, fault.Conflict) { // of another Pull to the same place
			return nil, err
		}
	}
	if err := os.MkdirAll(req.Dir, 0o777); err != nil {
		return nil, blame(err, "make %s", req.Dir)
	}
	dir, err := os.MkdirTemp(req.Dir, ".bramble-")
	if err != nil {
		return nil, blame(err, "write to %s", req.Dir)
	}
	s, err := OpenStore(dir, Options{})
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return &cache{s, dir, false}, nil
}

func (c *cache) close(done bool) {
	if done || !c.keep || c.Used() == 0 {
		os.RemoveAll(c.dir)
	}
	c.Store.Close()
}

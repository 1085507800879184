package site

import (
	"context"
	"encoding/json"
	"io"
	"iter"

	"bramble/accesslog"
	"bramble/artefact"
	"bramble/bus"
	"bramble/fault"
)

// Client asks the head about sites.
type Client struct {
	Conn  *bus.Conn
	Blobs *artefact.Client // publishing needs it
}

// List yields all sites, by name.
func (c Client) List(ctx context.Context) iter.Seq2[Site, error] {
	return bus.Ask[Site](ctx, c.Conn, "site.read.list", none{})
}

// Status yields how a site stands on each of its nodes.
func (c Client) Status(ctx context.Context, name string) iter.Seq2[Standing, error] {
	return bus.Ask[Standing](ctx, c.Conn, "site.read.status", removal{name})
}

// Diff yields what differs from release a to release b: "" for b is the live one, for a the one before b.
func (c Client) Diff(ctx context.Context, name, a, b string) iter.Seq2[Change, error] {
	return bus.Ask[Change](ctx, c.Conn, "site.read.diff", difference{name, a, b})
}

// Log yields lines of a site's access logs, those of each node in their order.
func (c Client) Log(ctx context.Context, req accesslog.Request) iter.Seq2[accesslog.Lines, error] {
	return bus.Ask[accesslog.Lines](ctx, c.Conn, "site.do.log", req)
}

// Rollback makes an earlier release live again, and yields what happens.
func (c Client) Rollback(ctx context.Context, req Rollback) iter.Seq2[Event, error] {
	return bus.Ask[Event](ctx, c.Conn, "site.do.rollback", req)
}

// Remove takes a site from all nodes.
func (c Client) Remove(ctx context.Context, name string) error {
	return c.Conn.Call(ctx, "site.do.remove", removal{name}, nil)
}

// Publish publishes what the source has, and yields what happens.
func (c Client) Publish(ctx context.Context, req Publish, src Source) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if err := c.publish(ctx, req, src, func(ev Event) bool { return yield(ev, nil) }); err != nil && err != errStopped {
			yield(Event{}, err)
		}
	}
}

// publish has the head choose nodes, uploads what that lacks, and passes on what it reports.
func (c Client) publish(ctx context.Context, req Publish, src Source, tell func(Event) bool) error {
	s, err := c.Conn.Open(ctx, "site.do.publish", req)
	if err != nil {
		return err
	}
	defer s.Close()
	first, err := next(s) // nobody uploads for a selection that means nothing
	if err != nil {
		return err
	}
	if !tell(first) {
		return errStopped
	}
	complete := c.allForms(first.Live)
	if first.Folder != "" {
		complete = rawForms
	}
	ref, moved, err := c.bring(ctx, src, complete, tell)
	if err != nil {
		withdraw(s)
		return err
	}
	if err := s.SendJSON(ref); err != nil {
		return err
	}
	for {
		ev, err := next(s)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if ev.Kind == Finished {
			ev.Moved = moved
		}
		if !tell(ev) {
			return errStopped
		}
	}
}

// bring packs what the source has and uploads it; it returns the name of the tree and the bytes that moved.
func (c Client) bring(ctx context.Context, src Source, complete forms, tell func(Event) bool) (ref artefact.Ref, moved int64, err error) {
	p, err := c.pack(ctx, src, complete)
	if err != nil {
		return "", 0, err
	}
	defer p.Close()
	if !p.tellOddities(tell) {
		return "", 0, errStopped
	}
	return c.upload(ctx, p, tell)
}

// withdraw returns when the head has heard that nothing will be published: until then it takes no other release of the site.
func withdraw(s *bus.Stream) {
	err := s.CloseSend()
	for err == nil {
		_, err = s.Recv()
	}
}

func next(s *bus.Stream) (ev Event, err error) {
	data, err := s.Recv()
	if err == nil {
		err = json.Unmarshal(data, &ev)
	}
	return ev, err
}

// upload brings a packed release to the head, and tells how far that is.
func (c Client) upload(ctx context.Context, p *packed, tell func(Event) bool) (ref artefact.Ref, moved int64, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	news := make(chan [2]int64, 1)
	ended := make(chan error, 1)
	first := int64(-1)
	go func() {
		var err error
		ref, err = c.Blobs.Upload(ctx, p, p.manifest, func(done, total int64) {
			if first < 0 {
				first = done
			}
			moved = done - first
			select {
			case news <- [2]int64{done, total}:
			default:
			}
		})
		ended <- err
	}()
	for {
		select {
		case n := <-news:
			if !tell(Event{Kind: Uploading, Done: n[0], Total: n[1]}) {
				stop()
				<-ended
				return "", 0, errStopped
			}
		case err := <-ended:
			if fault.Is(err, fault.Full) {
				err = fault.New(fault.Full, "the head has no room for it: %w", err).Hint("free some room on the head's disk, or let its store keep more: bramble store list --pins")
			}
			return ref, moved, err
		}
	}
}

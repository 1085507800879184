package web

import (
	"context"
	"encoding/json"
	"net"
	"net/url"
	"strconv"
	"sync"

	"golang.org/x/sync/errgroup"

	"bramble/artefact"
	"bramble/bus"
	"bramble/fault"
	"bramble/site"
	"bramble/site/static"
)

const (
	maxPreviews = 16
	// previewPorts is how far behind the dashboard's port those of previews begin: 7660 behind 7652.
	previewPorts = 8
)

// previewing is what web.do.preview is asked; the stream then takes names of trees, each of which is shown in place of the one before.
type previewing struct {
	Name string `json:"name"`
}

// Shown is what a preview answers: first where it is, then how each tree did.
type Shown struct {
	URL   string       `json:"url,omitempty"`
	Files int          `json:"files,omitempty"`
	Bytes int64        `json:"bytes,omitempty"`
	Fault *fault.Error `json:"fault,omitempty"`
}

// preview is a site that is shown to those who are signed in for as long as its stream is open. It has a port, and so an origin,
// of its own: docs/decisions/0008 says why.
type preview struct {
	name, user string
	url        *url.URL
	stop       context.CancelCauseFunc
	ended      chan struct{}
	server     static.Server

	mu      sync.Mutex
	pages   *site.Pages   // nil before the first
	changed chan struct{} // closed and replaced when other pages are shown
}

// previews are those that are open, by name.
type previews struct {
	mu   sync.Mutex
	open map[string]*preview
}

// enter takes the preview's name. One that the same person has under it ends: its client may have been killed a moment ago.
func (all *previews) enter(ctx context.Context, p *preview) error {
	for {
		all.mu.Lock()
		was := all.open[p.name]
		switch {
		case was == nil && len(all.open) >= maxPreviews:
			all.mu.Unlock()
			return fault.New(fault.Full, "%d previews are open already", maxPreviews).Hint("end one of them")
		case was == nil:
			if all.open == nil {
				all.open = map[string]*preview{}
			}
			all.open[p.name] = p
			all.mu.Unlock()
			return nil
		}
		all.mu.Unlock()
		if was.user != p.user {
			return fault.New(fault.Conflict, "%s shows a preview named %s", was.user, p.name).Hint("another name: --name %s2", p.name)
		}
		was.stop(fault.New(fault.Conflict, "another preview of %s took over", p.name).Hint("another name: --name %s2", p.name))
		select {
		case <-was.ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (all *previews) leave(p *preview) {
	all.mu.Lock()
	defer all.mu.Unlock()
	delete(all.open, p.name)
	close(p.ended)
}

func (all *previews) find(name string) *preview {
	all.mu.Lock()
	defer all.mu.Unlock()
	return all.open[name]
}

// preview shows what it is sent until the stream ends.
func (s *Server) preview(ctx context.Context, who bus.Caller, req previewing, out *bus.Stream) error {
	if err := site.CheckName(req.Name); err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	p := &preview{name: req.Name, user: who.Name, stop: stop, ended: make(chan struct{}), changed: make(chan struct{})}
	if err := s.previews.enter(ctx, p); err != nil {
		return err
	}
	defer s.previews.leave(p)
	l, err := s.previewPort()
	if err != nil {
		return err
	}
	p.url = withPort(s.URL, l)
	defer p.close()
	s.Log.Info("a preview begins", "name", p.name, "user", p.user, "address", p.url)
	group, serving := errgroup.WithContext(ctx)
	group.Go(func() error { return s.listen(serving, l, s.count(s.host(s.limits(s.guests(p))))) })
	group.Go(func() error { return p.follow(serving, s.Store, out) })
	err = group.Wait()
	if taken := context.Cause(ctx); fault.Is(taken, fault.Conflict) {
		return taken
	}
	return err
}

// previewPort listens where the dashboard does, on the first port behind it that is free.
func (s *Server) previewPort() (net.Listener, error) {
	host, _, err := net.SplitHostPort(s.Listen)
	if err != nil {
		host = s.at.IP.String()
	}
	var l net.Listener
	for i := range maxPreviews {
		if l, err = net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(s.at.Port+previewPorts+i))); err == nil {
			return l, nil
		}
	}
	if l, err = net.Listen("tcp", net.JoinHostPort(host, "0")); err != nil {
		return nil, fault.New(fault.Failed, "no port for a preview on the head: %w", err).Hint("bramble doctor, on the head")
	}
	return l, nil
}

// withPort is the dashboard's address with the port of a listener.
func withPort(dashboard string, l net.Listener) *url.URL {
	u, err := url.Parse(dashboard)
	if err != nil {
		u = &url.URL{Scheme: "https"}
	}
	u.Host, u.Path = net.JoinHostPort(u.Hostname(), strconv.Itoa(l.Addr().(*net.TCPAddr).Port)), "/"
	return u
}

// follow says where the preview is, and shows one tree after the other.
func (p *preview) follow(ctx context.Context, store *artefact.Store, out *bus.Stream) error {
	if err := out.SendJSON(Shown{URL: p.url.String()}); err != nil {
		return err
	}
	trees := make(chan artefact.Ref)
	ended := make(chan error, 1)
	out.Go(func() {
		for data, err := range out.Messages() {
			var ref artefact.Ref
			if err == nil {
				err = json.Unmarshal(data, &ref)
			}
			if err != nil {
				ended <- err
				return
			}
			select {
			case trees <- ref:
			case <-ctx.Done():
				return
			}
		}
		ended <- context.Canceled
	})
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-ended:
			return err
		case ref := <-trees:
			if err := out.SendJSON(p.show(ctx, store, ref)); err != nil {
				return err
			}
		}
	}
}

// show shows a tree in place of the one before; one that cannot be shown changes nothing.
func (p *preview) show(ctx context.Context, store *artefact.Store, ref artefact.Ref) Shown {
	pages, err := site.OpenPages(ctx, store, ref)
	if err != nil {
		return Shown{Fault: fault.Of(err)}
	}
	p.server.Commit(pages.Release)
	p.server.Keep(nil)
	p.mu.Lock()
	was := p.pages
	p.pages = pages
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()
	if was != nil {
		was.Close()
	}
	return Shown{Files: pages.Files, Bytes: pages.Bytes}
}

func (p *preview) close() {
	if p.pages != nil {
		p.pages.Close()
	}
}

// now is the release that is shown, and what is closed when it is another.
func (p *preview) now() (release string, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pages != nil {
		release = p.pages.ID()
	}
	return release, p.changed
}

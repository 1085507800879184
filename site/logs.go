package site

import (
	"cmp"
	"context"
	"path/filepath"
	"time"

	"bramble/accesslog"
	"bramble/bus"
	"bramble/fault"
)

// sendLog sends what the nodes of a site have logged, as it comes: who visits is for those to see who answer for a site.
func (s *Service) sendLog(ctx context.Context, _ bus.Caller, req accesslog.Request, out *bus.Stream) error {
	site, err := s.find(req.Name)
	if err != nil {
		return err
	}
	if err := req.Check(); err != nil {
		return err
	}
	if !site.Log && !req.Follow {
		return fault.New(fault.NotFound, "the nodes keep no access log of %s", site.Name).
			Hint("bramble site log %s -f shows visits as they come; bramble site publish … --log keeps them", site.Name)
	}
	nodes, err := accesslog.Among(s.Fleet, site.On, req.On)
	switch {
	case err != nil:
		return err
	case len(nodes) == 0:
		return fault.New(fault.NotFound, "no node of %s has the site", cmp.Or(req.On, site.On)).Hint("bramble site list")
	}
	return accesslog.Relay(ctx, s.Conn, "site", nodes, req, out)
}

// logFile is where a node keeps the access log of a site; what is older is behind the same name with .1.
func (n *Node) logFile(name string) string { return filepath.Join(n.Dir, "log", name+".log") }

// sendLog sends the last lines that this node has logged, and with Follow those that come.
func (n *Node) sendLog(ctx context.Context, _ bus.Caller, req accesslog.Request, out *bus.Stream) error {
	n.mu.Lock()
	h := n.hosted[req.Name]
	n.mu.Unlock()
	if h == nil {
		return fault.New(fault.NotFound, "it does not serve %.80s", req.Name).Hint("bramble site status %.80s", req.Name)
	}
	last, coming, stop, err := n.beginLog(h, req)
	if err != nil {
		return err
	}
	defer stop()
	return accesslog.Send(ctx, out.Send, last, coming)
}

// beginLog is what has been logged, and with Follow a reader of all that is not in it.
func (n *Node) beginLog(h *hosted, req accesslog.Request) (last []byte, coming *accesslog.Reader, stop func(), err error) {
	n.writing.Lock()
	defer n.writing.Unlock()
	n.flush(h)
	last, err = accesslog.Last(n.logFile(req.Name), min(req.Lines, accesslog.MaxLines))
	if err != nil || !req.Follow {
		return last, nil, func() {}, err
	}
	coming, stop, err = h.visits.feed.Follow()
	return last, coming, stop, err
}

// wakeLogs has lines written soon.
func (n *Node) wakeLogs() {
	select {
	case n.logs <- struct{}{}:
	default:
	}
}

// writeLogs writes lines about visits, some time after the first of them, until ctx ends.
func (n *Node) writeLogs(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.logs:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(gather):
		}
		n.flushLogs()
	}
}

func (n *Node) flushLogs() {
	n.writing.Lock()
	defer n.writing.Unlock()
	n.each(n.flush)
}

// flush writes what is to be logged of a site, and says when that cannot be done any more, and when it can again; writing is held.
func (n *Node) flush(h *hosted) {
	written, err := h.visits.flush(n.logFile(h.name))
	switch {
	case err != nil && !h.unlogged:
		n.Log.Warn("visits are not logged", "site", h.name, "error", err)
		h.unlogged = true
	case written > 0 && err == nil && h.unlogged:
		h.unlogged = false
		n.Log.Warn("visits are logged again", "site", h.name)
	}
}

package site

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"bramble/bus"
	"bramble/fault"
	"bramble/fleet"
	"bramble/http1"
)

// LogRequest asks for a site's access log.
type LogRequest struct {
	Name   string `json:"name"`
	On     string `json:"on,omitempty"` // which of the site's nodes; "": all
	Lines  int    `json:"lines"`        // of each node, the last ones
	Follow bool   `json:"follow,omitempty"`
}

// Visit is one request to a site on one of its nodes.
type Visit struct {
	Node string `json:"node"`
	http1.Visit
}

// LogLines are whole lines of a node's log, in the combined form, or why there are none.
type LogLines struct {
	Node  string       `json:"node"`
	Text  []byte       `json:"text,omitempty"`
	Left  int          `json:"left,omitempty"` // lines that were left out, since they came faster than they were taken
	Fault *fault.Error `json:"fault,omitempty"`
}

const (
	// MaxLogLines is how many of a node's last lines may be asked for.
	MaxLogLines = 100_000
	logPiece    = 32 << 10 // bytes of one message, and a line
	// leftOut is what a node sends in the place of lines that a reader did not take; a line begins with an address.
	leftOut = "# %d lines left out\n"
)

// sendLog sends what the nodes of a site have logged, as it comes: who visits is for those to see who answer for a site.
func (s *Service) sendLog(ctx context.Context, _ bus.Caller, req LogRequest, out *bus.Stream) error {
	site, err := s.find(req.Name)
	if err != nil {
		return err
	}
	if req.Lines < 0 || req.Lines > MaxLogLines {
		return fault.New(fault.Misused, "%d lines cannot be asked for", req.Lines).Hint("-n 0 to -n %d", MaxLogLines)
	}
	if !site.Log && !req.Follow {
		return fault.New(fault.NotFound, "the nodes keep no access log of %s", site.Name).
			Hint("bramble site log %s -f shows visits as they come; bramble site publish … --log keeps them", site.Name)
	}
	nodes, err := s.Fleet.Select(site.On)
	if err == nil && req.On != "" {
		nodes, err = s.among(nodes, req.On)
	}
	if err != nil {
		return err
	}
	pieces := make(chan LogLines)
	group, ctx := errgroup.WithContext(ctx)
	asking, asked := errgroup.WithContext(ctx)
	for _, n := range nodes {
		asking.Go(func() error { s.askLog(asked, n, req, pieces); return nil })
	}
	group.Go(func() error { defer close(pieces); return asking.Wait() })
	group.Go(func() error {
		for p := range pieces {
			if err := out.SendJSON(p); err != nil {
				return err
			}
		}
		return nil
	})
	return group.Wait()
}

// among are those of nodes that a selection names.
func (s *Service) among(nodes []fleet.Node, on string) ([]fleet.Node, error) {
	named, err := s.Fleet.Select(on)
	if err != nil {
		return nil, err
	}
	nodes = slices.DeleteFunc(slices.Clone(nodes), func(n fleet.Node) bool {
		return !slices.ContainsFunc(named, func(m fleet.Node) bool { return m.Name == n.Name })
	})
	if len(nodes) == 0 {
		return nil, fault.New(fault.NotFound, "no node of %s has the site", on).Hint("bramble site list")
	}
	return nodes, nil
}

// askLog passes on what one node has logged.
func (s *Service) askLog(ctx context.Context, n fleet.Node, req LogRequest, to chan<- LogLines) {
	send := func(l LogLines) bool {
		l.Node = n.Name
		select {
		case to <- l:
			return true
		case <-ctx.Done():
			return false
		}
	}
	if n.State == fleet.Down {
		send(LogLines{Fault: fault.New(fault.Unreachable, "down").Hint("bramble nodes")})
		return
	}
	in, err := s.Conn.Open(ctx, bus.Node("site", n.Name, "log"), req)
	if err != nil {
		send(LogLines{Fault: fault.Of(err)})
		return
	}
	defer in.Close()
	for text, err := range in.Messages() {
		if err != nil {
			send(LogLines{Fault: fault.Of(err)})
			return
		}
		l := LogLines{Text: text}
		if n, _ := fmt.Sscanf(string(text[:min(len(text), 40)]), leftOut, &l.Left); n == 1 {
			l.Text = nil
		}
		if !send(l) {
			return
		}
	}
}

// logFile is where a node keeps the access log of a site; what is older is behind the same name with .1.
func (n *Node) logFile(name string) string { return filepath.Join(n.Dir, "log", name+".log") }

// sendLog sends the last lines that this node has logged, and with Follow those that come.
func (n *Node) sendLog(ctx context.Context, _ bus.Caller, req LogRequest, out *bus.Stream) error {
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
	if err := sendPieces(out, last); err != nil || !req.Follow {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-coming.ready:
		}
		lines, left := h.visits.take(coming)
		if err := sendPieces(out, lines); err != nil {
			return err
		}
		if left == 0 {
			continue
		}
		if err := out.Send(fmt.Appendf(nil, leftOut, left)); err != nil {
			return err
		}
	}
}

// beginLog is what has been logged, and with Follow a reader of all that is not in it.
func (n *Node) beginLog(h *hosted, req LogRequest) (last []byte, coming *reader, stop func(), err error) {
	n.writing.Lock()
	defer n.writing.Unlock()
	n.flush(h)
	last, err = lastLines(n.logFile(req.Name), min(req.Lines, MaxLogLines))
	if err != nil || !req.Follow {
		return last, nil, func() {}, err
	}
	if coming, stop = h.visits.read(); coming == nil {
		return nil, nil, nil, fault.New(fault.Full, "%d follow this log already", mostReaders).Hint("end one of them")
	}
	return last, coming, stop, nil
}

// sendPieces sends lines in messages that end with one.
func sendPieces(out *bus.Stream, lines []byte) error {
	for len(lines) > 0 {
		n := len(lines)
		if n > logPiece {
			if n = bytes.LastIndexByte(lines[:logPiece], '\n') + 1; n == 0 {
				n = logPiece
			}
		}
		if err := out.Send(lines[:n]); err != nil {
			return err
		}
		lines = lines[n:]
	}
	return nil
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

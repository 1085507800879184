package site

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"bramble/accesslog"
	"bramble/artefact"
	"bramble/site/static"
)

// hosted is one site on a node. Its fields are guarded by the node's lock.
type hosted struct {
	n        *Node
	name     string
	server   static.Server
	visits   visits
	unlogged bool          // visits could not be written; guarded by the node's writing
	making   chan struct{} // held by who makes a release ready
	wake     chan struct{} // there is something to do

	recalled *keeping                // what the disk said at the start, until it is served
	target   *wanted                 // what is wanted; nil: nothing
	live     *ready                  // what is served
	staged   map[artefact.Ref]*ready // what could be served
	old      []*ready                // whose assets are still answered
	kept     keeping                 // what is on the disk
	door     *door                   // where it is served
	stagings int                     // under way
	err      error                   // why what is wanted is not done
}

// ready is a release that can be served at once.
type ready struct {
	Release
	pages *static.Release // nil for a site that another program serves
	until time.Time       // while its assets are answered, once it is not live any more
}

const (
	// keepAssets is how long assets of a release are answered after it was live: a page may be open somewhere.
	keepAssets = 10 * time.Minute
	// retryEvery is how often a node tries again what it could not do.
	retryEvery = 5 * time.Second
)

func newHosted(n *Node, name string) *hosted {
	return &hosted{n: n, name: name, making: make(chan struct{}, 1), wake: make(chan struct{}, 1), staged: map[artefact.Ref]*ready{}}
}

func (h *hosted) signal() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// hosting is what is reported; n.mu is held.
func (h *hosted) hosting() hosting {
	x := hosting{Seq: h.kept.Seq, Address: h.kept.Address, Error: h.kept.Error}
	if h.live != nil {
		x.Release = h.live.ID
	}
	for id, r := range h.staged {
		if r != h.live {
			x.Ready = id
		}
	}
	if h.err != nil {
		x.Error = clip(h.err.Error())
	}
	return x
}

// aim takes in what is wanted, and serves it if it is ready; n.mu is held.
func (h *hosted) aim(w wanted, staging artefact.Ref) {
	h.target = &w
	if r, door := h.staged[w.Live.ID], h.n.doors.find(w.Spec); r != nil && r.pages != nil && door != nil {
		h.swap(r, w.Spec, door)
	}
	h.drop(staging)
	h.signal()
}

// dismiss takes in that nothing is wanted, except that a first release may be on its way; n.mu is held.
func (h *hosted) dismiss(staging artefact.Ref) {
	h.target, h.recalled = nil, nil
	h.drop(staging)
	h.signal()
}

// swap serves a release in place of the one before, whose assets stay for a while; n.mu is held.
func (h *hosted) swap(r *ready, spec Spec, door *door) {
	delete(h.staged, r.ID)
	h.old = slices.DeleteFunc(h.old, func(x *ready) bool { return x == r })
	if was := h.live; was != nil && was != r {
		was.until = time.Now().Add(keepAssets)
		h.old = append(h.old, was)
	}
	h.live = r
	if h.visits.keep(spec.Log); !spec.Log {
		h.n.wakeLogs()
	}
	if r.pages != nil {
		h.server.Commit(r.pages)
		h.server.Keep(pagesOf(h.old))
		h.n.doors.place(h, spec, door)
	}
}

func pagesOf(list []*ready) (pages []*static.Release) {
	for _, r := range list {
		if r.pages != nil {
			pages = append(pages, r.pages)
		}
	}
	return pages
}

// drop lets go of what is ready and not wanted; n.mu is held.
func (h *hosted) drop(staging artefact.Ref) {
	for id, r := range h.staged {
		if id == staging || h.target != nil && id == h.target.Live.ID {
			continue
		}
		delete(h.staged, id)
		h.n.report()
		if r.pages != nil {
			h.server.Unstage(r.pages)
			h.retire(r)
		}
	}
}

// retire ends a release that nobody asks for any more; n.mu is held.
func (h *hosted) retire(r *ready) {
	if r.pages != nil && r != h.live && !slices.Contains(h.old, r) && h.staged[r.ID] != r {
		h.n.work.Go(r.pages.Close)
	}
}

// run does what is wanted until ctx ends, or nothing is wanted any more.
func (h *hosted) run(ctx context.Context) {
	for !h.over() {
		timer := time.NewTimer(h.settle(ctx))
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// over takes the site away when nothing of it is wanted.
func (h *hosted) over() bool {
	if !h.idle() {
		return false
	}
	h.n.writing.Lock() // or what is written meanwhile would bring the log back
	defer h.n.writing.Unlock()
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	if !h.unwanted() {
		return false
	}
	h.n.doors.leave(h)
	was := append(h.old, h.live)
	h.live, h.old = nil, nil
	for _, r := range was {
		if r != nil {
			h.retire(r)
		}
	}
	if err := os.Remove(h.n.keptFile(h.name)); err != nil && !os.IsNotExist(err) {
		h.n.Log.Warn("a site that was removed comes back when this agent starts again", "site", h.name, "error", err)
	}
	if err := accesslog.Remove(h.n.logFile(h.name)); err != nil {
		h.n.Log.Warn("the log of a site that was removed stays", "site", h.name, "error", err)
	}
	if err := h.unpin(nil); err != nil {
		h.n.Log.Warn("releases of a site that was removed stay", "site", h.name, "error", err)
	}
	delete(h.n.hosted, h.name)
	h.n.doors.sweep()
	h.n.report()
	return true
}

// unwanted reports whether nothing of the site is wanted; n.mu is held.
func (h *hosted) unwanted() bool {
	return h.target == nil && h.recalled == nil && h.stagings == 0 && len(h.staged) == 0
}

func (h *hosted) idle() bool {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	return h.unwanted()
}

// settle does what is wanted and returns how long to wait until there is something to do again.
func (h *hosted) settle(ctx context.Context) time.Duration {
	h.n.mu.Lock()
	recalled, target := h.recalled, h.target
	h.n.mu.Unlock()
	if recalled != nil {
		err := h.reach(ctx, recalled.wanted)
		h.n.mu.Lock()
		if h.recalled = nil; err != nil {
			h.n.Log.Warn("a site cannot be served from the disk", "site", h.name, "error", err)
		}
		if h.target == nil {
			h.target, h.err = &recalled.wanted, err
		}
		h.n.mu.Unlock()
		h.signal()
		return time.Hour
	}
	if target == nil {
		return time.Hour
	}
	err := h.reach(ctx, *target)
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	if h.target != target {
		return 0
	}
	h.err = err
	h.n.report()
	if err != nil {
		if ctx.Err() == nil {
			h.n.Log.Warn("a site is not as it should be", "site", h.name, "error", err)
		}
		return retryEvery
	}
	h.n.doors.sweep()
	return h.expire(time.Now())
}

// expire lets go of releases that were live long ago, and returns when the next is due; n.mu is held.
func (h *hosted) expire(now time.Time) time.Duration {
	next := time.Hour
	var due []*ready
	h.old = slices.DeleteFunc(h.old, func(r *ready) bool {
		if now.Before(r.until) {
			next = min(next, r.until.Sub(now))
			return false
		}
		due = append(due, r)
		return true
	})
	if len(due) > 0 {
		h.server.Keep(pagesOf(h.old))
		for _, r := range due {
			h.retire(r)
		}
	}
	return next
}

// reach serves what is wanted, and writes it down.
func (h *hosted) reach(ctx context.Context, w wanted) error {
	r, _, err := h.ready(ctx, stageOrder{Spec: w.Spec, Release: w.Live}, nil)
	if err != nil {
		return err
	}
	k := keeping{wanted: w}
	if w.Spec.Folder != "" {
		if k.Error, err = h.handOver(ctx, r, w); err != nil {
			return err
		}
	} else {
		door, err := h.n.doors.open(w.Spec, h.keptNow().Address)
		if err != nil {
			return err
		}
		if !h.serve(r, w, door) {
			return nil // something newer is wanted
		}
		k.Address = door.said
	}
	if err := h.keep(k); err != nil {
		return err
	}
	return h.tidy(w)
}

// serve swaps, unless something else is wanted meanwhile and nothing has to be served until that is there.
func (h *hosted) serve(r *ready, w wanted, door *door) bool {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	if h.target != nil && h.target.Seq != w.Seq && h.live != nil {
		return false
	}
	h.swap(r, w.Spec, door)
	return true
}

func (h *hosted) keptNow() keeping {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	return h.kept
}

// tidy lets go of releases that this disk need not keep; while one is being made ready, it leaves all.
func (h *hosted) tidy(w wanted) error {
	select {
	case h.making <- struct{}{}:
		defer func() { <-h.making }()
	default:
		return nil
	}
	h.n.mu.Lock()
	keep := append(slices.Collect(maps.Keys(h.staged)), w.Live.ID) // what is ready may be live at any moment
	if h.live != nil {
		keep = append(keep, h.live.ID)
	}
	h.n.mu.Unlock()
	return h.unpin(append(keep, w.Keep...))
}

// unpin lets go of the site's releases on this disk, but for those to keep.
func (h *hosted) unpin(keep []artefact.Ref) error {
	pins, err := h.n.Store.Pins()
	for _, pin := range pins {
		if id, ours := strings.CutPrefix(pin, pinOf(h.name, "")); ours && !slices.Contains(keep, artefact.Ref(id)) {
			err = errors.Join(err, h.n.Store.Unpin(pin))
		}
	}
	return err
}

package site

import (
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"bramble/accesslog"
	"bramble/http1"
)

// visits are what a node counts of a site's visitors, and the lines about them while somebody wants those.
type visits struct {
	answers [400]atomic.Int64 // by status, from 200
	bytes   atomic.Int64      // of bodies
	kept    atomic.Bool       // lines go into the file
	feed    accesslog.Feed

	mu      sync.Mutex
	discard bool   // what the files have was kept before, and is to go
	lines   []byte // not yet written
	lost    int    // lines that came faster than they could be written, or that could not be
	second  int64  // of stamp
	stamp   []byte
}

// gather is how long lines are gathered before they are written.
const gather = 200 * time.Millisecond

// lean counts an answer, and notes it if somebody wants that.
func (h *hosted) lean(r *http1.Request, a *http1.Answer) {
	size := int64(len(a.Body))
	switch {
	case len(r.Method) == len("HEAD"):
		size = 0
	case a.File != nil || a.Open != nil:
		size = a.Size
	}
	status := int(a.Head[9]-'0')*100 + int(a.Head[10]-'0')*10 + int(a.Head[11]-'0') // behind "HTTP/1.1 "
	h.visits.count(status, size)
	if h.visits.wanted() && h.visits.note(r.Remote.Addr(), r.Method, r.Target, "HTTP/1.1", status, size, r.Get("Referer"), r.Get("User-Agent")) {
		h.n.wakeLogs()
	}
}

// other is lean for answers through net/http.
func (h *hosted) other(r *http.Request, out *http1.Measured) {
	h.visits.count(out.Status, out.Size)
	if !h.visits.wanted() {
		return
	}
	remote, _ := netip.ParseAddrPort(r.RemoteAddr)
	if h.visits.note(remote.Addr().Unmap(), []byte(r.Method), []byte(r.RequestURI), r.Proto, out.Status, out.Size, []byte(r.Referer()), []byte(r.UserAgent())) {
		h.n.wakeLogs()
	}
}

// wanted reports whether somebody wants lines.
func (v *visits) wanted() bool { return v.kept.Load() || v.feed.Followed() }

func (v *visits) count(status int, size int64) {
	if status >= 200 && status < 200+len(v.answers) {
		v.answers[status-200].Add(1)
	}
	v.bytes.Add(size)
}

// note adds a line; true for the first of those that wait.
func (v *visits) note(remote netip.Addr, method, target []byte, version string, status int, size int64, referer, agent []byte) (first bool) {
	now := time.Now()
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.lines) > accesslog.MostWaiting {
		v.lost++
		return false
	}
	if second := now.Unix(); second != v.second {
		v.second, v.stamp = second, now.AppendFormat(v.stamp[:0], http1.VisitTime)
	}
	first = len(v.lines) == 0
	v.lines = http1.AppendVisit(v.lines, remote, v.stamp, method, target, version, status, size, referer, agent)
	return first
}

// keep says whether lines go into the file; if not, the next flush removes what it has.
func (v *visits) keep(kept bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.kept.Store(kept)
	v.discard = v.discard || !kept
}

// flush hands on what has gathered, and returns how many bytes are in the file; the node's writing is held. Lines that cannot be
// written are lost.
func (v *visits) flush(path string) (written int, err error) {
	v.mu.Lock()
	lines, kept, discard := v.lines, v.kept.Load(), v.discard
	v.lines, v.discard = nil, false
	v.mu.Unlock()
	v.feed.Give(lines)
	if discard {
		err = accesslog.Remove(path)
	}
	undone := err != nil
	if err == nil && kept && len(lines) > 0 {
		written, err = accesslog.Append(path, lines)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.discard = v.discard || undone
	if kept {
		v.lost += accesslog.Count(lines[written:])
	}
	return written, err
}

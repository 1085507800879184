package site

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"bramble/http1"
)

// visits are what a node counts of a site's visitors, and the lines about them while somebody wants those.
type visits struct {
	answers [400]atomic.Int64 // by status, from 200
	bytes   atomic.Int64      // of bodies
	wanted  atomic.Bool       // somebody wants lines

	mu      sync.Mutex
	kept    bool   // in the file
	discard bool   // what the files have was kept before, and is to go
	lines   []byte // not yet written
	lost    int    // lines that came faster than they could be written, or that could not be
	second  int64  // of stamp
	stamp   []byte
	readers map[*reader]bool
}

// reader is who follows lines as they come. Its fields are guarded by the visits' lock.
type reader struct {
	lines []byte        // not yet taken
	left  int           // lines that were left out, because it takes too few
	ready chan struct{} // there is something to take
}

const (
	// mostLines is how many bytes of lines wait at most, for the disk or for a reader; what comes while those are slower is lost, for visitors
	// do not wait.
	mostLines = 1 << 20
	// gather is how long lines are gathered before they are written.
	gather = 200 * time.Millisecond
	// mostLog is how long a log gets before another is begun; one older is kept.
	mostLog = 8 << 20
	// mostReaders is how many follow the log of one site on one node.
	mostReaders = 16
)

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
	if h.visits.wanted.Load() && h.visits.note(r.Remote.Addr(), r.Method, r.Target, "HTTP/1.1", status, size, r.Get("Referer"), r.Get("User-Agent")) {
		h.n.wakeLogs()
	}
}

// other is lean for answers through net/http.
func (h *hosted) other(r *http.Request, out *http1.Measured) {
	h.visits.count(out.Status, out.Size)
	if !h.visits.wanted.Load() {
		return
	}
	remote, _ := netip.ParseAddrPort(r.RemoteAddr)
	if h.visits.note(remote.Addr().Unmap(), []byte(r.Method), []byte(r.RequestURI), r.Proto, out.Status, out.Size, []byte(r.Referer()), []byte(r.UserAgent())) {
		h.n.wakeLogs()
	}
}

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
	if len(v.lines) > mostLines {
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
	v.kept, v.discard = kept, v.discard || !kept
	v.wanted.Store(kept || len(v.readers) > 0)
}

// read gives the lines from now on to a reader; nil when there are too many.
func (v *visits) read() (r *reader, stop func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.readers) >= mostReaders {
		return nil, nil
	}
	if v.readers == nil {
		v.readers = map[*reader]bool{}
	}
	r = &reader{ready: make(chan struct{}, 1)}
	v.readers[r] = true
	v.wanted.Store(true)
	return r, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.readers, r)
		v.wanted.Store(v.kept || len(v.readers) > 0)
	}
}

// take is what waits for a reader, and how many lines were left out before it could.
func (v *visits) take(r *reader) (lines []byte, left int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	lines, left = r.lines, r.left
	r.lines, r.left = nil, 0
	return lines, left
}

// give has lines wait for a reader, or none of them when it is too far behind.
func (r *reader) give(lines []byte) {
	if len(r.lines)+len(lines) > mostLines+logPiece {
		r.left += countLines(lines)
	} else {
		r.lines = append(r.lines, lines...)
	}
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

func countLines(lines []byte) int { return bytes.Count(lines, []byte{'\n'}) }

// flush hands on what has gathered, and returns how many bytes are in the file; the node's writing is held. Lines that cannot be
// written are lost.
func (v *visits) flush(path string) (written int, err error) {
	v.mu.Lock()
	lines, kept, discard := v.lines, v.kept, v.discard
	v.lines, v.discard = nil, false
	if len(lines) > 0 {
		for r := range v.readers {
			r.give(lines)
		}
	}
	v.mu.Unlock()
	if discard {
		err = removeLog(path)
	}
	undone := err != nil
	if err == nil && kept && len(lines) > 0 {
		written, err = appendLog(path, lines)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.discard = v.discard || undone
	if kept {
		v.lost += countLines(lines[written:])
	}
	return written, err
}

// removeLog removes a log and the one before it.
func removeLog(path string) (err error) {
	for _, name := range []string{path, path + ".1"} {
		if e := os.Remove(name); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// appendLog adds lines to a log, after which it may become the older one, and returns how many bytes of them it has.
func appendLog(path string, lines []byte) (written int, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
			f, err = os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
		}
	}
	if err != nil {
		return 0, err
	}
	info, err := f.Stat()
	if err == nil {
		err = endLine(f, info.Size())
	}
	if err == nil {
		written, err = f.Write(lines)
	}
	if err = errors.Join(err, f.Close()); err == nil && info.Size()+int64(written) >= mostLog {
		err = os.Rename(path, path+".1")
	}
	return written, err
}

// endLine ends the last line of a log, which was cut off when the disk was full or the machine stopped.
func endLine(f *os.File, size int64) error {
	last := []byte{'\n'}
	if size > 0 {
		if _, err := f.ReadAt(last, size-1); err != nil {
			return err
		}
	}
	if last[0] == '\n' {
		return nil
	}
	_, err := f.WriteString("\n")
	return err
}

// lastLines are the last n lines of a log, and of the one before it.
func lastLines(path string, n int) ([]byte, error) {
	var all []byte
	for _, name := range []string{path, path + ".1"} {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(io.LimitReader(f, mostLog+mostLines))
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		all = append(data, all...)
		if bytes.Count(all, []byte{'\n'}) > n {
			break
		}
	}
	at := len(all)
	for range n + 1 { // the newline at the end is none between lines
		if at = bytes.LastIndexByte(all[:at], '\n'); at < 0 {
			break
		}
	}
	return all[at+1:], nil
}

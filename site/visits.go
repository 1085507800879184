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
	lines   []byte // not yet written
	lost    int    // lines that came faster than they could be written
	second  int64  // of stamp
	stamp   []byte
	readers map[chan []byte]bool
}

const (
	// mostLines is how many bytes of lines wait at most; what comes while a disk is slower is lost, for visitors do not wait.
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
func (h *hosted) other(r *http.Request, out *measured) {
	h.visits.count(out.status, out.size)
	if !h.visits.wanted.Load() {
		return
	}
	remote, _ := netip.ParseAddrPort(r.RemoteAddr)
	if h.visits.note(remote.Addr().Unmap(), []byte(r.Method), []byte(r.RequestURI), r.Proto, out.status, out.size, []byte(r.Referer()), []byte(r.UserAgent())) {
		h.n.wakeLogs()
	}
}

// measured is an answer whose status and size are looked at.
type measured struct {
	http.ResponseWriter
	status int
	size   int64
}

func (m *measured) WriteHeader(status int) {
	m.status = status
	m.ResponseWriter.WriteHeader(status)
}

func (m *measured) Write(b []byte) (int, error) {
	n, err := m.ResponseWriter.Write(b)
	m.size += int64(n)
	return n, err
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
		v.second, v.stamp = second, now.AppendFormat(v.stamp[:0], visitTime)
	}
	first = len(v.lines) == 0
	v.lines = appendVisit(v.lines, remote, v.stamp, method, target, version, status, size, referer, agent)
	return first
}

// keep says whether lines go into the file.
func (v *visits) keep(kept bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.kept = kept
	v.wanted.Store(kept || len(v.readers) > 0)
}

// read gives the lines from now on, in pieces, to a reader that is quick enough; nil when there are too many.
func (v *visits) read() (lines <-chan []byte, stop func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.readers) >= mostReaders {
		return nil, nil
	}
	if v.readers == nil {
		v.readers = map[chan []byte]bool{}
	}
	reader := make(chan []byte, 16)
	v.readers[reader] = true
	v.wanted.Store(true)
	return reader, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.readers, reader)
		v.wanted.Store(v.kept || len(v.readers) > 0)
	}
}

// flush hands on what has gathered.
func (v *visits) flush(path string) error {
	v.mu.Lock()
	lines, kept := v.lines, v.kept
	v.lines = nil
	for reader := range v.readers {
		select {
		case reader <- lines:
		default:
		}
	}
	v.mu.Unlock()
	if !kept || len(lines) == 0 {
		return nil
	}
	return appendLog(path, lines)
}

// appendLog adds lines to a log, after which it may become the older one.
func appendLog(path string, lines []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
			f, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		}
	}
	if err != nil {
		return err
	}
	_, err = f.Write(lines)
	info, statErr := f.Stat()
	if err = errors.Join(err, statErr, f.Close()); err == nil && info.Size() >= mostLog {
		err = os.Rename(path, path+".1")
	}
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

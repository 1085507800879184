package artefact

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"bramble/fault"
)

// flow is a blob whose chunks arrive, each verified, so that others can have them before the last is here.
type flow struct {
	size int64

	mu      sync.Mutex
	path    string // of the file that they arrive in
	data    []byte // all of it, while it is in no file
	have    int64
	over    bool          // nothing more comes
	changed chan struct{} // closed and replaced at each change
}

// begin announces a blob that arrives. The caller has claimed it.
func (s *Store) begin(ref Ref, f *flow) *flow {
	f.changed = make(chan struct{})
	s.mu.Lock()
	s.flows[ref] = f
	s.mu.Unlock()
	s.announce()
	return f
}

// moveTo says in which file all of it is now.
func (f *flow) moveTo(path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.path, f.data = path, nil
}

// open is what has come, and comes.
func (f *flow) open() (readerAtCloser, error) {
	f.mu.Lock()
	path, data := f.path, f.data
	f.mu.Unlock()
	if data != nil {
		return inMemory{bytes.NewReader(data)}, nil
	}
	return os.Open(path)
}

// readerAtCloser is where bytes come from.
type readerAtCloser interface {
	io.ReaderAt
	io.Closer
}

// inMemory is bytes that need not be closed.
type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

// finish ends a flow; what has come of its blob by then is all.
func (s *Store) finish(ref Ref, f *flow) {
	f.note(0, true)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.flows, ref)
}

// announce wakes who waits for a blob.
func (s *Store) announce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.arrived)
	s.arrived = make(chan struct{})
}

func (f *flow) note(more int64, over bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.have, f.over = f.have+more, f.over || over
	close(f.changed)
	f.changed = make(chan struct{})
}

var errBroken = errors.New("it does not arrive any more")

// beyond waits until more than n bytes are here and says how many.
func (f *flow) beyond(ctx context.Context, n int64) (int64, error) {
	for {
		f.mu.Lock()
		have, over, changed := f.have, f.over, f.changed
		f.mu.Unlock()
		switch {
		case have > n:
			return have, nil
		case over:
			return have, errBroken
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return have, ctx.Err()
		}
	}
}

// expect announces blobs that somebody is about to bring, until release is called.
func (s *Store) expect(blobs []Blob) (release func()) {
	change := func(by int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, b := range blobs {
			if s.due[b.Ref] += by; s.due[b.Ref] == 0 {
				delete(s.due, b.Ref)
			}
		}
	}
	change(1)
	return func() {
		change(-1)
		s.announce()
	}
}

// await waits until a blob is here or arrives: its flow, or nil when it is whole. fault.NotFound when nobody is about to
// bring it after so long, and fault.Unreachable when it has not begun to arrive before ctx ends.
func (s *Store) await(ctx context.Context, ref Ref, lateStart time.Duration) (*flow, error) {
	late := time.NewTimer(lateStart)
	defer late.Stop()
	for given := false; ; {
		s.mu.Lock()
		arrived, due := s.arrived, s.due[ref] > 0
		s.mu.Unlock()
		if f, here := s.here(ref); here {
			return f, nil
		}
		if !due && given {
			return nil, fault.New(fault.NotFound, "blob %s is not in this store, and nothing brings it", ref.short())
		}
		select {
		case <-arrived:
		case <-late.C:
			given = true
		case <-ctx.Done():
			return nil, fault.New(fault.Unreachable, "blob %s has not begun to arrive", ref.short())
		}
	}
}

// here is a blob that arrives, or whole, and then nil.
func (s *Store) here(ref Ref) (f *flow, ok bool) {
	s.mu.Lock()
	f = s.flows[ref]
	s.mu.Unlock()
	if f != nil {
		return f, true
	}
	_, ok = s.stat(ref)
	return nil, ok
}

// maxWait is the longest that a request waits for its blob to arrive.
const maxWait = time.Minute

// follow sends a blob that may still be arriving, as fast as it does; it reports whether it has answered.
func (h *handler) follow(w http.ResponseWriter, r *http.Request, ref Ref, wait string) bool {
	within, err := followed(wait)
	if err = cmp.Or(err, checkRef(ref)); err != nil {
		refuse(w, statusOf(err), err)
		return true
	}
	ctx, stop := context.WithTimeout(r.Context(), within)
	f, err := h.s.await(ctx, ref, h.l.Late)
	stop()
	if err != nil {
		refuse(w, statusOf(err), err)
		return true
	}
	packed := r.Header.Get(headerPack) == packForm
	if f == nil && !packed {
		return false
	}
	part, f, err := h.part(ref, f)
	if err != nil {
		return false // it has become whole, or it was thrown away
	}
	defer part.Close()
	from, to, err := span(r.Header.Get("Range"), f.size)
	if err != nil {
		refuse(w, http.StatusRequestedRangeNotSatisfiable, err)
		return true
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, f.size))
	if packed {
		w.Header().Set(headerPack, packForm)
	} else {
		w.Header().Set("Content-Length", strconv.FormatInt(to-from, 10))
	}
	w.WriteHeader(http.StatusPartialContent)
	if err := h.pass(r.Context(), w, f, part, from, to, packed); err != nil {
		panic(http.ErrAbortHandler) // the other side sees that this is not all
	}
	return true
}

// followed is how long a request waits for its blobs to arrive.
func followed(text string) (time.Duration, error) {
	seconds, err := strconv.Atoi(text)
	if err != nil || seconds < 0 {
		return 0, fault.New(fault.Misused, "%s %.40q is not a number of seconds", headerFollow, text)
	}
	return min(maxWait, time.Duration(seconds)*time.Second), nil
}

// part opens a blob that arrives; one that is here is a flow that has ended.
func (h *handler) part(ref Ref, f *flow) (readerAtCloser, *flow, error) {
	if f != nil {
		part, err := f.open()
		return part, f, err
	}
	whole, size, err := h.s.Open(ref)
	return whole, &flow{size: size, have: size, over: true}, err
}

// pass sends bytes as they arrive.
func (h *handler) pass(ctx context.Context, w http.ResponseWriter, f *flow, part io.ReaderAt, from, to int64, packed bool) error {
	rc := http.NewResponseController(w)
	var out io.Writer = &pacedWriter{w, rc, h.l.Idle}
	if packed {
		out = &packer{to: out, pool: &h.packs, now: time.Now}
	}
	buf := make([]byte, min(maxPiece, to-from))
	for from < to {
		have, err := f.beyond(ctx, from)
		if err != nil {
			return err
		}
		n, err := part.ReadAt(buf[:min(int64(len(buf)), have-from, to-from)], from)
		if n == 0 && err != nil {
			return err
		}
		if _, err := out.Write(buf[:n]); err != nil {
			return err
		}
		if from += int64(n); from == have {
			rc.Flush()
		}
	}
	return nil
}

// span is what a range of the form bytes=A-B or bytes=A- means, from its first byte to before the first that is not
// meant; all without one.
func span(text string, size int64) (from, to int64, err error) {
	if text == "" {
		return 0, size, nil
	}
	first, last, ok := strings.Cut(strings.TrimPrefix(text, "bytes="), "-")
	from, err = strconv.ParseInt(first, 10, 64)
	to = size
	if err == nil && last != "" {
		to, err = strconv.ParseInt(last, 10, 64)
		to = min(to+1, size)
	}
	if err != nil || !ok || from < 0 || from >= to {
		return 0, 0, fault.New(fault.Misused, "the blob has %d bytes, of which %.60q asks for none", size, text)
	}
	return from, to, nil
}

// recipe answers how a blob is cut.
func (h *handler) recipe(w http.ResponseWriter, r *http.Request) {
	list, err := h.s.Recipe(r.Context(), Ref(r.PathValue("ref")))
	if err != nil {
		refuse(w, statusOf(err), err)
		return
	}
	data := list.encode()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	io.Copy(&pacedWriter{w, http.NewResponseController(w), h.l.Idle}, strings.NewReader(string(data)))
}

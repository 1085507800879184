package artefact

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"bramble/fault"
	"bramble/term"
)

// Limits of a Handler; a zero means the default.
type Limits struct {
	Transfers int           // blobs on their way at the same time, both directions together; 64
	Blob      int64         // bytes of one blob; 1 TiB
	Idle      time.Duration // longest silence of the other side within a transfer; 30 s
	Wait      time.Duration // how long an upload waits for another one of the same blob; 2 s
	Courtesy  *Courtesy     // of what is asked for with courtesy; nil: that is given as all else
	Late      time.Duration // how long who follows a blob waits for somebody to bring it: nodes of a chain begin at different moments; 5 s
}

// Reads reports whether a request to a Handler changes nothing there.
func Reads(r *http.Request) bool {
	return r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodPost && r.URL.Path == prefix+batchName
}

// handler answers for one store.
type handler struct {
	s     *Store
	l     Limits
	slots chan struct{}
	packs packPool
}

// Handler serves the store as wire.go says. Requests must come from parties whose certificates were
// verified; allow decides what each may do, and its error is what the caller is told.
func Handler(s *Store, allow func(*http.Request) error, l Limits) http.Handler {
	if l.Transfers == 0 {
		l.Transfers = 64
	}
	if l.Blob == 0 {
		l.Blob = 1 << 40
	}
	if l.Idle == 0 {
		l.Idle = 30 * time.Second
	}
	if l.Wait == 0 {
		l.Wait = 2 * time.Second
	}
	if l.Late == 0 {
		l.Late = 5 * time.Second
	}
	h := &handler{s: s, l: l, slots: make(chan struct{}, l.Transfers)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+prefix+"{ref}", h.slot(h.get))
	mux.HandleFunc("GET "+prefix+"{ref}/chunks", h.slot(h.recipe))
	mux.HandleFunc("HEAD "+prefix+"{ref}", h.head)
	mux.HandleFunc("PUT "+prefix+"{ref}", h.slot(h.put))
	mux.HandleFunc("POST "+prefix+"{ref}/chunks", h.slot(h.lack))
	mux.HandleFunc("PUT "+prefix+"{ref}/chunks", h.slot(h.fill))
	mux.HandleFunc("POST "+prefix+"missing", h.missing)
	mux.HandleFunc("POST "+prefix+batchName, h.slot(h.batch))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := allow(r); err != nil {
			if _, ok := errors.AsType[*fault.Error](err); !ok {
				err = fault.New(fault.Denied, "%w", err)
			}
			refuse(w, statusOf(err), err)
			return
		}
		rc := http.NewResponseController(w)
		if r.ContentLength != 0 {
			rc.SetReadDeadline(time.Now().Add(l.Idle)) // the server lifts it before the connection's next request
		}
		defer rc.SetWriteDeadline(time.Time{})
		if l.Courtesy != nil && r.Header.Get(headerCourtesy) != "" {
			w = &courteous{w, l.Courtesy, r, l.Idle}
		}
		mux.ServeHTTP(w, r)
	})
}

// get sends a blob or a range of it.
func (h *handler) get(w http.ResponseWriter, r *http.Request) {
	ref := Ref(r.PathValue("ref"))
	if wait := r.Header.Get(headerFollow); wait != "" && h.follow(w, r, ref, wait) {
		return
	}
	if r.Header.Get(headerVerify) != "" {
		if err := h.s.Verify(r.Context(), ref); err != nil {
			refuse(w, statusOf(err), err)
			return
		}
	}
	f, _, err := h.s.Open(ref)
	if err != nil {
		refuse(w, statusOf(err), err)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("ETag", `"`+string(ref)+`"`)
	http.ServeContent(&pacedWriter{w, http.NewResponseController(w), h.l.Idle}, r, "", time.Time{}, f)
}

// head tells whether the blob is here, else how much of it.
func (h *handler) head(w http.ResponseWriter, r *http.Request) {
	ref := Ref(r.PathValue("ref"))
	if err := checkRef(ref); err != nil {
		refuse(w, statusOf(err), err)
		return
	}
	if size, ok := h.s.stat(ref); ok {
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		return
	}
	w.Header().Set(headerHave, strconv.FormatInt(h.s.Have(ref), 10))
	w.WriteHeader(http.StatusNotFound)
}

// put takes the rest of a blob.
func (h *handler) put(w http.ResponseWriter, r *http.Request) {
	offset, err := h.admit(r)
	if err != nil {
		status := statusOf(err)
		if r.ContentLength < 0 {
			status = http.StatusLengthRequired
		}
		refuse(w, status, err)
		return
	}
	ref := Ref(r.PathValue("ref"))
	p := h.resume(w, r, ref)
	if p == nil {
		return
	}
	defer p.Close()
	if p.Have() != offset {
		w.Header().Set(headerHave, strconv.FormatInt(p.Have(), 10))
		refuse(w, http.StatusConflict, fault.New(fault.Conflict, "blob %s goes on at %d, not at %d", ref.short(), p.Have(), offset))
		return
	}
	if err := h.take(w, r, p); err != nil {
		refuse(w, statusOf(err), err)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

// admit checks an upload before its body is read, and returns where it goes on.
func (h *handler) admit(r *http.Request) (offset int64, err error) {
	if err := checkRef(Ref(r.PathValue("ref"))); err != nil {
		return 0, err
	}
	if v := r.Header.Get(headerOffset); v != "" {
		if offset, err = strconv.ParseInt(v, 10, 64); err != nil || offset < 0 {
			return 0, fault.New(fault.Misused, "%s %.40q is not a number of bytes", headerOffset, v)
		}
	}
	if r.ContentLength < 0 {
		return 0, fault.New(fault.Misused, "an upload must say its length")
	}
	if offset > h.l.Blob || r.ContentLength > h.l.Blob-offset {
		return 0, fault.New(fault.Full, "one file may have %s at most", term.Bytes(h.l.Blob))
	}
	return offset, h.s.Room(r.ContentLength)
}

// resume takes up a blob; when it is whole, or another transfer brings it for longer than Wait, that is answered, and it is nil.
func (h *handler) resume(w http.ResponseWriter, r *http.Request, ref Ref) *Partial {
	p, err := h.claim(r.Context(), ref)
	if err != nil {
		w.Header().Set(headerHave, strconv.FormatInt(h.s.Have(ref), 10))
		refuse(w, statusOf(err), err)
		return nil
	}
	if p.Done() {
		p.Close()
		w.WriteHeader(http.StatusOK)
		return nil
	}
	return p
}

func (h *handler) claim(ctx context.Context, ref Ref) (*Partial, error) {
	wait, stop := context.WithTimeout(ctx, h.l.Wait)
	defer stop()
	if err := h.s.claim(wait, ref); err != nil {
		return nil, fault.New(fault.Conflict, "%w", err)
	}
	return h.s.claimed(ctx, ref)
}

// take appends the request's body and, when all of it came, makes it a blob.
func (h *handler) take(w http.ResponseWriter, r *http.Request, p *Partial) error {
	rc := http.NewResponseController(w)
	if _, err := p.append(r.Context(), &pacedReader{r.Body, rc, h.l.Idle}, r.ContentLength); err != nil {
		return blame(err, "receive blob %s", p.ref.short())
	}
	rc.SetReadDeadline(time.Time{})
	return p.Commit()
}

// missing answers which refs are not here.
func (h *handler) missing(w http.ResponseWriter, r *http.Request) {
	if refs, ok := h.refs(w, r, MaxMissing); ok {
		answer(w, http.StatusOK, h.s.Has(refs))
	}
}

// refs reads a question that names so many blobs at most; one that it refuses is answered.
func (h *handler) refs(w http.ResponseWriter, r *http.Request, most int) (refs []Ref, ok bool) {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAnswer)).Decode(&refs)
	if _, long := errors.AsType[*http.MaxBytesError](err); long || len(refs) > most {
		refuse(w, http.StatusRequestEntityTooLarge, fault.New(fault.Misused, "a question may name %d blobs", most))
		return nil, false
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, fault.New(fault.Misused, "this is not a list of blobs: %w", err))
		return nil, false
	}
	for _, ref := range refs {
		if err := checkRef(ref); err != nil {
			refuse(w, statusOf(err), err)
			return nil, false
		}
	}
	return refs, true
}

// slot has work wait for nobody: when all slots are taken the caller is told to come back.
func (h *handler) slot(do http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case h.slots <- struct{}{}:
			defer func() { <-h.slots }()
			do(w, r)
		default:
			w.Header().Set("Retry-After", "1")
			refuse(w, http.StatusTooManyRequests, fault.New(fault.Unreachable, "all %d transfers are taken", h.l.Transfers))
		}
	}
}

// pacedWriter fails when the other side takes nothing for a while.
type pacedWriter struct {
	http.ResponseWriter
	rc   *http.ResponseController
	idle time.Duration
}

func (p *pacedWriter) Write(b []byte) (int, error) {
	p.rc.SetWriteDeadline(time.Now().Add(p.idle))
	return p.ResponseWriter.Write(b)
}

// pacedReader fails when the other side sends nothing for a while.
type pacedReader struct {
	r    io.Reader
	rc   *http.ResponseController
	idle time.Duration
}

func (p *pacedReader) Read(b []byte) (int, error) {
	p.rc.SetReadDeadline(time.Now().Add(p.idle))
	return p.r.Read(b)
}

package http1

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"strconv"
	"time"
)

// run sends the request and reads the answer's head.
func (x *trip) run(head []byte) error {
	if sent, err := x.write(head); err != nil {
		if err = x.lost(err); sent == 0 {
			err = &Unsent{err}
		}
		return err
	}
	switch {
	case !x.waits():
		x.w.SetReadDeadline(time.Now().Add(x.answerTime()))
	case expects(x.req):
		x.w.SetReadDeadline(time.Now().Add(or(x.t.Continue, time.Second)))
	default:
		x.startBody()
	}
	for range mostInterim + 1 {
		n, err := x.head()
		if err != nil {
			return err
		}
		h := &x.w.head
		if x.w.in = x.w.in[n:]; h.Status >= 200 || h.Status == http.StatusSwitchingProtocols {
			return x.answer(h)
		}
		x.whileSending(time.Time{})
		if err := x.inform(h); err != nil {
			return x.broke(err)
		}
	}
	return x.broke(ErrUnasked)
}

// head reads one head, and sends the body when the origin took too long to ask for it. It returns the head's length.
func (x *trip) head() (int, error) {
	w := x.w
	for begun := false; ; {
		if len(w.in) > 0 {
			x.heard = true
			if n, err := w.head.Parse(w.in, x.t.limits()); err != nil {
				return 0, x.broke(err)
			} else if n > 0 {
				return n, nil
			}
			if !begun {
				begun = true
				x.whileSending(time.Now().Add(x.answerTime())) // it must end, whatever becomes of the body
			}
		}
		err := w.more()
		switch late := errors.Is(err, os.ErrDeadlineExceeded); {
		case err == nil:
		case late && x.waits():
			x.startBody()
		case late:
			return 0, x.broke(ErrNoAnswer)
		default:
			return 0, x.lost(err)
		}
	}
}

// whileSending sets until when more must come, if the request's body is still being sent: behind it another time counts.
func (x *trip) whileSending(until time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.progress == bodyGoes {
		x.w.SetReadDeadline(until)
	}
}

// lost fails the trip because its connection ended before the answer.
func (x *trip) lost(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	x.stale = x.fail(err) && x.w.used && !x.heard
	return x.failure()
}

// inform passes on an answer that is not the final one (RFC 9110, 15.2), after which the body may be due.
func (x *trip) inform(h *Response) error {
	trace := httptrace.ContextClientTrace(x.req.Context())
	if trace != nil && trace.Got1xxResponse != nil {
		if err := trace.Got1xxResponse(h.Status, textproto.MIMEHeader(headerOf(h.Fields, false))); err != nil {
			return err
		}
	}
	if h.Status == http.StatusContinue && x.waits() {
		x.startBody()
	}
	return nil
}

// answer makes the final answer of its head.
func (x *trip) answer(h *Response) error {
	x.stopBody()
	method := x.req.Method
	x.end, x.left = h.Body(method), h.Length
	x.res = &http.Response{
		Status: strconv.Itoa(h.Status) + " " + string(h.Reason), StatusCode: h.Status,
		Proto: "HTTP/1." + strconv.Itoa(h.Minor), ProtoMajor: 1, ProtoMinor: h.Minor,
		Header: headerOf(h.Fields, h.Status >= 200 && h.Status != 204),
		Close:  h.Close,
	}
	switch {
	case h.Status == http.StatusSwitchingProtocols:
		return x.change(h)
	case x.end == NoBody:
		x.res.Body = http.NoBody
		if method == "HEAD" {
			x.res.ContentLength = h.Length
		}
		return x.finish(x.reusable())
	case x.end == ByChunks:
		x.chunks = &Chunks{Limits: x.t.limits()}
		x.res.TransferEncoding, x.res.Trailer = []string{"chunked"}, announced(h)
	}
	x.res.Body, x.res.ContentLength = x, h.Length
	return nil
}

// change gives the connection to the caller, if it asked for what the origin changes to: RFC 9110, 7.8.
func (x *trip) change(h *Response) error {
	protocol := upgradeOf(x.req)
	if protocol == "" || !fold(h.Get("Upgrade"), protocol) || !hasToken(x.res.Header["Connection"], "upgrade") {
		return x.broke(ErrUnasked)
	}
	x.w.SetReadDeadline(time.Time{})
	x.res.Body = &tunnel{x}
	return nil
}

// headerOf is net/http's form of fields. Those that frame the body are not in it; the length is if it says something.
func headerOf(fields []Field, length bool) http.Header {
	h := make(http.Header, len(fields))
	values := make([]string, len(fields)) // for all names at once
	for i, f := range fields {
		if fold(f.Name, "Transfer-Encoding") || fold(f.Name, "Trailer") || !length && fold(f.Name, "Content-Length") {
			continue
		}
		name := http.CanonicalHeaderKey(string(f.Name))
		values[i] = string(f.Value)
		if before, ok := h[name]; ok {
			h[name] = append(before, values[i])
		} else {
			h[name] = values[i : i+1 : i+1]
		}
	}
	return h
}

// announced has the names that Trailer announces, without values: RFC 9110, 6.6.2.
func announced(h *Response) http.Header {
	var names http.Header
	for _, f := range h.Fields {
		if !fold(f.Name, "Trailer") {
			continue
		}
		for name := range bytes.SplitSeq(f.Value, []byte{','}) {
			if name = trim(name); len(name) > 0 && all(name, inToken) {
				if names == nil {
					names = http.Header{}
				}
				names[http.CanonicalHeaderKey(string(name))] = nil
			}
		}
	}
	return names
}

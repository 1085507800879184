package http1

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"time"
)

// Read is the answer's body's. Its end is io.EOF, an end before that io.ErrUnexpectedEOF.
func (x *trip) Read(p []byte) (n int, err error) {
	if x.read == nil {
		x.read = x.failure()
	}
	if x.read != nil || len(p) == 0 {
		return 0, x.read
	}
	for n == 0 && x.read == nil {
		n, x.read = x.part(p)
	}
	return n, x.read
}

// Close is the answer's body's. Before the end it closes the connection.
func (x *trip) Close() error {
	x.fail(http.ErrBodyReadAfterClose)
	return nil
}

// part reads once. It takes no more than the body, if that can be known before.
func (x *trip) part(p []byte) (int, error) {
	if x.end == ByLength {
		p = p[:min(x.left, int64(len(p)))]
	}
	if len(x.w.in) == 0 {
		x.w.SetReadDeadline(time.Now().Add(x.stallTime()))
	}
	n, err := x.w.fill(p)
	if n == 0 {
		return 0, x.cut(err)
	}
	switch x.end {
	case ByLength:
		if x.left -= int64(n); x.left == 0 {
			return n, x.complete()
		}
	case ByChunks:
		if n, err = x.unchunk(p[:n]); err != nil {
			return n, x.broke(&Refusal{502, err.Error()})
		}
		if x.chunks.Done() {
			return n, x.complete()
		}
	}
	return n, nil
}

// cut says what the end of the connection, or an error of it, is to the body.
func (x *trip) cut(err error) error {
	switch {
	case err == nil:
		return nil
	case err == io.EOF && x.end == WithClose:
		return x.complete()
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = ErrStalled
	}
	return x.broke(err)
}

// unchunk makes a chunked body's bytes its content, where they lie, and returns how many those are.
func (x *trip) unchunk(p []byte) (int, error) {
	at, content := 0, 0
	for at < len(p) && !x.chunks.Done() {
		data, n, err := x.chunks.Next(p[at:])
		if err != nil {
			return content, err
		}
		content += copy(p[content:], data)
		at += n
	}
	x.excess = at < len(p)
	return content, nil
}

// complete ends the trip at the end of its answer.
func (x *trip) complete() error {
	if x.chunks != nil && len(x.chunks.Trailers.Fields) > 0 {
		if x.res.Trailer == nil {
			x.res.Trailer = http.Header{}
		}
		maps.Copy(x.res.Trailer, headerOf(x.chunks.Trailers.Fields, false))
	}
	if err := x.finish(x.reusable()); err != nil {
		return err
	}
	return io.EOF
}

// reusable reports, at the answer's end, whether the connection may carry another request: nothing came behind the answer,
// all of the request has gone, and neither side wants to close.
func (x *trip) reusable() bool {
	return x.end != WithClose && !x.w.head.Close && !x.req.Close && !x.excess && len(x.w.in) == 0 && x.bodySent()
}

// tunnel is a connection after a change of the protocol. An origin may be silent on it for as long as it likes, but must take what is
// written. It ends with Close or with the request's context.
type tunnel struct{ x *trip }

func (t *tunnel) Read(p []byte) (int, error) {
	n, err := t.x.w.fill(p)
	if err != nil && err != io.EOF {
		err = t.x.broke(err)
	}
	return n, err
}

func (t *tunnel) Write(p []byte) (int, error) {
	n, err := t.x.write(p)
	if err != nil {
		err = t.x.broke(err)
	}
	return n, err
}

func (t *tunnel) Close() error { return t.x.Close() }

// CloseWrite tells the origin that nothing more will be written.
func (t *tunnel) CloseWrite() error {
	if half, ok := t.x.w.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return t.x.Close()
}

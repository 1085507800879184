package http1

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"syscall"
	"testing"
	"time"
)

// played is a connection on which an answer was recorded.
type played struct {
	net.Conn
	rest []byte
	step int
}

func (p *played) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.rest[:min(p.step, len(p.rest))])
	p.rest = p.rest[n:]
	return n, nil
}

func (p *played) Write(b []byte) (int, error)           { return len(b), nil }
func (p *played) Close() error                          { return nil }
func (p *played) SetReadDeadline(time.Time) error       { return nil }
func (p *played) SetWriteDeadline(time.Time) error      { return nil }
func (p *played) SyscallConn() (syscall.RawConn, error) { return unasked{}, nil }

// unasked lets a connection be kept, for nobody uses it again.
type unasked struct{ syscall.RawConn }

// play has a Transport read an answer in pieces. It says how it read, and whether the connection is kept.
func play(raw []byte, method string, step int) (res *http.Response, body []byte, err error, informed int, keep bool) {
	conn := &played{rest: raw, step: step}
	tr := &Transport{Dial: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
	trace := &httptrace.ClientTrace{Got1xxResponse: func(int, textproto.MIMEHeader) error { informed++; return nil }}
	req, _ := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), trace), method, "http://a:1/", nil)
	res, err = tr.RoundTrip(req)
	if err != nil {
		return nil, nil, err, informed, false
	}
	if body, err = io.ReadAll(res.Body); err != nil {
		return res, body, err, informed, false
	}
	keep = len(tr.idle) > 0
	tr.CloseIdle()
	return res, body, nil, informed, keep
}

// Whatever an origin says, and in whatever pieces, comes to the same; and what is accepted net/http reads as we do, and leaves nothing
// that another answer could begin with.
func FuzzTransport(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!", "HTTP/1.0 200 OK\r\n\r\nhello",
		"HTTP/1.1 103 Hi\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n5;a=b\r\nhello\r\n0\r\nT: u\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1", "HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nhello", "hello\n",
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, raw []byte, head bool) {
		method := "GET"
		if head {
			method = "HEAD"
		}
		res, body, err, informed, keep := play(raw, method, len(raw)+1)
		piecewise, body1, err1, _, _ := play(raw, method, 1)
		if (res == nil) != (piecewise == nil) || (err == nil) != (err1 == nil) || !bytes.Equal(body, body1) {
			t.Fatalf("%q: %v, %q and in pieces %v, %q", raw, err, body, err1, body1)
		}
		if err != nil {
			return
		}
		r := bufio.NewReader(bytes.NewReader(raw))
		var theirs *http.Response
		for range informed + 1 {
			if theirs, err = http.ReadResponse(r, &http.Request{Method: method}); err != nil {
				t.Fatalf("%q: net/http refuses it: %v", raw, err)
			}
		}
		other, err := io.ReadAll(theirs.Body)
		if err != nil || !bytes.Equal(body, other) || res.StatusCode != theirs.StatusCode || !head && len(res.Trailer) != len(theirs.Trailer) {
			t.Fatalf("%q: ours %q, theirs %q, %v", raw, body, other, err)
		}
		if rest, _ := io.ReadAll(r); keep && len(rest) > 0 {
			t.Fatalf("%q: the connection is kept with %q", raw, rest)
		}
	})
}

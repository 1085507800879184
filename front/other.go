package front

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bramble/http1"
)

// errandKey is where a request's context has its errand.
type errandKey struct{}

// errand is what a request is about: the group that it is for, and what is measured of its answer, if anything is.
type errand struct {
	*group
	measured *measured
	denied   *denied
}

// newProxy passes on what is more than a request without a body: bodies, upgrades, HTTP/2.
func newProxy(trusted []netip.Prefix) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { rewrite(r, trusted) },
		Transport:     balanced{},
		FlushInterval: -1, // what a member sends goes on at once
		ModifyResponse: func(res *http.Response) error {
			if c, ok := res.Body.(*counted); ok && c.early {
				res.Header.Set("Connection", "close")
			}
			return nil
		},
		ErrorLog: log.New(io.Discard, "", 0),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if errors.Is(err, errTooLarge) {
				tellOf(w, r, http.StatusRequestEntityTooLarge)
				return
			}
			status, body := unavailable(cause(err))
			h := w.Header()
			h.Set("Content-Type", "text/html; charset=utf-8")
			h.Set("Cache-Control", "no-store")
			h.Set("Retry-After", "5")
			w.WriteHeader(status)
			w.Write(body)
		},
	}
}

// errNobody is that no member may be asked.
var errNobody = errors.New("no member may be asked")

// cause is what a page is about; nil is that there was nobody.
func cause(err error) error {
	if errors.Is(err, errNobody) {
		return nil
	}
	return err
}

// rewrite makes the request that a member gets. The proxy has taken off what is between neighbours, and what says where it came from.
func rewrite(r *httputil.ProxyRequest, trusted []netip.Prefix) {
	r.Out.URL.Scheme, r.Out.URL.RawQuery, r.Out.Host = "http", r.In.URL.RawQuery, r.In.Host // as it came, ';' too
	r.Out.Trailer = r.In.Trailer
	for name := range r.Out.Header {
		if (http1.Field{Name: []byte(name)}).Is("upgrade") && strings.EqualFold(r.Out.Header.Get(name), "h2c") {
			r.Out.Header.Del("Upgrade") // else the member would speak HTTP/2 past every check of ours
			r.Out.Header.Del("Connection")
			r.Out.Header.Del("Http2-Settings")
		}
		if ours(http1.Field{Name: []byte(name)}) {
			delete(r.Out.Header, name)
		}
	}
	proto, host := "http", r.In.Host
	if r.In.TLS != nil {
		proto = "https"
	}
	from := addressOf(r.In.RemoteAddr)
	text := from.String()
	if within(trusted, from) {
		if v := strings.Join(r.In.Header.Values("X-Forwarded-For"), ", "); v != "" {
			text = v + ", " + text
		}
		if v := r.In.Header.Get("X-Forwarded-Proto"); v != "" {
			proto = v
		}
		if v := r.In.Header.Get("X-Forwarded-Host"); v != "" {
			host = v
		}
	}
	r.Out.Header.Set("X-Forwarded-For", text)
	r.Out.Header.Set("X-Forwarded-Proto", proto)
	r.Out.Header.Set("X-Forwarded-Host", host)
}

// addressOf is the address in ADDRESS:PORT.
func addressOf(remote string) netip.Addr {
	at, _ := netip.ParseAddrPort(remote)
	return at.Addr().Unmap()
}

// balanced sends each request to a member that its group chooses.
type balanced struct{}

// RoundTrip is http.RoundTripper's.
func (b balanced) RoundTrip(r *http.Request) (*http.Response, error) {
	e := r.Context().Value(errandKey{}).(errand)
	g := e.group
	var tried []*member
	failure := errNobody
	for len(tried) < mostTried {
		ring := g.ring.Load()
		var claim []byte
		if ring.sticky != "" {
			claim = stickyClaim(r, ring.sticky)
		}
		m := g.choose(ring, tried, routeOf(claim))
		if m == nil {
			break
		}
		if e.measured != nil {
			e.measured.member, e.measured.tried = m.name(), len(tried)
		}
		res, err := b.ask(e, m, ring.most, r)
		switch {
		case err == nil && ring.refused[res.StatusCode] && repeatable(r) && len(tried) < mostTried-1:
			res.Body.(*counted).bad = true
			res.Body.Close()
			g.sign(m, Sign{Why: "answered by " + res.Status})
			err = http1.ErrUnwanted
		case err == nil:
			g.sign(m, Sign{OK: true})
			own := slices.ContainsFunc(res.Header["Set-Cookie"], func(v string) bool { return sets([]byte(v), ring.sticky) })
			if c := ring.cookieFor(m, claim); c != "" && !own {
				res.Header.Add("Set-Cookie", c)
			}
			return res, nil
		case r.Context().Err() != nil:
			return nil, err
		}
		tried, failure = append(tried, m), err
		if !repeatable(r) && !unsent(err) {
			break
		}
	}
	return nil, failure
}

// ask sends a request to one member, with so many bytes of a body at most.
func (b balanced) ask(e errand, m *member, most int64, r *http.Request) (*http.Response, error) {
	g := e.group
	m.begin()
	out := r.Clone(r.Context())
	out.URL.Host, out.Trailer = m.origin.Address.String(), r.Trailer // whose values come behind the body
	var body *incoming
	if r.Body != nil && r.Body != http.NoBody {
		body = &incoming{Reader: r.Body, most: most, over: &e.denied.large}
		out.Body = body
	}
	begun := time.Now()
	var by http.RoundTripper = g.transport
	if m.second {
		by = &g.second.Transport
	}
	res, err := by.RoundTrip(out)
	if err != nil {
		if why := body.failure(); why != nil {
			err = why
		}
		innocent := body.failure() != nil || r.Context().Err() != nil
		m.end(0, !innocent)
		if !innocent {
			g.sign(m, blame(err))
		}
		return nil, err
	}
	m.answered(time.Since(begun))
	answer := &counted{ReadCloser: res.Body, m: m, request: body, early: r.ProtoMajor == 1 && body.unread()}
	if both, ok := res.Body.(io.ReadWriteCloser); ok && res.StatusCode == http.StatusSwitchingProtocols {
		res.Body = &countedBoth{answer, both}
	} else {
		res.Body = answer
	}
	return res, nil
}

// repeatable reports whether a request may be sent twice.
func repeatable(r *http.Request) bool {
	return (r.Method == "GET" || r.Method == "HEAD") && (r.Body == nil || r.Body == http.NoBody)
}

// unsent reports whether a request cannot have reached the member.
func unsent(err error) bool {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return true
	}
	_, ok := errors.AsType[*http1.Unsent](err)
	return ok
}

// stickyClaim is claimOf for a request of net/http.
func stickyClaim(r *http.Request, name string) []byte {
	lean := http1.Request{Path: []byte(r.URL.EscapedPath()), Query: []byte(r.URL.RawQuery)}
	for _, v := range r.Header.Values("Cookie") {
		lean.Fields = append(lean.Fields, http1.Field{Name: []byte("Cookie"), Value: []byte(v)})
	}
	return claimOf(&lean, name)
}

// counted is an answer's body that tells its member of bytes and the end.
type counted struct {
	io.ReadCloser
	m       *member
	request *incoming // nil: it had no body
	early   bool      // it came before that body's end, which net/http's server cannot wait for while a member is sent it: the connection ends
	sent    int64
	bad     bool
	over    bool
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.sent += int64(n)
	c.m.heard.Add(int64(n))
	c.bad = c.bad || err != nil && err != io.EOF && !errors.Is(err, context.Canceled) && c.request.failure() == nil
	return n, err
}

func (c *counted) Close() error {
	if !c.over {
		c.over = true
		c.m.end(c.sent, c.bad)
	}
	return c.ReadCloser.Close()
}

// countedBoth is the connection of an upgrade.
type countedBoth struct {
	*counted
	w io.Writer
}

func (c *countedBoth) Write(p []byte) (int, error) { return c.w.Write(p) }

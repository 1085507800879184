package http1

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// header2 is a header of version 2.
func header2(command, family byte, block string) string {
	return signature2 + string([]byte{command, family}) + string(binary.BigEndian.AppendUint16(nil, uint16(len(block)))) + block
}

const (
	block4    = "\xc0\x00\x02\x07\x7f\x00\x00\x01\x30\x39\x00\x50" // 192.0.2.7:12345 to 127.0.0.1:80
	block6    = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + "\x30\x39\x00\x50"
	blockMap  = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x07" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + "\x30\x39\x00\x50"
	visitor4  = "192.0.2.7:12345"
	visitor6  = "[2001:db8::7]:12345"
	unnamed   = "invalid AddrPort"
	malformed = "malformed"
)

// proxiedCases are headers and whom they name.
var proxiedCases = []struct{ name, raw, want string }{
	{"1: IPv4", "PROXY TCP4 192.0.2.7 127.0.0.1 12345 80\r\n", visitor4},
	{"1: IPv6", "PROXY TCP6 2001:db8::7 ::1 12345 80\r\n", visitor6},
	{"1: IPv4 in IPv6", "PROXY TCP6 ::ffff:192.0.2.7 ::1 12345 80\r\n", visitor4},
	{"1: the longest address", "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
		"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
	{"1: unknown", "PROXY UNKNOWN\r\n", unnamed},
	{"1: unknown, and more", "PROXY UNKNOWN " + strings.Repeat("f", mostFirst1-16) + "\r\n", unnamed},
	{"1: too long", "PROXY UNKNOWN " + strings.Repeat("f", mostFirst1-15) + "\r\n", malformed},
	{"1: no CR", "PROXY UNKNOWN\n", malformed},
	{"1: no end", "PROXY TCP4 " + strings.Repeat("1", 200), malformed},
	{"1: another case", "PROXY tcp4 192.0.2.7 127.0.0.1 12345 80\r\n", malformed},
	{"1: another family", "PROXY UDP4 192.0.2.7 127.0.0.1 12345 80\r\n", malformed},
	{"1: IPv6 as IPv4", "PROXY TCP4 ::1 ::1 12345 80\r\n", malformed},
	{"1: IPv4 as IPv6", "PROXY TCP6 192.0.2.7 127.0.0.1 12345 80\r\n", malformed},
	{"1: a zone", "PROXY TCP6 fe80::1%eth0 ::1 12345 80\r\n", malformed},
	{"1: no port", "PROXY TCP4 192.0.2.7 127.0.0.1 12345\r\n", malformed},
	{"1: one more word", "PROXY TCP4 192.0.2.7 127.0.0.1 12345 80 x\r\n", malformed},
	{"1: two spaces", "PROXY TCP4  192.0.2.7 127.0.0.1 12345 80\r\n", malformed},
	{"1: a space at the end", "PROXY TCP4 192.0.2.7 127.0.0.1 12345 80 \r\n", malformed},
	{"1: a port with a zero", "PROXY TCP4 192.0.2.7 127.0.0.1 012345 80\r\n", malformed},
	{"1: a port with a sign", "PROXY TCP4 192.0.2.7 127.0.0.1 +1234 80\r\n", malformed},
	{"1: a port too large", "PROXY TCP4 192.0.2.7 127.0.0.1 65536 80\r\n", malformed},
	{"1: a bad port of ours", "PROXY TCP4 192.0.2.7 127.0.0.1 12345 x\r\n", malformed},
	{"1: a bad address of ours", "PROXY TCP4 192.0.2.7 127.0.0 12345 80\r\n", malformed},
	{"1: an address with a zero", "PROXY TCP4 192.0.2.07 127.0.0.1 12345 80\r\n", malformed},

	{"2: IPv4", header2(0x21, 0x11, block4), visitor4},
	{"2: IPv6", header2(0x21, 0x21, block6), visitor6},
	{"2: IPv4 in IPv6", header2(0x21, 0x21, blockMap), visitor4},
	{"2: local", header2(0x20, 0x00, ""), unnamed},
	{"2: local, and a family", header2(0x20, 0x11, block4), unnamed},
	{"2: local, and anything", header2(0x20, 0xff, "\x01\xff"), unnamed},
	{"2: unspecified", header2(0x21, 0x00, ""), unnamed},
	{"2: unspecified, and anything", header2(0x21, 0x00, "\x01\xff\xff"), unnamed},
	{"2: local sockets", header2(0x21, 0x31, strings.Repeat("\x00", unixBlock)), unnamed},
	{"2: local sockets, datagrams", header2(0x21, 0x32, strings.Repeat("x", unixBlock)), unnamed},
	{"2: UDP", header2(0x21, 0x12, block4), unnamed},
	{"2: UDP over IPv6", header2(0x21, 0x22, block6), unnamed},
	{"2: values", header2(0x21, 0x11, block4+"\x04\x00\x00"+"\x05\x00\x02ab"), visitor4},
	{"2: the longest", header2(0x21, 0x11, block4+"\x04"+"\x02\x09"+strings.Repeat("x", 521)), visitor4},
	{"2: too long", header2(0x21, 0x11, block4+"\x04"+"\x02\x0a"+strings.Repeat("x", 522)), malformed},
	{"2: a value longer than the header", header2(0x21, 0x11, block4+"\x05\x00\x03ab"), malformed},
	{"2: half a value", header2(0x21, 0x11, block4+"\x05\x00"), malformed},
	{"2: a short address", header2(0x21, 0x11, block4[:11]), malformed},
	{"2: a short address of IPv6", header2(0x21, 0x21, block6[:35]), malformed},
	{"2: a short local socket", header2(0x21, 0x31, strings.Repeat("\x00", unixBlock-1)), malformed},
	{"2: version 1", header2(0x11, 0x11, block4), malformed},
	{"2: version 3", header2(0x31, 0x11, block4), malformed},
	{"2: another command", header2(0x22, 0x11, block4), malformed},
	{"2: another family", header2(0x21, 0x41, block4), malformed},
	{"2: another transport", header2(0x21, 0x13, block4), malformed},

	{"a request", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", malformed},
	{"a hello of TLS", "\x16\x03\x01\x02\x00", malformed},
	{"an empty line", "\r\nGET / HTTP/1.1\r\n", malformed},
	{"a signature with an error", strings.Replace(header2(0x21, 0x11, block4), "QUIT", "QUIZ", 1), malformed},
}

// Of a header that comes in pieces nothing is said too early, and no byte behind it is asked for.
func TestParseProxied(t *testing.T) {
	for _, c := range proxiedCases {
		const behind = "GET / HTTP/1.1\r\n"
		got, n := malformed, 0
		from, n, _, err := parseProxied([]byte(c.raw + behind))
		if err == nil {
			got = from.String()
		}
		if got != c.want || err == nil && n != len(c.raw) {
			t.Errorf("%s: got %s and %d bytes, %v; want %s and %d", c.name, got, n, err, c.want, len(c.raw))
		}
		for cut := range len(c.raw) {
			_, n, more, err := parseProxied([]byte(c.raw[:cut]))
			if n != 0 {
				t.Errorf("%s: the first %d bytes are a header", c.name, cut)
			}
			if c.want != malformed && (err != nil || more < 1 || cut+more > len(c.raw)) {
				t.Errorf("%s: after %d bytes of %d it wants %d more, %v", c.name, cut, len(c.raw), more, err)
			}
			if err != nil {
				break
			}
		}
	}
}

// Whatever comes: an end at once or after so many bytes as the limits allow.
func FuzzProxied(f *testing.F) {
	for _, c := range proxiedCases {
		f.Add([]byte(c.raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		from, n, more, err := parseProxied(raw)
		switch {
		case err != nil:
			if n != 0 || more != 0 || from.IsValid() {
				t.Errorf("an error with %v, %d, %d", from, n, more)
			}
		case n == 0:
			if more < 1 || len(raw)+more > mostFirst2 {
				t.Errorf("after %d bytes %d more", len(raw), more)
			}
		case n > len(raw) || n > mostFirst2 || from.Addr().Is4In6() || from.Addr().Zone() != "":
			t.Errorf("%d bytes of %d, from %v", n, len(raw), from)
		}
		conn := &piece{Reader: bytes.NewReader(raw)} // what reads from a connection is of the same mind
		again, errAgain := readProxied(conn, time.Second)
		if n > 0 && (errAgain != nil || again != from || conn.Len() != len(raw)-n) || n == 0 && errAgain == nil {
			t.Errorf("%q: %v, %d, %v; read: %v, %d left, %v", raw, from, n, err, again, conn.Len(), errAgain)
		}
	})
}

// piece is a connection that has come whole.
type piece struct {
	net.Conn
	*bytes.Reader
}

func (p *piece) Read(b []byte) (int, error)      { return p.Reader.Read(b) }
func (p *piece) SetReadDeadline(time.Time) error { return nil }

// remotes is a server that says who its client is, whoever answers.
func remotes(limits Limits) *Server {
	s := &Server{Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/31")}, Limits: limits}
	s.Handler = func(r *Request, a *Answer) bool {
		a.Body = []byte(r.Remote.String())
		a.Head = MakeHead(200, int64(len(a.Body)))
		return string(r.Path) == "/"
	}
	s.Fallback = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.RemoteAddr+" "+r.Proto) })
	return s
}

// behind is a connection that a proxy opened for somebody.
func (v *served) behind(header string) *client {
	v.t.Helper()
	raw, err := net.Dial("tcp", v.addr)
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { raw.Close() })
	raw.SetDeadline(time.Now().Add(patience))
	for i := range len(header) { // some of it alone
		if i == 3 || i == 20 || i == len(header)-1 {
			time.Sleep(time.Millisecond)
		}
		raw.Write([]byte{header[i]})
	}
	conn := raw
	if v.engine == "tls" {
		conn = tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	}
	return v.on(conn)
}

// The client is whom the proxy names, for those who answer and for those who count.
func TestProxied(t *testing.T) {
	const first, second, own = "PROXY TCP4 192.0.2.7 127.0.0.1 12345 80\r\n", "PROXY TCP6 2001:db8::7 ::1 12345 80\r\n", "PROXY UNKNOWN\r\n"
	each(t, func(t *testing.T, engine string) {
		s := remotes(Limits{Address: 2})
		v := serve(t, engine, s)
		for _, c := range proxiedCases {
			if c.want == malformed {
				continue
			}
			conn := v.behind(c.raw)
			want := c.want
			if want == unnamed {
				want = conn.LocalAddr().String()
			}
			for range 2 {
				conn.send(with())
				if _, body := conn.response("GET"); body != want {
					t.Errorf("%s: the client is %s, want %s", c.name, body, want)
				}
			}
			conn.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
			if _, body := conn.response("POST"); body != want+" HTTP/1.1" {
				t.Errorf("%s: net/http has %s, want %s", c.name, body, want)
			}
			conn.Close()
		}
		v.until("all have ended", func() bool { return s.Counts().Open == 0 })
		var open []*client
		for _, header := range []string{first, second, own, first, second, own} {
			c := v.behind(header)
			c.send(with())
			c.response("GET")
			open = append(open, c)
		}
		if engine != "tls" { // where it would be in the middle of a handshake
			v.behind(first).closed()
			v.behind(own).closed()
		}
		for _, c := range open {
			c.Close()
		}
		v.until("all have ended", func() bool { return s.Counts().Open == 0 })
		c := v.behind(first)
		c.send(with())
		c.response("GET")
	})
}

// What is behind a header may come with it.
func TestProxiedAtOnce(t *testing.T) {
	for _, engine := range []string{"loop", "goroutines"} {
		c := serve(t, engine, remotes(Limits{})).dial()
		c.send("PROXY TCP4 192.0.2.7 127.0.0.1 12345 80\r\n" + with() + "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
		for _, want := range []string{visitor4, visitor4 + " HTTP/1.1"} {
			if _, body := c.response("GET"); body != want {
				t.Errorf("got %q, want %q", body, want)
			}
		}
	}
}

// HTTP/2, which net/http speaks, has the client as well.
func TestProxiedHTTP2(t *testing.T) {
	v := serve(t, "tls", remotes(Limits{}))
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	transport.Dial = func(network, addr string) (net.Conn, error) {
		conn, err := net.Dial(network, addr)
		if err == nil {
			_, err = io.WriteString(conn, header2(0x21, 0x11, block4))
		}
		return conn, err
	}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport, Timeout: patience}).Get("https://" + v.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); string(body) != visitor4+" HTTP/2.0" {
		t.Errorf("got %q", body)
	}
}

// A proxy that does not say, says it wrongly or too late is not served, and no word of HTTP is said to it.
func TestProxiedWrongly(t *testing.T) {
	each(t, func(t *testing.T, engine string) {
		s := remotes(Limits{Proxied: 20 * time.Millisecond})
		v := serve(t, engine, s)
		late := func(raw string) {
			t.Helper()
			conn, err := net.Dial("tcp", v.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(patience))
			io.WriteString(conn, raw)
			v.on(conn).closed()
		}
		for _, c := range proxiedCases {
			if c.want == malformed {
				late(c.raw)
			}
		}
		if engine == "loop" { // others may have been late before they were wrong
			if n := s.Counts().Refusals[*badProxied]; n == 0 {
				t.Error("nothing was counted")
			}
		}
		for _, raw := range []string{"", "PROXY ", "PROXY TCP4 192.0.2.7 127.0.0.1 12345 80\r", signature2, header2(0x21, 0x11, block4)[:20]} {
			late(raw)
		}
	})
}

// Others are clients themselves, to whom such a header is no request.
func TestNotProxied(t *testing.T) {
	for _, engine := range []string{"loop", "goroutines"} {
		s := remotes(Limits{})
		s.Proxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		v := serve(t, engine, s)
		c := v.dial()
		c.send(with())
		if _, body := c.response("GET"); body != c.LocalAddr().String() {
			t.Errorf("the client is %s", body)
		}
		for _, header := range []string{"PROXY TCP4 192.0.2.7 127.0.0.1 12345 80\r\n", header2(0x21, 0x11, block4)} {
			c := v.dial()
			c.send(header + with())
			if resp, _ := c.response("GET"); resp.StatusCode != 400 {
				t.Errorf("got %s", resp.Status)
			}
			c.closed()
		}
	}
}

// A header that is still awaited does not keep a server from ending.
func TestProxiedEnds(t *testing.T) {
	each(t, func(t *testing.T, engine string) {
		s := remotes(Limits{Grace: 50 * time.Millisecond})
		v := serve(t, engine, s)
		for _, raw := range []string{"", "PROXY "} {
			conn, err := net.Dial("tcp", v.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprint(conn, raw)
		}
		v.until("both are there", func() bool { return s.Counts().Open == 2 })
		v.stop()
	})
}

// Package http1 speaks HTTP/1.1 to strangers: a parser that refuses whatever two programs could
// understand differently, and a lean server for requests without a body.
//
// The grammar is that of RFC 9112 (messages), RFC 9110 (semantics) and RFC 3986 (targets and hosts), less
// what they allow only for the sake of old programs: a line ends with CR LF, a field is one line, a length
// is said once, a target is a path. Whatever is refused ends the connection, for where the next message
// would begin is unknown.
package http1

import (
	"net/netip"
	"time"
)

// Refusal is why a message is not accepted, and the status that says so to whoever sent it.
type Refusal struct {
	Status int
	Reason string // one line, without what the peer sent
}

func (r *Refusal) Error() string { return r.Reason }

// Field is one header or trailer field; both slices point into the parsed bytes. The value has no
// white space around it and may hold bytes above 0x7f (RFC 9110, 5.5).
type Field struct{ Name, Value []byte }

// Head is what requests and responses have in common.
type Head struct {
	Fields    []Field
	Minor     int   // of the version: HTTP/1.Minor, 0 or 1
	Length    int64 // Content-Length in bytes, -1 without one
	Chunked   bool  // Transfer-Encoding: chunked; then Length is -1
	Close     bool  // the connection ends with this message (RFC 9112, 9.3)
	KeepAlive bool  // Connection: keep-alive was said
	Upgrade   bool  // there is an Upgrade field (RFC 9110, 7.8)
	Expect    bool  // there is an Expect field (RFC 9110, 10.1.1)

	host []byte
}

// Get is the value of the first field with that name, nil without one. Case does not matter.
func (h *Head) Get(name string) []byte {
	for i := range h.Fields {
		if fold(h.Fields[i].Name, name) {
			return h.Fields[i].Value
		}
	}
	return nil
}

// Host is the Host field: a DNS name or an address, and perhaps a colon and a port. Empty in HTTP/1.0 only.
func (h *Head) Host() []byte { return h.host }

// Request is a request's head. All slices point into the parsed bytes.
type Request struct {
	Head
	Method []byte // capital letters, '-' and '_'
	Target []byte // raw: a path that begins with '/', perhaps '?' and a query; or * with OPTIONS
	Path   []byte // Target before the '?', escapes as they came
	Query  []byte // Target after the '?'

	// Remote is the client's address as a Server's handler has it; nothing that was said. IPv4 is no IPv6 here.
	Remote netip.AddrPort
	// Relays is whether the handler may answer with a Relay: plain connections of systems that have a loop can.
	Relays bool
}

// Response is a response's head. All slices point into the parsed bytes.
type Response struct {
	Head
	Status int    // 100 to 599
	Reason []byte // may be empty
}

// Limits bound what a peer may send and how long it may take. A zero is the default.
type Limits struct {
	Target   int // bytes of a request's target, 8192
	Line     int // bytes of a field line, 8192
	Fields   int // fields of a head, 100
	Head     int // bytes of a head, 16384
	Trailers int // bytes of the trailer section of a chunked body, 4096

	Conns    int           // open connections; more wait in the listener's queue; 4096
	Address  int           // open connections of one address (of an IPv6 network of 64 bits), more are closed at once; 0: as many as all
	ReadHead time.Duration // from the first byte of a head to its last, 10 s
	Proxied  time.Duration // to the end of the header of the PROXY protocol, 5 s
	Idle     time.Duration // without a request, 60 s
	Write    time.Duration // without the peer taking a byte of an answer, or sending one of a body, 30 s
	Grace    time.Duration // for answers under way once Serve's context has ended, 10 s
}

// filled is the limits with defaults for zeros.
func (l Limits) filled() Limits {
	return Limits{
		Target:   or(l.Target, 8<<10),
		Line:     or(l.Line, 8<<10),
		Fields:   or(l.Fields, 100),
		Head:     or(l.Head, 16<<10),
		Trailers: or(l.Trailers, 4<<10),
		Conns:    or(l.Conns, 4096),
		Address:  l.Address,
		ReadHead: or(l.ReadHead, 10*time.Second),
		Proxied:  or(l.Proxied, 5*time.Second),
		Idle:     or(l.Idle, time.Minute),
		Write:    or(l.Write, 30*time.Second),
		Grace:    or(l.Grace, 10*time.Second),
	}
}

func or[T int | time.Duration](value, otherwise T) T {
	if value > 0 {
		return value
	}
	return otherwise
}

// Is reports whether the field has that name, whatever the case of letters.
func (f Field) Is(name string) bool { return fold(f.Name, name) }

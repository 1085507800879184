// Package bustest gives every room's tests a real bus that never leaves the process, usable
// inside testing/synctest bubbles.
package bustest

import (
	"os"
	"testing"

	"github.com/nats-io/nats-server/v2/server/ats"

	"bramble/bus"
	"bramble/trust"
)

// Main runs a package's tests; call it from TestMain. The server's clock service must start
// outside of any bubble, or fake time never advances.
func Main(m *testing.M) {
	ats.Register()
	os.Exit(m.Run())
}

// Bus is a server with its journal in a folder of the test's.
type Bus struct {
	*bus.Server
	t testing.TB
}

// Start starts a bus that ends with the test, or with Stop, which a bubble needs to call itself.
func Start(t testing.TB) *Bus { return StartIn(t, t.TempDir()) }

// StartIn starts a bus over a folder, to be started again over the same one.
func StartIn(t testing.TB, dir string) *Bus {
	t.Helper()
	s, err := bus.StartServer(bus.ServerOptions{Name: "test", Dir: dir})
	if err != nil {
		t.Fatalf("start bus: %v", err)
	}
	t.Cleanup(s.Shutdown)
	return &Bus{s, t}
}

// Head connects as the head.
func (b *Bus) Head() *bus.Conn { return b.As(trust.Identity{Kind: trust.KindHead, Name: "head"}) }

// Node connects as a node.
func (b *Bus) Node(name string) *bus.Conn {
	return b.As(trust.Identity{Kind: trust.KindNode, Name: name})
}

// Client connects as a person.
func (b *Bus) Client(user string, role trust.Role) *bus.Conn {
	return b.As(trust.Identity{Kind: trust.KindClient, Name: user, Role: role})
}

// As connects as any identity; the connection ends with the test.
func (b *Bus) As(id trust.Identity) *bus.Conn {
	b.t.Helper()
	c, err := b.Connect(id)
	if err != nil {
		b.t.Fatalf("connect %s: %v", id, err)
	}
	b.t.Cleanup(c.Close)
	return c
}

// StopAll closes the connections and the server, which must happen before a bubble ends.
func (b *Bus) StopAll(conns ...*bus.Conn) {
	for _, c := range conns {
		c.Close()
	}
	b.Shutdown()
}

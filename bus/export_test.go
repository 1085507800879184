package bus

import (
	"github.com/nats-io/nats.go"

	"bramble/trust"
)

// PublishReply publishes with any reply subject, as a hostile client might.
func PublishReply(c *Conn, subject, reply string, data []byte) error {
	return c.nc.PublishMsg(&nats.Msg{Subject: subject, Reply: reply, Data: data})
}

// Vanish breaks a connection without a word, as a pulled cable does.
func Vanish(c *Conn) { c.nc.Close() }

// Force sends data whether or not the peer has room for it.
func Force(s *Stream, data []byte) error { return s.send(frameData, data) }

// ID is the identity of a connection.
func (c *Conn) ID() trust.Identity {
	return trust.Identity{Kind: c.who.Kind, Name: c.who.Name, Role: c.who.Role}
}

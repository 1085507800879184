package bus

import "github.com/nats-io/nats.go"

// PublishReply publishes with any reply subject, as a hostile client might.
func PublishReply(c *Conn, subject, reply string, data []byte) error {
	return c.nc.PublishMsg(&nats.Msg{Subject: subject, Reply: reply, Data: data})
}

// Vanish breaks a connection without a word, as a pulled cable does.
func Vanish(c *Conn) { c.nc.Close() }

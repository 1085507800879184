package web

import (
	"sync"
	"time"

	"bramble/bus"
	"bramble/trust"
)

// idleConn is how long a connection that nobody uses is kept.
const idleConn = 3 * time.Minute

// conns are the bus connections of those signed in, one for each user and role, made when needed.
type conns struct {
	connect func(trust.Identity) (*bus.Conn, error)

	mu   sync.Mutex
	open map[trust.Identity]*shared
}

// shared is one identity's connection and how many requests use it.
type shared struct {
	conn  *bus.Conn
	users int
	idle  *time.Timer // closes it; stopped while it is used
}

func newConns(connect func(trust.Identity) (*bus.Conn, error)) *conns {
	return &conns{connect: connect, open: map[trust.Identity]*shared{}}
}

// take returns the connection that may do what the identity may; release gives it back.
func (c *conns) take(id trust.Identity) (conn *bus.Conn, release func(), err error) {
	id.Serial = "" // a session is no certificate
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.open[id]
	if s != nil && !s.conn.Connected() { // cut off by a revocation
		delete(c.open, id)
		if s.users == 0 {
			go s.conn.Close()
		}
		s = nil
	}
	if s == nil {
		conn, err := c.connect(id)
		if err != nil {
			return nil, nil, err
		}
		s = &shared{conn: conn}
		s.idle = time.AfterFunc(idleConn, func() { c.drop(id, s) })
		c.open[id] = s
	}
	s.users++
	s.idle.Stop()
	return s.conn, sync.OnceFunc(func() { c.release(id, s) }), nil
}

func (c *conns) release(id trust.Identity, s *shared) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.users--
	switch {
	case s.users > 0:
	case c.open[id] == s:
		s.idle.Reset(idleConn)
	default: // replaced meanwhile
		go s.conn.Close()
	}
}

// drop closes a connection unless somebody has taken it meanwhile.
func (c *conns) drop(id trust.Identity, s *shared) {
	c.mu.Lock()
	unused := c.open[id] == s && s.users == 0
	if unused {
		delete(c.open, id)
	}
	c.mu.Unlock()
	if unused {
		s.conn.Close()
	}
}

// close closes all; nobody uses them any more.
func (c *conns) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, s := range c.open {
		s.idle.Stop()
		s.conn.Close()
		delete(c.open, id)
	}
}

package keeper

import (
	"bufio"
	"context"
	"net"
	"os"
	"sync"

	"bramble/fault"
)

// Client speaks to a keeper process. Its methods fail with fault.Unreachable once the keeper is lost;
// Ensure then finds or starts another.
type Client struct {
	socket string
	conn   *net.UnixConn
	peer   hello
	child  *os.Process // the keeper, when Ensure started it
	gone   chan struct{}

	write sync.Mutex

	mu      sync.Mutex
	closed  bool
	last    uint64
	waiting map[uint64]*wanted
}

// wanted is an answer that grows until done is closed.
type wanted struct {
	statuses []Status
	tail     []byte
	err      error
	done     chan struct{}
}

var (
	_ Queue   = (*Client)(nil)
	_ Limiter = (*Client)(nil)
)

// Connect reaches the keeper that answers on the socket; fault.Unreachable when none does.
// The client lives until Close.
func Connect(ctx context.Context, socket string) (*Client, error) {
	conn, reader, peer, err := dial(ctx, socket)
	if err != nil {
		return nil, err
	}
	c := &Client{
		socket:  socket,
		conn:    conn,
		peer:    peer,
		gone:    make(chan struct{}),
		waiting: map[uint64]*wanted{},
	}
	go c.read(reader)
	return c, nil
}

// dial connects and exchanges hellos.
func dial(ctx context.Context, socket string) (conn *net.UnixConn, reader *bufio.Reader, peer hello, err error) {
	path, done, err := shortPath(socket)
	if err != nil {
		return nil, nil, peer, unreachable(socket, err)
	}
	defer done()
	var dialer net.Dialer
	raw, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, nil, peer, unreachable(socket, err)
	}
	conn = raw.(*net.UnixConn)
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	reader = bufio.NewReaderSize(conn, 16<<10)
	frame, err := encode(hello{Protocol: Protocol, Pid: os.Getpid()}, nil)
	if err == nil {
		_, err = conn.Write(frame)
	}
	if err == nil {
		_, err = decode(reader, &peer)
	}
	if err != nil {
		conn.Close()
		return nil, nil, peer, unreachable(socket, err)
	}
	return conn, reader, peer, nil
}

func unreachable(socket string, err error) error {
	return fault.New(fault.Unreachable, "no keeper answers on %s: %w", socket, err)
}

// Close ends the client; the keeper and its tasks go on.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	err := c.conn.Close()
	<-c.gone
	return err
}

// Pid is the keeper's process.
func (c *Client) Pid() int { return c.peer.Pid }

// Peer is the Protocol that the keeper speaks; it may be older than ours.
func (c *Client) Peer() int { return c.peer.Protocol }

// read hands out answers until the connection ends, then everybody who waits is told.
func (c *Client) read(r *bufio.Reader) {
	defer close(c.gone)
	for {
		var a answer
		tail, err := decode(r, &a)
		if err != nil {
			break
		}
		c.hand(a, tail)
	}
	c.conn.Close()
	c.mu.Lock()
	closed, child := c.closed, c.child
	c.closed = true
	for _, w := range c.waiting {
		w.err = c.lost()
		close(w.done)
	}
	c.waiting = nil
	c.mu.Unlock()
	reap(child, closed)
}

// hand adds a part to the answer that somebody waits for; nobody does when the call was given up.
func (c *Client) hand(a answer, tail []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.waiting[a.Number]
	if w == nil {
		return
	}
	w.statuses, w.tail = append(w.statuses, a.Statuses...), tail
	if a.Error != nil {
		w.err = a.Error
	}
	if !a.More {
		delete(c.waiting, a.Number)
		close(w.done)
	}
}

// reap leaves no zombie of a keeper that Ensure started, and lets go of one that lives on.
func reap(keeper *os.Process, closed bool) {
	switch {
	case keeper == nil:
	case closed:
		keeper.Release()
	default:
		keeper.Wait()
	}
}

func (c *Client) lost() error {
	return fault.New(fault.Unreachable, "the keeper on %s is gone", c.socket)
}

// call sends a request and waits for the whole answer.
func (c *Client) call(ctx context.Context, r request) (*wanted, error) {
	w, err := c.expect(&r)
	if err != nil {
		return nil, err
	}
	defer c.giveUp(r.Number)
	frame, err := encode(r, nil)
	if err != nil {
		return nil, err
	}
	c.write.Lock()
	_, err = c.conn.Write(frame)
	c.write.Unlock()
	if err != nil {
		return nil, c.lost()
	}
	select {
	case <-w.done:
		return w, w.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// expect numbers the request.
func (c *Client) expect(r *request) (*wanted, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, c.lost()
	}
	c.last++
	r.Number = c.last
	w := &wanted{done: make(chan struct{})}
	c.waiting[r.Number] = w
	return w, nil
}

func (c *Client) giveUp(number uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, number)
}

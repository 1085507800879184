package bus

import (
	"context"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"

	"bramble/trust"
)

// answers finds who waits for an answer of a node. It comes to _INBOX.head.CONN.node-NAME.NUMBER: in the node's own
// lane, so that none can answer for another.
type answers struct {
	mu      sync.Mutex
	lane    string // _INBOX.head.CONN
	next    uint64
	waiting map[streamKey]chan *nats.Msg
}

// expectAnswers listens for what nodes answer; only the head asks them.
func (c *Conn) expectAnswers() error {
	if c.who.Kind != trust.KindHead {
		return nil
	}
	c.answers.lane, c.answers.waiting = "_INBOX."+c.who.key()+"."+c.streams.nonce, map[streamKey]chan *nats.Msg{}
	return c.subscribe(c.ctx, c.answers.lane+".*.*", maxQueued, c.answers.take)
}

// askNode is a request to a node.
func (c *Conn) askNode(ctx context.Context, peer, subject string, data []byte) (*nats.Msg, error) {
	key, answer := c.answers.expect(peer)
	defer c.answers.forget(key)
	if err := c.nc.PublishRequest(subject, c.answers.lane+"."+peer+"."+strconv.FormatUint(key.id, 36), data); err != nil {
		return nil, err
	}
	select {
	case m := <-answer:
		if len(m.Data) == 0 && m.Header.Get("Status") == noResponders {
			return nil, nats.ErrNoResponders
		}
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (a *answers) expect(peer string) (streamKey, <-chan *nats.Msg) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next++
	key, answer := streamKey{peer, a.next}, make(chan *nats.Msg, 1)
	a.waiting[key] = answer
	return key, answer
}

// take hands an answer to who waits for it, once.
func (a *answers) take(m *nats.Msg) {
	part, _ := cut(m.Subject)
	id, err := strconv.ParseUint(part[4], 36, 64)
	if err != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	key := streamKey{part[3], id}
	if answer := a.waiting[key]; answer != nil {
		delete(a.waiting, key)
		answer <- m
	}
}

func (a *answers) forget(key streamKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.waiting, key)
}

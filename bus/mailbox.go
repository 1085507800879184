package bus

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"bramble/fault"
	"bramble/trust"
)

// streamTable finds the stream that a frame belongs to.
type streamTable struct {
	mu     sync.Mutex
	open   map[string]*Stream // "peer.id" → stream
	served map[string]int     // peer → streams open for it
	next   uint64
	nonce  string
}

func (c *Conn) openMailbox() error {
	c.streams.open, c.streams.served = map[string]*Stream{}, map[string]int{}
	c.streams.nonce = nats.NewInbox()[len(nats.InboxPrefix):]
	if err := c.subscribe(c.ctx, strings.Join([]string{"_S", c.who.key(), c.streams.nonce, "*", "*"}, "."), -1, c.frame); err != nil {
		return err
	}
	c.busy.Go(c.keepAlive)
	return nil
}

// register makes a stream whose frames from peerKey arrive at the subject returned.
func (c *Conn) register(ctx context.Context, peerKey string, opener bool) (*Stream, string) {
	t := &c.streams
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next++
	id := strconv.FormatUint(t.next, 36)
	s := &Stream{c: c, key: peerKey + "." + id, opener: opener, begun: time.Now(), heard: time.Now(), spoke: time.Now(), changed: make(chan struct{})}
	s.own = strings.Join([]string{"_S", c.who.key(), t.nonce, peerKey, id}, ".")
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	t.open[s.key] = s
	if !opener {
		t.served[peerKey]++
	}
	return s, s.own
}

// Probe asks the other side of every stream to that party whether it is still there. The head calls it
// when a connection of the party closed: a stream whose peer has gone then ends at once and not after Lost.
func (c *Conn) Probe(id trust.Identity) {
	key := callerOf(id).key()
	for _, s := range c.streams.all() {
		if strings.HasPrefix(s.key, key+".") {
			s.send(frameAlive, nil)
		}
	}
}

// frame takes a frame in from the bus; the server has vouched for the peer named in its subject.
func (c *Conn) frame(m *nats.Msg) {
	part := strings.SplitN(m.Subject, ".", 4)
	c.streams.mu.Lock()
	s := c.streams.open[part[3]]
	c.streams.mu.Unlock()
	if len(m.Data) == 0 {
		if s != nil && m.Header.Get("Status") == "503" {
			s.nobody()
		}
		return
	}
	peerKey, _, _ := strings.Cut(part[3], ".")
	kind := m.Data[0]
	if m.Reply != "" && !mailboxOf(m.Reply, peerKey) {
		return
	}
	if s == nil {
		if m.Reply != "" && kind != frameEnd && kind != frameLast { // we gave up or broke meanwhile: tell the other
			c.nc.Publish(m.Reply, []byte{frameGone})
		}
		return
	}
	if m.Reply != "" {
		s.meet(m.Reply)
	}
	s.take(kind, m.Data[1:])
}

// meet notes where the other side is.
func (s *Stream) meet(mailbox string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opener && s.peer == "" {
		s.peer = mailbox
		s.wake()
	}
}

// mailboxOf reports whether subject is a mailbox of that peer, so that nobody can direct our frames to a third party.
func mailboxOf(subject, peerKey string) bool {
	return strings.HasPrefix(subject, "_S."+peerKey+".") && strings.Count(subject, ".") == 4 && !strings.ContainsAny(subject, " \t\r\n*>")
}

// keepAlive speaks up on quiet streams and gives up the ones whose peer has been silent too long.
func (c *Conn) keepAlive() {
	tick := time.NewTicker(KeepAlive)
	defer tick.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case now := <-tick.C:
			for _, s := range c.streams.all() {
				s.mu.Lock()
				silent, quiet := now.Sub(s.heard), now.Sub(s.spoke)
				s.mu.Unlock()
				if silent > Lost {
					s.drop(fault.New(fault.Unreachable, "the other side has been silent for %s", Lost))
				} else if quiet >= KeepAlive {
					s.send(frameAlive, nil)
				}
			}
		}
	}
}

func (t *streamTable) all() []*Stream {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]*Stream, 0, len(t.open))
	for _, s := range t.open {
		list = append(list, s)
	}
	return list
}

func (t *streamTable) forget(s *Stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open[s.key] != s {
		return
	}
	delete(t.open, s.key)
	if peer, _, _ := strings.Cut(s.key, "."); !s.opener {
		if t.served[peer]--; t.served[peer] == 0 {
			delete(t.served, peer)
		}
	}
}

// full reports whether a peer has as many streams open as one may.
func (t *streamTable) full(peer string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.served[peer] >= MaxStreams
}

func (t *streamTable) closeAll(why error) {
	for _, s := range t.all() {
		s.drop(why)
	}
}

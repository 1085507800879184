package bus

import (
	"encoding/binary"
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
	open   map[streamKey]*Stream
	served map[string]int // peer → streams open for it
	next   uint64
	nonce  string
	lane   string // what begins the address of each stream
}

// streamKey is whom a stream is with, and the number that this side gave it.
type streamKey struct {
	peer string
	id   uint64
}

func (c *Conn) openMailbox() error {
	c.streams.open, c.streams.served = map[streamKey]*Stream{}, map[string]int{}
	c.streams.nonce = nats.NewInbox()[len(nats.InboxPrefix):]
	c.streams.lane = "_S." + c.who.key() + "." + c.streams.nonce + "."
	if err := c.subscribe(c.ctx, c.streams.lane+">", -1, c.frame); err != nil {
		return err
	}
	if err := c.expectAnswers(); err != nil {
		return err
	}
	c.busy.Go(c.keepAlive)
	return nil
}

// newStream is one that takes part in nothing yet.
func (c *Conn) newStream(opener bool) *Stream {
	s := &Stream{}
	s.init(c, opener, time.Now())
	return s
}

func (s *Stream) init(c *Conn, opener bool, now time.Time) {
	s.c, s.opener, s.begun, s.heard, s.spoke = c, opener, now, now, now
}

// register has the stream get frames of peerKey, at an address of its own.
func (c *Conn) register(s *Stream, peerKey string) {
	t := &c.streams
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next++
	s.key = streamKey{peerKey, t.next}
	s.own = t.lane + peerKey + "." + strconv.FormatUint(t.next, 36)
	t.open[s.key] = s
	if !s.opener {
		t.served[peerKey]++
	}
}

// locate takes an address apart: where a stream's frames go is a mailbox, which is the subject of all frames from one
// connection to another, and the number of the stream there. One subject a pair keeps the server's caches small and hit.
func locate(address string) (mailbox string, id uint64, ok bool) {
	dot := strings.LastIndexByte(address, '.')
	if dot < 0 {
		return "", 0, false
	}
	id, err := strconv.ParseUint(address[dot+1:], 36, 64)
	return address[:dot], id, err == nil
}

// Probe asks the other side of every stream to that party whether it is still there. The head calls it
// when a connection of the party closed: a stream whose peer has gone then ends at once and not after Lost.
func (c *Conn) Probe(id trust.Identity) {
	key := callerOf(id).key()
	for _, s := range c.streams.all() {
		if s.key.peer == key {
			s.send(frameAlive, nil)
		}
	}
}

// noResponders is the status that the server answers with when nobody listens.
const noResponders = "503"

// frame takes a message in from the bus; the server has vouched for the peer named in its subject.
// A frame is the stream's number, a kind byte and the rest; a status of the server's comes to the address instead.
func (c *Conn) frame(m *nats.Msg) {
	part, parts := cut(m.Subject)
	if parts == 5 {
		if _, id, ok := locate(m.Subject); ok && len(m.Data) == 0 && m.Header.Get("Status") == noResponders {
			if s := c.streams.find(streamKey{part[3], id}); s != nil {
				s.nobody()
			}
		}
		return
	}
	id, n := binary.Uvarint(m.Data)
	if parts != 4 || n <= 0 || n == len(m.Data) || m.Reply != "" && !addressOf(m.Reply, part[3]) {
		return
	}
	kind, data := m.Data[n], m.Data[n+1:]
	s := c.streams.find(streamKey{part[3], id})
	if s == nil {
		if m.Reply != "" && kind != frameEnd && kind != frameLast { // we gave up or broke meanwhile: tell the other
			c.sendFrame(m.Reply, frameGone, nil, "")
		}
		return
	}
	if m.Reply != "" {
		s.meet(m.Reply)
	}
	s.take(kind, data)
}

// sendFrame sends one frame to an address.
func (c *Conn) sendFrame(to string, kind byte, data []byte, reply string) error {
	mailbox, id, ok := locate(to)
	if !ok {
		return fault.New(fault.Misused, "%q is no address of a stream", to)
	}
	var small [128]byte // most frames fit in, and what is published is copied
	frame := binary.AppendUvarint(small[:0], id)
	frame = append(append(frame, kind), data...)
	if reply == "" {
		return c.nc.Publish(mailbox, frame)
	}
	return c.nc.PublishRequest(mailbox, reply, frame)
}

// meet notes where the other side is.
func (s *Stream) meet(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opener && s.peer == "" {
		s.peer = address
		s.wake()
	}
}

// addressOf reports whether subject is an address of that peer, so that nobody can direct our frames to a third party.
func addressOf(subject, peerKey string) bool {
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
					s.drop(s.goneError("been silent for " + Lost.String()))
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
	if peer := s.key.peer; !s.opener {
		if t.served[peer]--; t.served[peer] == 0 {
			delete(t.served, peer)
		}
	}
}

func (t *streamTable) find(key streamKey) *Stream {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open[key]
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

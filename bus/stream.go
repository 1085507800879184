package bus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"bramble/fault"
	"bramble/trust"
)

// Kinds of frames. The first frame of a service has its address as the reply subject; until it comes,
// the opener knows nowhere to send to.
const (
	frameData   = 'd' // one message
	frameLast   = 'l' // service → opener: one message, after which all is over and well
	frameTaken  = 'a' // big-endian uint32: bytes the reader has taken since the last one
	frameFinish = 'f' // the sender has no more data; it still listens
	frameEnd    = 'e' // service → opener: it is over; fault JSON, or nothing when all went well
	frameCancel = 'x' // opener → service: stop
	frameAlive  = 'k' // still here; its reply subject is the sender's address
	frameGone   = 'g' // answer to a frame with a reply subject for a stream that is not known here
)

// announceAfter is how long a service that says nothing keeps its address to itself: most have answered by then.
const announceAfter = 20 * time.Millisecond

// overrun is how many unread bytes a peer may have sent before it is cut off: an honest one stays below.
const overrun = 2*Window + MaxFrame

// Stream is a two-way, flow-controlled sequence of messages between a client and the head or the
// head and a node. Neither side can make the other hold more than Window bytes plus one message.
// One goroutine may send while another receives.
type Stream struct {
	c       *Conn
	key     streamKey
	own     string // this side's address
	opener  bool
	begun   time.Time
	subject string // the opener's, and what it asks there
	request []byte
	place   int   // in many
	many    *Many // which is told when there is something to receive; nil once it was, or for a single stream
	ctx     context.Context
	cancel  context.CancelCauseFunc

	mu       sync.Mutex
	peer     string // the peer's address; "" until it is known
	told     bool   // the peer knows our address
	silence  *time.Timer
	queue    [][]byte
	waiting  int   // bytes in queue
	taken    int   // bytes received by the reader and not yet credited to the sender
	sent     int   // bytes sent and not yet credited to us
	finished bool  // the peer sends no more data
	over     error // why the stream ended; io.EOF when well
	heard    time.Time
	spoke    time.Time
	changed  chan struct{} // closed at the next change; nil while nobody waits
}

// Open asks for a stream. The request is JSON, or raw when it is a []byte. Cancelling ctx cancels the stream.
func (c *Conn) Open(ctx context.Context, subject string, req any) (*Stream, error) {
	if err := c.may(subject); err != nil {
		return nil, err
	}
	data, err := encode(req)
	if err != nil {
		return nil, err
	}
	s := c.newStream(true)
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	s.subject, s.request = c.subject(subject), data
	c.register(s, c.peerKey(subject))
	if err := s.ask(); err != nil {
		s.drop(err)
		return nil, unasked(subject, err)
	}
	context.AfterFunc(s.ctx, s.Close)
	return s, nil
}

// ask sends the opener's request.
func (s *Stream) ask() error { return s.c.nc.PublishRequest(s.subject, s.own, s.request) }

// peerKey is who will answer on subject.
func (c *Conn) peerKey(subject string) string {
	if part, n := cut(subject); n == 4 && part[1] == "node" {
		return "node-" + part[2]
	}
	return "head"
}

// accept makes the service's side of a stream.
func (c *Conn) accept(ctx context.Context, m *nats.Msg) (*Stream, error) {
	who := callerFrom(m.Subject)
	if !addressOf(m.Reply, who.key()) {
		c.reply(m, nil, fault.New(fault.Misused, "%s answers with a stream", m.Subject))
		return nil, errors.New("not opened as a stream")
	}
	if who.Kind != trust.KindHead && c.streams.full(who.key()) {
		err := fault.New(fault.Full, "%s has %d requests open already, and may have no more", who, MaxStreams).Hint("end some of them first")
		c.sendFrame(m.Reply, frameEnd, []byte(faultText(err)), "")
		return nil, err
	}
	s := c.newStream(false)
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	c.register(s, who.key())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peer = m.Reply
	s.silence = time.AfterFunc(announceAfter, s.announce)
	return s, nil
}

// announce tells the opener where the service is, unless an earlier frame has.
func (s *Stream) announce() {
	s.mu.Lock()
	due := !s.told && s.over == nil
	s.mu.Unlock()
	if due {
		s.send(frameAlive, nil)
	}
}

// Context ends when the stream does.
func (s *Stream) Context() context.Context { return s.ctx }

// Send sends one message of at most MaxFrame bytes, waiting until the peer has room for it.
func (s *Stream) Send(data []byte) error { return s.sendWhenRoom(frameData, data) }

// SendLast sends a service's last message and ends the stream well in the same frame.
func (s *Stream) SendLast(data []byte) error {
	err := s.sendWhenRoom(frameLast, data)
	if err == nil {
		s.drop(io.EOF)
	}
	return err
}

func (s *Stream) sendWhenRoom(kind byte, data []byte) error {
	if len(data) > MaxFrame {
		return fault.New(fault.Full, "a stream message of %d bytes is over the limit of %d", len(data), MaxFrame)
	}
	for {
		s.mu.Lock()
		if s.over != nil {
			defer s.mu.Unlock()
			return s.overError()
		}
		if s.peer != "" && (s.sent == 0 || s.sent+len(data) <= Window) {
			s.sent += len(data)
			s.mu.Unlock()
			return s.send(kind, data)
		}
		changed := s.change()
		s.mu.Unlock()
		select {
		case <-changed:
		case <-s.ctx.Done():
			return s.cause()
		}
	}
}

// SendJSON sends v as one message.
func (s *Stream) SendJSON(v any) error {
	data, err := encode(v)
	if err != nil {
		return err
	}
	return s.Send(data)
}

// Recv returns the next message; io.EOF after the last one of a stream that ended well.
func (s *Stream) Recv() ([]byte, error) {
	for {
		s.mu.Lock()
		if len(s.queue) > 0 {
			data := s.queue[0]
			s.queue[0] = nil
			s.queue = s.queue[1:]
			s.waiting -= len(data)
			s.taken += len(data)
			credit := 0
			if s.taken >= Window/2 && !s.finished && s.over == nil && s.peer != "" {
				credit, s.taken = s.taken, 0
			}
			s.mu.Unlock()
			if credit > 0 {
				s.send(frameTaken, binary.BigEndian.AppendUint32(nil, uint32(credit)))
			}
			return data, nil
		}
		if s.over != nil {
			defer s.mu.Unlock()
			return nil, s.over
		}
		if s.finished {
			s.mu.Unlock()
			return nil, io.EOF
		}
		changed, hidden := s.change(), !s.opener && !s.told
		s.mu.Unlock()
		if hidden {
			s.announce()
		}
		select {
		case <-changed:
		case <-s.ctx.Done():
			if !s.isOver() { // else what came before the end is still to be read
				return nil, s.cause()
			}
		}
	}
}

// Answered waits until the service is heard, which is at once whatever it has to say, and reports whether that was within so long.
func (s *Stream) Answered(within time.Duration) bool {
	late := time.NewTimer(within)
	defer late.Stop()
	for {
		s.mu.Lock()
		if s.peer != "" || s.over != nil {
			s.mu.Unlock()
			return true
		}
		changed := s.change()
		s.mu.Unlock()
		select {
		case <-changed:
		case <-s.ctx.Done():
			return true // Recv tells why
		case <-late.C:
			return false
		}
	}
}

// Over reports whether the peer has ended the stream, so that Recv does not wait any more.
func (s *Stream) Over() bool { return s.isOver() }

func (s *Stream) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over != nil
}

// Go runs f, which must end soon after the stream has; Conn.Close waits for it. For handlers that
// send and receive at once.
func (s *Stream) Go(f func()) { s.c.busy.Go(f) }

// Messages yields each message until the stream ends; the last pair carries the error, if any.
func (s *Stream) Messages() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for {
			data, err := s.Recv()
			if err == io.EOF {
				return
			}
			if !yield(data, err) || err != nil {
				return
			}
		}
	}
}

// CloseSend tells the peer that no more data comes; receiving goes on.
func (s *Stream) CloseSend() error {
	s.mu.Lock()
	for s.peer == "" && s.over == nil {
		changed := s.change()
		s.mu.Unlock()
		select {
		case <-changed:
		case <-s.ctx.Done():
			return s.cause()
		}
		s.mu.Lock()
	}
	s.mu.Unlock()
	return s.send(frameFinish, nil)
}

// Close ends the stream from the opener's side; the service's context is cancelled.
func (s *Stream) Close() {
	if !s.isOver() && s.drop(errInterrupted) && s.opener {
		s.send(frameCancel, nil)
	}
}

var errInterrupted = fault.New(fault.Interrupted, "interrupted")

// end ends the stream from the service's side with the handler's verdict.
func (s *Stream) end(err error) {
	var verdict []byte
	if err != nil {
		verdict = []byte(faultText(err))
	}
	if !s.isOver() {
		s.send(frameEnd, verdict)
		s.drop(io.EOF)
	}
}

// drop forgets the stream and reports whether it was still open.
func (s *Stream) drop(why error) bool {
	s.c.streams.forget(s)
	s.mu.Lock()
	first := s.over == nil
	if first {
		s.over = why
		s.wake()
	}
	if s.silence != nil {
		s.silence.Stop()
	}
	s.mu.Unlock()
	s.cancel(why)
	s.arrived()
	return first
}

// change is closed at the next change; s.mu is held.
func (s *Stream) change() <-chan struct{} {
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

// wake tells waiting senders and receivers to look again; s.mu is held.
func (s *Stream) wake() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

func (s *Stream) overError() error {
	if s.over == io.EOF {
		return fault.New(fault.Failed, "the other side has ended the stream")
	}
	return s.over
}

// goneError says what the other side has done in place of going on; of the head and of nodes, what to do about it too.
func (s *Stream) goneError(has string) error {
	switch {
	case s.key.peer == "head":
		return fault.New(fault.Unreachable, "the head has %s", has).Hint(awayHint)
	case strings.HasPrefix(s.key.peer, "node-"):
		return fault.New(fault.Unreachable, "the node has %s", has).Hint("bramble nodes")
	}
	return fault.New(fault.Unreachable, "the other side has %s", has)
}

func (s *Stream) cause() error {
	err := context.Cause(s.ctx)
	if errors.Is(err, context.Canceled) {
		return errInterrupted
	}
	return err
}

func (s *Stream) send(kind byte, data []byte) error {
	s.mu.Lock()
	to := s.peer
	s.spoke = time.Now()
	first := !s.opener && !s.told
	s.told = true
	s.mu.Unlock()
	if to == "" {
		return nil
	}
	reply := ""
	if first && kind != frameLast && kind != frameEnd || kind == frameAlive {
		reply = s.own // and the server tells us when nobody listens there any more
	}
	if err := s.c.sendFrame(to, kind, data, reply); err != nil {
		return fmt.Errorf("send on stream: %w", plain(err))
	}
	return nil
}

func (s *Stream) take(kind byte, data []byte) {
	switch kind {
	case frameEnd:
		over := error(io.EOF)
		if len(data) > 0 {
			over = faultFrom(string(data))
		}
		s.drop(over)
		return
	case frameLast:
		if s.note(frameData, data) {
			s.drop(io.EOF)
			return
		}
	case frameCancel:
		s.drop(fault.New(fault.Interrupted, "the caller has gone"))
		return
	case frameGone:
		s.drop(s.goneError("lost this stream"))
		return
	}
	if kind == frameLast || !s.note(kind, data) {
		s.drop(fault.New(fault.Failed, "the other side sends more than it was asked to"))
	}
	if kind == frameData || kind == frameFinish {
		s.arrived()
	}
}

// note takes in a frame that does not end the stream; false when the peer disregards our window.
func (s *Stream) note(kind byte, data []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = time.Now()
	switch kind {
	case frameData:
		if s.finished || s.over != nil || s.waiting+len(data) > overrun || len(s.queue) > overrun {
			return s.finished || s.over != nil
		}
		s.queue = append(s.queue, data)
		s.waiting += len(data)
	case frameTaken:
		if len(data) == 4 {
			s.sent = max(0, s.sent-int(binary.BigEndian.Uint32(data)))
		}
	case frameFinish:
		s.finished = true
	case frameAlive:
		return true
	}
	s.wake()
	return true
}

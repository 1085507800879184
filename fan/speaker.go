package fan

import (
	"encoding/binary"
	"iter"
	"sync"

	"bramble/bus"
	"bramble/fault"
)

// A message to the client is any number of frames, each after its length as a big-endian uint32.

// speaker gathers the frames of many nodes into as few messages as keep up with the reader.
type speaker struct {
	out   *bus.Stream
	ended sync.WaitGroup

	mu       sync.Mutex
	changed  sync.Cond
	messages [][]byte // to be sent; the last takes more
	size     int      // bytes of messages
	spare    []byte   // a message that was sent, to be filled anew
	closed   bool
	err      error // why the stream takes no more
}

// maxUnsaid is about how many bytes may wait for a slow reader before the nodes do too.
const maxUnsaid = 256 << 10

func newSpeaker(out *bus.Stream) *speaker {
	s := &speaker{out: out}
	s.changed.L = &s.mu
	s.ended.Go(s.speak)
	return s
}

// add has a frame sent, after waiting for room.
func (s *speaker) add(kind Kind, node int, data []byte) error {
	if len(data) > bus.MaxFrame-frameHead-4 {
		return fault.New(fault.Full, "a report of %d bytes is too large", len(data))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.size > maxUnsaid && s.err == nil {
		s.changed.Wait()
	}
	if s.err != nil {
		return s.err
	}
	message := s.message(4 + frameHead + len(data))
	before := len(*message)
	*message = binary.BigEndian.AppendUint32(*message, uint32(frameHead+len(data)))
	*message = pack(*message, kind, node, data)
	s.size += len(*message) - before
	s.changed.Broadcast()
	return nil
}

// message is the last one, which has room for so many bytes more; s.mu is held.
func (s *speaker) message(room int) *[]byte {
	last := len(s.messages) - 1
	if last < 0 || len(s.messages[last])+room > bus.MaxFrame {
		s.messages, s.spare = append(s.messages, s.spare[:0]), nil
		last++
	}
	return &s.messages[last]
}

// close returns when all has been sent, or cannot be.
func (s *speaker) close() {
	s.mu.Lock()
	s.closed = true
	s.changed.Broadcast()
	s.mu.Unlock()
	s.ended.Wait()
}

func (s *speaker) speak() {
	var message []byte
	for {
		if message = s.next(message); message == nil {
			return
		}
		if err := s.out.Send(message); err != nil {
			s.mu.Lock()
			s.err = err
			s.changed.Broadcast()
			s.mu.Unlock()
			return
		}
	}
}

// next is the first message that waits; nil when all is said. The one before has been sent.
func (s *speaker) next(sent []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spare = sent
	for len(s.messages) == 0 && !s.closed {
		s.changed.Wait()
	}
	if len(s.messages) == 0 {
		return nil
	}
	message := s.messages[0]
	copy(s.messages, s.messages[1:])
	s.messages = s.messages[:len(s.messages)-1]
	s.size -= len(message)
	s.changed.Broadcast()
	return message
}

// framesOf takes a message apart; a last one that is cut off is left out.
func framesOf(message []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(message) >= 4 {
			n := int(binary.BigEndian.Uint32(message))
			if n > len(message)-4 || !yield(message[4:4+n:4+n]) {
				return
			}
			message = message[4+n:]
		}
	}
}

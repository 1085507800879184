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

	mu      sync.Mutex
	changed sync.Cond
	frames  [][]byte
	size    int // bytes of frames
	closed  bool
	err     error // why the stream takes no more
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
func (s *speaker) add(frame []byte) error {
	if len(frame) > bus.MaxFrame-4 {
		return fault.New(fault.Full, "a report of %d bytes is too large", len(frame))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.size > maxUnsaid && s.err == nil {
		s.changed.Wait()
	}
	if s.err != nil {
		return s.err
	}
	s.frames, s.size = append(s.frames, frame), s.size+len(frame)
	s.changed.Broadcast()
	return nil
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
	for {
		message := s.next()
		if message == nil {
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

// next is as many waiting frames as one message holds; nil when all is said.
func (s *speaker) next() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.frames) == 0 && !s.closed {
		s.changed.Wait()
	}
	var message []byte
	n := 0
	for n < len(s.frames) && len(message)+4+len(s.frames[n]) <= bus.MaxFrame {
		message = binary.BigEndian.AppendUint32(message, uint32(len(s.frames[n])))
		message = append(message, s.frames[n]...)
		s.size -= len(s.frames[n])
		n++
	}
	clear(s.frames[:n])
	if s.frames = s.frames[n:]; len(s.frames) == 0 {
		s.frames = nil
	}
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

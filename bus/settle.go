package bus

import "time"

// nobody is told when no one listens where a request or a frame went. A node that has just connected
// counts as up a moment before it listens: an opener asks again for Settle, as nobody has got its request.
func (s *Stream) nobody() {
	s.mu.Lock()
	again := s.opener && s.peer == "" && time.Since(s.begun) < Settle
	s.mu.Unlock()
	if !again {
		s.drop(s.goneError("not answered"))
		return
	}
	time.AfterFunc(Settle/20, func() {
		if !s.isOver() {
			s.ask()
		}
	})
}

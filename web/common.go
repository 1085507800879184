package web

import (
	"cmp"
	"context"
	"sync"
	"time"
)

// common is an answer that is asked for once for all who want it, and is good for a while.
type common[T any] struct {
	fresh time.Duration // 0: keptFor
	mu    sync.Mutex
	last  *asking[T]
}

// asking is one time that it is asked for; what it has is there once done is closed.
type asking[T any] struct {
	done   chan struct{}
	at     time.Time
	answer T
	err    error
}

// stale reports whether it is to be asked for again: an error is good for less long.
func (a *asking[T]) stale(fresh time.Duration) bool {
	select {
	case <-a.done:
		return time.Since(a.at) >= fresh || a.err != nil && time.Since(a.at) >= keptLook
	default:
		return false
	}
}

// get waits for an answer that is not stale; who stops waiting leaves the others theirs. do asks, as a work of run.
func (s *common[T]) get(ctx context.Context, do func() (T, error), run func(func())) (answer T, err error) {
	s.mu.Lock()
	a := s.last
	if a == nil || a.stale(cmp.Or(s.fresh, keptFor)) {
		a = &asking[T]{done: make(chan struct{})}
		s.last = a
		run(func() {
			a.answer, a.err = do()
			a.at = time.Now()
			close(a.done)
		})
	}
	s.mu.Unlock()
	select {
	case <-a.done:
		return a.answer, a.err
	case <-ctx.Done():
		return answer, ctx.Err()
	}
}

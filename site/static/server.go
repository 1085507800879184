package static

import (
	"slices"
	"sync"
	"sync/atomic"

	"bramble/http1"
)

// Server answers for a site. All methods may be called concurrently; before the first Commit every answer is 503.
type Server struct {
	mu    sync.Mutex // held by those who change state
	state atomic.Pointer[state]
}

// state is what a Server knows at one instant. It does not change.
type state struct {
	live   *Release
	staged []*Release
	kept   []*Release // were live lately, the latest last
}

// Stage lets r's assets with a fingerprint be answered from now on, and everything of r to those who have its cookie.
func (s *Server) Stage(r *Release) {
	s.change(func(t *state) {
		t.forget(r)
		t.staged = append(t.staged, r)
	})
}

// Unstage takes back Stage.
func (s *Server) Unstage(r *Release) {
	s.change(func(t *state) { t.staged = without(t.staged, r) })
}

// Commit makes r the live release, at once. The one before is kept until Keep says otherwise.
func (s *Server) Commit(r *Release) {
	s.change(func(t *state) {
		before := t.live
		if t.forget(r); before != nil && before != r {
			t.kept = append(t.kept, before)
		}
		t.live = r
	})
}

// Keep says which releases, the latest last, were live so lately that their assets are still answered, and no others.
func (s *Server) Keep(old []*Release) {
	s.change(func(t *state) { t.kept = without(slices.Clone(old), t.live) })
}

// Live is the release that is live; nil before the first Commit.
func (s *Server) Live() *Release {
	if t := s.state.Load(); t != nil {
		return t.live
	}
	return nil
}

func (s *Server) change(f func(*state)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := &state{}
	if t := s.state.Load(); t != nil {
		*next = state{t.live, slices.Clone(t.staged), slices.Clone(t.kept)}
	}
	f(next)
	s.state.Store(next)
}

func (t *state) forget(r *Release) { t.staged, t.kept = without(t.staged, r), without(t.kept, r) }

func without(all []*Release, r *Release) []*Release {
	return slices.DeleteFunc(all, func(x *Release) bool { return x == r })
}

// Lean is an http1.Server's Handler. It neither blocks nor, but for redirects, errors, parts and files, allocates.
func (s *Server) Lean(r *http1.Request, a *http1.Answer) bool {
	const tries = 3 // a release that is being closed is no longer in the next state
	for range tries {
		x := exchange{state: s.state.Load(), req: r, ans: a}
		if x.answer() {
			return true
		}
	}
	x := exchange{req: r, ans: a}
	return x.answer()
}

package trust

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"sync"
	"time"

	"bramble/fault"
)

const (
	// SessionTTL is how long a session lasts.
	SessionTTL = 24 * time.Hour
	// MaxSessions is how many sessions, and how many unused links, are kept; one more ends that which would end first.
	MaxSessions = 1000
	// TriesPerMinute is how many wrong secrets a source may offer in a minute.
	TriesPerMinute = 10

	// maxSources bounds the memory of the rate limit; secrets are too long to guess without it.
	maxSources = 10_000
)

// Session is a person signed in to the dashboard.
type Session struct {
	ID       string // the secret that the browser shows, 128 random bits; empty in what Session returns
	Identity Identity
	Expires  time.Time
}

// SignIn keeps one-time login links and sessions in memory; of their secrets only hashes.
type SignIn struct {
	tokens func(context.Context, Token) (Identity, error)
	now    func() time.Time

	mu       sync.Mutex
	links    map[digest]Session
	sessions map[digest]Session
	tries    map[string]window
}

// digest is SHA-256 of a secret: looking one up by it gives no timing away.
type digest [sha256.Size]byte

// window counts a source's tries since a moment.
type window struct {
	since time.Time
	tries int
}

// NewSignIn makes an empty SignIn; tokens redeems client tokens, usually Authority.SignIn.
func NewSignIn(tokens func(context.Context, Token) (Identity, error), now func() time.Time) *SignIn {
	return &SignIn{
		tokens: tokens, now: now,
		links: map[digest]Session{}, sessions: map[digest]Session{}, tries: map[string]window{},
	}
}

// NewLink returns the secret of a link that signs id in once within ttl.
func (s *SignIn) NewLink(id Identity, ttl time.Duration) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.add(s.links, id, ttl).ID
}

// Redeem begins a session for a link's secret or a client token's text. Source is whom
// the rate limit counts, such as the caller's address. Refusals are fault.Denied, a
// mistyped token fault.Misused, and too many wrong tries fault.Full.
func (s *SignIn) Redeem(ctx context.Context, source, secret string) (Session, error) {
	if err := s.try(source); err != nil {
		return Session{}, err
	}
	id, err := s.redeem(ctx, secret)
	if err != nil {
		return Session{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.untry(source)
	return s.add(s.sessions, id, SessionTTL), nil
}

// redeem tells whom a secret is for.
func (s *SignIn) redeem(ctx context.Context, secret string) (Identity, error) {
	if strings.Contains(secret, "-") { // a link's secret has none
		token, err := ParseToken(secret)
		if err != nil {
			return Identity{}, err
		}
		return s.tokens(ctx, token)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	link, ok := s.links[digestOf(secret)]
	delete(s.links, digestOf(secret))
	if !ok || !s.now().Before(link.Expires) {
		return Identity{}, fault.New(fault.Denied, "the login link was used, or is too old").
			Hint("a new one: bramble ui")
	}
	return link.Identity, nil
}

// Session looks a session up by the ID that the browser shows; none, or an ended one, is fault.Denied.
func (s *SignIn) Session(id string) (Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	session, ok := s.sessions[digestOf(id)]
	if !ok || !s.now().Before(session.Expires) {
		delete(s.sessions, digestOf(id))
		return Session{}, fault.New(fault.Denied, "nobody is signed in here, or no longer").Hint("bramble ui")
	}
	return session, nil
}

// End ends a session.
func (s *SignIn) End(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, digestOf(id))
}

// EndAll ends the sessions and links of a client; it fits Authority.OnRevoke. A session
// has no certificate, so that the revocation of any of a client's certificates ends them all.
func (s *SignIn) EndAll(revoked Identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, kept := range []map[digest]Session{s.links, s.sessions} {
		for key, session := range kept {
			if revoked.Kind == session.Identity.Kind && revoked.Name == session.Identity.Name {
				delete(kept, key)
			}
		}
	}
}

// add keeps a new session or link and returns it with its secret.
func (s *SignIn) add(kept map[digest]Session, id Identity, ttl time.Duration) Session {
	s.makeRoom(kept)
	session := Session{Identity: id, Expires: s.now().Add(ttl)}
	secret := rand.Text()
	kept[digestOf(secret)] = session
	session.ID = secret
	return session
}

// makeRoom drops what has ended and, if that is not enough, what would end first.
func (s *SignIn) makeRoom(kept map[digest]Session) {
	if len(kept) < MaxSessions {
		return
	}
	now := s.now()
	var first digest
	var soonest time.Time
	for key, session := range kept {
		if !now.Before(session.Expires) {
			delete(kept, key)
		} else if soonest.IsZero() || session.Expires.Before(soonest) {
			first, soonest = key, session.Expires
		}
	}
	if len(kept) >= MaxSessions {
		delete(kept, first)
	}
}

// try counts a try before it is made, so that many at once are not more.
func (s *SignIn) try(source string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	w := s.tries[source]
	if now.Sub(w.since) >= time.Minute {
		w = window{since: now}
	}
	if w.tries >= TriesPerMinute {
		return fault.New(fault.Full, "too many wrong tries to sign in from there").Hint("again in a minute")
	}
	if len(s.tries) >= maxSources {
		clear(s.tries)
	}
	w.tries++
	s.tries[source] = w
	return nil
}

// untry takes back the count of a try that was right.
func (s *SignIn) untry(source string) {
	w := s.tries[source]
	if w.tries--; w.tries <= 0 {
		delete(s.tries, source)
		return
	}
	s.tries[source] = w
}

func digestOf(secret string) digest { return sha256.Sum256([]byte(secret)) }

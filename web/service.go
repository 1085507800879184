package web

import (
	"context"
	"errors"
	"net/url"
	"time"

	"bramble/bus"
	"bramble/trust"
)

// LinkTTL is how long a login link is good.
const LinkTTL = 10 * time.Minute

// Link signs one person in, once.
type Link struct {
	URL     string    `json:"url"`
	Expires time.Time `json:"expires"` // head's clock
}

type none struct{}

// answer registers what the room is asked over the bus.
func (s *Server) answer(ctx context.Context) error {
	return errors.Join(
		bus.Handle(ctx, s.Conn, "web.read.link", s.link),
		bus.HandleStream(ctx, s.Conn, "web.do.preview", s.preview),
	)
}

// link makes a login link for the caller's own identity.
func (s *Server) link(_ context.Context, who bus.Caller, _ none) (Link, error) {
	secret := s.SignIn.NewLink(trust.Identity{Kind: who.Kind, Name: who.Name, Role: who.Role}, LinkTTL)
	s.Log.Info("login link made", "user", who.Name, "role", who.Role)
	return Link{URL: s.URL + "/signin?" + url.Values{"key": {secret}}.Encode(), Expires: time.Now().Add(LinkTTL).UTC()}, nil
}

package web

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"bramble/event"
)

const pageEvents = 200 // on the Events page, which keeps as many

// eventsView is the Events page.
type eventsView struct {
	Filter event.Filter
	Events []event.Event
	Live   string
	Rooms  []string // to choose from
}

// eventFilter reads which events a request is about.
func eventFilter(r *http.Request, limit int) event.Filter {
	f := event.Filter{Limit: limit, Room: r.FormValue("room"), Node: r.FormValue("node"), User: r.FormValue("user")}
	f.After, _ = strconv.ParseInt(r.FormValue("after"), 10, 64)
	if n, err := strconv.Atoi(r.FormValue("limit")); err == nil && n > 0 {
		f.Limit = min(n, 4096)
	}
	return f
}

// newest is the events that fit, the newest first, and the newest one's number.
func newest(ctx context.Context, v visitor, f event.Filter) (list []event.Event, last int64, err error) {
	for e, err := range v.cluster.Events.List(ctx, f) {
		if err != nil {
			return nil, 0, err
		}
		list = append(list, e)
		last = e.Seq
	}
	slices.Reverse(list)
	return list, last, nil
}

func (s *Server) eventsPage(w http.ResponseWriter, r *http.Request, v visitor) error {
	f := eventFilter(r, pageEvents)
	list, last, err := newest(r.Context(), v, f)
	if err != nil {
		return err
	}
	live := url.Values{"room": {f.Room}, "node": {f.Node}, "user": {f.User}, "after": {strconv.FormatInt(last, 10)}}
	s.show(w, r, http.StatusOK, "events", &v, "Events", eventsView{Filter: f, Events: list, Live: "/events/live?" + live.Encode(),
		Rooms: []string{"artefact", "fan", "fleet", "front", "job", "site", "trust"}})
	return nil
}

func (s *Server) eventsLive(w http.ResponseWriter, r *http.Request, v visitor) error {
	f := eventFilter(r, pageEvents)
	f.Follow = true
	if n, err := strconv.ParseInt(r.Header.Get("Last-Event-ID"), 10, 64); err == nil {
		f.After = n
	}
	return s.pushes(w, r, v, func(ctx context.Context, emit func(piece) bool) error {
		for e, err := range v.cluster.Events.List(ctx, f) {
			if err != nil {
				return err
			}
			html, err := s.pages.part("events", "event", e)
			if err != nil {
				return err
			}
			if !emit(piece{strconv.FormatInt(e.Seq, 10), `<i data-into="events" data-after=""></i>` + html}) {
				return nil
			}
		}
		return nil
	})
}

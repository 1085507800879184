package web

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"

	"bramble/event"
	"bramble/fault"
	"bramble/front"
)

const (
	frontEvery   = time.Second
	frontFresh   = 900 * time.Millisecond // for which a look is good to all who look
	frontLooks   = 4                      // over which it is counted how fast requests come
	frontSettle  = 3 * time.Second        // for a front's nodes to do what was changed
	frontChanges = 50                     // that are listed, and kept by the page
)

// frontLook is how fronts did.
type frontLook struct {
	at  time.Time
	all []front.Status
}

func lookAtFronts(ctx context.Context, v visitor) (frontLook, error) {
	all, err := v.cluster.Fronts.Status(ctx, "")
	return frontLook{time.Now(), all}, err
}

func (l frontLook) view(who onlooker) frontsView {
	v := frontsView{At: l.at}
	for _, st := range l.all {
		v.Fronts = append(v.Fronts, frontViewOf(st, l.at, who))
	}
	return v
}

// onlookerOf is who sends a request. The dashboard has no proxy before it, so the address is the visitor's own.
func onlookerOf(r *http.Request, v visitor) onlooker {
	at, _ := netip.ParseAddrPort(r.RemoteAddr)
	return onlooker{role: v.Identity.Role, at: at.Addr(), open: r.URL.Query().Get("open")}
}

func (s *Server) frontPage(w http.ResponseWriter, r *http.Request, v visitor) error {
	look, err := lookAtFronts(r.Context(), v)
	if err != nil {
		return err
	}
	view, last := look.view(onlookerOf(r, v)), int64(0)
	if view.Events, last, err = newest(r.Context(), v, event.Filter{Room: "front", Limit: frontChanges}); err != nil {
		return err
	}
	live := url.Values{"room": {"front"}, "after": {strconv.FormatInt(last, 10)}}
	view.Live = "/events/live?" + live.Encode()
	s.show(w, r, http.StatusOK, "front", &v, "Fronts", view)
	return nil
}

func (s *Server) frontLive(w http.ResponseWriter, r *http.Request, v visitor) error {
	who := onlookerOf(r, v)
	var before []frontsView
	return s.frames(w, r, v, frontEvery, func(ctx context.Context) (list []fragment, done bool, err error) {
		look, err := ask(ctx, s, v, &s.frontsSaid, lookAtFronts)
		if err != nil {
			return nil, false, err
		}
		view := look.view(who)
		if n := len(before); n == 0 || before[n-1].At != view.At {
			before = append(before, view)
		}
		before = before[max(0, len(before)-frontLooks):]
		view.pace(before[0])
		list, err = s.fragments("front", view, "fronts")
		return list, false, err
	})
}

// changeFront changes a member for somebody in a browser, or for a program that asks the dashboard, and waits a little until that is so.
func changeFront(r *http.Request, v visitor, c front.Change) (front.Status, error) {
	who := onlookerOf(r, v)
	all, err := v.cluster.Fronts.Status(r.Context(), c.Front)
	if err != nil {
		return front.Status{}, err
	}
	for _, st := range all {
		if !st.Front.ManagedFrom(who.at) {
			return st, fault.New(fault.Denied, "members of the front %s are changed from %s only, and you come from %s", st.Front.Name, networks(st.Front.Manager), who.at.Unmap()).
				Hint("a machine there, or bramble front on the command line")
		}
	}
	st, err := v.cluster.Fronts.Change(r.Context(), c)
	if err != nil {
		return st, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), frontSettle)
	defer cancel()
	if now, err := v.cluster.Fronts.Await(ctx, c.Front, front.Status.Settled); err == nil {
		return now, nil
	}
	return st, nil // it is settled all the same, and nodes follow
}

// frontChange answers the forms of a member.
func (s *Server) frontChange(w http.ResponseWriter, r *http.Request, v visitor) error {
	c, err := changeOf(r)
	if err != nil {
		return err
	}
	st, err := changeFront(r, v, c)
	if err != nil {
		return err
	}
	row := memberAt(st, c.Member)
	http.Redirect(w, r, "/front?"+url.Values{"open": {row}}.Encode()+"#"+url.PathEscape(row), http.StatusSeeOther)
	return nil
}

// memberAt is the row of a member's that shows first, or the front where its nodes have not said anything.
func memberAt(st front.Status, member string) string {
	for _, p := range poolsOf(st) {
		if i := slices.IndexFunc(p.Members, func(m *memberRow) bool { return m.Name == member }); i >= 0 {
			return p.Members[i].ID
		}
	}
	return "front-" + st.Front.Name
}

// changeOf reads what a form changes.
func changeOf(r *http.Request) (c front.Change, err error) {
	if err := r.ParseForm(); err != nil {
		return c, fault.New(fault.Misused, "this is no form: %w", err).Hint("/front")
	}
	c.Front, c.Member = r.PathValue("name"), r.PostForm.Get("member")
	if text, ok := field(r, "weight"); ok {
		n, err := strconv.Atoi(text)
		if err != nil {
			return c, fault.New(fault.Misused, "%.40q is no weight", text).Hint("a number from 1 to %d", front.MaxWeight)
		}
		c.Weight = &n
	}
	if text, ok := field(r, "mode"); ok {
		c.Mode = (*front.Mode)(&text)
	}
	if text, ok := field(r, "route"); ok {
		c.Route = &text
	}
	return c, nil
}

// field is a form's field, and whether it was sent.
func field(r *http.Request, name string) (string, bool) {
	values, ok := r.PostForm[name]
	if !ok {
		return "", false
	}
	return values[0], true
}

func (s *Server) apiFronts(w http.ResponseWriter, r *http.Request, v visitor) error {
	look, err := lookAtFronts(r.Context(), v)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, listOf(look.all))
}

func (s *Server) apiFront(w http.ResponseWriter, r *http.Request, v visitor) error {
	all, err := v.cluster.Fronts.Status(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, all[0])
}

func (s *Server) apiFrontChange(w http.ResponseWriter, r *http.Request, v visitor) error {
	var c struct {
		Member string `json:"member"`
		front.Setting
	}
	if err := readJSON(r, &c); err != nil {
		return err
	}
	st, err := changeFront(r, v, front.Change{Front: r.PathValue("name"), Member: c.Member, Setting: c.Setting})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, st)
}

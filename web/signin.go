package web

import (
	"cmp"
	"context"
	"crypto/sha256"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"bramble/cluster"
	"bramble/fault"
	"bramble/job"
	"bramble/trust"
)

// visitor is who sends a request, and the cluster as that person may use it.
type visitor struct {
	trust.Session
	id      string // the session's secret
	cluster *cluster.Cluster
	jobs    Jobs
}

// mayStop reports whether the person may end a job: its own, or as an admin any.
func (v visitor) mayStop(spec job.Spec) bool {
	role := v.Identity.Role
	return role == trust.Admin || role.Includes(trust.Operator) && spec.User == v.Identity.Name
}

// page is a handler for somebody signed in; its error is shown as a page, or as JSON under /api/.
type page func(w http.ResponseWriter, r *http.Request, v visitor) error

// signedIn lets people in who are, and shows others the way.
func (s *Server) signedIn(next page) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, secret, err := s.session(r)
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		conn, release, err := s.conns.take(session.Identity)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		defer release()
		v := visitor{Session: session, id: secret, cluster: cluster.Over(conn), jobs: s.Jobs(conn)}
		if err := next(w, r, v); err != nil {
			s.fail(w, r, err)
		}
	})
}

// session finds the session of a request by its token or its cookie.
func (s *Server) session(r *http.Request) (trust.Session, string, error) {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return s.bearers.session(r.Context(), s.SignIn, hostName(r.RemoteAddr), strings.TrimSpace(token))
	}
	cookie, err := r.Cookie(cookieName(r))
	if err != nil {
		return trust.Session{}, "", errNobody()
	}
	session, err := s.SignIn.Session(cookie.Value)
	return session, cookie.Value, err
}

func errNobody() error {
	return fault.New(fault.Denied, "nobody is signed in here").Hint("bramble ui")
}

// cookiePrefix begins the names of the dashboard's cookies, behind what browsers want of theirs.
const cookiePrefix = "bramble"

// cookieName tells dashboards on other ports apart, since cookies do not; a browser takes the
// __Host- prefix only over TLS and from this very host.
func cookieName(r *http.Request) string {
	_, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		port = ""
	}
	name := cookiePrefix + port
	if r.TLS != nil {
		return "__Host-" + name
	}
	return name
}

func setCookie(w http.ResponseWriter, r *http.Request, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{Name: cookieName(r), Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode})
}

// signInPage is what the sign-in form is drawn from.
type signInPage struct {
	Next    string // where to go then
	Problem *fault.Error
	Name    string // of who has just signed in
	Role    trust.Role
}

// refuse shows the sign-in form in place of a page, and an error to programs.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if !wantsPage(r) {
		s.fail(w, r, unauthorized{err})
		return
	}
	if r.Header.Get("Sec-Fetch-Site") == "cross-site" {
		w.Header().Set("Refresh", "0") // a browser that was sent here by another site's page shows its cookie at a second try only
	}
	s.show(w, r, http.StatusUnauthorized, "signin", nil, "Sign in", signInPage{Next: r.URL.RequestURI()})
}

// unauthorized tells who is not known from who may not.
type unauthorized struct{ error }

func (u unauthorized) Unwrap() error { return u.error }

// signIn answers the form, and the links that bramble ui prints.
func (s *Server) signIn(w http.ResponseWriter, r *http.Request) {
	secret, next := r.FormValue("key"), cmp.Or(localPath(r.PostFormValue("next")), "/nodes")
	if secret == "" && r.Method == http.MethodGet {
		s.show(w, r, http.StatusOK, "signin", nil, "Sign in", signInPage{Next: next})
		return
	}
	var session trust.Session
	err := embedded(r)
	if err == nil {
		session, err = s.SignIn.Redeem(r.Context(), hostName(r.RemoteAddr), strings.TrimSpace(secret))
	}
	if err != nil {
		status := statusOf(err)
		if status == http.StatusForbidden {
			status = http.StatusUnauthorized
		}
		s.show(w, r, status, "signin", nil, "Sign in", signInPage{Next: next, Problem: fault.Of(err)})
		return
	}
	setCookie(w, r, session.ID, int(trust.SessionTTL.Seconds()))
	s.Log.Info("signed in", "user", session.Identity.Name, "role", session.Identity.Role)
	// A page that goes on by itself, not a redirect: a browser that was sent here by a link in another
	// site's page would follow a redirect without the new cookie.
	s.show(w, r, http.StatusOK, "welcome", nil, "Signed in", signInPage{Next: next, Name: session.Identity.Name, Role: session.Identity.Role})
}

// embedded refuses what a browser asks for on behalf of another page, which would sign its reader in as somebody else: in a frame,
// ahead of time, or by going there. A link that was typed, pasted or opened by a terminal comes from no page.
func embedded(r *http.Request) error {
	dest, from := r.Header.Get("Sec-Fetch-Dest"), r.Header.Get("Sec-Fetch-Site")
	if dest != "" && dest != "document" || from == "same-site" || from == "cross-site" || r.Header.Get("Sec-Purpose") != "" {
		return fault.New(fault.Denied, "a page may not sign its reader in").Hint("paste the link where the browser shows addresses")
	}
	return nil
}

func (s *Server) signOut(w http.ResponseWriter, r *http.Request) {
	if cookie, err := r.Cookie(cookieName(r)); err == nil {
		s.SignIn.End(cookie.Value)
	}
	setCookie(w, r, "", -1)
	http.Redirect(w, r, "/signin", http.StatusSeeOther)
}

// localPath is a path on this server, or "".
func localPath(path string) string {
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\\r\n\t") {
		return ""
	}
	return path
}

// bearers remembers the sessions of tokens that programs send with every request.
type bearers struct {
	mu     sync.Mutex
	tokens map[[sha256.Size]byte]bearer
}

type bearer struct {
	session string
	since   time.Time
}

const (
	trustToken = time.Minute // how long a token is good before its authority is asked again, which counts as a use
	maxBearers = 1000
)

// session begins a session for a token, or goes on with the one begun lately.
func (b *bearers) session(ctx context.Context, in *trust.SignIn, source, token string) (trust.Session, string, error) {
	key := sha256.Sum256([]byte(token))
	b.mu.Lock()
	known := b.tokens[key]
	b.mu.Unlock()
	if time.Since(known.since) < trustToken {
		if session, err := in.Session(known.session); err == nil {
			return session, known.session, nil
		}
	}
	if !strings.HasPrefix(token, "bt1-") { // a login link's secret is for a person
		return trust.Session{}, "", fault.New(fault.Denied, "that is no client token").
			Hint("bramble token create --user NAME --role viewer")
	}
	session, err := in.Redeem(ctx, source, token)
	if err != nil {
		return trust.Session{}, "", err
	}
	in.End(known.session)
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.tokens) >= maxBearers || b.tokens == nil {
		b.tokens = map[[sha256.Size]byte]bearer{}
	}
	b.tokens[key] = bearer{session.ID, time.Now()}
	return session, session.ID, nil
}

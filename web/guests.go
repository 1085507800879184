package web

import (
	"context"
	"fmt"
	"html/template"
	"io/fs"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"bramble/fault"
	"bramble/site"
	"bramble/trust"
)

// guests lets those in who are signed in to the dashboard, and sends others there.
func (s *Server) guests(p *preview) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		session, secret, err := s.guest(r)
		switch {
		case err != nil && r.Header.Get("Sec-Fetch-Mode") == "navigate":
			http.Redirect(w, r, s.onPort(r, s.at.Port)+"/previews/"+p.name, http.StatusSeeOther)
		case err != nil || !session.Identity.Role.Includes(trust.Viewer):
			http.Error(w, "This preview is for those who are signed in. Open "+s.onPort(r, s.at.Port)+"/previews/"+p.name, http.StatusUnauthorized)
		case r.Header.Get("Service-Worker") != "":
			http.Error(w, "A preview has no service worker, which would outlive it.", http.StatusForbidden)
		case r.URL.Path == "/.bramble/preview":
			v := visitor{Session: session, id: secret}
			s.live(w, r, v, func(ctx context.Context, out *stream) error {
				return p.tell(ctx, out, func() bool { return s.still(v, out) })
			})
		case r.URL.Path == "/.bramble/preview.js":
			data, _ := fs.ReadFile(staticFiles, "static/preview.js")
			w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
			w.Write(data)
		default:
			p.page(w, r)
		}
	})
}

// guest finds the session of a request among all the dashboard's cookies: they do not tell ports apart.
func (s *Server) guest(r *http.Request) (trust.Session, string, error) {
	if r.Header.Get("Authorization") != "" {
		return s.session(r)
	}
	for _, c := range r.Cookies() {
		if strings.HasPrefix(strings.TrimPrefix(c.Name, "__Host-"), cookiePrefix) {
			if session, err := s.SignIn.Session(c.Value); err == nil {
				return session, c.Value, nil
			}
		}
	}
	return trust.Session{}, "", errNobody()
}

// onPort is another port of the host that a request came to, as it was called.
func (s *Server) onPort(r *http.Request, port int) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(hostName(r.Host), strconv.Itoa(port))
}

// tell tells a page which release is shown, and again when that changes, while its reader is signed in.
func (p *preview) tell(ctx context.Context, out *stream, still func() bool) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	told := "nothing"
	for {
		release, changed := p.now()
		if release != told {
			if err := out.send("", "", template.HTML(release)); err != nil {
				return err
			}
			told = release
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-tick.C:
			if !still() {
				return nil
			}
		}
	}
}

// page answers as a node would, but that nobody may keep the answer, and that a browser's pages load anew with each change.
func (p *preview) page(w http.ResponseWriter, r *http.Request) {
	release, _ := p.now()
	out := &shown{ResponseWriter: w, control: http.NewResponseController(w), head: r.Method == http.MethodHead}
	if r.Header.Get("Sec-Fetch-Dest") == "document" {
		out.more = fmt.Sprintf("\n<script src=\"/.bramble/preview.js?%s\"></script>\n", release)
		r = r.Clone(r.Context())
		for _, name := range []string{"Accept-Encoding", "Range", "If-None-Match", "If-Modified-Since"} {
			r.Header.Del(name) // the script goes behind a page that is whole
		}
	}
	p.server.ServeHTTP(out, r)
	out.end()
}

// shown is an answer of a preview.
type shown struct {
	http.ResponseWriter
	control *http.ResponseController
	more    string // behind a page
	head    bool
	page    bool
}

// hostWide are fields that count for every port of a host, and so for the dashboard.
var hostWide = []string{"Set-Cookie", "Strict-Transport-Security", "Clear-Site-Data"}

func (a *shown) WriteHeader(status int) {
	h := a.Header()
	for _, name := range hostWide {
		h.Del(name)
	}
	h.Set("Cache-Control", "no-store")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "same-origin")
	a.page = a.more != "" && strings.HasPrefix(h.Get("Content-Type"), "text/html")
	if n, err := strconv.Atoi(h.Get("Content-Length")); a.page && err == nil {
		h.Set("Content-Length", strconv.Itoa(n+len(a.more)))
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *shown) Write(b []byte) (int, error) {
	a.control.SetWriteDeadline(time.Now().Add(silence))
	return a.ResponseWriter.Write(b)
}

func (a *shown) end() {
	if a.page && !a.head {
		a.Write([]byte(a.more))
	}
}

// toPreview leads who is signed in from the dashboard to a preview.
func (s *Server) toPreview(w http.ResponseWriter, r *http.Request, _ visitor) error {
	name := r.PathValue("name")
	if err := site.CheckName(name); err != nil {
		return err
	}
	p := s.previews.find(name)
	if p == nil {
		return fault.New(fault.NotFound, "no preview of that name is open").Hint("bramble site preview DIR --name %s", name)
	}
	port, err := strconv.Atoi(p.url.Port())
	if err != nil {
		return err
	}
	http.Redirect(w, r, s.onPort(r, port)+"/", http.StatusSeeOther)
	return nil
}

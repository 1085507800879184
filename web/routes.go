package web

import (
	"bytes"
	"io/fs"
	"net"
	"net/http"
	"time"

	"bramble/fault"
	"bramble/trust"
)

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, p := range map[string]page{
		"GET /nodes":                 s.nodesPage,
		"GET /nodes/live":            s.nodesLive,
		"GET /nodes/{name}":          s.nodePage,
		"GET /nodes/{name}/live":     s.nodeLive,
		"GET /events":                s.eventsPage,
		"GET /events/live":           s.eventsLive,
		"GET /jobs":                  s.jobsPage,
		"GET /jobs/live":             s.jobsLive,
		"GET /jobs/{id}":             s.jobPage,
		"GET /jobs/{id}/live":        s.jobLive,
		"GET /jobs/{id}/output":      s.jobOutput,
		"GET /jobs/timeline/live":    s.timelineLive,
		"POST /jobs/{id}/cancel":     s.jobChange(cancelJob),
		"POST /jobs/{id}/hold":       s.jobChange(holdJob),
		"POST /jobs/{id}/release":    s.jobChange(releaseJob),
		"POST /jobs/{id}/requeue":    s.jobChange(requeueJob),
		"GET /artefact":              s.artefactPage,
		"GET /artefact/live":         s.artefactLive,
		"GET /artefact/kept/live":    s.keptLive,
		"GET /site":                  s.sitesPage,
		"GET /site/-/live":           s.sitesLive,
		"GET /site/{name}":           s.sitePage,
		"GET /site/{name}/live":      s.siteLive,
		"POST /site/{name}/rollback": s.siteRollback,
		"GET /front":                 s.frontPage,
		"GET /front/-/live":          s.frontLive,
		"POST /front/{name}/change":  s.frontChange,
		"GET /previews/{name}":       s.toPreview,
		"GET /api":                   s.apiPage,
		"GET /{$}":                   toNodes,
		"GET /{path...}":             nowhere,
		"POST /{path...}":            nowhere,
		"PUT /{path...}":             nowhere,
		"PATCH /{path...}":           nowhere,
	} {
		mux.Handle(pattern, s.signedIn(p))
	}
	for _, e := range s.endpoints() {
		mux.Handle(e.Method+" "+e.Path, s.signedIn(e.answer))
	}
	mux.Handle("HEAD /api/v1/blobs/{ref}", s.signedIn(s.exchange(s.apiBlobs)))
	mux.HandleFunc("GET /signin", s.signIn)
	mux.HandleFunc("POST /signin", s.signIn)
	mux.HandleFunc("POST /signout", s.signOut)
	mux.HandleFunc("GET /metrics", s.metrics)
	mux.HandleFunc("GET /static/{file}", asset)
	mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/static/icon.svg", http.StatusSeeOther)
	})
	return mux
}

func toNodes(w http.ResponseWriter, r *http.Request, _ visitor) error {
	http.Redirect(w, r, "/nodes", http.StatusSeeOther)
	return nil
}

func nowhere(_ http.ResponseWriter, r *http.Request, _ visitor) error {
	return fault.New(fault.NotFound, "there is nothing at %s", r.URL.Path).Hint("/nodes, /jobs, /artefact, /site, /front, /events or /api")
}

// asset serves the style sheet, the script and the icon, which are the same for everybody.
func asset(w http.ResponseWriter, r *http.Request) {
	data, err := fs.ReadFile(staticFiles, "static/"+r.PathValue("file"))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, r.PathValue("file"), time.Time{}, bytes.NewReader(data))
}

// metrics is for this machine's own programs, and for whoever has signed in.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	if remote, _, err := net.SplitHostPort(r.RemoteAddr); err != nil || !isLoopback(remote) {
		session, _, err := s.session(r)
		if err != nil || !session.Identity.Role.Includes(trust.Viewer) {
			s.fail(w, r, unauthorized{errNobody()})
			return
		}
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	s.Metrics.Write(w)
}

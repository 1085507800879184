package web

import (
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"bramble/fault"
	"bramble/fleet"
	"bramble/term"
	"bramble/trust"
)

//go:embed page/*.html
var pageFiles embed.FS

//go:embed static
var staticFiles embed.FS

// pages are the templates of each page, with the frame around it.
type pages map[string]*template.Template

func readPages() (pages, error) {
	names, err := fs.Glob(pageFiles, "page/*.html")
	if err != nil {
		return nil, err
	}
	all := pages{}
	for _, path := range names {
		name := strings.TrimSuffix(strings.TrimPrefix(path, "page/"), ".html")
		if name == "frame" || name == "parts" {
			continue
		}
		all[name], err = template.New(name).Funcs(words()).ParseFS(pageFiles, "page/frame.html", "page/parts.html", path)
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// words are what templates may call.
func words() template.FuncMap {
	return template.FuncMap{
		"bytes": term.Bytes, "percent": percent, "count": count, "clean": clean, "fold": fleet.Fold,
		"stamp": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"when":  when,
		"join":  func(list []string) string { return strings.Join(list, ", ") },
		"width": func() int { return sparkWidth }, "height": func() int { return sparkHeight },
		"num":   func(n int) string { return term.Count(int64(n)) },
		"num64": term.Count,
		"long":  func(d time.Duration) string { return term.Duration(roundTime(d)) },
		"span":  func(seconds float64) string { return term.Duration(roundTime(time.Duration(seconds * 1e9))) },
		"title": jobTitle, "mention": mentionOf, "command": commandText,
	}
}

// clean makes text from elsewhere safe to read: control characters are shown, none is obeyed.
func clean(text string) string { return string(term.Clean(nil, []byte(text), false)) }

// when is a moment on the head's clock; of today only the time, of another year with it.
func when(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	t = t.Local()
	if y, m, d := time.Now().Date(); t.Year() == y && t.Month() == m && t.Day() == d {
		return t.Format("15:04:05")
	}
	if t.Year() != time.Now().Year() {
		return t.Format("2 Jan 2006 15:04:05")
	}
	return t.Format("2 Jan 15:04:05")
}

// part renders one named piece of a page.
func (p pages) part(page, name string, data any) (template.HTML, error) {
	var b strings.Builder
	if err := p[page].ExecuteTemplate(&b, name, data); err != nil {
		return "", fmt.Errorf("draw %s: %w", name, err)
	}
	return template.HTML(b.String()), nil
}

// frame is what every page is drawn in.
type frame struct {
	Title   string
	Page    string
	Cluster string
	User    string // "" for nobody
	Role    trust.Role
	Data    any
}

// show writes a whole page; v is nil for somebody not signed in.
func (s *Server) show(w http.ResponseWriter, _ *http.Request, status int, page string, v *visitor, title string, data any) {
	f := frame{Title: title, Page: page, Cluster: s.Cluster, Data: data}
	if v != nil {
		f.User, f.Role = v.Identity.Name, v.Identity.Role
	}
	html, err := s.pages.part(page, "frame", f)
	if err != nil {
		s.Log.Error("page not drawn", "page", page, "error", err)
		http.Error(w, "This page could not be drawn; the head's log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprint(w, html)
}

// fail shows an error as the caller can read it: a page, or JSON.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := statusOf(err)
	if r.Context().Err() != nil && status >= http.StatusInternalServerError {
		return // nobody is there any more
	}
	if !wantsPage(r) {
		writeJSON(w, status, fault.Of(err))
		return
	}
	var v *visitor
	if session, secret, err := s.session(r); err == nil {
		v = &visitor{Session: session, id: secret}
	}
	s.show(w, r, status, "problem", v, "Problem", fault.Of(err))
}

// wantsPage tells people from programs and scripts.
func wantsPage(r *http.Request) bool {
	return !strings.HasPrefix(r.URL.Path, "/api/") && r.URL.Path != "/metrics" &&
		r.Header.Get("Accept") != "text/event-stream"
}

// statusOf is the HTTP status that says what an error says.
func statusOf(err error) int {
	var nobody unauthorized
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &nobody):
		return http.StatusUnauthorized
	case errors.As(err, &large):
		return http.StatusRequestEntityTooLarge
	}
	switch fault.Of(err).Code {
	case fault.Misused:
		return http.StatusBadRequest
	case fault.NotFound:
		return http.StatusNotFound
	case fault.Denied:
		return http.StatusForbidden
	case fault.Conflict:
		return http.StatusConflict
	case fault.Full:
		return http.StatusTooManyRequests
	case fault.Unreachable, fault.Interrupted:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

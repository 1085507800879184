package web

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"bramble/fault"
)

// handler is everything a request passes, the outermost first.
func (s *Server) handler() http.Handler {
	origin := http.NewCrossOriginProtection()
	origin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, fault.New(fault.Denied, "this request comes from another site's page").Hint("open the dashboard itself: %s", s.URL))
	}))
	return s.count(s.headers(s.host(s.limits(origin.Handler(s.routes())))))
}

// count lets Run wait for requests under way.
func (s *Server) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.busy.Add(1)
		defer s.busy.Done()
		next.ServeHTTP(w, r)
	})
}

// policy lets a page load from this server and nowhere else, and run no script that is written in a page.
const policy = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

func (s *Server) headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// host refuses names that are not this head's, which is how a foreign page rebinds its own
// name to this address, and sends plain connections from elsewhere to https.
func (s *Server) host(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := hostName(r.Host)
		switch {
		case !s.isOurs(name):
			http.Error(w, "This server is not called that. Open "+s.URL, http.StatusMisdirectedRequest)
		case r.TLS == nil && !(isLoopback(name) && isLoopback(hostName(r.RemoteAddr))):
			http.Redirect(w, r, "https://"+r.Host+r.URL.RequestURI(), http.StatusPermanentRedirect)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// isOurs reports whether a browser may know this server by that name: an address, which nobody can
// rebind, loopback, the name in URL, or one that the certificate is good for.
func (s *Server) isOurs(name string) bool {
	if isLoopback(name) {
		return true
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	if own, err := url.Parse(s.URL); err == nil && strings.EqualFold(own.Hostname(), name) {
		return true
	}
	if s.TLS == nil || s.TLS.GetCertificate == nil {
		return false
	}
	cert, err := s.TLS.GetCertificate(nil)
	return err == nil && cert.Leaf != nil && cert.Leaf.VerifyHostname(name) == nil
}

// hostName is a Host header or an address without its port.
func hostName(hostport string) string {
	name, _, err := net.SplitHostPort(hostport)
	if err != nil {
		name = strings.Trim(hostport, "[]")
	}
	return strings.TrimSuffix(strings.ToLower(name), ".")
}

func isLoopback(name string) bool {
	ip, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// limits bounds what a request may send and how long all but streams may take.
func (s *Server) limits(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		control.SetWriteDeadline(time.Now().Add(answerTime))
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			control.SetReadDeadline(time.Now().Add(answerTime))
			r.Body = http.MaxBytesReader(w, r.Body, bodyLimit(r))
		}
		next.ServeHTTP(w, r)
	})
}

// bodyLimit is how many bytes a request may bring.
func bodyLimit(r *http.Request) int64 {
	switch path := r.URL.Path; {
	case path == "/api/v1/trees" || strings.HasPrefix(path, "/api/v1/blobs/"):
		return maxUpload
	case path == "/api/v1/jobs":
		return maxSubmit
	}
	return maxBody
}

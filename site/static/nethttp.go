package static

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"bramble/http1"
)

// asked are the fields of a request that answers depend on.
var asked = []string{"Accept-Encoding", "Cookie", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since", "Range", "Sec-Fetch-Mode"}

// ServeHTTP gives the same answers through net/http: for HTTP/1.0, TLS and HTTP/2.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req, a := &http1.Request{Method: []byte(r.Method)}, &http1.Answer{}
	target := r.RequestURI
	if !strings.HasPrefix(target, "/") {
		target = r.URL.RequestURI()
	}
	path, query, _ := strings.Cut(target, "?")
	req.Target, req.Path, req.Query = []byte(target), []byte(path), []byte(query)
	for _, name := range asked {
		for _, value := range r.Header[name] {
			req.Fields = append(req.Fields, http1.Field{Name: []byte(name), Value: []byte(value)})
		}
	}
	s.Lean(req, a)
	give(w, r, a)
}

// give writes an answer.
func give(w http.ResponseWriter, r *http.Request, a *http1.Answer) {
	if a.Done != nil {
		defer a.Done()
	}
	var file *os.File
	if a.Open != nil {
		var err error
		if file, err = a.Open(); err == nil {
			defer file.Close()
			_, err = file.Seek(a.Offset, io.SeekStart)
		}
		if err != nil {
			http.Error(w, "500 Internal Server Error", http.StatusInternalServerError)
			return
		}
	}
	lines := strings.Split(string(bytes.TrimSuffix(a.Head, []byte("\r\n"))), "\r\n")
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		w.Header().Add(name, value)
	}
	status, _ := strconv.Atoi(lines[0][len("HTTP/1.1 "):][:3])
	w.WriteHeader(status)
	switch {
	case r.Method == http.MethodHead:
	case file != nil:
		io.CopyN(w, file, a.Size)
	default:
		w.Write(a.Body)
	}
}

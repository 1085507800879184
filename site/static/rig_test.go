package static

import (
	"bytes"
	"cmp"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bramble/artefact"
	"bramble/fault"
	"bramble/http1"
)

// source is an Opener over a folder of its own.
type source string

func newSource(t testing.TB) source { return source(t.TempDir()) }

func (s source) put(t testing.TB, content string) artefact.Blob {
	ref := artefact.RefOf([]byte(content))
	if err := os.WriteFile(s.at(ref), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return artefact.Blob{Ref: ref, Size: int64(len(content))}
}

func (s source) at(ref artefact.Ref) string { return filepath.Join(string(s), string(ref)) }

func (s source) Open(ref artefact.Ref) (*os.File, int64, error) {
	f, err := os.Open(s.at(ref))
	if err != nil {
		return nil, 0, fault.New(fault.NotFound, "blob %s is not here", ref)
	}
	info, err := f.Stat()
	return f, info.Size(), err
}

// tree is a site: contents by path; "-> x" is a link to x.
type tree map[string]string

func (tr tree) manifest(t testing.TB, s source) artefact.Manifest {
	all := map[string]artefact.Entry{}
	for p, content := range tr {
		for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
			all[dir] = artefact.Entry{Path: dir, Mode: uint32(os.ModeDir | 0o755)}
		}
		if to, ok := strings.CutPrefix(content, "-> "); ok {
			all[p] = artefact.Entry{Path: p, Mode: uint32(os.ModeSymlink | 0o777), Link: to}
			continue
		}
		b := s.put(t, content)
		all[p] = artefact.Entry{Path: p, Mode: 0o644, Ref: b.Ref, Size: b.Size}
	}
	m := artefact.Manifest{Entries: slices.SortedFunc(maps.Values(all), func(a, b artefact.Entry) int { return cmp.Compare(a.Path, b.Path) })}
	if err := artefact.Validate(m); err != nil {
		t.Fatal(err)
	}
	return m
}

var someTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

const someDate = "Fri, 02 Jan 2026 03:04:05 GMT"

// compile makes a release with everything in memory, unless the options say something else.
func compile(t testing.TB, tr tree, options ...func(*Options)) *Release {
	t.Helper()
	s := newSource(t)
	o := Options{ID: "r1", Budget: 1 << 30, Modified: someTime}
	for _, f := range options {
		f(&o)
	}
	r, err := Compile(t.Context(), s, tr.manifest(t, s), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func live(t testing.TB, tr tree, options ...func(*Options)) *Server {
	t.Helper()
	s := &Server{}
	s.Commit(compile(t, tr, options...))
	return s
}

// got is an answer.
type got struct {
	status int
	header map[string]string
	body   string
}

// ask puts a request to a server: "/a" or "HEAD /a", and lines of fields.
func ask(t testing.TB, s *Server, what string, fields ...string) got {
	t.Helper()
	if !strings.Contains(what, " ") {
		what = "GET " + what
	}
	raw := what + " HTTP/1.1\r\nHost: a\r\n" + strings.Join(append(fields, "", ""), "\r\n")
	var req http1.Request
	if n, err := req.Parse([]byte(raw), http1.Limits{}); err != nil || n != len(raw) {
		t.Fatalf("%q: %d, %v", raw, n, err)
	}
	var a http1.Answer
	if !s.Lean(&req, &a) {
		t.Fatalf("%s: not answered", what)
	}
	return read(t, &a)
}

func read(t testing.TB, a *http1.Answer) got {
	t.Helper()
	var resp http1.Response
	raw := string(a.Head) + "\r\n"
	if n, err := resp.Parse([]byte(raw), http1.Limits{}); err != nil || n != len(raw) {
		t.Fatalf("%q: %d, %v", raw, n, err)
	}
	g := got{status: resp.Status, header: map[string]string{}, body: string(a.Body)}
	for _, f := range resp.Fields {
		if before, twice := g.header[string(f.Name)]; twice {
			t.Errorf("%s comes twice: %s, %s", f.Name, before, f.Value)
		}
		g.header[string(f.Name)] = string(f.Value)
	}
	if a.Open != nil {
		f, err := a.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		part := make([]byte, a.Size)
		if _, err := f.ReadAt(part, a.Offset); err != nil {
			t.Fatal(err)
		}
		g.body = string(bytes.Clone(part))
	}
	if a.Done != nil {
		a.Done()
	}
	return g
}

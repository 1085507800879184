package artefact_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	. "bramble/artefact"
	"bramble/fault"
	"bramble/trust"
)

// scattered is a folder of 400 small files, an empty one, and a large one: in all about 3 MiB.
func scattered(t *testing.T) (dir string, size int64) {
	dir = t.TempDir()
	for i := range 402 {
		n := 2000 + 17*i
		if i == 400 {
			n = 0
		} else if i == 401 {
			n = 700_000
		}
		data := make([]byte, n)
		rand.Read(data)
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("file%d", i)), data, 0o644))
		size += int64(n)
	}
	return dir, size
}

// counted has a node's requests for files counted: those for one, and those for many.
func (r *spread) counted(name string) (single, many *atomic.Int64) {
	single, many = &atomic.Int64{}, &atomic.Int64{}
	r.spoiled(name, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			switch {
			case isBatch(req):
				many.Add(1)
			case isBlob(req):
				single.Add(1)
			}
			h.ServeHTTP(w, req)
		})
	})
	return single, many
}

func isBatch(req *http.Request) bool {
	return req.Method == http.MethodPost && strings.HasSuffix(req.URL.Path, "/batch")
}

func (r *spread) scatter(dir string) {
	r.Helper()
	done, err := r.push(r.copier("ann", trust.Operator), Push{On: "n[1-5]", To: "got", Sources: []string{dir + "/."}})
	r.allOK(done, err)
	for _, n := range r.nodes {
		same(r.T, filepath.Join(n.home, "got"), dir)
	}
	pins(r.T, r)
}

// Small files go through a chain many at a time.
func TestSmallFilesGoTogether(t *testing.T) {
	r := newSpread(t, "n1", "n2", "n3", "n4", "n5")
	single, many := r.counted("n2")
	dir, size := scattered(t)
	r.scatter(dir)
	if n := int64(r.fromHead()); n < size || n > size*11/10 {
		t.Errorf("the head gave %d bytes of %d", n, size)
	}
	if single.Load() > 10 || many.Load() == 0 || many.Load() > 10 {
		t.Errorf("the node behind it asked n2 for one file %d times, and for many %d times", single.Load(), many.Load())
	}
}

// Nodes that break off, spoil, or are of an earlier version in the middle of many files are got over.
func TestSmallFilesGetOverANode(t *testing.T) {
	for how, spoil := range map[string]func(w http.ResponseWriter) http.ResponseWriter{
		"breaks off": func(w http.ResponseWriter) http.ResponseWriter { return &cutting{w, 600_000} },
		"lies":       func(w http.ResponseWriter) http.ResponseWriter { return &lying{ResponseWriter: w} },
		"is older": func(w http.ResponseWriter) http.ResponseWriter {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return nil
		},
	} {
		t.Run(how, func(t *testing.T) {
			r := newSpread(t, "n1", "n2", "n3", "n4", "n5")
			var met atomic.Int64
			for _, name := range []string{"n1", "n3"} {
				r.spoiled(name, func(h http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
						if isBatch(req) {
							met.Add(1)
							if w = spoil(w); w == nil {
								return
							}
						}
						h.ServeHTTP(w, req)
					})
				})
			}
			dir, _ := scattered(t)
			r.scatter(dir)
			if met.Load() == 0 {
				t.Error("nobody asked them for many")
			}
		})
	}
}

// What a source does not give with others is asked for by itself; what it has not at all is named.
func TestSmallFilesThatAreNotThere(t *testing.T) {
	from, here := open(t, Options{}), open(t, Options{})
	server := httptest.NewTLSServer(Handler(from, func(*http.Request) error { return nil }, Limits{Late: 1}))
	t.Cleanup(server.Close)
	var blobs []Blob
	for i := range 30 {
		data := bytes.Repeat([]byte{byte(i)}, 100+i)
		ref, _, err := from.Put(t.Context(), bytes.NewReader(data), "")
		must(t, err)
		blobs = append(blobs, Blob{Ref: ref, Size: int64(len(data))})
	}
	never := Blob{Ref: RefOf([]byte("never")), Size: 5}
	chain := &Chain{Head: &Client{HTTP: server.Client(), Base: server.URL}, Log: quietLog}
	err := chain.Fetch(t.Context(), here, append(blobs[:10:10], append([]Blob{never}, blobs[10:]...)...), nil)
	if !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), string(never.Ref)[:8]) {
		t.Errorf("the error is %v", err)
	}
	if missing := here.Has(append([]Ref{never.Ref}, refsFrom(blobs)...)); len(missing) != 1 {
		t.Errorf("%d are missing", len(missing))
	}
}

func refsFrom(blobs []Blob) (refs []Ref) {
	for _, b := range blobs {
		refs = append(refs, b.Ref)
	}
	return refs
}

// A disk that is full in the middle of many files is named, and what came before is kept.
func TestSmallFilesOnAFullDisk(t *testing.T) {
	var asked atomic.Int64
	from, here := open(t, Options{}), open(t, Options{Floor: 1, Free: func(string) (int64, error) {
		if asked.Add(1) > 20 { // it is asked for each file
			return 0, nil
		}
		return 1 << 40, nil
	}})
	server := httptest.NewTLSServer(Handler(from, func(*http.Request) error { return nil }, Limits{}))
	t.Cleanup(server.Close)
	var blobs []Blob
	for range 60 {
		data := make([]byte, 600)
		rand.Read(data)
		ref, _, err := from.Put(t.Context(), bytes.NewReader(data), "")
		must(t, err)
		blobs = append(blobs, Blob{Ref: ref, Size: 600})
	}
	chain := &Chain{Head: &Client{HTTP: server.Client(), Base: server.URL}, Log: quietLog}
	if err := chain.Fetch(t.Context(), here, blobs, nil); !fault.Is(err, fault.Full) {
		t.Errorf("the error is %v", err)
	}
	missing := here.Has(refsFrom(blobs))
	if len(missing) == 0 || len(missing) == len(blobs) {
		t.Errorf("%d of %d are missing", len(missing), len(blobs))
	}
	if used := here.Used(); used != int64(len(blobs)-len(missing))*600 {
		t.Errorf("%d bytes are counted, and %d files are here", used, len(blobs)-len(missing))
	}
}

package static

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"bramble/artefact"
	"bramble/http1"
)

// one gives the same file for every blob.
type one string

func (o one) Open(artefact.Ref) (*os.File, int64, error) {
	f, err := os.Open(string(o))
	return f, 1, err
}

// What a site of 100,000 files costs: time to make it ready, and memory besides its list of files and its bodies.
func BenchmarkCompile(b *testing.B) {
	const files = 100_000
	m := artefact.Manifest{Entries: make([]artefact.Entry, 0, files)}
	at := b.TempDir() + "/x"
	if err := os.WriteFile(at, []byte("x"), 0o600); err != nil {
		b.Fatal(err)
	}
	for i := range files {
		m.Entries = append(m.Entries, artefact.Entry{Path: fmt.Sprintf("docs/chapter-%06d/index.html", i), Mode: 0o644, Size: 1, Ref: artefact.RefOf(fmt.Append(nil, i))})
	}
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		r, err := Compile(b.Context(), one(at), m, Options{ID: "r1", Modified: someTime})
		if err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/files, "bytes/file")
		runtime.KeepAlive(r)
	}
}

// One answer from memory, from a parsed request to a head and a body.
func BenchmarkLean(b *testing.B) {
	s := live(b, tree{"index.html": "home", "a.css": text, "a.css.gz": gzipped(text)})
	raw := "GET /a.css HTTP/1.1\r\nHost: a\r\nUser-Agent: Mozilla/5.0\r\nAccept: text/css,*/*;q=0.1\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nCookie: bramble-release=r1\r\nSec-Fetch-Mode: no-cors\r\n\r\n"
	var req http1.Request
	if _, err := req.Parse([]byte(raw), http1.Limits{}); err != nil {
		b.Fatal(err)
	}
	var a http1.Answer
	for b.Loop() {
		a = http1.Answer{Space: a.Space[:0]}
		s.Lean(&req, &a)
	}
}

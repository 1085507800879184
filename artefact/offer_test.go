package artefact_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	. "bramble/artefact"
)

// upload sends one file.
func upload(t *testing.T, c *Client, data []byte) Ref {
	t.Helper()
	src := open(t, Options{})
	ref := put(t, src, string(data))
	_, err := c.Upload(t.Context(), src, Manifest{Entries: []Entry{{Path: "a", Mode: 0o644, Size: int64(len(data)), Ref: ref}}}, nil)
	must(t, err)
	return ref
}

// Of a large file that was changed only what is new leaves; where the link is waited for, what can be packed is.
func TestUploadOfAChangedFile(t *testing.T) {
	s := open(t, Options{})
	count := &counter{Handler: Handler(s, anybody, Limits{})}
	c := serve(t, count)
	first := noise(1, 8<<20)
	if upload(t, c, first); count.bytes.Swap(0) < int64(len(first)) {
		t.Error("of a new file not all left")
	}
	changed := slices.Concat(first[:3<<20], []byte("something new"), first[3<<20:])
	ref := upload(t, c, changed)
	if sent := count.bytes.Swap(0); sent > 1<<20 {
		t.Errorf("of a changed file of %d bytes %d left, want no more than its changed chunks", len(changed), sent)
	}
	if read(t, s, ref) != string(changed) {
		t.Error("the server has another file")
	}
	text := []byte(strings.Repeat("a line that says little\n", 100_000))
	if upload(t, c.Limited(2<<20), text); count.bytes.Load() > int64(len(text)/4) {
		t.Errorf("a text of %d bytes left in %d", len(text), count.bytes.Load())
	}
}

// A server from before offers takes files whole.
func TestUploadToAnOlderServer(t *testing.T) {
	s := open(t, Options{})
	now := Handler(s, anybody, Limits{})
	offers := &atomic.Int64{}
	c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/chunks") && r.Method != http.MethodGet {
			offers.Add(1)
			http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
			return
		}
		now.ServeHTTP(w, r)
	}))
	ref := upload(t, c, noise(1, 1<<20))
	if len(s.Has([]Ref{ref})) != 0 || offers.Load() != 1 {
		t.Errorf("it is not there, or was offered %d times", offers.Load())
	}
}

// A chunk that the server had and has no more, or not as it was, when it counts on it comes with the next try.
func TestUploadWhoseChunksWentAway(t *testing.T) {
	for name, spoil := range map[string]func(string) error{
		"gone": os.Remove,
		"damaged": func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte("xxxx"), 100)
			return errors.Join(err, f.Close())
		},
	} {
		dir := t.TempDir()
		s := openIn(t, dir, Options{})
		now := Handler(s, anybody, Limits{})
		var old Ref
		fills := 0
		c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/chunks") && r.Method == http.MethodPut {
				if fills++; fills == 2 { // the second file's first try
					must(t, spoil(blobPath(dir, old)))
				}
			}
			now.ServeHTTP(w, r)
		}))
		data := noise(1, 2<<20)
		old = upload(t, c, data)
		ref := upload(t, c, slices.Concat(data, []byte("more")))
		if len(s.Has([]Ref{ref})) != 0 || fills != 3 {
			t.Errorf("%s: it is not there, or was sent in %d tries, want two", name, fills-1)
		}
	}
}

// What an earlier upload left is no part of a blob whose chunks are said to be others, even if their sizes are right.
func TestOfferThatLiesAboutItsBeginning(t *testing.T) {
	s := open(t, Options{})
	c := serve(t, Handler(s, anybody, Limits{}))
	a, b := noise(1, 20<<10), noise(2, 20<<10)
	ref := RefOf(slices.Concat(a, b))
	p, err := s.Resume(t.Context(), ref)
	must(t, err)
	_, err = p.Append(t.Context(), bytes.NewReader(a))
	must(t, errors.Join(err, p.Close()))
	wrong := append([]byte{1}, slices.Concat(chunkOf(noise(3, 20<<10)), chunkOf(b))...)
	body := slices.Concat(binary.AppendUvarint(nil, uint64(len(wrong))), wrong, []byte{1, 1}, binary.AppendUvarint(nil, uint64(len(b))), []byte{0}, b)
	if resp, text := raw(t, c, "PUT", "/artefact/"+string(ref)+"/chunks", bytes.NewReader(body)); resp.StatusCode != http.StatusConflict {
		t.Errorf("%s, %s; want a conflict", resp.Status, text)
	}
	if len(s.Has([]Ref{ref})) == 0 {
		t.Error("it was believed")
	}
}

// chunkOf is how a chunk is offered.
func chunkOf(data []byte) []byte {
	sum := sha256.Sum256(data)
	return append(binary.AppendUvarint(nil, uint64(len(data))), sum[:]...)
}

// What is offered is believed no more than what is sent.
func TestBadOffers(t *testing.T) {
	s := open(t, Options{})
	c := serve(t, Handler(s, anybody, Limits{Blob: 1 << 20}))
	a, b := noise(1, 20<<10), noise(2, 20<<10)
	whole := RefOf(slices.Concat(a, b))
	recipe := func(chunks ...[]byte) string {
		text := append([]byte{1}, slices.Concat(chunks...)...)
		return string(binary.AppendUvarint(nil, uint64(len(text)))) + string(text)
	}
	raws := func(data []byte) string { // a piece as it is
		return string(binary.AppendUvarint(nil, uint64(len(data)))) + "\x00" + string(data)
	}
	good := recipe(chunkOf(a), chunkOf(b))
	for _, q := range []struct {
		name, method, body string
		status             int
	}{
		{"nothing", "POST", "", 500},
		{"an endless recipe", "POST", string(binary.AppendUvarint(nil, 1<<40)), 400},
		{"a recipe that is none", "POST", "\x02zz", 400},
		{"tiny chunks", "POST", recipe(chunkOf(a[:100]), chunkOf(b)), 400},
		{"too large a blob", "POST", recipe(slices.Repeat([][]byte{chunkOf(a)}, 60)...), 507},
		{"runs of too many chunks", "PUT", good + "\x00\x07", 400},
		{"runs of nothing", "PUT", good + "\x01\x00", 400},
		{"chunks that are not here", "PUT", good + "\x02", 409},
		{"other bytes than were offered", "PUT", good + "\x00\x02" + raws(b) + raws(a), 422},
		{"the chunks of another blob", "PUT", recipe(chunkOf(b), chunkOf(a)) + "\x00\x02" + raws(b) + raws(a), 422},
		{"an end in the middle", "PUT", good + "\x00\x02" + raws(a) + "\x99", 500},
		{"as it should be", "PUT", good + "\x00\x02" + raws(a) + raws(b), 201},
		{"again", "PUT", good + "\x00\x02" + raws(a) + raws(b), 200},
	} {
		resp, text := raw(t, c, q.method, "/artefact/"+string(whole)+"/chunks", strings.NewReader(q.body))
		if resp.StatusCode != q.status {
			t.Errorf("%s: %s, %q; want %d", q.name, resp.Status, text, q.status)
		}
		if here := len(s.Has([]Ref{whole})) == 0; here != (q.status < 300) {
			t.Errorf("%s: the blob is here: %v", q.name, here)
		}
	}
	if resp, _ := raw(t, c, "POST", "/artefact/passwd/chunks", strings.NewReader(good)); resp.StatusCode != 400 {
		t.Errorf("an offer of no blob: %s", resp.Status)
	}
}

// An upload that was broken off goes on behind the last whole chunk, wherever it ended.
func TestOfferGoesOn(t *testing.T) {
	s := open(t, Options{})
	count := &counter{Handler: Handler(s, anybody, Limits{})}
	breaks := 0
	c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/chunks") && r.Method == http.MethodPut && breaks < 3 {
			breaks++
			r.Body = struct {
				io.Reader
				io.Closer
			}{io.LimitReader(r.Body, 1<<20+int64(breaks)), r.Body}
		}
		count.ServeHTTP(w, r)
	}))
	data := noise(1, 4<<20)
	p, err := s.Resume(t.Context(), RefOf(data)) // an older client has brought some of it
	must(t, err)
	_, err = p.Append(t.Context(), bytes.NewReader(data[:100_001]))
	must(t, errors.Join(err, p.Close()))
	upload(t, c, data)
	sent := count.bytes.Load()
	if ref := RefOf(data); len(s.Has([]Ref{ref})) != 0 || breaks != 3 {
		t.Errorf("it is not there after %d breaks", breaks)
	}
	if sent > int64(len(data))+4*(256<<10) { // with each break a piece that had not come whole
		t.Errorf("%d bytes left for a file of %d", sent, len(data))
	}
}

package artefact

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bramble/fault"
)

// Who asks for a blob before it is there waits while somebody is about to bring it, and not when nobody is.
func TestAwait(t *testing.T) {
	s, err := OpenStore(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	data := []byte("what comes later")
	b := Blob{RefOf(data), int64(len(data))}
	server := httptest.NewTLSServer(Handler(s, func(*http.Request) error { return nil }, Limits{Late: time.Millisecond}))
	defer server.Close()
	c := &Client{HTTP: server.Client(), Base: server.URL}
	ask := func() try {
		in := inflowInto(t, b)
		return (&Chain{}).drink(t.Context(), &source{Client: c}, in)
	}
	if got := ask(); got.outcome != final || !fault.Is(got.err, fault.NotFound) {
		t.Errorf("nobody brings it: %+v", got)
	}
	release := s.expect([]Blob{b})
	answered := make(chan try, 1)
	go func() { answered <- ask() }()
	select {
	case got := <-answered:
		t.Fatalf("somebody is about to bring it: %+v", got)
	case <-time.After(50 * time.Millisecond): // many times what it waits without
	}
	if _, _, err := s.Put(t.Context(), bytes.NewReader(data), b.Ref); err != nil {
		t.Fatal(err)
	}
	if got := <-answered; got.outcome != done {
		t.Errorf("it is there: %+v", got)
	}
	release()
	other := Blob{RefOf([]byte("never")), 5}
	release = s.expect([]Blob{other})
	go func() {
		_, err := s.await(context.Background(), other.Ref, time.Millisecond)
		answered <- try{err: err}
	}()
	release()
	if got := <-answered; !fault.Is(got.err, fault.NotFound) {
		t.Errorf("who was about to bring it has given up: %v", got.err)
	}
	if len(s.due)+len(s.flows) > 0 {
		t.Errorf("%v and %v are left", s.due, s.flows)
	}
}

// inflowInto is a small blob's, into a store of its own.
func inflowInto(t *testing.T, b Blob) *inflow {
	s, err := OpenStore(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	p, err := s.Resume(t.Context(), b.Ref)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	recipe, _ := (&Chain{}).recipe(t.Context(), b)
	in := &inflow{b: b, p: p, recipe: recipe, part: &part{m: &meter{}}}
	if err := in.begin(); err != nil {
		t.Fatal(err)
	}
	return in
}

// To look for chunks in a blob keeps it from nobody's collection; many who ask at the same time are told the same.
func TestRecipeAndFind(t *testing.T) {
	s, err := OpenStore(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	data := noise(9, 2<<20)
	ref, _, err := s.Put(t.Context(), bytes.NewReader(data), "")
	if err != nil {
		t.Fatal(err)
	}
	want := recipe(t, data)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if r, err := s.Recipe(t.Context(), ref); err != nil || !slices.Equal(r, want) {
				t.Errorf("%d chunks, %v; want %d", len(r), err, len(want))
			}
		})
	}
	all.Wait()
	clear(s.touched)
	if known := s.find(want, 0); len(known) != len(want) {
		t.Errorf("%d of %d chunks are found", len(known), len(want))
	}
	if len(s.touched) > 0 {
		t.Error("what was looked at is kept for longer")
	}
}

// Blobs that come one after the other come over the same connection, packed or not.
func TestConnectionIsUsedAgain(t *testing.T) {
	from, err := OpenStore(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := OpenStore(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	var blobs []Blob
	for i := range 40 {
		data := bytes.Repeat([]byte{byte(i), 'x'}, 10_000)
		if i%2 == 0 {
			data = noise(uint64(i), 20_000)
		}
		ref, size, err := from.Put(t.Context(), bytes.NewReader(data), "")
		if err != nil {
			t.Fatal(err)
		}
		blobs = append(blobs, Blob{ref, size})
	}
	var connections atomic.Int64
	server := httptest.NewUnstartedServer(Handler(from, func(*http.Request) error { return nil }, Limits{}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.StartTLS()
	defer server.Close()
	chain := &Chain{Head: &Client{HTTP: server.Client(), Base: server.URL, Width: 1}, Log: slog.New(slog.DiscardHandler)}
	if err := chain.Fetch(t.Context(), to, blobs, nil); err != nil {
		t.Fatal(err)
	}
	if n := connections.Load(); n > 3 {
		t.Errorf("%d connections for %d blobs", n, len(blobs))
	}
}

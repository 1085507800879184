package artefact_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	. "bramble/artefact"
	"bramble/fault"
)

func open(t testing.TB, o Options) *Store {
	t.Helper()
	return openIn(t, t.TempDir(), o)
}

func openIn(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	s, err := OpenStore(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t testing.TB, s *Store, text string) Ref {
	t.Helper()
	ref, n, err := s.Put(t.Context(), strings.NewReader(text), "")
	if err != nil || n != int64(len(text)) || ref != RefOf([]byte(text)) {
		t.Fatalf("put: %s, %d bytes, %v", ref, n, err)
	}
	return ref
}

func read(t testing.TB, s *Store, ref Ref) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := s.Copy(t.Context(), &b, ref); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// noise is n bytes that do not repeat.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	rand.NewChaCha8(key).Read(b)
	return b
}

// files counts what is in a part of the store's folder.
func files(t testing.TB, dir, part string) (n int) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, part), func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func blobPath(dir string, ref Ref) string {
	return filepath.Join(dir, "blobs", string(ref[:2]), string(ref))
}

func TestPutAndRead(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir, Options{})
	for _, text := range []string{"", "x", string(noise(1, 1<<20))} {
		ref := put(t, s, text)
		if read(t, s, ref) != text {
			t.Errorf("%d bytes came back different", len(text))
		}
		f, size, err := s.Open(ref)
		if err != nil || size != int64(len(text)) {
			t.Errorf("open: %d bytes, %v", size, err)
		}
		f.Close()
		put(t, s, text)
	}
	if n := files(t, dir, "blobs"); n != 3 {
		t.Errorf("%d blobs", n)
	}
	if s.Used() != 1+1<<20 {
		t.Errorf("%d bytes used", s.Used())
	}
	if _, _, err := s.Put(t.Context(), strings.NewReader("x"), empty); err != nil {
		t.Errorf("what is there need not be read: %v", err)
	}
	if _, _, err := s.Put(t.Context(), strings.NewReader("y"), hello); !errors.Is(err, ErrMismatch) {
		t.Errorf("wrong bytes: %v", err)
	}
	for _, ref := range []Ref{"", "..", "../../../../etc/passwd", Ref(strings.ToUpper(string(hello))), hello + "0"} {
		if _, _, err := s.Open(ref); !fault.Is(err, fault.Misused) {
			t.Errorf("open %q: %v", ref, err)
		}
		if _, err := s.Resume(t.Context(), ref); !fault.Is(err, fault.Misused) {
			t.Errorf("resume %q: %v", ref, err)
		}
		if got := s.Has([]Ref{ref}); len(got) != 1 {
			t.Errorf("has %q", ref)
		}
	}
	if _, _, err := s.Open(hello); !fault.Is(err, fault.NotFound) {
		t.Errorf("missing: %v", err)
	}
	if files(t, dir, "tmp") != 0 {
		t.Error("something was left in tmp")
	}
}

func TestPutBreaks(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir, Options{})
	broken := errors.New("broken")
	_, _, err := s.Put(t.Context(), io.MultiReader(strings.NewReader("some"), errReader{broken}), "")
	if !errors.Is(err, broken) || s.Used() != 0 || files(t, dir, "tmp") != 0 {
		t.Errorf("%v, %d used, %d left", err, s.Used(), files(t, dir, "tmp"))
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, _, err := s.Put(ctx, strings.NewReader("x"), ""); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir, Options{})
	if _, err := OpenStore(dir, Options{}); !fault.Is(err, fault.Conflict) {
		t.Errorf("opened twice: %v", err)
	}
	s.Close()
	openIn(t, dir, Options{})
}

func TestDamagedBlob(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir, Options{})
	for name, damage := range map[string]func(path string) error{
		"bit":   func(p string) error { return os.WriteFile(p, []byte("hellO\n"), 0o600) },
		"short": func(p string) error { return os.Truncate(p, 3) },
		"empty": func(p string) error { return os.Truncate(p, 0) },
	} {
		ref := put(t, s, "hello\n")
		if err := damage(blobPath(dir, ref)); err != nil {
			t.Fatal(err)
		}
		err := s.Verify(t.Context(), ref)
		if !errors.Is(err, ErrCorrupt) || !fault.Is(err, fault.NotFound) || fault.Of(err).Try == "" {
			t.Errorf("%s: %v", name, err)
		}
		if missing := s.Has([]Ref{ref}); len(missing) != 1 {
			t.Errorf("%s: still there", name)
		}
		if _, err := os.Stat(filepath.Join(dir, "corrupt", string(ref))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		put(t, s, "hello\n")
		if err := s.Verify(t.Context(), ref); err != nil {
			t.Errorf("%s: put again: %v", name, err)
		}
	}
}

func TestBudget(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir, Options{Budget: 1000})
	keep := put(t, s, string(noise(1, 600)))
	for range 3 {
		if _, _, err := s.Put(t.Context(), bytes.NewReader(noise(2, 500)), ""); !fault.Is(err, fault.Full) {
			t.Fatalf("over the budget: %v", err)
		}
	}
	if s.Used() != 600 || files(t, dir, "tmp") != 0 {
		t.Errorf("%d used, %d left", s.Used(), files(t, dir, "tmp"))
	}
	put(t, s, string(noise(3, 400)))
	if err := s.Room(1); !fault.Is(err, fault.Full) {
		t.Errorf("room: %v", err)
	}
	if err := s.Verify(t.Context(), keep); err != nil {
		t.Error(err)
	}
	s.Close()
	s = openIn(t, dir, Options{Budget: 1001})
	if s.Used() != 1000 {
		t.Errorf("%d used after reopening", s.Used())
	}
	put(t, s, "x")

	// A partial file stops at the budget and keeps what fits.
	big := noise(4, 1<<20)
	s = open(t, Options{Budget: 600 << 10})
	p, err := s.Resume(t.Context(), RefOf(big))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Append(t.Context(), bytes.NewReader(big)); !fault.Is(err, fault.Full) {
		t.Errorf("append: %v", err)
	}
	if p.Have() == 0 || p.Have() != s.Used() || p.Have() > 600<<10 {
		t.Errorf("have %d, used %d", p.Have(), s.Used())
	}
	p.Close()
}

func TestFloor(t *testing.T) {
	free := int64(1000)
	s := open(t, Options{Floor: 900, Free: func(string) (int64, error) { return free, nil }})
	put(t, s, strings.Repeat("x", 100))
	if _, _, err := s.Put(t.Context(), strings.NewReader(strings.Repeat("y", 101)), ""); !fault.Is(err, fault.Full) {
		t.Errorf("below the floor: %v", err)
	}
	free = 10
	if err := s.Room(0); !fault.Is(err, fault.Full) {
		t.Errorf("room: %v", err)
	}
	real := open(t, Options{Floor: 1 << 60})
	if err := real.Room(1); !fault.Is(err, fault.Full) {
		t.Errorf("the real disk has an exabyte: %v", err)
	}
}

func TestResume(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir, Options{})
	data := noise(5, 100_000)
	ref := RefOf(data)
	resume := func() *Partial {
		p, err := s.Resume(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := resume()
	p.Append(t.Context(), io.MultiReader(bytes.NewReader(data[:40_000]), errReader{errors.New("cut")}))
	p.Close()
	p.Close()
	s.Close()
	s = openIn(t, dir, Options{})
	if s.Have(ref) != 40_000 || s.Used() != 40_000 {
		t.Errorf("have %d, used %d", s.Have(ref), s.Used())
	}
	if len(s.Has([]Ref{ref})) != 1 {
		t.Error("a part is visible as a blob")
	}
	p = resume()
	if err := p.Commit(); !errors.Is(err, ErrMismatch) || p.Have() != 0 || s.Used() != 0 {
		t.Errorf("half a blob: %v, have %d, used %d", err, p.Have(), s.Used())
	}
	p.Append(t.Context(), bytes.NewReader(data[:40_000]))
	p.Close()
	p = resume()
	p.Append(t.Context(), bytes.NewReader(data[p.Have():]))
	p.Close() // all there, but killed before it was committed
	p = resume()
	if !p.Done() || s.Verify(t.Context(), ref) != nil || s.Used() != 100_000 || files(t, dir, "partial") != 0 {
		t.Errorf("done %v, used %d", p.Done(), s.Used())
	}
	p.Close()
}

func TestResumeHasOneWriter(t *testing.T) {
	s := open(t, Options{})
	p, err := s.Resume(t.Context(), hello)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Millisecond)
	defer stop()
	if _, err := s.Resume(ctx, hello); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("two writers: %v", err)
	}
	second := make(chan *Partial)
	go func() {
		p, _ := s.Resume(t.Context(), hello)
		second <- p
	}()
	p.Append(t.Context(), strings.NewReader("hello\n"))
	if err := p.Commit(); err != nil {
		t.Fatal(err)
	}
	p.Close()
	if p := <-second; !p.Done() {
		t.Error("the second writer does not see the first one's blob")
	} else {
		p.Close()
	}
}

func TestCollect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := openIn(t, dir, Options{Grace: time.Hour})
		held, shared, loose := put(t, s, "held"), put(t, s, "shared"), put(t, s, "loose")
		part, err := s.Resume(t.Context(), hello)
		if err != nil {
			t.Fatal(err)
		}
		part.Append(t.Context(), strings.NewReader("he"))
		must(t, s.Pin("job.7", held))
		must(t, s.Pin("job.7", shared))
		must(t, s.Pin("job.8", shared))
		collect := func(want int) {
			t.Helper()
			if c, err := s.Collect(t.Context()); err != nil || c.Files != want {
				t.Errorf("collected %+v, %v; want %d", c, err, want)
			}
		}
		collect(0)
		time.Sleep(59 * time.Minute)
		collect(0)
		s.Has([]Ref{loose}) // somebody counts on it
		time.Sleep(59 * time.Minute)
		collect(0)
		time.Sleep(time.Minute)
		collect(1) // loose; the partial has a writer
		part.Close()
		time.Sleep(time.Hour)
		collect(1)
		if missing := s.Has([]Ref{held, shared, loose}); len(missing) != 1 || missing[0] != loose {
			t.Errorf("missing %v", missing)
		}
		if s.Used() != int64(len("heldshared")) {
			t.Errorf("%d used", s.Used())
		}
		must(t, s.Unpin("job.7"))
		must(t, s.Unpin("job.7"))
		if names, _ := s.Pins(); fmt.Sprint(names) != "[job.8]" {
			t.Errorf("pins: %v", names)
		}
		s.Close()
		s = openIn(t, dir, Options{Grace: time.Hour})
		collect(0) // the grace begins anew, as the clock may have
		time.Sleep(time.Hour)
		collect(1)
		if missing := s.Has([]Ref{held, shared}); len(missing) != 1 || missing[0] != held {
			t.Errorf("missing %v", missing)
		}
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDamagedPinStopsCollect(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir, Options{Grace: 1})
	put(t, s, "x")
	must(t, s.Pin("a", hello))
	must(t, os.WriteFile(filepath.Join(dir, "pins", "a"), []byte("rubbish\n"), 0o600))
	if c, err := s.Collect(t.Context()); err == nil || c.Files != 0 {
		t.Errorf("collected %+v, %v", c, err)
	}
	for _, name := range []string{"", ".", "..", "a/b", "../a", "A", "-a", strings.Repeat("a", 201)} {
		if err := s.Pin(name, hello); !fault.Is(err, fault.Misused) {
			t.Errorf("pin %q: %v", name, err)
		}
		if err := s.Unpin(name); !fault.Is(err, fault.Misused) {
			t.Errorf("unpin %q: %v", name, err)
		}
	}
}

// TestPinDuringCollect: what is there when Pin returns is there when a Collect that began earlier has ended.
func TestPinDuringCollect(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir, Options{Grace: 1})
	for round := range 20 {
		for i := range 20 {
			put(t, s, fmt.Sprint(i))
		}
		name, ref := fmt.Sprint(round), RefOf([]byte(fmt.Sprint(round)))
		ended := make(chan error)
		go func() {
			_, err := s.Collect(t.Context())
			ended <- err
		}()
		must(t, s.Pin(name, ref))
		_, before := os.Stat(blobPath(dir, ref)) // Has would protect it
		must(t, <-ended)
		if _, after := os.Stat(blobPath(dir, ref)); before == nil && after != nil {
			t.Errorf("round %d: %v", round, after)
		}
		must(t, s.Unpin(name))
	}
}

func TestPinManifest(t *testing.T) {
	s := open(t, Options{Grace: 1})
	put(t, s, "hello\n")
	ref, err := s.PutManifest(t.Context(), Manifest{Entries: []Entry{file("a")}})
	must(t, err)
	must(t, s.PinManifest(t.Context(), "job.1", ref))
	if c, err := s.Collect(t.Context()); err != nil || c.Files != 0 {
		t.Errorf("collected %+v, %v", c, err)
	}
	must(t, s.Unpin("job.1"))
	if c, err := s.Collect(t.Context()); err != nil || c.Files != 2 || s.Used() != 0 {
		t.Errorf("collected %+v, %v", c, err)
	}
}

// TestManyAtOnce lets everything happen to few blobs at the same time.
func TestManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir, Options{Grace: 1})
	texts := make([]string, 8)
	for i := range texts {
		texts[i] = string(noise(uint64(i), 10_000))
	}
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := range 30 {
				text := texts[(i*7+w)%len(texts)]
				name := fmt.Sprintf("w.%d", w)
				ref := RefOf([]byte(text))
				if err := s.Pin(name, ref); err != nil {
					t.Error(err)
				}
				if w%2 == 0 {
					if _, _, err := s.Put(t.Context(), strings.NewReader(text), ref); err != nil {
						t.Error(err)
					}
				} else if p, err := s.Resume(t.Context(), ref); err != nil {
					t.Error(err)
				} else {
					if !p.Done() {
						p.Append(t.Context(), strings.NewReader(text[p.Have():]))
						if err := p.Commit(); err != nil {
							t.Error(err)
						}
					}
					p.Close()
				}
				if err := s.Verify(t.Context(), ref); err != nil {
					t.Errorf("pinned, put, and gone: %v", err)
				}
				if err := s.Unpin(name); err != nil {
					t.Error(err)
				}
				if _, err := s.Collect(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if _, err := s.Collect(t.Context()); err != nil {
		t.Error(err)
	}
	if s.Used() != 0 || files(t, dir, "blobs") != 0 || files(t, dir, "partial") != 0 {
		t.Errorf("%d used, %d blobs, %d partial", s.Used(), files(t, dir, "blobs"), files(t, dir, "partial"))
	}
}

// TestHoldAgainstCollect has Collect come while blobs that no pin has are in use.
func TestHoldAgainstCollect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := OpenStore(t.TempDir(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		ref, _, err := s.Put(t.Context(), strings.NewReader("in use"), "")
		if err != nil {
			t.Fatal(err)
		}
		one, other := s.Hold(ref), s.Hold(ref)
		one()
		for _, held := range []bool{true, false} {
			time.Sleep(2 * DefaultGrace)
			if _, err := s.Collect(t.Context()); err != nil {
				t.Fatal(err)
			}
			if gone := len(s.Has([]Ref{ref})) == 1; gone == held {
				t.Errorf("held %v, gone %v", held, gone)
			}
			if held {
				other()
			}
		}
	})
}

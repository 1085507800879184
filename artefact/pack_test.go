package artefact

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// wire is what a packer sends, over a link that takes its time.
type wire struct {
	bytes.Buffer
	now  time.Time
	each time.Duration // for a KiB
}

func (w *wire) Write(p []byte) (int, error) {
	w.now = w.now.Add(w.each * time.Duration(len(p)) / 1024)
	return w.Buffer.Write(p)
}

// What was packed is the same again, and smaller where there is something to gain and a link to wait for.
func TestPack(t *testing.T) {
	random := make([]byte, 1<<20)
	src := rand.NewChaCha8([32]byte{1})
	src.Read(random)
	text := []byte(strings.Repeat("what is said again and again is soon said. ", 30_000))
	for _, c := range []struct {
		name  string
		data  []byte
		each  time.Duration
		least float64 // of the length that is sent
		most  float64
	}{
		{"text over a slow link", text, time.Millisecond, 0, 0.2}, // the second piece shows how slow
		{"text over a link that nobody waits for", text, 0, 0.9, 1.001},
		{"random bytes", random, time.Millisecond, 1, 1.001},
		{"both", append(bytes.Clone(random), text...), time.Millisecond, 0.4, 0.65},
	} {
		w := &wire{now: time.Unix(0, 0), each: c.each}
		ticks := func() time.Time { w.now = w.now.Add(20 * time.Microsecond); return w.now } // that it takes to pack
		p := &packer{to: w, pool: &packPool{}, now: ticks}
		for from := 0; from < len(c.data); from += maxPiece {
			piece := c.data[from:min(from+maxPiece/4, len(c.data))]
			if _, err := p.Write(piece); err != nil {
				t.Fatal(err)
			}
			if rest := c.data[min(from+maxPiece/4, len(c.data)):min(from+maxPiece, len(c.data))]; len(rest) > 0 {
				p.Write(rest)
			}
		}
		if share := float64(w.Len()) / float64(len(c.data)); share < c.least || share > c.most {
			t.Errorf("%s: %.3f of it is sent, want from %v to %v", c.name, share, c.least, c.most)
		}
		sent := int64(w.Len())
		u := newUnpacker(iotest.OneByteReader(w))
		got, err := io.ReadAll(u)
		u.Close()
		if err != nil || !bytes.Equal(got, c.data) {
			t.Errorf("%s: %d bytes are %d again, %v", c.name, len(c.data), len(got), err)
		}
		if less := int64(len(c.data)) - sent; u.less < less || u.less > less+200 {
			t.Errorf("%s: %d bytes were saved, not %d", c.name, less, u.less)
		}
	}
}

// What does not help is tried less and less often, and again at once when it helps.
func TestPackPlan(t *testing.T) {
	const ms, n = time.Millisecond, 1000
	p, tries := packPlan{}, 0
	for range 1000 {
		cost := time.Duration(0)
		if p.try() {
			tries++
			cost = ms
			p.packed(n, 950)
		}
		p.sent(n, n, cost, time.Second)
	}
	if tries < 12 || tries > 25 {
		t.Errorf("tried %d times of 1000", tries)
	}
	for !p.try() {
	}
	p.packed(n, 500)
	p.sent(n, 500, ms, 0)
	for i := range mostRow - 1 {
		if !p.try() {
			t.Fatalf("not tried after it helped %d times, for a small piece goes at once", i+1)
		}
		p.sent(n, 500, ms, 0)
	}
	if p.try() {
		t.Error("the link is never looked at again")
	}
	for range 50 { // it has become fast
		p.sent(n, n, 0, ms)
	}
	if p.try() {
		t.Error("tried although half of a piece is sooner sent than packed")
	}
	if p.sent(n, n, 0, 10*ms); !p.try() {
		t.Error("not tried although the link is waited for")
	}
}

func FuzzUnpack(f *testing.F) {
	w := &wire{}
	p := &packer{to: w, pool: &packPool{}, now: time.Now}
	p.Write([]byte(strings.Repeat("abc", 1000)))
	f.Add(w.Bytes())
	f.Add([]byte{3, 0, 'a', 'b', 'c'})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		u := newUnpacker(bytes.NewReader(data))
		defer u.Close()
		n, err := io.Copy(io.Discard, u)
		if pieces := int64(len(data)/3 + 1); n > pieces*maxPiece {
			t.Errorf("%d bytes have become %d: %v", len(data), n, err)
		}
	})
}

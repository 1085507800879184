package term

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

// two is an Out whose streams are told apart.
func two(width int, colour Level) (out *Out, stdout, stderr *writes) {
	stdout, stderr = &writes{}, &writes{}
	out = NewTest(stdout, width, colour)
	out.Stderr.Writer = stderr
	return out, stdout, stderr
}

// writes remembers each write.
type writes struct{ all []string }

func (w *writes) Write(b []byte) (int, error) {
	w.all = append(w.all, string(b))
	return len(b), nil
}

func (w *writes) String() string { return strings.Join(w.all, "") }

func TestPrefixerPiped(t *testing.T) {
	out, stdout, stderr := two(0, Plain)
	p := NewPrefixer(out, []string{"node1", "node12"})
	p.Write("node1", Stdout, []byte("one\ntw"))
	p.Write("node12", Stdout, []byte("raw \x1b]0;x\a\xff\r\n"))
	p.Write("node1", Stderr, []byte("oops"))
	p.Write("node1", Stdout, []byte("o\n\nlast"))
	if stdout.String() != "" {
		t.Error("written before the flush")
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	const want = "node1: one\nnode12: raw \x1b]0;x\a\xff\r\nnode1: two\nnode1: \nnode1: last\n"
	if stdout.String() != want || stderr.String() != "node1: oops\n" {
		t.Errorf("stdout %q\nstderr %q", stdout, stderr)
	}
	if len(stdout.all) != 1 {
		t.Errorf("%d writes for one batch", len(stdout.all))
	}
}

func TestPrefixerOnTerminal(t *testing.T) {
	out, stdout, _ := two(80, Basic)
	out.Stderr = out.Stdout
	p := NewPrefixer(out, []string{"a1", "a100"})
	p.Write("a1", Stdout, []byte("\x1b[31mred\x1b[2J\n"))
	p.Write("a1", Stderr, []byte("second\n"))
	p.Write("a100", Stdout, []byte("third"))
	p.End("a100")
	p.Write("un\nknown", Stdout, []byte("x\n"))
	p.Flush()
	name, colon := out.Stdout.Name, out.Stdout.Dim(":")
	want := name("a1") + colon + "   \x1b[31mred␛[2J\x1b[0m\n" +
		name("a1") + colon + "   second\n" +
		name("a100") + colon + " third\n" +
		name("un known") + colon + " x\n"
	if stdout.String() != want {
		t.Errorf("got  %q\nwant %q", stdout, want)
	}
}

func TestPrefixerSplitsLongLines(t *testing.T) {
	for _, chunk := range []int{1000, MaxLine, 10 * MaxLine} {
		out, stdout, _ := two(0, Plain)
		p := NewPrefixer(out, []string{"n"})
		long := []byte("x" + strings.Repeat("é", MaxLine) + "\nnext\n") // an é lies across the limit
		for data := long; len(data) > 0; {
			n := min(chunk, len(data))
			p.Write("n", Stdout, data[:n])
			data = data[n:]
		}
		p.Flush()
		lines := strings.Split(strings.TrimSuffix(stdout.String(), "\n"), "\n")
		if len(lines) != 4 || lines[3] != "n: next" {
			t.Fatalf("chunks of %d: %d lines, the last %.20q", chunk, len(lines), lines[len(lines)-1])
		}
		var whole string
		for i, line := range lines[:3] {
			line = strings.TrimPrefix(line, "n: ")
			if marked := strings.HasSuffix(line, SplitMark); marked != (i < 2) {
				t.Errorf("chunks of %d: line %d marked: %v", chunk, i, marked)
			}
			line = strings.TrimSuffix(line, SplitMark)
			if len(line) > MaxLine || strings.ContainsRune(line, '\uFFFD') {
				t.Errorf("chunks of %d: line %d has %d bytes", chunk, i, len(line))
			}
			whole += line
		}
		if whole+"\nnext\n" != string(long) {
			t.Errorf("chunks of %d: the pieces are not the line", chunk)
		}
	}
}

// TestPrefixerBounded: 2,000 nodes that never end a line hold no more than the limit.
func TestPrefixerBounded(t *testing.T) {
	p := NewPrefixer(NewTest(io.Discard, 0, Plain), nil)
	data := bytes.Repeat([]byte("y"), 50_000)
	for i := range 2000 {
		p.Write(fmt.Sprint("node", i), Fd(i%2), data)
		if p.held > maxHeld {
			t.Fatalf("%d bytes held after %d nodes", p.held, i)
		}
	}
	held := 0
	for _, n := range p.nodes {
		held += cap(n.part[0]) + cap(n.part[1])
	}
	if held != p.held {
		t.Errorf("%d bytes held, %d counted", held, p.held)
	}
	p.Close()
	if p.held != 0 {
		t.Errorf("%d bytes held after Close", p.held)
	}
}

// TestPrefixerNeverInterleaves sends random pieces from many goroutines and puts each node's lines together again.
func TestPrefixerNeverInterleaves(t *testing.T) {
	const nodes, lines = 20, 300
	out, stdout, _ := two(0, Plain)
	p := NewPrefixer(out, nil)
	var wg sync.WaitGroup
	for n := range nodes {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(n), 1))
			var text []byte
			for i := range lines {
				text = fmt.Appendf(text, "%d.%d%s\n", n, i, strings.Repeat("z", random.IntN(300)))
			}
			for len(text) > 0 {
				k := min(1+random.IntN(500), len(text))
				p.Write(fmt.Sprint("n", n), Stdout, text[:k])
				text = text[k:]
				if random.IntN(4) == 0 {
					p.Flush()
				}
			}
		})
	}
	wg.Wait()
	p.Close()
	next := map[string]int{}
	for line := range strings.Lines(stdout.String()) {
		name, text, _ := strings.Cut(line, ": ")
		text = strings.TrimRight(text, "z\n")
		if want := fmt.Sprintf("%s.%d", name[1:], next[name]); text != want {
			t.Fatalf("%s: %q, want %q", name, text, want)
		}
		next[name]++
	}
	for n := range nodes {
		if got := next[fmt.Sprint("n", n)]; got != lines {
			t.Errorf("n%d: %d lines", n, got)
		}
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestPrefixerError(t *testing.T) {
	p := NewPrefixer(NewTest(brokenPipe{}, 0, Plain), nil)
	p.Write("n", Stdout, []byte("x\n"))
	if p.Flush() == nil || p.Write("n", Stdout, []byte("x\n")) == nil || p.Close() == nil {
		t.Error("a failed write was not told")
	}
}

func BenchmarkPrefixer(b *testing.B) {
	message := bytes.Repeat([]byte("Jan 12 10:11:12 node kernel: usb 1-1.3: new high-speed USB device number 4\n"), 100)
	for name, width := range map[string]int{"pipe": 0, "terminal": 120} {
		b.Run(name, func(b *testing.B) {
			var names []string
			for i := range 64 {
				names = append(names, fmt.Sprintf("node%02d", i))
			}
			p := NewPrefixer(NewTest(io.Discard, width, Full), names)
			b.SetBytes(int64(len(message)))
			for i := 0; b.Loop(); i++ {
				p.Write(names[i%64], Stdout, message)
				p.Flush()
			}
		})
	}
}

func BenchmarkClean(b *testing.B) {
	line := []byte("\x1b[32mok\x1b[0m  Grüße, " + strings.Repeat("plain text ", 8))
	var dst []byte
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		dst = Clean(dst[:0], line, true)
	}
}

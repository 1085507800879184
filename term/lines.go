package term

import (
	"bytes"
	"strings"
	"sync"
	"unicode/utf8"
)

// MaxLine is the longest line shown whole, in bytes; a longer one is split, each
// piece but the last ending in SplitMark.
const MaxLine = 64 << 10

// SplitMark ends a piece of a line that was split.
const SplitMark = " ⏎"

const (
	batchSize = 64 << 10 // bytes gathered before they are written without a Flush
	maxHeld   = 16 << 20 // bytes of unfinished lines kept for all nodes together
)

// Fd says which of a command's two output streams bytes came from.
type Fd int

const (
	Stdout Fd = iota
	Stderr
)

// Prefixer merges the output of many nodes into "name: line" lines. A line is
// never interleaved with another. On a terminal the names are padded and
// coloured and the lines cleaned; a pipe gets them unpadded, with the bytes the
// node sent. It holds at most 16 MiB of unfinished lines: beyond that, and beyond
// MaxLine, a line is split.
type Prefixer struct {
	mu    sync.Mutex
	ways  [2]way
	width int // of the longest name, in cells
	nodes map[string]*node
	order []*node // by first appearance
	held  int     // bytes in unfinished lines
}

// way is one of the two streams and the batch that waits for it.
type way struct {
	*Stream
	batch []byte
	err   error // the first failed write; what comes later is dropped
}

// node is the state of one node's output.
type node struct {
	prefix [2][]byte // dressed for each stream
	part   [2][]byte // unfinished lines
}

// NewPrefixer makes a Prefixer for nodes of these names; another name is shown unpadded.
func NewPrefixer(out *Out, names []string) *Prefixer {
	p := &Prefixer{nodes: make(map[string]*node, len(names))}
	p.ways[Stdout].Stream, p.ways[Stderr].Stream = out.Stdout, out.Stderr
	for _, name := range names {
		p.width = max(p.width, cells(name))
	}
	return p
}

// Write takes what a node's command wrote to fd. Complete lines are written at
// the next Flush, or sooner when there are many. The error is that of an earlier write.
func (p *Prefixer) Write(name string, fd Fd, data []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.node(name)
	for len(data) > 0 {
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			p.keep(n, fd, data)
			break
		}
		p.line(n, fd, data[:end])
		data = data[end+1:]
	}
	return p.ways[fd].err
}

// End shows a node's unfinished lines: it will send no more.
func (p *Prefixer) End(name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.finish(p.node(name))
}

// Flush writes the complete lines that wait, in one write for each stream. Call
// it after each batch of messages.
func (p *Prefixer) Flush() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.flush()
}

// Close ends every node and flushes.
func (p *Prefixer) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.order {
		p.finish(n)
	}
	return p.flush()
}

func (p *Prefixer) node(name string) *node {
	if n, ok := p.nodes[name]; ok {
		return n
	}
	n := &node{}
	for fd, way := range p.ways {
		n.prefix[fd] = way.prefix(name, p.width)
	}
	p.nodes[name] = n
	p.order = append(p.order, n)
	return n
}

// prefix is what every line of a node begins with.
func (w way) prefix(name string, width int) []byte {
	shown := cleanCell(name, false)
	if !w.IsTerminal() {
		return []byte(shown + ": ")
	}
	pad := strings.Repeat(" ", max(0, width-cells(shown)))
	return []byte(w.Name(shown) + w.Dim(":") + pad + " ")
}

// line adds the line that ends with tail to the batch.
func (p *Prefixer) line(n *node, fd Fd, tail []byte) {
	if len(n.part[fd])+len(tail) > MaxLine {
		p.keep(n, fd, tail)
		tail = nil
	}
	text := tail
	if part := n.part[fd]; part != nil {
		text = append(part, tail...)
		p.release(n, fd)
	}
	p.add(n, fd, text, "")
}

// keep adds data to the unfinished line, splitting it where it grows too long.
func (p *Prefixer) keep(n *node, fd Fd, data []byte) {
	for len(data) > 0 {
		room := min(MaxLine-len(n.part[fd]), len(data))
		p.held -= cap(n.part[fd])
		n.part[fd] = append(n.part[fd], data[:room]...)
		p.held += cap(n.part[fd])
		data = data[room:]
		if len(data) > 0 || p.held > maxHeld {
			p.split(n, fd)
		}
	}
}

// split shows the unfinished line so far, but for a character that is cut in half.
func (p *Prefixer) split(n *node, fd Fd) {
	part := n.part[fd]
	cut := wholeRunes(part)
	p.add(n, fd, part[:cut], SplitMark)
	p.release(n, fd)
	if cut < len(part) {
		n.part[fd] = bytes.Clone(part[cut:])
		p.held += cap(n.part[fd])
	}
}

// release forgets the unfinished line's memory, too.
func (p *Prefixer) release(n *node, fd Fd) {
	p.held -= cap(n.part[fd])
	n.part[fd] = nil
}

// wholeRunes is the length of b without an incomplete UTF-8 sequence at its end.
func wholeRunes(b []byte) int {
	for back := 1; back < min(utf8.UTFMax, len(b)); back++ {
		if i := len(b) - back; utf8.RuneStart(b[i]) {
			if utf8.FullRune(b[i:]) {
				break
			}
			return i
		}
	}
	return len(b)
}

// add puts one finished line into its stream's batch.
func (p *Prefixer) add(n *node, fd Fd, text []byte, mark string) {
	w, other := &p.ways[fd], &p.ways[1-fd]
	if len(other.batch) > 0 && w.IsTerminal() && other.IsTerminal() {
		other.flush() // one screen: keep the order in which lines came
	}
	w.batch = append(w.batch, n.prefix[fd]...)
	if w.IsTerminal() {
		w.batch = Clean(w.batch, text, w.Colour > Plain)
	} else {
		w.batch = append(w.batch, text...)
	}
	w.batch = append(w.batch, mark...)
	w.batch = append(w.batch, '\n')
	if len(w.batch) >= batchSize {
		w.flush()
	}
}

func (p *Prefixer) finish(n *node) error {
	for fd := range p.ways {
		if n.part[fd] != nil {
			p.line(n, Fd(fd), nil)
		}
	}
	return p.err()
}

func (p *Prefixer) flush() error {
	p.ways[Stdout].flush()
	p.ways[Stderr].flush()
	return p.err()
}

func (p *Prefixer) err() error {
	if err := p.ways[Stdout].err; err != nil {
		return err
	}
	return p.ways[Stderr].err
}

func (w *way) flush() {
	if len(w.batch) > 0 && w.err == nil {
		_, w.err = w.Write(w.batch)
	}
	w.batch = w.batch[:0]
}

package term

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// redrawEvery is the shortest time between two drawings.
const redrawEvery = 100 * time.Millisecond

// maxPending is how much output waits for the next drawing at most, in bytes.
const maxPending = 64 << 10

// Progress shows how far several things are, on out.Stderr: bars on a terminal,
// else one plain line for each change of state. Its methods and its bars' may be
// called from any goroutine.
type Progress struct {
	mu      sync.Mutex
	out     *Out
	block   *Block // nil where bars cannot be drawn
	bars    []*Bar
	pending []piece // output that goes above the bars at the next drawing
	size    int     // bytes in pending
	midLine bool    // the output above has not ended its line: no bars now
	over    bool
	err     error // of the first failed write above the bars
	stop    func()
	ended   chan struct{}
}

// piece is output on its way to one of the streams.
type piece struct {
	to   *Stream
	data []byte
}

// Bar is one line of a Progress: something with a name that advances towards a total.
type Bar struct {
	p     *Progress
	view  view
	meter meter
}

// NewProgress starts showing; it ends, the bars gone, at Stop or when ctx ends.
func NewProgress(ctx context.Context, out *Out) *Progress {
	p := &Progress{out: out, ended: make(chan struct{}), stop: func() {}}
	if !out.Stderr.CanRedraw() {
		close(p.ended)
		return p
	}
	p.block = NewBlock(out.Stderr)
	ctx, p.stop = context.WithCancel(ctx)
	go p.run(ctx)
	return p
}

// Stop takes the bars off the screen and returns when nothing more will be drawn.
func (p *Progress) Stop() {
	p.stop()
	<-p.ended
}

// Bar adds a line; total 0 means that it is not known, and a counter is shown.
func (p *Progress) Bar(name string, total int64, unit Unit) *Bar {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := &Bar{p: p, view: view{name: cleanCell(name, false), total: total, unit: unit}}
	b.meter.start = time.Now()
	p.bars = append(p.bars, b)
	return b
}

// Over returns out with writers that keep clear of the bars: what is written
// appears above them within 100 ms.
func (p *Progress) Over(out *Out) *Out {
	if p.block == nil {
		return out
	}
	above := *out
	above.Stdout, above.Stderr = p.above(out.Stdout), p.above(out.Stderr)
	return &above
}

func (p *Progress) above(s *Stream) *Stream {
	if !s.IsTerminal() {
		return s
	}
	above := *s
	above.Writer = aboveWriter{p, s}
	return &above
}

type aboveWriter struct {
	p  *Progress
	to *Stream
}

func (w aboveWriter) Write(data []byte) (int, error) {
	p := w.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return w.to.Write(data)
	}
	if last := len(p.pending) - 1; last >= 0 && p.pending[last].to == w.to {
		p.pending[last].data = append(p.pending[last].data, data...)
	} else {
		p.pending = append(p.pending, piece{w.to, append([]byte(nil), data...)})
	}
	if p.size += len(data); p.size > maxPending {
		p.release()
	}
	return len(data), p.err
}

func (p *Progress) run(ctx context.Context) {
	defer close(p.ended)
	tick := time.NewTicker(redrawEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.draw()
		case <-ctx.Done():
			p.end()
			return
		}
	}
}

func (p *Progress) draw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.release()
	if p.midLine {
		return
	}
	now := time.Now()
	views := make([]view, len(p.bars))
	for i, b := range p.bars {
		b.view.rate = b.meter.rate(now, b.view.done)
		views[i] = b.view
	}
	cols, rows := p.out.Stderr.Size()
	p.block.Draw(frame(views, cols-1, blockHeight(rows), p.out.Stderr.Style)) // a lost drawing is not worth failing for
}

func (p *Progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.release()
	p.block.Clear()
	p.over = true
}

// release writes what waits to be shown above the bars, which it takes off.
func (p *Progress) release() {
	if len(p.pending) == 0 {
		return
	}
	p.block.Clear()
	for _, piece := range p.pending {
		if _, err := piece.to.Write(piece.data); err != nil && p.err == nil {
			p.err = err
		}
		if n := len(piece.data); n > 0 {
			p.midLine = piece.data[n-1] != '\n'
		}
	}
	p.pending, p.size = nil, 0
}

// Add advances by n.
func (b *Bar) Add(n int64) { b.change(func(v *view) { v.done += n }) }

// Set says how far it is.
func (b *Bar) Set(done int64) { b.change(func(v *view) { v.done = done }) }

// Total says where it ends.
func (b *Bar) Total(total int64) { b.change(func(v *view) { v.total = total }) }

// State says what is going on, such as "unpacking".
func (b *Bar) State(text string) { b.become(running, text) }

// Done ends the bar with a word or two, such as "done".
func (b *Bar) Done(text string) { b.become(succeeded, text) }

// Fail ends the bar with what went wrong.
func (b *Bar) Fail(text string) { b.become(failed, text) }

func (b *Bar) change(apply func(*view)) {
	b.p.mu.Lock()
	defer b.p.mu.Unlock()
	apply(&b.view)
}

// become changes the state and, where no bars are drawn, tells so in a line.
func (b *Bar) become(phase phase, text string) {
	b.p.mu.Lock()
	defer b.p.mu.Unlock()
	text = cleanCell(text, false)
	same := b.view.phase == phase && b.view.state == text
	b.view.phase, b.view.state = phase, text
	if b.p.block == nil && !same {
		fmt.Fprintf(b.p.out.Stderr, "%s: %s\n", b.view.name, text)
	}
}

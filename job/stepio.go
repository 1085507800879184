package job

import (
	"bufio"
	"io"
	"os"
	"sync"
)

// listen takes in what comes for a running step until its connection is lost.
func (n *Node) listen(s *step, r *bufio.Reader, f *framer) {
	in := &input{to: s.pipes.In, taken: f}
	defer in.close()
	for {
		kind, data, err := readFrame(r)
		if err != nil {
			return
		}
		switch kind {
		case frameIn:
			if !in.add(data) {
				return
			}
		case frameSignal:
			if err := n.Keeper.Signal(n.life, s.id, string(data)); err != nil {
				n.Log.Debug("signal", "step", s.id, "error", err)
			}
		}
	}
}

// input is what a step has still to read.
type input struct {
	to    io.WriteCloser
	taken *framer

	mu      sync.Mutex
	queue   [][]byte
	waiting int
	busy    bool // a goroutine writes
	closed  bool
}

// add queues bytes, or for none the end; false when the sender disregards the window.
func (i *input) add(data []byte) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.waiting += len(data)
	if i.waiting > stdinWindow || len(i.queue) > stdinWindow {
		return false
	}
	i.queue = append(i.queue, data)
	if !i.busy && !i.closed {
		i.busy = true
		go i.write()
	}
	return true
}

// write writes what is queued. Closing the pipe ends it when the program does not read.
func (i *input) write() {
	for {
		i.mu.Lock()
		if len(i.queue) == 0 || i.closed {
			i.busy = false
			i.mu.Unlock()
			return
		}
		data := i.queue[0]
		i.queue = i.queue[1:]
		i.mu.Unlock()
		if len(data) == 0 {
			i.to.Close()
			continue
		}
		i.to.Write(data) // what a program does not want is dropped, as a pipe does
		i.mu.Lock()
		i.waiting -= len(data)
		i.mu.Unlock()
		i.taken.send(frameTaken, fourBytes(len(data)))
	}
}

func (i *input) close() {
	i.mu.Lock()
	i.closed = true
	i.mu.Unlock()
	i.to.Close()
}

// pass sends what a step writes until it has no more; who no longer reads ends it with the connection.
func pass(f *framer, kind byte, from *os.File) {
	buf := make([]byte, 32<<10)
	for {
		k, err := from.Read(buf)
		if k > 0 {
			f.send(kind, buf[:k])
		}
		if err != nil {
			return
		}
	}
}

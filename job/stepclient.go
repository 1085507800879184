package job

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"

	"bramble/fault"
	"bramble/host"
)

// StepFiles are what a step reads and writes, and what is done to it on the way.
type StepFiles struct {
	Stdin          io.Reader // nil: nothing to read; RunRanks closes one that can be closed when its rank has ended
	Stdout, Stderr io.Writer // nil: thrown away
	Signals        <-chan string
}

// Run starts a step and returns how it ended. When ctx ends, or the connection is lost, the step is ended on its node.
// A step that did not run or was lost is an error.
func (in Inside) Run(ctx context.Context, s StepCommand, files StepFiles) (host.Exit, error) {
	s.Stdin = files.Stdin != nil
	conn, f, err := in.dial(ctx, StepRequest{Do: doRun, StepCommand: s})
	if err != nil {
		return host.Exit{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Now()) })()
	over := make(chan struct{})
	defer close(over)
	go func() {
		for {
			select {
			case sig := <-files.Signals:
				f.send(frameSignal, []byte(sig))
			case <-over:
				return
			}
		}
	}()
	room := newRoom(stdinWindow)
	defer room.close()
	if files.Stdin != nil {
		go sendInput(f, files.Stdin, room) // it ends with its reader, which nobody can interrupt
	}
	end, err := receive(bufio.NewReaderSize(conn, 32<<10), files, room)
	switch {
	case ctx.Err() != nil:
		return host.Exit{}, fault.New(fault.Interrupted, "interrupted")
	case err != nil:
		return host.Exit{}, fault.New(fault.Unreachable, "the connection to the step on %s was lost: %w", s.Node, err)
	}
	return end.Exit, end.err()
}

// receive passes on what the step writes until it ends.
func receive(r *bufio.Reader, files StepFiles, room *room) (end stepEnd, err error) {
	for {
		kind, data, err := readFrame(r)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return end, err
		}
		switch kind {
		case frameOut:
			write(files.Stdout, data)
		case frameErr:
			write(files.Stderr, data)
		case frameTaken:
			if len(data) == 4 {
				room.give(int(binary.BigEndian.Uint32(data)))
			}
		case frameEnd:
			return end, json.Unmarshal(data, &end)
		}
	}
}

// write drops what nobody reads any more: the step is not to fail for it.
func write(w io.Writer, data []byte) {
	if w != nil {
		w.Write(data)
	}
}

// sendInput sends what it reads as there is room for it, then its end.
func sendInput(f *framer, from io.Reader, room *room) {
	buf := make([]byte, stdinWindow/4)
	for {
		n, err := from.Read(buf)
		if n > 0 && (!room.take(n) || f.send(frameIn, buf[:n]) != nil) {
			return
		}
		if err != nil {
			f.send(frameIn, nil)
			return
		}
	}
}

// room is how many bytes may still be sent.
type room struct {
	mu     sync.Mutex
	more   sync.Cond
	left   int
	closed bool
}

func newRoom(n int) *room {
	r := &room{left: n}
	r.more.L = &r.mu
	return r
}

// take waits until n bytes may be sent; false when nobody wants them any more.
func (r *room) take(n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.left < n && !r.closed {
		r.more.Wait()
	}
	r.left -= n
	return !r.closed
}

func (r *room) give(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = min(r.left+n, stdinWindow)
	r.more.Broadcast()
}

func (r *room) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.more.Broadcast()
}

// call makes a request that is answered by a value.
func (in Inside) call(ctx context.Context, req StepRequest, value any) error {
	conn, _, err := in.dial(ctx, req)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Now()) })()
	end, err := receive(bufio.NewReader(conn), StepFiles{}, newRoom(0))
	switch {
	case ctx.Err() != nil:
		return fault.New(fault.Interrupted, "interrupted")
	case err != nil:
		return fault.New(fault.Unreachable, "the agent of %s was lost: %w", in.Node, err)
	case end.Error != nil || value == nil:
		return end.err()
	}
	return json.Unmarshal(end.Value, value)
}

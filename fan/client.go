package fan

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"sync"

	"bramble/bus"
	"bramble/host"
)

// Client asks a head to run things.
type Client struct{ Conn *bus.Conn }

// Run runs a command and yields what the nodes report: Nodes first, then output as it comes, one
// Ended for every node. stdin may be nil. Cancelling ctx ends the command everywhere.
func (c Client) Run(ctx context.Context, req Request, stdin io.Reader) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		req.Stdin = stdin != nil
		s, err := c.Conn.Open(ctx, "fan.do.run", req)
		if err != nil {
			yield(Event{}, err)
			return
		}
		defer s.Close()
		if stdin != nil {
			go send(s, stdin) // ends with the stream, or with a reader that never returns, which only a process's end can stop
		}
		var names []string
		for message, err := range s.Messages() {
			if err != nil {
				yield(Event{}, err)
				return
			}
			for frame := range framesOf(message) {
				ev, err := unpack(frame, names)
				names = append(names, ev.Names...)
				if !yield(ev, err) || err != nil {
					return
				}
			}
		}
	}
}

func send(s *bus.Stream, r io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 && s.Send(append([]byte(nil), buf[:n]...)) != nil {
			return
		}
		if err != nil {
			s.CloseSend()
			return
		}
	}
}

// Shell opens a terminal on a node: keys come from in, the picture goes to out, sizes says when the
// window changes. It returns how the program there ended.
func (c Client) Shell(ctx context.Context, req ShellRequest, in io.Reader, out io.Writer, sizes <-chan host.Size) (End, error) {
	s, err := c.Conn.Open(ctx, "fan.do.shell", req)
	if err != nil {
		return End{}, err
	}
	defer s.Close()
	var one sync.Mutex // whole messages only
	say := func(kind byte, data []byte) error {
		one.Lock()
		defer one.Unlock()
		return s.Send(append([]byte{kind}, data...))
	}
	go func() { // ends with the stream, once in returns
		buf := make([]byte, 4<<10)
		for {
			n, err := in.Read(buf)
			if n > 0 && say('i', buf[:n]) != nil || err != nil {
				return
			}
		}
	}()
	go func() {
		for {
			select {
			case size, ok := <-sizes:
				if data, err := json.Marshal(size); !ok || err != nil || say('r', data) != nil {
					return
				}
			case <-s.Context().Done():
				return
			}
		}
	}()
	for frame, err := range s.Messages() {
		if err != nil {
			return End{}, err
		}
		if len(frame) == 0 {
			continue
		}
		if Kind(frame[0]) == Ended {
			var end End
			err := json.Unmarshal(frame[1:], &end)
			return end, err
		}
		if _, err := out.Write(frame[1:]); err != nil {
			return End{}, err
		}
	}
	return lost(io.EOF), nil
}

package job

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"io"
	"sync"

	"bramble/fault"
)

// What a process inside an allocation, its agent and another node's agent say to each other is frames over one
// connection: a kind byte, the size of the rest as a big-endian uint32, and the rest.
const (
	frameAsk    = 'q' // a StepRequest, first
	frameIn     = 'i' // standard input; an empty one is its end
	frameTaken  = 'w' // big-endian uint32: bytes of standard input that the program has taken
	frameOut    = 'o'
	frameErr    = 'e'
	frameSignal = 's' // a signal's name, or "WINCH ROWSxCOLS"
	frameEnd    = 'x' // a stepEnd, last
)

const (
	// maxFrame is the most bytes of a frame's rest; a request carries an environment.
	maxFrame = 512 << 10
	// stdinWindow is how many bytes of standard input may be under way, so that a signal gets through
	// to a program that doesn't read.
	stdinWindow = 64 << 10
)

// framer writes frames; several goroutines may.
type framer struct {
	mu sync.Mutex
	w  io.Writer
}

func (f *framer) send(kind byte, data []byte) error {
	frame := make([]byte, 0, 5+len(data))
	frame = append(frame, kind)
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(data)))
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.w.Write(append(frame, data...))
	return err
}

func (f *framer) sendJSON(kind byte, v any) error {
	data, err := json.Marshal(v)
	if err == nil && len(data) > maxFrame {
		err = fault.New(fault.Misused, "a command with its environment of %s is too large for a step", bytesText(int64(len(data)))).Hint("put long arguments into a file")
	}
	if err != nil {
		return err
	}
	return f.send(kind, data)
}

// readFrame reads one frame; io.EOF between two is a clean end.
func readFrame(r *bufio.Reader) (kind byte, data []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > maxFrame {
		return 0, nil, fault.New(fault.Misused, "a frame of %d bytes is none of ours", size)
	}
	data = make([]byte, size)
	if _, err := io.ReadFull(r, data); err != nil {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return head[0], data, nil
}

package keeper

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"io"
	"time"

	"bramble/fault"
)

// The keeper's socket carries frames both ways:
//
//	offset  size
//	0       4     size of the rest of the frame, big endian, at most MaxFrame
//	4       4     size of the head, big endian
//	8             head: a JSON object; unknown fields are ignored
//	…             tail: raw bytes, the output that a request for it asked for
//
// Each side first sends a hello with its Protocol. Then the client sends requests, as many at a time as it
// likes, and the keeper answers each by its number, in any order and in one or more parts, all but the last
// of them with more set. The answer to "ended" has no last part: it goes on until the connection is closed.
//
// The keeper outlives the agent it was started by. A field or a request may therefore be added, under the
// next Protocol; none is ever renamed, removed or given another meaning.
const (
	// Protocol numbers what the two sides may say.
	// 2: Task.Stdio and Task.TTY; 3: Task.Lanes, Status.Waiting and the request to withdraw; 4: the request to limit;
	// 5: Task.Copy
	Protocol = 5
	// MaxFrame is the largest frame in bytes, the first four excluded.
	MaxFrame = 8 << 20
)

// hello is the first frame of each side.
type hello struct {
	Protocol int `json:"protocol"`
	Pid      int `json:"pid"`
}

// request is what a client asks. Do is start, signal, list, ended, withdraw, limit, forget or output.
type request struct {
	Number uint64   `json:"n"`
	Do     string   `json:"do"`
	Tasks  []Task   `json:"tasks,omitempty"`
	ID     string   `json:"id,omitempty"`
	IDs    []string `json:"ids,omitempty"`
	Signal string   `json:"signal,omitempty"`
	Stream string   `json:"stream,omitempty"`
	Offset int64    `json:"offset,omitempty"`
	Max    int      `json:"max,omitempty"`

	Timeout time.Duration `json:"timeout,omitempty"`
}

// answer is one part of what the keeper says to a request.
type answer struct {
	Number   uint64       `json:"n"`
	More     bool         `json:"more,omitempty"`
	Statuses []Status     `json:"statuses,omitempty"`
	Error    *fault.Error `json:"error,omitempty"`
}

// encode makes a frame; fault.Full when it would be larger than MaxFrame.
func encode(head any, tail []byte) ([]byte, error) {
	text, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	rest := 4 + len(text) + len(tail)
	if rest > MaxFrame {
		return nil, fault.New(fault.Full, "a message of %d bytes is too large for the keeper, which takes %d", rest, MaxFrame).
			Hint("put long arguments into a file")
	}
	frame := make([]byte, 0, 4+rest)
	frame = binary.BigEndian.AppendUint32(frame, uint32(rest))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(text)))
	frame = append(frame, text...)
	return append(frame, tail...), nil
}

// decode reads one frame into head and returns its tail. io.EOF is a clean end.
func decode(r *bufio.Reader, head any) (tail []byte, err error) {
	var sizes [8]byte
	if _, err := io.ReadFull(r, sizes[:]); err != nil {
		return nil, err
	}
	rest, text := binary.BigEndian.Uint32(sizes[:]), binary.BigEndian.Uint32(sizes[4:])
	if rest > MaxFrame || rest < 4 || text > rest-4 {
		return nil, fault.New(fault.Failed, "a frame of %d bytes with a head of %d is none of the keeper's", rest, text)
	}
	body := make([]byte, rest-4)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, io.ErrUnexpectedEOF
	}
	return body[text:], json.Unmarshal(body[:text], head)
}

// chunks splits tasks so that each part fits into a frame even when JSON escapes every byte.
func chunks(tasks []Task) [][]Task {
	const room = 1 << 20
	var parts [][]Task
	size := room
	for _, t := range tasks {
		n := t.size()
		if size+n > room {
			parts, size = append(parts, nil), 0
		}
		last := len(parts) - 1
		parts[last] = append(parts[last], t)
		size += n
	}
	return parts
}

// size is about what the task takes in bytes.
func (t Task) size() int {
	n := 256
	for _, list := range [][]string{t.Args, t.Env} {
		for _, s := range list {
			n += len(s) + 3
		}
	}
	return n
}

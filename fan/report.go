package fan

import (
	"encoding/binary"
	"sync"
	"time"

	"bramble/bus"
)

const (
	// moment is how long little output waits for what comes after it: most commands say a line and end.
	moment = 5 * time.Millisecond
	// little is the most bytes that wait.
	little = 4 << 10
)

// reporter tells the head what a command says and how it ended. Where the head reads reports that come together, what
// comes within a moment is one message: a Together byte, and frames each after its length as a big-endian uint32.
type reporter struct {
	to       *bus.Stream
	together bool

	mu    sync.Mutex
	held  []byte
	timer *time.Timer
}

// say reports output, at once or in a moment.
func (r *reporter) say(kind Kind, data []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.together && len(data)+len(r.held) <= little {
		r.hold(kind, data)
		return nil
	}
	if err := r.flush(); err != nil {
		return err
	}
	return r.to.Send(append([]byte{byte(kind)}, data...))
}

// last reports how the command ended.
func (r *reporter) last(data []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held == nil {
		return r.to.SendLast(append([]byte{byte(Ended)}, data...))
	}
	r.hold(Ended, data)
	r.timer.Stop()
	message := r.held
	r.held = nil
	return r.to.SendLast(message)
}

// hold keeps a frame for a moment; r.mu is held.
func (r *reporter) hold(kind Kind, data []byte) {
	if r.held == nil {
		r.held = []byte{byte(Together)}
		r.timer = time.AfterFunc(moment, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.flush()
		})
	}
	r.held = binary.BigEndian.AppendUint32(r.held, uint32(1+len(data)))
	r.held = append(append(r.held, byte(kind)), data...)
}

// flush sends what is held; r.mu is held.
func (r *reporter) flush() error {
	if r.held == nil {
		return nil
	}
	r.timer.Stop()
	message := r.held
	r.held = nil
	return r.to.Send(message)
}

package accesslog

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"bramble/fault"
)

// Feed gives lines to those who follow them. Its zero value is one that nobody follows.
type Feed struct {
	following atomic.Int32

	mu      sync.Mutex
	readers map[*Reader]bool
}

// Reader is who follows lines as they come.
type Reader struct {
	feed  *Feed
	lines []byte        // not yet taken
	left  int           // lines that were left out, because it takes too few
	ready chan struct{} // there is something to take
}

// MostWaiting is how many bytes of lines wait at most, for a disk or for a reader; what comes while those are slower is lost, for
// visitors do not wait.
const MostWaiting = 1 << 20

// Followed reports whether somebody follows.
func (f *Feed) Followed() bool { return f.following.Load() > 0 }

// Follow gives the lines from now on to a reader, until stop is called. The error is that there are too many.
func (f *Feed) Follow() (r *Reader, stop func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.readers) >= MaxFollowers {
		return nil, nil, fault.New(fault.Full, "%d follow this log already", MaxFollowers).Hint("end one of them")
	}
	if f.readers == nil {
		f.readers = map[*Reader]bool{}
	}
	r = &Reader{feed: f, ready: make(chan struct{}, 1)}
	f.readers[r] = true
	f.following.Store(int32(len(f.readers)))
	return r, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.readers, r)
		f.following.Store(int32(len(f.readers)))
	}, nil
}

// Give has lines wait for each reader, or none of them for one that is too far behind.
func (f *Feed) Give(lines []byte) {
	if len(lines) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for r := range f.readers {
		if len(r.lines)+len(lines) > MostWaiting+MaxPiece {
			r.left += Count(lines)
		} else {
			r.lines = append(r.lines, lines...)
		}
		select {
		case r.ready <- struct{}{}:
		default:
		}
	}
}

// Count is how many lines there are.
func Count(lines []byte) int { return bytes.Count(lines, []byte{'\n'}) }

// Take is what waits for the reader, and how many lines were left out before it could.
func (r *Reader) Take() (lines []byte, left int) {
	r.feed.mu.Lock()
	defer r.feed.mu.Unlock()
	lines, left = r.lines, r.left
	r.lines, r.left = nil, 0
	return lines, left
}

// Send sends the last lines, and then those that come to a reader, if there is one, until ctx ends. Each call of to has whole lines.
func Send(ctx context.Context, to func([]byte) error, last []byte, coming *Reader) error {
	if err := sendPieces(to, last); err != nil || coming == nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-coming.ready:
		}
		lines, left := coming.Take()
		if err := sendPieces(to, lines); err != nil {
			return err
		}
		if left == 0 {
			continue
		}
		if err := to(fmt.Appendf(nil, leftOut, left)); err != nil {
			return err
		}
	}
}

// Pass passes on what comes of another process that has it from Send, until that ends: so many whole lines at once as are there.
func Pass(in *bufio.Reader, to func([]byte) error) error {
	var piece []byte
	send := func() (err error) {
		if len(piece) > 0 {
			err = to(piece)
		}
		piece = nil
		return err
	}
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return send()
		}
		alone := line[0] == leftOut[0] // so that who reads it knows it
		if alone || len(piece)+len(line) > MaxPiece {
			if err := send(); err != nil {
				return err
			}
		}
		if piece = append(piece, line...); alone || in.Buffered() == 0 {
			if err := send(); err != nil {
				return err
			}
		}
	}
}

// sendPieces sends lines in messages that end with one.
func sendPieces(to func([]byte) error, lines []byte) error {
	for len(lines) > 0 {
		n := len(lines)
		if n > MaxPiece {
			if n = bytes.LastIndexByte(lines[:MaxPiece], '\n') + 1; n == 0 {
				n = MaxPiece
			}
		}
		if err := to(lines[:n]); err != nil {
			return err
		}
		lines = lines[n:]
	}
	return nil
}

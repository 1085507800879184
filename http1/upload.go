package http1

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"
)

// progress is how far the body of a trip's request has got.
type progress int

const (
	bodyWaits progress = iota
	bodyGoes           // it is read from the caller and written
	bodyEnds           // it is read to its end, and that is being written
	bodyGone           // it is written to its end
	bodyLost           // it never will be
)

const (
	onePart   = 32 << 10        // bytes of a request's body that are read before they are written, at most
	chunkRoom = len("8000\r\n") // before and behind them
)

var (
	errStopped = errors.New("no more of the request is wanted")
	errLonger  = errors.New("it is longer than Content-Length")
)

// past is a deadline that ends what waits.
var past = time.Unix(1, 0)

// waits reports whether the request's body has not begun to be sent.
func (x *trip) waits() bool { return x.body != NoBody && x.written == nil }

// startBody begins to send the request's body. Until that is done there is no limit to the time for the answer.
func (x *trip) startBody() {
	x.written = make(chan struct{})
	x.w.SetReadDeadline(time.Time{})
	x.mu.Lock()
	x.progress = bodyGoes
	x.mu.Unlock()
	go x.upload()
}

// upload sends the body. If the connection fails there may be an answer that says why, so that alone does not end the trip.
func (x *trip) upload() {
	err := x.sendBody()
	x.mu.Lock()
	if x.progress = bodyLost; err == nil {
		x.progress = bodyGone
	}
	if !x.answered && !x.over {
		x.w.SetReadDeadline(time.Now().Add(x.answerTime()))
	}
	x.mu.Unlock()
	close(x.written)
	x.shutBody()
}

func (x *trip) answerTime() time.Duration { return or(x.t.Answer, time.Minute) }
func (x *trip) stallTime() time.Duration  { return or(x.t.Stall, time.Minute) }

func (x *trip) sendBody() error {
	memory := x.t.memory()
	defer x.t.pieces.Put(memory)
	if x.body == ByLength {
		return x.sendLength(*memory)
	}
	return x.sendChunks(*memory)
}

// sendLength sends as many bytes as the request's length says, and finds out if there are others, as far as one part shows.
func (x *trip) sendLength(b []byte) error {
	for left := x.req.ContentLength; left > 0; {
		n, end, err := x.readBody(b[:min(int64(len(b)), left+1)])
		if err != nil {
			return err
		}
		left -= int64(n)
		switch {
		case left < 0:
			return x.giveUp(errLonger)
		case left > 0 && end:
			return x.giveUp(io.ErrUnexpectedEOF)
		case left == 0:
			x.lastPart()
		}
		if _, err := x.write(b[:n]); err != nil {
			return err
		}
	}
	return nil
}

// sendChunks sends each part as a chunk, and the trailers behind the last one: RFC 9112, 7.1.
func (x *trip) sendChunks(b []byte) error {
	for {
		n, end, err := x.readBody(b[chunkRoom : chunkRoom+onePart])
		if err != nil {
			return err
		}
		out := b[chunkRoom:chunkRoom]
		if n > 0 {
			var text [chunkRoom]byte
			size := append(strconv.AppendInt(text[:0], int64(n), 16), "\r\n"...)
			begin := chunkRoom - len(size)
			copy(b[begin:], size)
			out = append(b[begin:chunkRoom+n], "\r\n"...)
		}
		if end {
			if out, err = appendTrailers(append(out, "0\r\n"...), x.req.Trailer); err != nil {
				return x.giveUp(err)
			}
			x.lastPart()
		}
		if _, err := x.write(out); err != nil || end {
			return err
		}
	}
}

// readBody reads some of the request's body, and whether that ends with it. Its errors are the trip's.
func (x *trip) readBody(b []byte) (n int, end bool, err error) {
	for range 100 {
		n, err = x.req.Body.Read(b)
		switch {
		case err == io.EOF:
			return n, true, nil
		case err != nil:
			return 0, false, x.giveUp(err)
		case n > 0:
			return n, false, nil
		}
	}
	return 0, false, x.giveUp(io.ErrNoProgress)
}

// giveUp fails the trip for what is wrong with the request's body, unless no more of that is wanted.
func (x *trip) giveUp(err error) error {
	if !x.isHalted() {
		x.fail(fmt.Errorf("the request's body: %w", err))
	}
	return errStopped
}

func (x *trip) isHalted() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.halted
}

func (x *trip) lastPart() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.progress = bodyEnds
}

// write sends to the origin, which must take something within the time for that, and how much went.
func (x *trip) write(b []byte) (sent int, err error) {
	for sent < len(b) {
		if !x.mayWrite() {
			return sent, errStopped
		}
		n, err := x.w.Write(b[sent:])
		switch sent += n; {
		case errors.Is(err, os.ErrDeadlineExceeded) && n > 0:
		case errors.Is(err, os.ErrDeadlineExceeded) && !x.isHalted():
			return sent, x.broke(ErrStalled)
		case err != nil:
			return sent, err
		}
	}
	return sent, nil
}

func (x *trip) mayWrite() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.halted {
		x.w.SetWriteDeadline(time.Now().Add(x.stallTime()))
	}
	return !x.halted
}

// stopBody notes that the answer is here: a body that is not read to its end by now is not sent any more.
func (x *trip) stopBody() {
	x.mu.Lock()
	x.answered = true
	early := x.body != NoBody && x.progress < bodyEnds
	if early {
		x.halted = true
		x.w.SetWriteDeadline(past)
	}
	x.mu.Unlock()
	if early {
		x.shutBody()
	}
}

// bodySent reports, at the answer's end, whether the request has gone out whole. Its last part does not wait any more.
func (x *trip) bodySent() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.progress == bodyEnds {
		x.halted = true
		x.w.SetWriteDeadline(past)
		x.mu.Unlock()
		<-x.written
		x.mu.Lock()
	}
	return x.body == NoBody || x.progress == bodyGone
}

package http1

import (
	"bytes"
	"math"
)

// Why chunked bodies are refused.
var (
	badChunk    = &Refusal{400, "a chunk does not begin with its size in hexadecimal, or has a bad extension"}
	longChunk   = &Refusal{400, "the line before a chunk is too long"}
	badChunkEnd = &Refusal{400, "a chunk does not end with CR LF where its size says"}
	longTrailer = &Refusal{431, "the trailers are too long"}
)

const (
	longestChunkLine  = 256     // bytes, extensions and CR LF included
	longestExtensions = 4 << 10 // bytes, of one body
	longestSize       = 15      // hexadecimal digits, which an int64 holds
)

// Chunks follows a chunked body (RFC 9112, 7.1) through pieces of any size. The zero value is at the
// beginning of a body, with the default limit for trailers.
type Chunks struct {
	Limits   Limits
	Trailers Head // its fields, once the body is done

	state  chunkState
	left   int64  // bytes of the chunk
	gone   int    // bytes of extensions
	ended  int    // bytes of a chunk's CR LF
	line   []byte // what there is of a size line or of the trailer section
	failed error
}

type chunkState int

const (
	atSize chunkState = iota
	inChunk
	atEnd
	inTrailers
	atDone
)

// Done reports whether the body has been seen whole.
func (c *Chunks) Done() bool { return c.state == atDone }

// Next takes n bytes from b; data is what of them is the body's content, which may be empty. It
// takes all of b, or as far as the end of a chunk or of the body; call it again with the rest until
// Done. A *Refusal lasts.
func (c *Chunks) Next(b []byte) (data []byte, n int, err error) {
	if c.failed != nil {
		return nil, 0, c.failed
	}
	for n < len(b) && c.state != atDone && data == nil && c.failed == nil {
		var took int
		if c.state == inChunk {
			data = b[n:][:min(c.left, int64(len(b)-n))]
			took, c.left = len(data), c.left-int64(len(data))
			if c.left == 0 {
				c.state, c.ended = atEnd, 0
			}
		} else {
			took, c.failed = c.frame(b[n:])
		}
		n += took
	}
	return data, n, c.failed
}

// frame takes bytes that are not content.
func (c *Chunks) frame(b []byte) (int, error) {
	switch c.state {
	case atSize:
		return c.size(b)
	case atEnd:
		if b[0] != "\r\n"[c.ended] {
			return 0, badChunkEnd
		}
		if c.ended++; c.ended == 2 {
			c.state = atSize
		}
		return 1, nil
	}
	return c.trailer(b)
}

// size takes the line before a chunk.
func (c *Chunks) size(b []byte) (int, error) {
	n, whole := bytes.IndexByte(b, '\n')+1, true
	if n == 0 {
		n, whole = len(b), false
	}
	if len(c.line)+n > longestChunkLine {
		return 0, longChunk
	}
	c.line = append(c.line, b[:n]...)
	if !whole {
		return n, nil
	}
	size, extensions, err := chunkLine(c.line)
	if c.gone += extensions; err == nil && c.gone > longestExtensions {
		err = longChunk
	}
	c.line, c.left, c.state = c.line[:0], size, inChunk
	if size == 0 {
		c.state = inTrailers
	}
	return n, err
}

// trailer takes bytes of the trailer section, which ends with an empty line: RFC 9112, 7.1.2.
func (c *Chunks) trailer(b []byte) (int, error) {
	l := c.Limits.filled()
	had := len(c.line)
	c.line = append(c.line, b[:min(len(b), l.Trailers+1-had)]...)
	c.Trailers = c.Trailers.emptied()
	end, err := c.Trailers.fields(c.line, 0, &l)
	switch {
	case err != nil:
		return 0, err
	case end > l.Trailers || end == 0 && len(c.line) > l.Trailers:
		return 0, longTrailer
	case end == 0:
		return len(c.line) - had, nil
	}
	for _, f := range c.Trailers.Fields {
		if forbidden(f.Name) {
			return 0, badTrailer
		}
	}
	c.state = atDone
	return end - had, nil
}

// chunkLine reads chunk-size [ chunk-ext ] CR LF, without white space anywhere. It returns the size and the
// length of the extensions.
func chunkLine(line []byte) (int64, int, error) {
	line, ok := bytes.CutSuffix(line, []byte("\r\n"))
	n := 0
	var size int64
	for n < len(line) && is(line[n], inHex) {
		if n < longestSize {
			size = size<<4 | int64(unhex(line[n]))
		}
		n++
	}
	if !ok || n == 0 || n > longestSize || size == math.MaxInt64 || !extensions(line[n:]) {
		return 0, 0, badChunk
	}
	return size, len(line) - n, nil
}

func unhex(b byte) byte {
	if is(b, inDigit) {
		return b - '0'
	}
	return lower(b) - 'a' + 10
}

// extensions checks *( ";" name [ "=" ( token / quoted-string ) ] ): RFC 9112, 7.1.1.
func extensions(b []byte) bool {
	for len(b) > 0 {
		if b[0] != ';' {
			return false
		}
		name := token(b[1:])
		if name == 0 {
			return false
		}
		if b = b[1+name:]; len(b) == 0 || b[0] != '=' {
			continue
		}
		length := token(b[1:])
		if length == 0 {
			length = quoted(b[1:])
		}
		if length == 0 {
			return false
		}
		b = b[1+length:]
	}
	return true
}

// token is the length of the token that b begins with.
func token(b []byte) int {
	n := 0
	for n < len(b) && is(b[n], inToken) {
		n++
	}
	return n
}

// quoted is the length of the quoted-string that b begins with (RFC 9110, 5.6.4), 0 without one.
func quoted(b []byte) int {
	if len(b) == 0 || b[0] != '"' {
		return 0
	}
	for i := 1; i < len(b) && is(b[i], inValue); i++ {
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			i++
			if i == len(b) || !is(b[i], inValue) {
				return 0
			}
		}
	}
	return 0
}

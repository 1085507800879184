package http1

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"
)

// Answer is a lean handler's answer. What it points to must not change until Done is called.
type Answer struct {
	Head   []byte   // as MakeHead makes it; Date and Connection are added
	Body   []byte   // left out of answers to HEAD
	File   *os.File // the body, when it is a part of a regular file; Body is not used then
	Offset int64    // bytes, where that part begins
	Size   int64    // bytes of it
	Done   func()   // called once, when nothing of the answer is needed any more; may be nil

	// Relay gives the answer in the place of Body and File; Head is then the request that its origin gets.
	Relay Relay

	// Open gives the file that File is to be, when that is not open yet. It is called once, where it may block, but for
	// HEAD; the file is closed after the answer. An error ends the connection.
	Open func() (*os.File, error)
	// Space is memory in which a handler may make Head by appending: it is used again for the next answer.
	Space []byte
}

// clear makes the answer empty, but for its space.
func (a *Answer) clear() { *a = Answer{Space: a.Space[:0]} }

// isFile reports whether the body is a part of a file.
func (a *Answer) isFile() bool { return a.File != nil || a.Open != nil }

// MakeHead makes an answer's head: the status line, Content-Length unless length is negative, and names with values.
// It is the caller's to give only names and values that fields may have.
func MakeHead(status int, length int64, fields ...string) []byte {
	b := fmt.Appendf(nil, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	if length >= 0 {
		b = fmt.Appendf(b, "Content-Length: %d\r\n", length)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		b = fmt.Appendf(b, "%s: %s\r\n", fields[i], fields[i+1])
	}
	return b
}

// appendHead completes a head.
func appendHead(out, head []byte, date *clock, close bool) []byte {
	out = append(out, head...)
	out = append(out, date.line...)
	if close {
		out = append(out, "Connection: close\r\n"...)
	}
	return append(out, "\r\n"...)
}

// appendRefusal adds the whole answer to what was refused: status, reason, the end of the connection.
func appendRefusal(out []byte, r *Refusal, date *clock) []byte {
	body := strconv.Itoa(r.Status) + " " + http.StatusText(r.Status) + ": " + r.Reason + "\n"
	head := MakeHead(r.Status, int64(len(body)), "Content-Type", "text/plain; charset=utf-8")
	return append(appendHead(out, head, date, true), body...)
}

// clock is a Date field that is written anew once a second (RFC 9110, 6.6.1).
type clock struct {
	second int64
	line   []byte
}

func (c *clock) set(now time.Time) {
	if second := now.Unix(); second != c.second {
		c.second = second
		c.line = append(now.UTC().AppendFormat(append(c.line[:0], "Date: "...), http.TimeFormat), "\r\n"...)
	}
}

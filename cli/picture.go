package cli

import (
	"bytes"
	"io"
)

// escape reads keys and understands ssh's way out of a terminal that hangs: after Enter, a tilde and a
// dot hang up, and a second tilde sends one.
type escape struct {
	io.Reader
	hangUp    func()
	lineStart bool
	tilde     bool
}

func (e *escape) Read(b []byte) (int, error) {
	if len(b) < 2 {
		return 0, io.ErrShortBuffer
	}
	for {
		n, err := e.Reader.Read(b[:len(b)/2]) // what is held back makes room for itself
		keys, ended := e.filter(b[:n])
		n = copy(b, keys)
		switch {
		case ended:
			e.hangUp()
			return n, io.EOF
		case n > 0 || err != nil:
			return n, err
		}
	}
}

// filter returns the keys to pass on, and whether the person hung up.
func (e *escape) filter(typed []byte) (keys []byte, ended bool) {
	for _, key := range typed {
		if e.tilde {
			e.tilde = false
			switch key {
			case '.':
				return keys, true
			case '~':
			default:
				keys = append(keys, '~')
			}
		} else if e.lineStart && key == '~' {
			e.tilde = true
			continue
		}
		keys = append(keys, key)
		e.lineStart = key == '\r' || key == '\n'
	}
	return keys, false
}

// picture passes a terminal's picture on and notes what a program that dies would leave switched on.
type picture struct {
	io.Writer
	other bool // the alternate screen, as editors use
}

func (p *picture) Write(b []byte) (int, error) {
	on, off := bytes.LastIndex(b, []byte("\x1b[?1049h")), bytes.LastIndex(b, []byte("\x1b[?1049l"))
	if on != off {
		p.other = on > off
	}
	return p.Writer.Write(b)
}

// leave puts right what a program had no time to: the screen, mouse reports, bracketed paste, keypad, cursor, colours.
func (p *picture) leave() {
	if p.other {
		io.WriteString(p.Writer, "\x1b[?1049l")
	}
	io.WriteString(p.Writer, "\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[?1l\x1b>\x1b[?25h\x1b[0m\r\n")
}

package static

import (
	"bytes"

	"bramble/http1"
)

// wish is what a request's fields ask for; lists over several lines are joined.
type wish struct {
	encoding, cookie, mode         []byte // Accept-Encoding, Cookie, Sec-Fetch-Mode
	noneMatch, match               []byte
	modifiedSince, unmodifiedSince []byte
	span, ifRange                  []byte // Range, If-Range
	spans                          int    // how often Range came
}

func (w *wish) read(r *http1.Request) {
	for i := range r.Fields {
		f := &r.Fields[i]
		switch len(f.Name) {
		case len("range"):
			if same(f.Name, "range") {
				w.span = f.Value
				w.spans++
			}
		case len("cookie"):
			join(&w.cookie, f, "cookie", "; ")
		case len("if-match"): // and of If-Range
			join(&w.match, f, "if-match", ", ")
			join(&w.ifRange, f, "if-range", ", ")
		case len("if-none-match"):
			join(&w.noneMatch, f, "if-none-match", ", ")
		case len("sec-fetch-mode"):
			join(&w.mode, f, "sec-fetch-mode", ", ")
		case len("accept-encoding"):
			join(&w.encoding, f, "accept-encoding", ", ")
		case len("if-modified-since"):
			join(&w.modifiedSince, f, "if-modified-since", ", ")
		case len("if-unmodified-since"):
			join(&w.unmodifiedSince, f, "if-unmodified-since", ", ")
		}
	}
}

// join adds a field with that name to what came before it.
func join(to *[]byte, f *http1.Field, name, between string) {
	switch {
	case !same(f.Name, name):
	case *to == nil:
		*to = f.Value[:len(f.Value):len(f.Value)]
	default:
		*to = append(append(*to, between...), f.Value...)
	}
}

// same reports whether a field's name is name, which is in small letters.
func same(token []byte, name string) bool {
	if len(token) != len(name) {
		return false
	}
	for i, c := range token {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != name[i] {
			return false
		}
	}
	return true
}

// has reports whether a cookie, "NAME=VALUE", came.
func (w *wish) has(cookie []byte) bool {
	for rest := w.cookie; len(rest) > 0; {
		var one []byte
		one, rest, _ = bytes.Cut(rest, []byte{';'})
		if bytes.Equal(trim(one), cookie) {
			return true
		}
	}
	return false
}

// trim takes spaces and tabs from both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

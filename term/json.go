package term

import (
	"bytes"
	"encoding/json"
	"io"
	"unicode/utf8"
)

// JSON prints v and a newline: indented on a terminal, on one line elsewhere.
func JSON(s *Stream, v any) error {
	if s.IsTerminal() {
		return writeJSON(s, v, "  ")
	}
	return writeJSON(s, v, "")
}

// JSONLine prints v on one line even on a terminal, for streams of events.
func JSONLine(s *Stream, v any) error { return writeJSON(s, v, "") }

func writeJSON(w io.Writer, v any, indent string) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(escapeJSON(b.Bytes()))
	return err
}

// escapeJSON writes what encoding/json leaves and a terminal might obey as \u escapes, which mean the same.
func escapeJSON(src []byte) []byte {
	if bytes.IndexFunc(src, obeyed) < 0 {
		return src
	}
	var dst []byte
	for len(src) > 0 {
		r, n := utf8.DecodeRune(src)
		if obeyed(r) {
			const hex = "0123456789abcdef"
			dst = append(dst, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
		} else {
			dst = append(dst, src[:n]...)
		}
		src = src[n:]
	}
	return dst
}

func obeyed(r rune) bool { return r >= 0x7f && r <= 0x9f || reorders(r) }

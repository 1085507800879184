package cli

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestEscape(t *testing.T) {
	tests := []struct {
		typed, sent string
		hungUp      bool
	}{
		{"ls\r", "ls\r", false},
		{"~.", "", true},
		{"ls\r~.more", "ls\r", true},
		{"ls\n~~x", "ls\n~x", false},
		{"ls\r~x", "ls\r~x", false},
		{"cd ~.", "cd ~.", false},
		{"a~b~.\r", "a~b~.\r", false},
	}
	for _, tt := range tests {
		for _, one := range []bool{false, true} {
			var in io.Reader = strings.NewReader(tt.typed)
			if one {
				in = iotest.OneByteReader(in)
			}
			hungUp := false
			sent, err := io.ReadAll(&escape{Reader: in, hangUp: func() { hungUp = true }, lineStart: true})
			if err != nil || string(sent) != tt.sent || hungUp != tt.hungUp {
				t.Errorf("%q sent %q, hung up %t, %v", tt.typed, sent, hungUp, err)
			}
		}
	}
}

func TestPictureLeavesTheOtherScreen(t *testing.T) {
	for _, tt := range []struct {
		drawn string
		other bool
	}{{"plain", false}, {"\x1b[?1049hvi", true}, {"\x1b[?1049hvi\x1b[?1049l", false}} {
		var shown bytes.Buffer
		p := &picture{Writer: &shown}
		io.WriteString(p, tt.drawn)
		before := shown.Len()
		p.leave()
		if got := strings.Contains(shown.String()[before:], "\x1b[?1049l"); got != tt.other {
			t.Errorf("%q: left the other screen: %t", tt.drawn, got)
		}
	}
}

func TestCutRune(t *testing.T) {
	for text, want := range map[string]int{"": 0, "a": 0, "é": 0, "a\xc3": 1, "\xe2\x82": 2, "€": 0, "\xf0\x9f\x98": 3, "\xff": 0, "\x80\x80\x80\x80": 0} {
		if got := cutRune([]byte(text)); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

package term

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	for _, c := range []struct{ name, in, colour, plain string }{
		{"plain", "hello\tworld", "hello\tworld", "hello\tworld"},
		{"UTF-8", "Grüße 日本 👩‍🔬 ", "Grüße 日本 👩‍🔬 ", "Grüße 日本 👩‍🔬 "},
		{"colour is reset", "\x1b[31mred", "\x1b[31mred\x1b[0m", "red"},
		{"a reset is not repeated", "\x1b[1;38;5;9mred\x1b[m.", "\x1b[1;38;5;9mred\x1b[m.", "red."},
		{"each line is reset", "\x1b[31ma\nb\n", "\x1b[31ma\x1b[0m\nb\n", "a\nb\n"},
		{"colon form", "\x1b[38:2::1:2:3mx\x1b[0m", "\x1b[38:2::1:2:3mx\x1b[0m", "x"},
		{"xterm key mode is no colour", "\x1b[>4;1m", "␛[>4;1m", "␛[>4;1m"},
		{"endless colour", "\x1b[" + strings.Repeat("1;", 40) + "m", "␛[" + strings.Repeat("1;", 40) + "m", "␛[" + strings.Repeat("1;", 40) + "m"},
		{"cut off colour", "\x1b[31", "␛[31", "␛[31"},
		{"clear screen", "\x1b[2J\x1b[H", "␛[2J␛[H", "␛[2J␛[H"},
		{"window title", "\x1b]0;owned\a", "␛]0;owned␇", "␛]0;owned␇"},
		{"clipboard", "\x1b]52;c;cm0=\x1b\\", "␛]52;c;cm0=␛\\", "␛]52;c;cm0=␛\\"},
		{"device control", "\x1bP$q\x1b\\", "␛P$q␛\\", "␛P$q␛\\"},
		{"full reset", "\x1bc", "␛c", "␛c"},
		{"8-bit control, UTF-8", "\u009b31m\u009d0;x\u009c", "\uFFFD31m\uFFFD0;x\uFFFD", "\uFFFD31m\uFFFD0;x\uFFFD"},
		{"8-bit control, raw", "\x9b2J", "\uFFFD2J", "\uFFFD2J"},
		{"backspace and delete", "ok\b\b\x7f", "ok␈␈␡", "ok␈␈␡"},
		{"carriage return inside", "good\rbad", "good␍bad", "good␍bad"},
		{"carriage return at the end", "a\r\nb\r", "a\nb", "a\nb"},
		{"NUL and shift out", "\x00\x0e", "␀␎", "␀␎"},
		{"override", "a\u202eb\u2066c", "a<202E>b<2066>c", "a<202E>b<2066>c"},
		{"line separators", "a\u2028b", "a<2028>b", "a<2028>b"},
		{"invalid UTF-8", "\xff\xc0\x80x\xe6\x97", "\uFFFD\uFFFD\uFFFDx\uFFFD\uFFFD", "\uFFFD\uFFFD\uFFFDx\uFFFD\uFFFD"},
		{"empty", "", "", ""},
	} {
		if got := string(Clean(nil, []byte(c.in), true)); got != c.colour {
			t.Errorf("%s: with colour %q, want %q", c.name, got, c.colour)
		}
		if got := string(Clean(nil, []byte(c.in), false)); got != c.plain {
			t.Errorf("%s: without %q, want %q", c.name, got, c.plain)
		}
	}
	if got := string(Clean([]byte("n: "), []byte("x"), true)); got != "n: x" {
		t.Errorf("appended: %q", got)
	}
}

var sgrPattern = regexp.MustCompile("\x1b\\[[0-9;:]{0,61}m")

func FuzzClean(f *testing.F) {
	for _, s := range []string{"a\x1b[31mb", "\x1b]0;t\a\x9b\xc2\x9b", "\u202e\r\n\r", "\xf0\x9f", "\x1b[\x1b[0m\n\x1b[1m"} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, src []byte, colour bool) {
		before := bytes.Clone(src)
		got := Clean(nil, src, colour)
		if !bytes.Equal(src, before) {
			t.Fatal("the source was changed")
		}
		if !utf8.Valid(got) {
			t.Fatalf("%q is not UTF-8", got)
		}
		if len(got) > 3*len(src) {
			t.Fatalf("%d bytes became %d", len(src), len(got))
		}
		if bytes.Count(got, []byte("\n")) != bytes.Count(src, []byte("\n")) {
			t.Fatalf("%q has another number of lines", got)
		}
		rest := got
		if colour {
			rest = sgrPattern.ReplaceAll(got, nil)
		}
		for _, r := range string(rest) {
			if unicode.IsControl(r) && r != '\t' && r != '\n' || reorders(r) {
				t.Fatalf("%q holds %U", got, r)
			}
		}
		for _, line := range strings.Split(string(got), "\n") {
			if all := sgrPattern.FindAllString(line, -1); len(all) > 0 && !isReset([]byte(all[len(all)-1])) {
				t.Fatalf("%q leaves a colour on", line)
			}
		}
	})
}

package term

import (
	"bytes"
	"os"
	"testing"
)

func table(pairs ...string) func(string) string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return m[name] }
}

func TestColourLevel(t *testing.T) {
	for _, c := range []struct {
		name       string
		env        func(string) string
		isTerminal bool
		want       Level
	}{
		{"terminal", table("TERM", "xterm"), true, Basic},
		{"256 colours", table("TERM", "screen-256color"), true, Full},
		{"true colour", table("TERM", "xterm", "COLORTERM", "truecolor"), true, Full},
		{"pipe", table("TERM", "xterm-256color"), false, Plain},
		{"no TERM", table(), true, Plain},
		{"dumb", table("TERM", "dumb", "COLORTERM", "truecolor"), true, Plain},
		{"NO_COLOR", table("TERM", "xterm", "NO_COLOR", "1"), true, Plain},
		{"empty NO_COLOR is none", table("TERM", "xterm", "NO_COLOR", ""), true, Basic},
		{"NO_COLOR beats force", table("TERM", "xterm", "NO_COLOR", "1", "CLICOLOR_FORCE", "1"), true, Plain},
		{"CLICOLOR=0", table("TERM", "xterm", "CLICOLOR", "0"), true, Plain},
		{"forced pipe", table("TERM", "xterm-256color", "CLICOLOR_FORCE", "1"), false, Full},
		{"forced with nothing known", table("CLICOLOR_FORCE", "1"), false, Basic},
		{"CLICOLOR_FORCE=0", table("TERM", "xterm", "CLICOLOR_FORCE", "0"), false, Plain},
	} {
		if got := colourLevel(c.env, c.isTerminal); got != c.want {
			t.Errorf("%s: level %d, want %d", c.name, got, c.want)
		}
	}
}

func TestHasBlocks(t *testing.T) {
	for _, c := range []struct {
		env  func(string) string
		want bool
	}{
		{table("LANG", "en_GB.UTF-8"), true},
		{table("LANG", "C.utf8"), true},
		{table("LANG", "en_GB.UTF-8", "LC_ALL", "C"), false},
		{table("LANG", "C", "LC_CTYPE", "de_DE.UTF-8"), true},
		{table("LANG", "en_GB.UTF-8", "TERM", "linux"), false},
		{table("LANG", "en_GB.ISO-8859-1"), false},
		{table(), false},
	} {
		if got := hasBlocks(c.env); got != c.want {
			t.Errorf("LANG=%s LC_ALL=%s LC_CTYPE=%s TERM=%s: %v", c.env("LANG"), c.env("LC_ALL"), c.env("LC_CTYPE"), c.env("TERM"), got)
		}
	}
}

func TestNewOnPipes(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	out := New(r, w, w, table("TERM", "xterm", "LANG", "C.UTF-8"))
	if out.Interactive || out.Stdout.IsTerminal() || out.Stdout.Width() != 0 || out.Stderr.Colour != Plain || out.Stderr.ASCII {
		t.Errorf("pipes were taken for %+v %+v", out, out.Stdout)
	}
}

func TestNewTest(t *testing.T) {
	var b bytes.Buffer
	out := NewTest(&b, 100, Basic)
	if !out.Stdout.IsTerminal() || out.Stderr.Width() != 100 || out.Stdout.Colour != Basic {
		t.Error("not the terminal that was asked for")
	}
	if NewTest(&b, 0, Plain).Stdout.IsTerminal() {
		t.Error("width 0 is a terminal")
	}
}

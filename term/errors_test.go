package term

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"bramble/fault"
)

func TestReport(t *testing.T) {
	hinted := fault.New(fault.NotFound, "no node is called nod3").Hint("bramble nodes")
	for _, c := range []struct {
		name   string
		err    error
		colour Level
		want   string
		exit   int
	}{
		{"nothing", nil, Plain, "", 0},
		{"plain error", errors.New("disk is gone"), Plain, "bramble: disk is gone\n", 1},
		{"hint", fmt.Errorf("run: %w", hinted), Plain, "bramble: run: no node is called nod3\ntry: bramble nodes\n", 3},
		{"colour", hinted, Basic, "\x1b[31mbramble:\x1b[0m no node is called nod3\n\x1b[33mtry:\x1b[0m bramble nodes\n", 3},
		{"doubled name", errors.New("bramble: bramble: no"), Plain, "bramble: no\n", 1},
		{"joined", errors.Join(errors.New("one"), errors.New("bramble: two")), Plain, "bramble: one\n  two\n", 1},
		{"stack", errors.New("panic: oh\n\ngoroutine 1 [running]:\nmain.main()\n\t/x.go:1"), Plain, "bramble: panic: oh\n", 1},
		{"hostile", errors.New("bad \x1b]0;x\a\x1b[31mname"), Basic, "\x1b[31mbramble:\x1b[0m bad ␛]0;x␇name\n", 1},
		{"empty", errors.New(""), Plain, "bramble: failed without saying why\n", 1},
	} {
		var b bytes.Buffer
		exit := Report(NewTest(&b, 80, c.colour), c.err)
		if b.String() != c.want || exit != c.exit {
			t.Errorf("%s: %d %q, want %d %q", c.name, exit, b.String(), c.exit, c.want)
		}
	}
}

func TestConfirm(t *testing.T) {
	for in, want := range map[string]bool{"y\n": true, "YES\n": true, " yes \r\n": true, "n\n": false, "\n": false, "": false, "yep\n": false, "y": true} {
		var b bytes.Buffer
		out := NewTest(&b, 80, Plain)
		out.Interactive, out.Stdin = true, strings.NewReader(in)
		got, err := Confirm(t.Context(), out, "Remove node3?")
		if got != want || err != nil || b.String() != "Remove node3? [y/N] " {
			t.Errorf("%q: %v %v %q", in, got, err, b.String())
		}
	}
}

func TestConfirmLeavesTheRest(t *testing.T) {
	out := NewTest(io.Discard, 80, Plain)
	out.Interactive, out.Stdin = true, strings.NewReader("y\nrest")
	Confirm(t.Context(), out, "Go on?")
	if rest, _ := io.ReadAll(out.Stdin); string(rest) != "rest" {
		t.Errorf("left %q", rest)
	}
}

func TestConfirmRefusals(t *testing.T) {
	var b bytes.Buffer
	out := NewTest(&b, 80, Plain)
	_, err := Confirm(t.Context(), out, "Remove node3?")
	if !fault.Is(err, fault.Misused) || !strings.Contains(fault.Of(err).Try, "--yes") || b.Len() > 0 {
		t.Errorf("nobody there: %v, printed %q", err, b.String())
	}

	out.Interactive, out.Stdin = true, iotest.ErrReader(errors.New("hung up"))
	if _, err := Confirm(t.Context(), out, "Go on?"); err == nil || !strings.Contains(err.Error(), "hung up") {
		t.Errorf("a failed read: %v", err)
	}

	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	out.Stdin = r
	if ok, err := Confirm(ctx, out, "Go on?"); ok || fault.Exit(err) != 130 {
		t.Errorf("interrupted: %v %v", ok, err)
	}
}

package accesslog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"bramble/fault"
)

// Who follows gets each line once, in whole lines, and hears how many it was too slow for; there are not too many of them.
func TestFeed(t *testing.T) {
	var f Feed
	f.Give([]byte("nobody follows\n"))
	r, stop, err := f.Follow()
	if err != nil || !f.Followed() {
		t.Fatal(err)
	}
	piece := []byte(strings.Repeat("x", 99) + "\n")
	const all = 3 * MostWaiting / 100
	for range all {
		f.Give(piece)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var got bytes.Buffer
	err = Send(ctx, func(p []byte) error {
		if len(p) > MaxPiece || !bytes.HasSuffix(p, []byte("\n")) {
			t.Errorf("a piece of %d bytes", len(p))
		}
		got.Write(p)
		if bytes.HasPrefix(p, []byte("#")) {
			cancel()
		}
		return nil
	}, []byte("last\n"), r)
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	came := bytes.Count(got.Bytes(), piece)
	if want := fmt.Sprintf(leftOut, all-came); !bytes.HasPrefix(got.Bytes(), []byte("last\n")) || !bytes.HasSuffix(got.Bytes(), []byte(want)) || came == 0 || came == all {
		t.Errorf("%d of %d lines came, and it ends with %q, not %q", came, all, got.Bytes()[max(0, got.Len()-40):], want)
	}
	for range MaxFollowers - 1 {
		if _, _, err := f.Follow(); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := f.Follow(); !fault.Is(err, fault.Full) {
		t.Errorf("one too many: %v", err)
	}
	if stop(); len(f.readers) != MaxFollowers-1 {
		t.Errorf("%d follow", len(f.readers))
	}
}

// What passes through another process comes in pieces of whole lines, and what tells of lines left out comes by itself.
func TestPass(t *testing.T) {
	long := strings.Repeat("x", MaxPiece-10) + "\n"
	left := fmt.Sprintf(leftOut, 7)
	var got []string
	err := Pass(bufio.NewReaderSize(strings.NewReader("a\nb\n"+left+"c\n"+long+"cut off"), 4*MaxPiece), func(piece []byte) error {
		got = append(got, string(piece))
		return nil
	})
	if want := []string{"a\nb\n", left, "c\n" + long}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %d pieces: %.60q", err, len(got), got)
	}
}
